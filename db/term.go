package db

import (
	"fmt"
	stdsync "sync"
	"time"

	"teleport-jira-agent/sync"
)

// Term is one reign of this replica. It implements sync.Lease.
type Term struct {
	// Epoch numbers the terms of a scope, from 1.
	Epoch int64

	lease time.Duration

	mu        stdsync.Mutex
	until     time.Time   // by the monotonic clock
	wallUntil time.Time   // the same by the wall clock
	cause     error       // why the term has ended; nil while it goes on
	lost      func(error) // told the cause, once, if the lease is lost
	timer     *time.Timer // ends the term at until, even if the goroutine that sends heartbeats hangs
}

// newTerm makes a term whose first proof of leadership was asked for at start.
func newTerm(epoch int64, lease time.Duration, start time.Time) *Term {
	t := &Term{Epoch: epoch, lease: lease, lost: func(error) {}}
	t.count(start)
	t.timer = time.AfterFunc(time.Until(t.until), t.expire)
	return t
}

// count lets the lease begin at start.
func (t *Term) count(start time.Time) {
	t.until = start.Add(t.lease)
	t.wallUntil = t.until.Round(0)
}

// Check implements sync.Lease. The wall clock is compared too, because the monotonic one stands
// still while a virtual machine is suspended (https://go.dev/issue/24595).
func (t *Term) Check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.cause != nil {
		return t.cause
	}
	if !now.Before(t.until) || !now.Round(0).Before(t.wallUntil) {
		return t.expired()
	}
	return nil
}

// Until is when the lease ends unless another heartbeat succeeds.
func (t *Term) Until() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.until
}

// onLoss sets what is told if the lease is lost, or tells it now if it was.
func (t *Term) onLoss(lost func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause != nil {
		lost(t.cause)
	}
	t.lost = lost
}

// extend counts the lease from start, when a heartbeat that has now succeeded was sent. A lease
// that has ended is not revived.
func (t *Term) extend(start time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.cause == nil && !now.Before(t.until) {
		t.endLocked(t.expired())
	}
	if t.cause != nil {
		return t.cause
	}
	t.count(start)
	t.timer.Reset(t.until.Sub(now))
	return nil
}

// expire runs when the timer fires, which may be just after the lease was extended.
func (t *Term) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if left := time.Until(t.until); left > 0 {
		t.timer.Reset(left)
		return
	}
	t.endLocked(t.expired())
}

func (t *Term) expired() error {
	return fmt.Errorf(
		"%w: the lease of epoch %d ended without a successful heartbeat for %s",
		sync.ErrNotLeader,
		t.Epoch,
		t.lease,
	)
}

// end ends the term for good: Check refuses from now on.
func (t *Term) end(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(cause)
}

func (t *Term) endLocked(cause error) {
	if t.cause != nil {
		return
	}
	t.cause = cause
	t.timer.Stop()
	t.lost(cause)
}

// lossCause is why the term has ended, nil while it goes on.
func (t *Term) lossCause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}
