package sync

import (
	"context"
	"errors"
	stdsync "sync"
	"sync/atomic"
	"time"
)

// The two sides and the store in memory, with the rules that matter to the engine. Under
// testing/synctest their clock is the bubble's.

var errLost = errors.New("the answer was lost")

// faults decides what becomes of a call: before makes it fail without an effect, after makes its
// answer be lost.
type faults struct {
	mu     stdsync.Mutex
	before func(op string) error
	after  func(op string) error
	delay  func() time.Duration // how long a call takes before it has its effect
	calls  map[string]int
	ranks  map[rank]int
}

// rank is an operation at a priority.
type rank struct {
	op       string
	priority Priority
}

func (f *faults) set(before, after func(op string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *faults) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// ranked is how many calls of an operation had the priority.
func (f *faults) ranked(op string, p Priority) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ranks[rank{op, p}]
}

func (f *faults) enter(ctx context.Context, side, op string) error {
	if ctx.Err() != nil {
		return &Error{Side: side, Op: op, Scope: ScopeSide, Err: ctx.Err()}
	}
	f.mu.Lock()
	if f.calls == nil {
		f.calls, f.ranks = make(map[string]int), make(map[rank]int)
	}
	f.calls[op]++
	f.ranks[rank{op, PriorityOf(ctx)}]++
	before, delay := f.before, f.delay
	f.mu.Unlock()
	if delay != nil {
		time.Sleep(delay()) // synctest's clock
	}
	if before == nil {
		return nil
	}
	return before(op)
}

func (f *faults) leave(side, op string) error {
	f.mu.Lock()
	after := f.after
	f.mu.Unlock()
	if after == nil {
		return nil
	}
	if err := after(op); err != nil {
		return &Error{Side: side, Op: op, Scope: ScopeSide, Uncertain: true, Err: err}
	}
	return nil
}

// once returns a fault that strikes the first call of an operation only.
func once(op string, err error) func(string) error {
	var struck atomic.Bool
	return func(seen string) error {
		if seen != op || struck.Swap(true) {
			return nil
		}
		return err
	}
}
