package sync

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// world is both sides, the store and an engine, in one synctest bubble.
type world struct {
	t       *testing.T
	cluster *memCluster
	tracker *memTracker
	store   *memStore
	lease   *memLease
	health  *Health
	policy  Policy
	// settings changes those of the terms that begin from then on.
	settings func(*Settings)
	cancel   func()      // ends the term
	stop     func()      // ends it and waits
	observer Observer    // nil: nobody looks
	log      *zap.Logger // nil: nobody reads it
}

type memLease struct{ lost atomic.Bool }

func (l *memLease) Check() error {
	if l.lost.Load() {
		return ErrNotLeader
	}
	return nil
}

type nopObserver struct{}

func (nopObserver) Acted(Kind, error, time.Duration)    {}
func (nopObserver) Looped(string, error, time.Duration) {}
func (nopObserver) Watching(bool, error)                {}
func (nopObserver) Created(time.Duration)               {}
func (nopObserver) Decided(RequestState, time.Duration) {}
func (nopObserver) Refused(string)                      {}

// inWorld runs a test in a bubble of its own, with an engine that leads.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	inWorldWith(t, func(*world) {}, test)
}

// inWorldWith is inWorld after a change to what there is before the engine starts.
func inWorldWith(t *testing.T, prepare func(w *world), test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, cluster: newMemCluster(), tracker: newMemTracker(), store: newMemStore(), policy: testPolicy}
		t.Cleanup(func() { w.cancel() }) // a failed test must not leave its engine in the bubble
		prepare(w)
		w.start()
		test(t, w)
		w.stop()
	})
}

// start begins a term.
func (w *world) start() {
	w.lease, w.health = &memLease{}, NewHealth()
	engine := &Engine{
		Settings: Settings{
			Policy:      w.policy,
			Poll:        cron.Every(5 * time.Second),
			Idle:        cron.Every(time.Minute),
			Sweep:       cron.Every(10 * time.Minute),
			Lookback:    15 * time.Minute,
			Retention:   24 * time.Hour,
			Concurrency: 4,
		},
		Store: w.store.term(), Cluster: w.cluster, Tracker: w.tracker, Lease: w.lease,
		Health: w.health, Observer: nopObserver{}, Log: zap.NewNop(), Hinted: w.store.hinted,
	}
	if w.observer != nil {
		engine.Observer = w.observer
	}
	if w.log != nil {
		engine.Log = w.log
	}
	if w.settings != nil {
		w.settings(&engine.Settings)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	w.cancel = cancel
	w.stop = func() {
		cancel()
		require.NoError(w.t, <-ended)
	}
}

// after lets virtual time pass.
func (w *world) after(d time.Duration) {
	time.Sleep(d) // synctest's clock: returns when every goroutine of the bubble is idle
	synctest.Wait()
}

func (w *world) request(id string) {
	w.cluster.add(Request{
		ID: id, State: StatePending, User: "alice@example.com", Roles: []string{"db-admin"},
		Created: time.Now().UTC(), Expires: time.Now().Add(time.Hour).UTC(),
	})
}

// issue is the one issue of a request.
func (w *world) issue(id string) Detail {
	w.t.Helper()
	issues := w.tracker.of(id)
	require.Len(w.t, issues, 1)
	return issues[0]
}

func keysOf(d Detail) []string {
	var keys []string
	for _, c := range d.Comments {
		keys = append(keys, c.Key)
	}
	return keys
}

func TestARequestGetsOneIssueUnderPending(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		issue := w.issue("req-1")
		require.Equal(t, pendingStatus, issue.Issue.Status)
		require.Equal(t, issue.Issue.ID, w.cluster.plugin["req-1"]["issue_id"])
		w.after(time.Minute)
		require.Equal(t, 1, w.tracker.count("create"))
	})
}

func TestAMoveInJiraDecidesInTeleport(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.tracker.person(w.issue("req-1").Issue.ID, bob, approvedStatus)
		w.after(6 * time.Second)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		issue := w.issue("req-1")
		require.Equal(t, approvedStatus, issue.Issue.Status)
		require.Equal(t, []string{"resolution:approved"}, keysOf(issue))
		require.Len(t, issue.Moves, 2) // placed under Pending, approved by bob
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
	})
}

