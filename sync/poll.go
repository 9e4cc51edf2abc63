package sync

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// shortLookback is how far most polls reach behind the cursor; once in fullEvery a poll reaches back the whole look-back. An issue that the
	// index shows late is found by the latter at the latest, and by the id of its request (Query.Reconcile) before.
	shortLookback = 30 * time.Second
	fullEvery     = time.Minute
	// reconcilable is how many ids a search takes.
	reconcilable = 50
)

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
