package sync

import (
	"context"
	"errors"
	"slices"
	stdsync "sync"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	// shortLookback is how far most polls reach behind the cursor; once in fullEvery a poll reaches back the whole look-back. An issue that the
	// index shows late is found by the latter at the latest, and by the id of its request (Query.Reconcile) before.
	shortLookback = 30 * time.Second
	fullEvery     = time.Minute
	// batch is how many rows a sweep reads at once.
	batch = 500
	// reconcilable is how many ids a search takes.
	reconcilable = 50
)

// follow keeps a watch of Teleport open and records what it tells. After every break it lists all requests, since a watch does
// not repeat what was missed.
func (e *Engine) follow(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		opened, err := e.watch(ctx)
		if errors.Is(err, ErrNotLeader) {
			return err
		}
		if failures++; opened {
			failures = 1
		}
		e.condition(ctx, LoopWatch, err)
		pause(ctx, e.retryAfter(err, failures))
	}
	return nil
}

// watch opens one watch and stays with it until it breaks. opened tells whether Teleport had confirmed it.
func (e *Engine) watch(ctx context.Context) (opened bool, err error) {
	w, err := e.Cluster.Watch(ctx)
	if err != nil {
		return false, err
	}
	defer w.Close()
	e.condition(ctx, LoopWatch, nil)

	ctx, broken := context.WithCancelCause(ctx)
	told := &toldResolved{ids: make(map[string]bool)}
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		defer told.forget()
		if err := e.list(ctx, told); err != nil {
			broken(err)
		}
	}()
	defer func() { broken(nil); <-listed }()

	for {
		event, err := w.Next(ctx)
		if err == nil {
			told.note(event)
			err = e.observe(ctx, event)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return true, err
		}
	}
}

// toldResolved are the requests that a watch has told to be resolved. A page of a list that began before may still show one as pending, and
// without a row, which only a pending request gets, nothing else would say otherwise. The zero value takes no notes.
type toldResolved struct {
	mu  stdsync.Mutex
	ids map[string]bool
}

func (t *toldResolved) note(event Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := event.Request; t.ids != nil && r != nil && r.State.Resolved() {
		t.ids[r.ID] = true
	}
}

// forget ends the notes: the list is over.
func (t *toldResolved) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids = nil
}

// without leaves out of a page what is known better.
func (t *toldResolved) without(page []Request) []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(page, func(r Request) bool { return t.ids[r.ID] && r.State == StatePending })
}

// observe records one event. A deletion says neither why nor what the request's state was; the worker asks for it by ID.
func (e *Engine) observe(ctx context.Context, event Event) error {
	defer notify(e.wakeWork)
	if event.Request == nil {
		return e.Store.SuspectRequests(ctx, []string{event.DeletedID})
	}
	if event.Request.State == StatePending {
		defer notify(e.wakePoll)
	}
	record, err := e.recorder(ctx)
	if err != nil {
		return err
	}
	return record(ctx, []Request{*event.Request})
}

