package sync

import (
	"context"
	"errors"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
)

// Settings are what the operator configured about the engine.
type Settings struct {
	Policy Policy
	// Poll is when Jira is searched while any request is pending, Idle the same while none is, and
	// Sweep when every open link is compared with both sides.
	Poll, Idle, Sweep cron.Schedule
	// Lookback is how far a poll reaches behind the cursor.
	Lookback time.Duration
	// Retention is how long settled rows are kept.
	Retention time.Duration
	// Concurrency is how many requests are worked on at once.
	Concurrency int
	// DryRun: nothing is written to Jira or Teleport, and what would have been is told.
	DryRun bool
}

// Engine keeps both sides in agreement while this replica leads. It is made for one term and run
// once.
type Engine struct {
	Settings
	Store    Store
	Cluster  Cluster
	Tracker  Tracker
	Lease    Lease
	Health   *Health
	Observer Observer
	Log      *zap.Logger
	// Hinted is told when there may be a new hint in the store, or a row that somebody else made
	// due. Nil is allowed: they are looked for now and then in any case.
	Hinted <-chan struct{}
	// Asked is told when an operator wants both sides compared at once. Nil is allowed.
	Asked <-chan struct{}

	began    time.Time     // when Run was called
	listed   atomic.Bool   // a whole list of Teleport's requests is recorded
	complete atomic.Bool   // the rows are known to be complete: there is a cursor
	wakeWork chan struct{} // a row may have become due
	wakePoll chan struct{} // a request may have become pending
	sides    sidePauses
	resumed  bool        // what a dry run put off is due again; of the work loop alone
	foreseen stdsync.Map // in a dry run: what was told last of each request
	told     conditions
	unstored unstored // texts that Jira fails to store

	names     atomic.Pointer[StatusNames] // under which Jira has shown the statuses
	deletions deletions
	doubts    doubts
	looks     looks
	indexed   atomic.Bool // Issues asks a search index
	verified  verified

	requesters *Recent[User] // by user name
}

// drain is how long running steps may take to finish after the term has ended. What they begin
// after that is refused by the lease; what they record is fenced by the term.
const drain = 2 * time.Second

// Run works until ctx ends, which is the end of the term, and returns nil then; or ErrNotLeader
// when the store says that another term has begun. Failures of Jira, Teleport and PostgreSQL are
// waited out.
func (e *Engine) Run(ctx context.Context) error {
	e.began = time.Now()
	e.requesters = NewRecent[User](maxRequesters, requesterAge)
	e.wakeWork, e.wakePoll = make(chan struct{}, 1), make(chan struct{}, 1)
	if e.DryRun {
		e.Cluster, e.Tracker, e.Store = dryCluster{e.Cluster}, dryTracker{e.Tracker}, &dryStore{Store: e.Store}
	}
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)

	var group stdsync.WaitGroup
	for _, loop := range []func(context.Context) error{e.follow, e.watchRights, e.poll, e.sweep, e.heed, e.work} {
		group.Go(func() {
			if err := loop(ctx); err != nil {
				lost(err)
			}
		})
	}
	group.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, ErrNotLeader) {
		return cause
	}
	return nil
}

// work hands due rows to workers, at most Concurrency at once and one per request.
func (e *Engine) work(ctx context.Context) error {
	stepCtx, stop := drainContext(ctx, drain)
	defer stop()
	var workers stdsync.WaitGroup
	defer workers.Wait()

	busy := make(map[string]bool)
	done := make(chan string, e.Concurrency)
	var backlog backlog
	for {
		next, err := e.dispatch(ctx, busy, func(l Link) {
			busy[l.RequestID] = true
			workers.Go(func() {
				defer func() { done <- l.RequestID }()
				if err := newWorker(e, l).run(stepCtx); err != nil && ctx.Err() == nil {
					e.Log.Error("stopped half-way; the request stays due", zap.String("request_id", l.RequestID), zap.Error(err))
					pause(ctx, firstBackoff) // it would be due again at once, with the same result
				}
			})
		})
		if errors.Is(err, ErrNotLeader) {
			return err
		}
		e.condition(ctx, LoopWork, err)
		if err != nil {
			next = time.Now().Add(sideBackoff)
		}
		backlog.tell(ctx, e, len(busy) == e.Concurrency)
		select {
		case <-ctx.Done():
			return nil
		case id := <-done:
			delete(busy, id)
			backlog.done++
			for range len(done) {
				delete(busy, <-done)
				backlog.done++
			}
		case <-e.wakeWork:
		case <-after(next):
		}
	}
}

