package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	stdsync "sync"
	"time"

	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// minLease leaves room for a heartbeat that takes a while: it has 0.7 leases to come back.
const minLease = time.Second

func validateLease(lease time.Duration) error {
	if lease < minLease {
		return fmt.Errorf("the lease is %s; it must be at least %s", lease, minLease)
	}
	return nil
}

// lockTime is how long PostgreSQL keeps the lock of a silent session. Its distance from the lease
// is also how much faster than this process's clock the server's may run.
func lockTime(lease time.Duration) time.Duration { return lease * 3 / 2 }

// Intervals of the protocol, as parts of the lease; at 10 s the leader beats every 3 s and a
// standby asks every 1 to 3 s.
func (e *Elector) heartbeatInterval() time.Duration { return e.config.Lease * 3 / 10 }
func (e *Elector) pollInterval() time.Duration      { return jittered(e.config.Lease / 5) }
func (e *Elector) settleTime() time.Duration        { return e.config.Lease * 11 / 10 }

// callTime bounds a call whose answer nobody trusts yet.
func (e *Elector) callTime() time.Duration { return e.config.Lease / 2 }

// notifyJitter spreads the standbys that a resignation wakes.
const notifyJitter = 50 * time.Millisecond

// jittered is d give or take a half.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// Role is what a replica is at the moment.
type Role string

// The roles.
const (
	Connecting Role = "connecting" // without a session that could win
	Standby    Role = "standby"    // asks for the lock again and again
	Settling   Role = "settling"   // has the lock, waits until the lease of the leader before has surely ended
	Leading    Role = "leading"
)

// State is where an elector stands, for readiness and metrics.
type State struct {
	Role Role
	// Epoch is that of the present term, zero without one.
	Epoch int64
	// LeaseUntil is when the lease ends unless another heartbeat succeeds; zero without one.
	LeaseUntil time.Time
	// Err is the failure that keeps the replica from standing by or leading; nil when it can.
	Err error
}

// ElectorConfig is what an elector needs to know.
type ElectorConfig struct {
	URL      func() string // asked for at each connection
	Scope    Scope
	Instance string // tells this replica from the others, in logs and in the leadership table
	Lease    time.Duration
	Log      *zap.Logger
	// OnState is called with each change of state, heartbeats included, by the goroutine that calls
	// Run; it must not block. Nil is allowed.
	OnState func(State)
	// OnHint is called, from the beginning of a term on, when there is a new hint (DB.Hint) or a
	// row that somebody else made due (View.Retry), or there may be: the same holds as for OnState.
	// A hint whose call is lost, since the session that would have told was, is there when the next
	// term begins.
	OnHint func()
	// OnAsk is called when an operator wants both sides compared now: the same holds as for OnHint.
	// A term begins with that anyway.
	OnAsk func()
}

// Elector takes part in the election of a scope's leader.
type Elector struct {
	config  ElectorConfig
	object  int32  // the second half of the lock's key
	channel string // where a leader that resigns says so

	mu    stdsync.Mutex
	state State

	logged string // the condition that was last logged as a failure; only Run's goroutine uses it
}

// lockClass is the first half of the advisory lock's key, the same for all scopes: "tja" in ASCII.
// Migration tools use keys of one eight-byte number, which PostgreSQL keeps apart from keys of two
// halves.
const lockClass int32 = 0x746a61

// memberClass is the first half of the key of the lock that all replicas of a scope share.
const memberClass = lockClass + 1

// NewElector checks the configuration. The schema must have been migrated before Run can win.
func NewElector(config ElectorConfig) (*Elector, error) {
	if err := validateLease(config.Lease); err != nil {
		return nil, err
	}
	object := config.Scope.number()
	config.Log = config.Log.With(zap.Stringer("scope", config.Scope))
	return &Elector{
		config: config, object: object, channel: fmt.Sprintf("leadership_%d", object), state: State{Role: Connecting},
	}, nil
}