// list records all requests that Teleport lists, but what told knows better, and suspects pending ones that it does not list.
func (e *Engine) list(ctx context.Context, told *toldResolved) (err error) {
	start := time.Now()
	defer func() {
		e.condition(ctx, LoopList, err)
		e.Observer.Looped(LoopList, err, time.Since(start))
		notify(e.wakeWork)
		notify(e.wakePoll)
	}()
	record, err := e.recorder(ctx)
	if err != nil {
		return err
	}
	listed := make(map[string]bool)
	err = e.Cluster.Requests(ctx, func(page []Request) error {
		for _, r := range page {
			listed[r.ID] = true
		}
		return record(ctx, told.without(page))
	})
	if err != nil {
		return err
	}
	e.listed.Store(true)
	return e.eachOpen(ctx, func(links []Link) error {
		var missing []string
		for _, l := range links {
			if l.Request.State == StatePending && !l.Gone && !listed[l.RequestID] {
				missing = append(missing, l.RequestID)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		return e.Store.SuspectRequests(ctx, missing)
	})
}

// recorder is how requests are recorded. Without a cursor no poll has ever ended: the database is new, or was lost together with the rows
// of requests that are resolved in Teleport and perhaps not yet on their issues.
func (e *Engine) recorder(ctx context.Context) (func(context.Context, []Request) error, error) {
	if e.complete.Load() {
		return e.Store.ObserveRequests, nil
	}
	cursor, err := e.Store.Cursor(ctx)
	if err != nil {
		return nil, err
	}
	e.complete.Store(!cursor.IsZero())
	if cursor.IsZero() {
		return e.Store.Recover, nil
	}
	return e.Store.ObserveRequests, nil
}

// poll searches Jira on schedule: tightly while any request is pending, else slowly.
func (e *Engine) poll(ctx context.Context) error {
	var last, lastFull time.Time
	failures, pending := 0, true
	for {
		due := e.Poll.Next(last)
		switch {
		case last.IsZero():
			due = time.Now()
		case failures > 0:
			due = last.Add(e.retryAfter(nil, failures))
		case !pending:
			due = e.Idle.Next(last)
		}
		if until := e.sides.until(); due.Before(until) {
			due = until
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.wakePoll:
			pending = true
			continue
		case <-after(due):
		}
		last = time.Now()
		full := last.Sub(lastFull) >= fullEvery
		count, err := e.pollOnce(ctx, full)
		if errors.Is(err, ErrNotLeader) {
			return err
		}
		e.condition(ctx, LoopPoll, err)
		e.Observer.Looped(LoopPoll, err, time.Since(last))
		if err != nil {
			failures++
			e.pauseSide(err)
			continue
		}
		failures, pending = 0, count > 0
		if full {
			lastFull = last
		}
	}
}

// pollOnce records the issues that changed since the cursor, less the look-back, and then raises the cursor to the latest time that
// Jira said. It returns how many requests are pending.
func (e *Engine) pollOnce(ctx context.Context, full bool) (pending int, err error) {
	ids, pending, err := e.Store.PendingIssues(ctx, reconcilable)
	if err != nil {
		return 0, err
	}
	cursor, err := e.Store.Cursor(ctx)
	if err != nil {
		return 0, err
	}
	if cursor.IsZero() {
		return pending, e.pollAll(ctx)
	}
	lookback := e.Lookback
	if !full {
		lookback = min(lookback, shortLookback)
	}
	latest, err := e.search(ctx, Query{Since: cursor.Add(-lookback), Reconcile: ids}, func(page []Issue) error {
		return e.Store.ObserveIssues(ctx, page, time.Time{})
	})
	if err != nil {
		return 0, err
	}
	return pending, e.Store.ObserveIssues(ctx, nil, latest)
}

// pollAll is the first poll on a database that is new or was lost: all issues that hold a request's ID, whenever they changed. Those that the
// agent made and that still stand under Pending get their rows back, though Teleport may no longer know their requests. There is
// no cursor before Teleport's side is recorded, too: until then both are read as after a loss.
func (e *Engine) pollAll(ctx context.Context) error {
	now, err := e.Tracker.Now(ctx)
	if err != nil {
		return err
	}
	latest, err := e.search(ctx, Query{}, func(page []Issue) error {
		lost := slices.DeleteFunc(slices.Clone(page), func(i Issue) bool {
			return !i.ByAgent || i.RequestID == "" || !e.Policy.Statuses.Shows(i.Status, OutcomePending)
		})
		if err := e.Store.RecoverIssues(ctx, lost); err != nil {
			return err
		}
		return e.Store.ObserveIssues(ctx, page, time.Time{})
	})
	if err != nil || !e.listed.Load() {
		return err
	}
	if latest.Before(now) {
		latest = now
	}
	return e.Store.ObserveIssues(ctx, nil, latest)
}

// search hands each page to record and returns the latest time of change among all.
func (e *Engine) search(ctx context.Context, q Query, record func([]Issue) error) (latest time.Time, err error) {
	err = e.Tracker.Search(ctx, q, func(page []Issue) error {
		for _, issue := range page {
			if issue.Updated.After(latest) {
				latest = issue.Updated
			}
		}
		defer notify(e.wakeWork)
		return record(page)
	})
	if err == nil {
		e.sides.worked("jira", time.Now())
	}
	return latest, err
}

// sweep compares every open row with both sides, at the start of the term and on schedule. It finds what events and polls lost. At
// the start the watch lists Teleport's side.
func (e *Engine) sweep(ctx context.Context) error {
	listToo := false
	for due, failures := time.Now(), 0; ; {
		select {
		case <-ctx.Done():
			return nil
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
	if listToo {
		// A request that the watch told of has a row since it was pending: no page can bring it back.
		if err := e.list(ctx, &toldResolved{}); err != nil {
			return err
		}
	}
	err := e.eachOpen(ctx, func(links []Link) error {
		ids := make([]string, 0, len(links))
		for _, l := range links {
			if l.Bound.ID != "" {
				ids = append(ids, l.Bound.ID)
			}
		}
		return e.compareIssues(ctx, ids)
	})
	if err != nil {
		return err
	}
	_, err = e.Store.Prune(ctx, time.Now().Add(-e.Retention))
	return err
}

// compareIssues records issues as Jira shows them by id, and suspects those that it does not show.
func (e *Engine) compareIssues(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	issues, err := e.Tracker.Issues(ctx, ids)
	if err != nil {
		return err
	}
	missing := make(map[string]bool, len(ids))
	for _, id := range ids {
		missing[id] = true
	}
	for _, issue := range issues {
		delete(missing, issue.ID)
	}
	defer notify(e.wakeWork)
	if err := e.Store.ObserveIssues(ctx, issues, time.Time{}); err != nil {
		return err
	}
	return e.Store.SuspectIssues(ctx, keys(missing))
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

// retryAfter is the wait before a loop that failed tries again: a back-off, or what the side asked for if that is longer.
func (e *Engine) retryAfter(err error, failures int) time.Duration {
	wait := backoff(failures, sideBackoff, maxSideBackoff)
	if err != nil {
		wait = max(wait, asError(err).RetryAfter)
	}
	return wait
}

// pauseSide holds back all work if err means that a whole side is in trouble.
func (e *Engine) pauseSide(err error) {
	if failure := asError(err); failure.Scope == ScopeSide {
		e.sides.failed(failure, time.Now())
	}
}