// dispatch starts a worker for each due row that there is room for. next is when to look again if
// nothing else happens; zero is never.
func (e *Engine) dispatch(ctx context.Context, busy map[string]bool, start func(Link)) (next time.Time, err error) {
	now := time.Now()
	if until := e.sides.until(); now.Before(until) {
		return until, nil
	}
	if !e.resumed && !e.DryRun {
		if err := e.Store.EndDryRun(ctx); err != nil {
			return time.Time{}, err
		}
		e.resumed = true
	}
	room := e.Concurrency - len(busy)
	if room == 0 {
		return time.Time{}, nil
	}
	due, next, err := e.Store.Due(ctx, now, room, keys(busy))
	if err != nil {
		return time.Time{}, err
	}
	for _, l := range due {
		start(l)
	}
	return next, nil
}

// policy is the configured one, with the names that statuses have had.
func (e *Engine) policy() Policy {
	p := e.Policy
	if names := e.names.Load(); names != nil {
		p.Names = *names
	}
	return p
}

// condition records how a loop went, and logs when that changes. The store comes last: it may be
// what does not answer.
func (e *Engine) condition(ctx context.Context, loop string, err error) {
	if ctx.Err() != nil {
		return
	}
	changed := e.Health.Set(loop, err)
	switch {
	case changed && err != nil:
		e.Log.Error("failing; trying again until it works", zap.String("loop", loop), zap.Error(err))
	case changed:
		e.Log.Info("working", zap.String("loop", loop))
	}
	e.told.record(ctx, e.Store, loop, err)
}

// retryAfter is the wait before a loop that failed tries again: a back-off, or what the side asked
// for if that is longer.
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

// tellSide is after how many failures in a row it is told that calls to a side fail: one or two
// pass by themselves.
const tellSide = 3

// sideFailed pauses a side that a worker found in trouble, until the time that it returns, and
// tells of it if that lasts.
func (e *Engine) sideFailed(ctx context.Context, failure *Error) time.Time {
	until, failures := e.sides.failed(failure, time.Now())
	if failures >= tellSide {
		e.condition(ctx, callsTo(failure.Side), failure)
	}
	return until
}

// sideWorked notes that calls to a side succeed.
func (e *Engine) sideWorked(ctx context.Context, side string, began time.Time) {
	e.sides.worked(side, began)
	if e.Health.Failing(callsTo(side)) {
		e.condition(ctx, callsTo(side), nil)
	}
}

// callsTo names the calls that workers make to a side, beside the loops that read it.
func callsTo(side string) string { return "calls to " + side }

// notify wakes a loop; a wake that it has not yet seen is not repeated.
func notify(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// after fires at t, at once for a past t, and never for a zero one. A time that has passed needs no
// timer: within testing/synctest the goroutine that makes a timer which is already due also fires
// it, and two that do so at once crash Go 1.26's race detector, since a bubble's timers share one
// race context (runtime/time.go, unlockAndRun).
func after(t time.Time) <-chan time.Time {
	switch left := time.Until(t); {
	case t.IsZero():
		return nil
	case left > 0:
		return time.After(left)
	}
	now := make(chan time.Time, 1)
	now <- t
	return now
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-after(time.Now().Add(d)):
	}
}

// drainContext outlives ctx by d.
func drainContext(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	long, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return long, func() { stop(); cancel() }
}

func keys(m map[string]bool) []string {
	ids := make([]string, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	return ids
}