// State is where the elector stands now.
func (e *Elector) State() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// Run takes part in the election until ctx ends. Each time this replica leads, lead is called with
// a context that ends with ctx or with the lease, whichever is first, and must return soon after:
// no heartbeat is sent once ctx has ended, so what is left of the lease is the time to finish in.
// Only when lead has returned is the leadership given up.
//
// Run returns nil after ctx has ended, or as soon as lead returns while it leads, what lead
// returned. That lead was told by the store of another term (sync.ErrNotLeader) does not count: Run
// stands by again. Failures of PostgreSQL never end Run.
func (e *Elector) Run(ctx context.Context, lead func(ctx context.Context, term *Term) error) error {
	e.config.Log.Info(
		"joining the election",
		zap.String("instance", e.config.Instance),
		zap.Duration("lease", e.config.Lease),
		zap.Int32("lock_class", lockClass),
		zap.Int32("lock_object", e.object),
	)
	for failures := 0; ; failures++ {
		outcome := e.compete(ctx, lead)
		switch {
		case ctx.Err() != nil:
			e.enter(State{Role: Connecting})
			return nil //nolint:nilerr // to be told to stop is no failure
		case outcome.over:
			e.enter(State{Role: Connecting})
			return outcome.err
		case outcome.healthy:
			failures = 0
		}
		e.failed(outcome.err)
		select {
		case <-ctx.Done():
		case <-time.After(e.backoff(failures)):
		}
	}
}

// backoff doubles up to the interval at which a standby asks, so that failures do not delay an
// election by more than that.
func (e *Elector) backoff(failures int) time.Duration {
	longest := e.config.Lease / 5
	return jittered(min(longest, longest/8<<min(failures, 3)))
}

// outcome is how one session ended.
type outcome struct {
	over    bool  // lead has returned by itself: Run ends with err
	healthy bool  // the session could stand by or lead, before err
	err     error // what ended the session
}

// compete opens a session and stands by with it; if it wins, it leads until the end.
func (e *Elector) compete(ctx context.Context, lead func(context.Context, *Term) error) outcome {
	e.enter(State{Role: Connecting, Err: e.State().Err})
	s, err := e.connect(ctx)
	if err != nil {
		return outcome{err: err}
	}
	defer s.close()

	acquired, err := s.acquire(ctx)
	if err != nil {
		return outcome{healthy: s.healthy, err: err}
	}
	term, handedOver, err := s.begin(ctx)
	if err != nil {
		return outcome{healthy: s.healthy, err: err}
	}
	s.worked()
	over := fmt.Errorf("%w: the term of epoch %d is over", sync.ErrNotLeader, term.Epoch)
	defer term.end(over)
	log := e.config.Log.With(zap.Int64("epoch", term.Epoch))

	if !handedOver {
		e.enter(State{Role: Settling, Epoch: term.Epoch, LeaseUntil: term.Until()})
		log.Info("lock won; waiting until the lease of the leader before has ended", zap.Duration("wait", e.settleTime()))
		if err := s.settle(ctx, term, acquired.Add(e.settleTime())); err != nil {
			log.Info("no longer settling", zap.NamedError("reason", err))
			return outcome{healthy: true, err: err}
		}
	}
	e.enter(State{Role: Leading, Epoch: term.Epoch, LeaseUntil: term.Until()})
	log.Info("leading")
	err, lost := s.lead(ctx, term, lead)
	term.end(over) // before the lock is given up
	resigned := s.resign(ctx, term)
	log.Info("no longer leading", zap.Bool("handed_over", resigned), zap.NamedError("reason", errors.Join(lost, err)))
	if lost == nil && !errors.Is(err, sync.ErrNotLeader) {
		return outcome{over: true, err: err}
	}
	return outcome{healthy: true, err: errors.Join(lost, err)}
}

// enter records a state and tells it.
func (e *Elector) enter(state State) {
	e.mu.Lock()
	e.state = state
	e.mu.Unlock()
	if e.config.OnState != nil {
		e.config.OnState(state)
	}
}

// failed records why the replica can neither stand by nor lead, and logs it if that is new. Details
// such as port numbers differ each time, so the kind of failure is compared.
func (e *Elector) failed(err error) {
	e.enter(State{Role: Connecting, Err: err})
	kind := "unreachable"
	var failure *Error
	switch {
	case errors.Is(err, ErrUnsuitable):
		kind = "unsuitable"
	case errors.Is(err, errReadOnly):
		kind = "read-only"
	case errors.Is(err, sync.ErrNotLeader):
		return // the end of a term is logged where it ends, and not being leader is no failure
	case errors.As(err, &failure) && failure.Code != "":
		kind = failure.Code
	case errors.As(err, &failure) && !failure.retryable:
		kind = failure.Error()
	}
	if kind != e.logged {
		e.logged = kind
		e.config.Log.Error(
			"cannot take part in the election; trying again until it works",
			zap.Error(err),
			zap.Bool("passing", Retryable(err)),
		)
	}
}

// recovered is the opposite of failed.
func (e *Elector) recovered() {
	if e.logged != "" {
		e.logged = ""
		e.config.Log.Info("taking part in the election again")
	}
}
