package sync

import (
	"context"
	"errors"
	"time"

	"github.com/robfig/cron/v3"
)

// batch is how many rows a sweep reads at once: as many as one search of Jira takes and shows. That many rows and issues are about 2 MiB.
const batch = 1000

// sweep compares every open row with both sides, at the start of the term and on schedule. It finds what events and polls lost. At
// the start the watch lists Teleport's side.
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
	if listToo {
		// A request that the watch told of has a row since it was pending: no page can bring it back.
		if err := e.list(ctx, &toldResolved{}); err != nil {
			return err
		}
	}
	stats, err := e.Store.Stats(ctx, time.Now())
	if err != nil {
		return err
	}
	progress := e.progress(LoopSweep, stats.Open)
	err = e.eachOpen(ctx, func(links []Link) error {
		defer progress.add(len(links))
		gone := make(map[string]bool, len(links))
		for _, l := range links {
			if l.Bound.ID != "" {
				gone[l.Bound.ID] = l.IssueGone
			}
		}
		_, err := e.compareIssues(ctx, e.Tracker.Issues, gone)
		return err
	})
	if err != nil {
		return err
	}
	_, err = e.Store.Prune(ctx, time.Now().Add(-e.Retention))
	return err
}

// compareIssues reads issues by id, of which it is told whether their rows take them for gone, and records what Jira shows. It suspects those that Jira no longer
// shows, and those that it shows again. It returns what Jira showed, by id.
func (e *Engine) compareIssues(ctx context.Context, read func(context.Context, []string) ([]Issue, error), gone map[string]bool) (map[string]Issue, error) {
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
	for id, wasGone := range gone {
		if _, ok := shown[id]; ok == wasGone {
			suspect = append(suspect, id)
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
