package sync

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// shortLookback is how far most polls reach behind the cursor; once in fullEvery a poll reaches
	// back the whole look-back. An issue that the index shows late is found by the latter at the
	// latest, and by the id of its request (Query.Reconcile) before.
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
		anyPending, err := e.pollOnce(ctx, full)
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
		failures, pending = 0, anyPending
		if full {
			lastFull = last
			if err := e.verifySome(ctx); err != nil {
				e.pauseSide(err)
			}
		}
	}
}

// pollOnce records the issues that changed since the cursor, less the look-back, and then raises
// the cursor to the latest time that Jira said. It reports whether any request is pending.
func (e *Engine) pollOnce(ctx context.Context, full bool) (pending bool, err error) {
	ids, pending, err := e.Store.PendingIssues(ctx, reconcilable)
	if err != nil {
		return false, err
	}
	cursor, err := e.Store.Cursor(ctx)
	if err != nil {
		return false, err
	}
	if cursor.IsZero() {
		return pending, e.pollAll(WithPriority(ctx, PriorityBulk))
	}
	// A cursor that lies ahead was set by a clock of Jira's that ran ahead. What has changed since
	// has earlier times.
	now, err := e.Tracker.Now(ctx)
	if err != nil {
		return pending, err
	}
	if ranAhead(cursor, now) {
		cursor = now
	}
	lookback := e.Lookback
	if !full {
		lookback = min(lookback, shortLookback)
	}
	latest, err := e.search(ctx, Query{Since: cursor.Add(-lookback), Reconcile: ids}, func(page []Issue) error {
		// The index may have shown an issue too late for pollAll.
		pending, moved := e.withoutRow(page)
		if err := e.Store.RecoverIssues(ctx, append(pending, moved...), time.Now(), 0); err != nil {
			return err
		}
		return e.Store.ObserveIssues(ctx, page, time.Time{})
	})
	if err != nil || !latest.After(cursor) {
		return pending, err
	}
	return pending, e.Store.ObserveIssues(ctx, nil, latest)
}

// pollAll is the first poll on a database that is new or was lost: all issues that hold a request's
// ID, whenever they changed. Those that the agent made get their rows back, though Teleport may no
// longer know their requests. There is no cursor before Teleport's side is recorded, too: until
// then both are read as after a loss.
func (e *Engine) pollAll(ctx context.Context) error {
	listed := e.listed.Load()
	now, err := e.Tracker.Now(ctx)
	if err != nil {
		return err
	}
	var moved []Issue
	latest, err := e.search(ctx, Query{}, func(page []Issue) error {
		pending, rest := e.withoutRow(page)
		for _, i := range rest {
			moved = append(moved, Issue{ID: i.ID, RequestID: i.RequestID, Updated: i.Updated}) // no more of so many
		}
		if err := e.Store.RecoverIssues(ctx, pending, time.Now(), 0); err != nil {
			return err
		}
		return e.Store.ObserveIssues(ctx, page, time.Time{})
	})
	if err != nil || !listed {
		return err
	}
	if err := e.inherit(ctx); err != nil {
		return err
	}
	if err := e.recoverMoved(ctx, moved); err != nil {
		return err
	}
	if latest.Before(now) {
		latest = now
	}
	return e.Store.ObserveIssues(ctx, nil, latest)
}

// inherit makes rows for the issues that Teleport's own plugin left under Pending. The requests
// that Teleport still lists lead to theirs; an issue whose request has gone while no plugin ran is
// found only so.
func (e *Engine) inherit(ctx context.Context) error {
	issues, err := e.Tracker.Inherited(ctx, "", e.Policy.Statuses[OutcomePending])
	if err != nil || len(issues) == 0 {
		return err
	}
	for n := range issues {
		issues[n].RequestID = issues[n].Property
	}
	defer notify(e.wakeWork)
	e.Log.Info("issues found that Teleport's own plugin left under Pending", zap.Int("issues", len(issues)))
	return e.Store.RecoverIssues(ctx, issues, time.Now(), 0)
}

// withoutRow are the issues that may need a row, if they have none: what the agent's own account
// made, parted by whether it stands under Pending. Elsewhere only those count that changed within
// the retention, beyond which no row would be kept anyway.
func (e *Engine) withoutRow(page []Issue) (pending, moved []Issue) {
	for _, i := range page {
		oldest := i.AsOf.Add(-e.Retention) // by Jira's clock, as Updated is
		if i.AsOf.IsZero() {
			oldest = time.Now().Add(-e.Retention)
		}
		switch {
		case !i.ByAgent || i.RequestID == "":
		case e.policy().Shows(i.Status, OutcomePending):
			pending = append(pending, i)
		case i.Updated.After(oldest):
			moved = append(moved, i)
		}
	}
	return pending, moved
}

// movedApart is the time between the issues out of Pending that are looked at after the database
// was lost. Each costs three to four calls to Jira, once: a fifth of the default pace, so that they
// hold up nobody.
const movedApart = 2 * time.Second

// recoverMoved makes the rows of issues that stand elsewhere than under Pending and whose request
// Teleport does not list. Nearly all of them were closed long ago, and there may be tens of
// thousands; but a person may have moved one while no agent ran, and its request may have ended
// undecided since. Only its history and comments tell, so each is read, by its row's worker. What
// bounds that: only issues that the agent's account made and that changed within the retention; one
// each movedApart, behind all that is due now; the latest changed first, since those that matter
// were moved last. 20,000 take 11 hours. The rows are kept, so that a restart goes on and does not
// begin again.
func (e *Engine) recoverMoved(ctx context.Context, moved []Issue) error {
	slices.SortFunc(moved, func(a, b Issue) int { return b.Updated.Compare(a.Updated) })
	defer notify(e.wakeWork)
	due := time.Now()
	for some := range slices.Chunk(moved, batch) {
		if err := e.Store.RecoverIssues(ctx, some, due, movedApart); err != nil {
			return err
		}
		due = due.Add(time.Duration(len(some)) * movedApart)
	}
	return nil
}

// search hands each page to record and returns the latest time of change among all.
func (e *Engine) search(ctx context.Context, q Query, record func([]Issue) error) (latest time.Time, err error) {
	progress := e.progress(LoopPoll, 0)
	err = e.Tracker.Search(ctx, q, func(page []Issue) error {
		for _, issue := range page {
			if issue.Updated.After(latest) {
				latest = issue.Updated
			}
		}
		defer notify(e.wakeWork)
		defer progress.add(len(page))
		return record(page)
	})
	if err == nil {
		e.sideWorked(ctx, "jira", time.Now())
	}
	return latest, err
}
