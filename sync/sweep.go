package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	stdsync "sync"
	"time"

	"github.com/robfig/cron/v3"
)

// batch is how many rows a sweep reads at once: as many as one search of Jira takes and shows. That
// many rows and issues are about 2 MiB.
const batch = 1000

// sweep compares every open row with both sides, at the start of the term and on schedule. It finds
// what events and polls lost. At the start the watch lists Teleport's side.
func (e *Engine) sweep(ctx context.Context) error {
	listToo := false
	for due, failures := time.Now(), 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-e.Asked:
		case <-after(due):
		}
		start := time.Now()
		err := e.sweepOnce(ctx, listToo)
		if errors.Is(err, ErrNotLeader) {
			return err
		}
		e.condition(ctx, LoopSweep, err)
		e.Observer.Looped(LoopSweep, err, time.Since(start))
		due, failures = nextSweep(e.Sweep, start, err, failures)
		listToo = listToo || err == nil
		if err != nil {
			e.pauseSide(err)
		}
	}
}

// nextSweep is the schedule's next time, or a back-off after a failure if that is earlier.
func nextSweep(schedule cron.Schedule, last time.Time, err error, failures int) (due time.Time, fails int) {
	due = schedule.Next(time.Now())
	if err == nil {
		return due, 0
	}
	failures++
	if retry := last.Add(backoff(failures, firstBackoff, maxBackoff)); retry.Before(due) {
		due = retry
	}
	return due, failures
}

