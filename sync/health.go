package sync

import (
	"context"
	"errors"
	"maps"
	"slices"
	stdsync "sync"
	"time"
)

// Observer is told what the engine does, for metrics. Its methods are called from many goroutines
// and must not block.
type Observer interface {
	// Acted: one action was tried.
	Acted(kind Kind, err error, took time.Duration)
	// Looped: a whole poll, list or sweep ended.
	Looped(loop string, err error, took time.Duration)
	// Watching: Teleport confirmed a watch, which is open from now on; or there is none, because it
	// broke or could not be opened, which is err, or because the term is over, and err is nil.
	Watching(open bool, err error)
	// Created: a request's issue was made, this long after the request. Told only of requests of
	// this term: for others the time would be that since a first start on an old cluster, or that
	// in which nobody led, and not the agent's own.
	Created(lag time.Duration)
	// Decided: a verdict from Jira was set in Teleport, this long after the person's move.
	Decided(state RequestState, lag time.Duration)
	// Refused: a move was refused, for a Verdict.Reason.
	Refused(reason string)
}

// The loops whose condition Health keeps.
const (
	LoopWatch = "teleport watch"
	LoopList  = "teleport list"
	LoopPoll  = "jira poll"
	LoopSweep = "sweep"
	LoopHints = "webhook hints"
	LoopWork  = "work queue"
	// LoopRights is whether Teleport lets the agent in, and list all requests. LoopStatuses is
	// whether Jira still has the configured statuses, LoopIndex whether its search index keeps up,
	// and LoopDoubts whether what a side says of requests can be confirmed.
	LoopRights   = "teleport rights"
	LoopStatuses = "jira statuses"
	LoopIndex    = "jira search index"
	LoopDoubts   = "confirmation"
)

// Health keeps the condition of the engine's loops, for readiness.
type Health struct {
	mu   stdsync.Mutex
	loop map[string]error
}

// NewHealth returns the health of an engine of which nothing has succeeded yet.
func NewHealth() *Health {
	h := &Health{}
	h.Reset()
	return h
}

// Reset forgets all, as at the start of a term.
func (h *Health) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loop = map[string]error{LoopWatch: errNotYet, LoopList: errNotYet, LoopPoll: errNotYet}
}

// Set records how a loop last went, and reports whether that is a change from good to bad or back.
func (h *Health) Set(loop string, err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, known := h.loop[loop]
	h.loop[loop] = err
	return !known || (old == nil) != (err == nil) || errors.Is(old, errNotYet)
}

// Failing reports whether something is known to fail.
func (h *Health) Failing(loop string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.loop[loop] != nil
}

// Problems says what keeps the engine from doing its part; none when all is well.
func (h *Health) Problems() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var problems []string
	for _, loop := range slices.Sorted(maps.Keys(h.loop)) {
		if err := h.loop[loop]; err != nil {
			problems = append(problems, loop+": "+err.Error())
		}
	}
	return problems
}

// conditions are what the store was told of each loop in this term. It is told only what is new:
// whether a loop works changes rarely, and a database with nothing to do is to be left alone.
type conditions struct {
	mu   stdsync.Mutex
	told map[string]*toldCondition
}

type toldCondition struct {
	mu      stdsync.Mutex // held while the store is told: a list may end in a watch and in a sweep at once
	known   bool
	problem string
	at      time.Time
}

const (
	// retellEvery is how often, at most, another reason for the same failure is told: reasons hold
	// details that change each time.
	retellEvery = time.Minute
	// conditionTime bounds how long a loop waits for PostgreSQL to take its condition, which is of
	// less use than the loop.
	conditionTime = 2 * time.Second
)

func (c *conditions) of(loop string) *toldCondition {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil {
		c.told = make(map[string]*toldCondition)
	}
	if c.told[loop] == nil {
		c.told[loop] = &toldCondition{}
	}
	return c.told[loop]
}

// record tells the store how a loop goes. What it could not be told it is told the next time. It
// keeps no other loop waiting.
func (c *conditions) record(ctx context.Context, store Store, loop string, err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	t := c.of(loop)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known && (t.problem == problem || t.problem != "" && problem != "" && time.Since(t.at) < retellEvery) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, conditionTime)
	defer cancel()
	if store.Condition(ctx, loop, problem) != nil {
		return // the work queue reports what keeps PostgreSQL from answering
	}
	t.known, t.problem, t.at = true, problem, time.Now()
}

// sidePauses holds back all work while one side as a whole is in trouble: with requests in hand
// that fail one after the other nothing is gained, and a side that asked for a pause must get it.
type sidePauses struct {
	mu    stdsync.Mutex
	sides map[string]*sidePause
}

type sidePause struct {
	failures int
	until    time.Time
}

// failed pauses the side of err, at least as long as the side asked for, and returns until when.
// Failures of calls that were under way when the pause began do not lengthen it. failures are how
// many there were in a row.
func (s *sidePauses) failed(err *Error, now time.Time) (until time.Time, failures int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sides == nil {
		s.sides = make(map[string]*sidePause)
	}
	side := s.sides[err.Side]
	if side == nil {
		side = &sidePause{}
		s.sides[err.Side] = side
	}
	if !now.Before(side.until) {
		side.failures++
		side.until = now.Add(backoff(side.failures, sideBackoff, maxSideBackoff))
	}
	if asked := now.Add(err.RetryAfter); asked.After(side.until) {
		side.until = asked
	}
	return side.until, side.failures
}

// worked forgets the failures of a side that was just seen working. A pause that is still on was
// asked for by the side, and stays.
func (s *sidePauses) worked(side string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.sides[side]; p != nil && now.After(p.until) {
		delete(s.sides, side)
	}
}

// until is when the last pause ends; in the past, or zero, when none is on.
func (s *sidePauses) until() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last time.Time
	for _, side := range s.sides {
		if side.until.After(last) {
			last = side.until
		}
	}
	return last
}
