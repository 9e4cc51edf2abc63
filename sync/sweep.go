package sync

import (
	"context"
	"errors"
	"time"

	"github.com/robfig/cron/v3"
)

// batch is how many rows a sweep reads at once.
const batch = 500

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