func TestWhatHappensInTeleportShowsOnTheIssue(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.request("req-2")
		w.request("req-3")
		w.after(time.Second)
		w.cluster.change("req-1", func(r *Request) {
			r.Reviews = append(r.Reviews, Review{Author: "carol", Verdict: StateDenied, Reason: "no ticket"})
		})
		w.after(time.Second)
		w.cluster.change("req-1", func(r *Request) { r.State, r.ResolveReason = StateDenied, "no ticket" })
		w.cluster.remove("req-2")
		w.after(2 * time.Hour) // past the expiry of req-3, which Teleport has not deleted
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, []string{"review:carol", "resolution:denied"}, keysOf(w.issue("req-1")))
		require.Contains(t, w.issue("req-1").Comments[1].Body, "no ticket")
		for _, id := range []string{"req-2", "req-3"} {
			require.Equal(t, expiredStatus, w.issue(id).Issue.Status)
			require.Equal(t, []string{"resolution:expired"}, keysOf(w.issue(id)))
		}
		require.Empty(t, w.cluster.decided)
	})
}

func TestADecidedRequestThatDisappearsLeavesItsIssueAlone(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.after(time.Second)
		w.cluster.remove("req-1")
		w.after(time.Hour)
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, []string{"resolution:approved"}, keysOf(w.issue("req-1")))
	})
}

func TestARefusedMoveIsPutBackWithOneComment(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		id := w.issue("req-1").Issue.ID
		alice := Person{AccountID: "acc-alice", Email: "alice@example.com", DisplayName: "Alice", Active: true}
		w.tracker.person(id, alice, approvedStatus)
		w.after(time.Minute)
		issue := w.issue("req-1")
		require.Equal(t, pendingStatus, issue.Issue.Status)
		require.Len(t, issue.Comments, 1)
		require.Contains(t, issue.Comments[0].Body, "made the request")
		require.Equal(t, StatePending, w.cluster.get("req-1").State)

		w.tracker.person(id, bob, approvedStatus)
		w.after(time.Minute)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
	})
}

func TestWithoutAWayBackTheCommentStandsAloneAndTheRowIsParked(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.tracker.setDead("Pending")
		w.tracker.person(w.issue("req-1").Issue.ID, agentAccount, approvedStatus)
		w.after(10 * time.Minute)
		require.Len(t, w.issue("req-1").Comments, 1)
		require.True(t, w.store.row("req-1").Parked)
		require.Empty(t, w.cluster.decided)
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(time.Second)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
	})
}

func TestASettledIssueThatIsMovedAwayIsPutBack(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(time.Second)
		w.tracker.person(w.issue("req-1").Issue.ID, bob, approvedStatus)
		w.after(2 * time.Minute)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, StateDenied, w.cluster.get("req-1").State)
		require.Len(t, w.issue("req-1").Comments, 2)
		require.Empty(t, w.cluster.decided)
	})
}

// TestALostAnswerLeadsToNoSecondEffect loses the answer of the first call of each kind that changes
// something.
func TestALostAnswerLeadsToNoSecondEffect(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"claim", "create", "link", "move", "comment", "decide", "resolve"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.tracker.lag = 20 * time.Second
				lost := once(op, errLost)
				w.cluster.set(nil, lost)
				w.tracker.set(nil, lost)
				w.request("req-1")
				w.after(2 * time.Minute)
				w.tracker.person(w.issue("req-1").Issue.ID, bob, approvedStatus)
				w.after(5 * time.Minute)
				issue := w.issue("req-1")
				require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
				require.Equal(t, []string{"resolution:approved"}, keysOf(issue))
				require.Len(t, issue.Moves, 2)
				require.Equal(t, approvedStatus, issue.Issue.Status)
				require.Equal(t, "approved", w.cluster.plugin["req-1"]["resolution"])
				require.False(t, w.store.row("req-1").SettledAt.IsZero())
			})
		})
	}
}

func TestACreateThatNeverHappenedIsRepeatedAfterTheIndexHadItsTime(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.tracker.untraced = true // too many keys were given out since
		w.tracker.set(
			once("create", &Error{Side: "jira", Op: "create", Scope: ScopeSide, Uncertain: true, Err: errLost}),
			nil,
		)
		w.request("req-1")
		w.after(searchGrace - time.Second)
		require.Empty(t, w.tracker.of("req-1"))
		w.after(time.Minute)
		w.issue("req-1")
	})
}