func (e *Engine) sweepOnce(ctx context.Context, listToo bool) error {
	ctx = WithPriority(ctx, PriorityBulk)
	if err := e.readStatuses(ctx); err != nil {
		return err
	}
	if listToo {
		// A request that the watch told of has a row since it was pending: no page can bring it
		// back.
		if err := e.list(ctx, &toldResolved{}); err != nil {
			return err
		}
	}
	stats, err := e.Store.Stats(ctx, time.Now())
	if err != nil {
		return err
	}
	progress := e.progress(LoopSweep, stats.Open)
	var indexed []Link // of which only a search index has told so far
	err = e.eachOpen(ctx, func(links []Link) error {
		defer progress.add(len(links))
		shown, err := e.compareIssues(ctx, e.Tracker.Issues, boundIssues(links))
		for _, l := range links {
			issue := shown[l.Bound.ID]
			if !issue.FromIndex {
				continue
			}
			e.indexed.Store(true)
			if l.RequestID > e.verified.get() && len(indexed) < verifyMany {
				l.Issue = issue
				indexed = append(indexed, l)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	behind, err := e.verify(ctx, indexed, verifyMany)
	if err != nil {
		return err
	}
	if behind <= indexLag { // all that the index showed of them is new enough
		e.condition(ctx, LoopIndex, nil)
	}
	_, err = e.Store.Prune(ctx, time.Now().Add(-e.Retention))
	return err
}

// boundIssues are the issues that rows name, and whether they are taken for gone.
func boundIssues(links []Link) map[string]bool {
	gone := make(map[string]bool, len(links))
	for _, l := range links {
		if l.Bound.ID != "" {
			gone[l.Bound.ID] = l.IssueGone
		}
	}
	return gone
}

// errNoProject: no single issue is suspected when Jira shows none.
var errNoProject error = &Error{
	Side: "jira",
	Op:   "compare the issues of open requests",
	Err: fmt.Errorf(
		"%w: this account does not see the project at the moment; it needs the permission Browse projects",
		ErrUnconfirmed,
	),
}

const (
	// verifyEach is how many issues are read past the search index a minute. verifyMany is how many
	// a sweep reads, and how many are read a minute while the index is known to lag.
	verifyEach = 5
	verifyMany = 50
	// indexLag is how far behind an index may be without a word: it is replicated between nodes in
	// seconds.
	indexLag = 2 * time.Minute
)

// verified is how far the issues of open requests were compared past the index. A sweep and a poll
// may do so at once.
type verified struct {
	mu    stdsync.Mutex
	after string // the last request in order of ID; empty: all were
}

func (v *verified) get() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.after
}

func (v *verified) set(after string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.after = after
}

// verifySome verifies some open requests, where all that is read of many comes from a search index.
func (e *Engine) verifySome(ctx context.Context) error {
	if !e.indexed.Load() {
		return nil
	}
	most := verifyEach
	if e.Health.Failing(LoopIndex) {
		most = verifyMany
	}
	links, err := e.Store.Open(ctx, e.verified.get(), most)
	if err != nil {
		return err
	}
	_, err = e.verify(ctx, links, most)
	return err
}

// verify compares what is known of the issues of requests with what Jira itself says of them: a
// search index may stand still for an hour. behind is by how much what was known is older. There
// are at most so many requests; where there are fewer all had their turn, and it begins anew.
func (e *Engine) verify(ctx context.Context, links []Link, most int) (behind time.Duration, err error) {
	last := ""
	if len(links) == most {
		last = links[most-1].RequestID
	}
	e.verified.set(last)
	shown, err := e.compareIssues(WithPriority(ctx, PriorityBulk), e.Tracker.Latest, boundIssues(links))
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		issue, ok := shown[l.Bound.ID]
		if ok && issue.Updated.After(l.Issue.Updated) && !l.Issue.Updated.IsZero() {
			behind = max(behind, issue.AsOf.Sub(issue.Updated))
		}
	}
	if behind > indexLag {
		e.condition(ctx, LoopIndex, fmt.Errorf("it is behind by %s or more: decisions made in Jira are seen late; "+
			"issues are read one by one meanwhile", behind.Round(time.Second)))
	}
	return behind, nil
}

// readStatuses notes what the project's statuses are called now, and tells of configured ones that
// are no longer there.
func (e *Engine) readStatuses(ctx context.Context) error {
	present, err := e.Tracker.Statuses(ctx)
	if err != nil || len(present) == 0 {
		return err
	}
	at, err := e.Tracker.Now(ctx)
	if err != nil {
		return err
	}
	names, err := e.Store.SawStatuses(ctx, present, at)
	if err != nil {
		return err
	}
	e.names.Store(&names)
	var missing error
	if gone := e.policy().Missing(present); len(gone) > 0 {
		missing = fmt.Errorf("%s; until then a move there decides nothing", strings.Join(gone, "; "))
	}
	e.condition(ctx, LoopStatuses, missing)
	return nil
}

// compareIssues reads issues by id, of which it is told whether their rows take them for gone, and
// records what Jira shows. It suspects those that Jira no longer shows, and those that it shows
// again. It returns what Jira showed, by id.
func (e *Engine) compareIssues(
	ctx context.Context,
	read func(context.Context, []string) ([]Issue, error),
	gone map[string]bool,
) (map[string]Issue, error) {
	if len(gone) == 0 {
		return nil, nil
	}
	issues, err := read(ctx, keys(gone))
	if err != nil {
		return nil, err
	}
	shown := make(map[string]Issue, len(issues))
	for _, issue := range issues {
		shown[issue.ID] = issue
	}
	var suspect []string
	missing := 0
	for id, wasGone := range gone {
		_, ok := shown[id]
		if ok == wasGone {
			suspect = append(suspect, id)
		}
		if !ok && !wasGone {
			missing++
		}
	}
	if 2*missing > len(gone) { // so many at once: rather the project is out of this account's sight
		if sees, err := e.seesProject(ctx); err != nil || !sees {
			return nil, cmp.Or(err, errNoProject)
		}
	}
	defer notify(e.wakeWork)
	if err := e.Store.ObserveIssues(ctx, issues, time.Time{}); err != nil {
		return nil, err
	}
	return shown, e.Store.SuspectIssues(ctx, suspect, false)
}

// eachOpen pages through the unsettled rows.
func (e *Engine) eachOpen(ctx context.Context, page func([]Link) error) error {
	for after := ""; ; {
		links, err := e.Store.Open(ctx, after, batch)
		if err != nil || len(links) == 0 {
			return err
		}
		if err := page(links); err != nil {
			return err
		}
		after = links[len(links)-1].RequestID
	}
}