func TestARefusedCreateIsRepeatedWithoutWaitingForTheIndex(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.tracker.set(
			once(
				"create",
				&Error{Side: "jira", Op: "create", Scope: ScopeSide, RetryAfter: 7 * time.Second, Err: errors.New("429")},
			),
			nil,
		)
		w.request("req-1")
		w.after(6 * time.Second)
		require.Equal(t, 1, w.tracker.count("create"), "no call before Retry-After is over")
		w.after(3 * time.Second)
		w.issue("req-1")
	})
}

func TestWhatHappenedWhileNobodyLedIsSettledAtTheStart(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for n := range 4 {
			w.request(fmt.Sprintf("req-%d", n))
		}
		w.after(5 * time.Second)
		w.stop()
		w.cluster.breakWatches()

		w.tracker.person(w.issue("req-0").Issue.ID, bob, deniedStatus)
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.cluster.remove("req-2")
		w.request("req-4")
		w.after(30 * time.Minute)

		w.start()
		w.after(20 * time.Second)
		require.Equal(t, []string{"req-0 denied jira:bob@example.com"}, w.cluster.decided)
		for id, want := range map[string]Status{
			"req-0": deniedStatus, "req-1": approvedStatus, "req-2": expiredStatus, "req-3": pendingStatus, "req-4": pendingStatus,
		} {
			require.Equal(t, want, w.issue(id).Issue.Status, id)
		}
	})
}

func TestABrokenWatchLosesNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.cluster.breakWatches()
		w.request("req-2")
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.after(10 * time.Second)
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		w.issue("req-2")
	})
}

func TestNoEffectWithoutTheLease(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.lease.lost.Store(true)
		w.request("req-1")
		w.after(time.Minute)
		require.Empty(t, w.tracker.of("req-1"))
		require.Zero(t, w.cluster.count("claim"))
	})
}

func TestNoWriteOnceTheLeaseIsLostAmidAStep(t *testing.T) {
	t.Parallel()
	moved := func(by Person) func(*world) {
		return func(w *world) { w.tracker.person(w.issue("req-1").Issue.ID, by, approvedStatus) }
	}
	for write, c := range map[string]struct {
		at   string // the read before the write, at which the lease is lost
		then func(*world)
	}{
		"create":  {at: "claim", then: func(w *world) { w.request("req-2") }},
		"move":    {at: "move", then: func(w *world) { w.cluster.change("req-1", func(r *Request) { r.State = StateDenied }) }},
		"comment": {at: "read", then: moved(Person{})},
		"decide":  {at: "request", then: moved(bob)},
	} {
		t.Run(write, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.request("req-1")
				w.after(time.Second)
				writes := func() []int {
					issue := w.issue("req-1")
					return []int{len(issue.Moves), len(issue.Comments), len(w.cluster.decided), w.tracker.count("create")}
				}
				var then []int
				lose := func(op string) error {
					if op == c.at && then == nil {
						then = writes()
						w.lease.lost.Store(true)
					}
					return nil
				}
				w.cluster.set(lose, nil)
				w.tracker.set(lose, nil)
				c.then(w)
				w.after(time.Minute)
				require.Equal(t, then, writes())
			})
		})
	}
}

func TestAnOldTermEndsWhenTheStoreKnowsANewOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, cluster: newMemCluster(), tracker: newMemTracker(), store: newMemStore()}
		engine := &Engine{
			Settings: Settings{
				Policy:      testPolicy,
				Poll:        cron.Every(5 * time.Second),
				Idle:        cron.Every(time.Minute),
				Sweep:       cron.Every(time.Hour),
				Concurrency: 1,
			},
			Store:    w.store.term(),
			Cluster:  w.cluster,
			Tracker:  w.tracker,
			Lease:    &memLease{},
			Health:   NewHealth(),
			Observer: nopObserver{},
			Log:      zap.NewNop(),
		}
		w.store.term()
		require.ErrorIs(t, engine.Run(t.Context()), ErrNotLeader)
	})
}

func TestAPoisonedRequestHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster.set(func(op string) error {
			if op == "link" {
				return &Error{Side: "teleport", Op: op, Permanent: true, Err: errors.New("refused")}
			}
			return nil
		}, nil)
		w.request("req-1")
		w.after(time.Second)
		require.True(t, w.store.row("req-1").Parked)
		w.cluster.set(nil, nil)
		w.request("req-2")
		w.after(time.Second)
		require.True(t, w.store.row("req-2").Linked)
		require.True(t, w.store.row("req-1").Parked)
		require.Contains(t, w.store.row("req-1").LastError, "refused")
		w.after(25 * time.Hour)
		require.False(t, w.store.row("req-1").Parked)
	})
}
