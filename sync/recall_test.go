package sync

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWhatIsLeftOfAForgottenRequestTellsWhereItsIssueBelongs loses the database and lets Teleport
// forget the request. What is left is the issue, and in places the plugin data.
func TestWhatIsLeftOfAForgottenRequestTellsWhereItsIssueBelongs(t *testing.T) {
	t.Parallel()
	type step = func(*world)
	resolve := func(state RequestState) step {
		return func(w *world) {
			w.cluster.change("req-1", func(r *Request) { r.State = state })
			w.after(time.Minute)
		}
	}
	moved := func(p Person, to Status) step {
		return func(w *world) { w.tracker.person(w.issue("req-1").Issue.ID, p, to) }
	}
	said := func(author Person, key string) step {
		return func(w *world) {
			w.tracker.mu.Lock()
			defer w.tracker.mu.Unlock()
			w.tracker.say(w.tracker.issues["10001"], author, key, "The Access Request is *approved*.")
		}
	}
	pluginData := func(resolution string) step {
		return func(w *world) {
			w.cluster.plugin["req-1"] = map[string]string{"issue_id": "10001", "resolution": resolution}
		}
	}
	byHand := func(w *world) {
		w.tracker.mu.Lock()
		defer w.tracker.mu.Unlock()
		w.tracker.issues["10001"].Issue.ByAgent = false
	}
	const approved, denied, promoted, expired, refused = "resolution:approved", "resolution:denied",
		"resolution:promoted", "resolution:expired", "refused:2"
	for name, c := range map[string]struct {
		before step   // while the agent runs
		down   []step // while it does not, and the database is lost
		status Status
		keys   []string // of the agent's comments, oldest first
		moves  int      // beside that to Pending
	}{
		"left alone":                           {status: expiredStatus, keys: []string{expired}, moves: 1},
		"moved to Approved":                    {down: []step{moved(bob, approvedStatus)}, status: expiredStatus, keys: []string{expired}, moves: 2},
		"moved to Denied":                      {down: []step{moved(bob, deniedStatus)}, status: expiredStatus, keys: []string{expired}, moves: 2},
		"moved to Expired":                     {down: []step{moved(bob, expiredStatus)}, status: expiredStatus, keys: []string{expired}, moves: 1},
		"moved to a status without meaning":    {down: []step{moved(bob, todoStatus)}, status: expiredStatus, keys: []string{expired}, moves: 2},
		"moved to Approved by the agent":       {down: []step{moved(agentAccount, approvedStatus)}, status: expiredStatus, keys: []string{expired}, moves: 2},
		"told by somebody else to be approved": {down: []step{moved(bob, approvedStatus), said(bob, approved)}, status: expiredStatus, keys: []string{approved, expired}, moves: 2},

		"approved": {before: resolve(StateApproved), status: approvedStatus, keys: []string{approved}, moves: 1},
		"denied":   {before: resolve(StateDenied), status: deniedStatus, keys: []string{denied}, moves: 1},
		"promoted": {before: resolve(StatePromoted), status: approvedStatus, keys: []string{promoted}, moves: 1},
		"approved, and denied after that": {
			before: func(w *world) { resolve(StateApproved)(w); resolve(StateDenied)(w) }, status: deniedStatus, keys: []string{approved, denied}, moves: 2,
		},
		"approved, then moved to Denied": {
			before: resolve(StateApproved), down: []step{moved(bob, deniedStatus)}, status: approvedStatus, keys: []string{approved, "refused:3"}, moves: 3,
		},
		"approved, then moved to Pending": {
			before: resolve(StateApproved), down: []step{moved(bob, pendingStatus)}, status: approvedStatus, keys: []string{approved, "refused:3"}, moves: 3,
		},
		"approved, then moved to a status without meaning": {
			before: resolve(StateApproved), down: []step{moved(bob, todoStatus)}, status: todoStatus, keys: []string{approved}, moves: 2,
		},
		"expired, then moved to Approved": {
			before: func(w *world) { w.cluster.remove("req-1"); w.after(time.Minute) }, down: []step{moved(bob, approvedStatus)},
			status: expiredStatus, keys: []string{expired, "refused:3"}, moves: 3,
		},
		"told to be approved and not moved yet": {down: []step{said(agentAccount, approved)}, status: approvedStatus, keys: []string{approved}, moves: 1},
		"approved as the plugin data says":      {down: []step{pluginData("approved")}, status: approvedStatus, keys: []string{approved}, moves: 1},
		"expired as the plugin data says":       {down: []step{pluginData("expired"), moved(bob, approvedStatus)}, status: expiredStatus, keys: []string{expired}, moves: 2},

		"made by somebody else": {down: []step{moved(bob, approvedStatus), byHand}, status: approvedStatus, moves: 1},
		"made by somebody else and named by the plugin data": {
			down: []step{moved(bob, approvedStatus), byHand, pluginData("")}, status: approvedStatus, moves: 1,
		},
		"moved before the retention": {
			down: []step{moved(bob, approvedStatus), func(w *world) { w.after(25 * time.Hour) }}, status: approvedStatus, moves: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.request("req-1")
				w.after(time.Minute)
				if c.before != nil {
					c.before(w)
				}
				w.stop()
				w.store = newMemStore()
				w.cluster.remove("req-1")
				delete(w.cluster.plugin, "req-1")
				for _, happens := range c.down {
					happens(w)
				}
				w.start()
				w.after(time.Hour)
				require.Equal(t, c.status, w.issue("req-1").Issue.Status)
				require.Equal(t, c.keys, keysOf(w.issue("req-1")))
				require.Len(t, w.issue("req-1").Moves, 1+c.moves)
				require.Equal(t, 1, w.tracker.count("create"))
				require.Empty(t, w.cluster.decided)

				// The next start finds nothing to do.
				w.stop()
				before := w.issue("req-1")
				w.start()
				w.after(time.Hour)
				require.Equal(t, before, w.issue("req-1"))
			})
		})
	}
}

func TestAnIssueOfTeleportsOwnPluginIsLeftAloneOnceItsRequestIsForgotten(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		id := w.tracker.forge("req-1", bob, approvedStatus)
		w.cluster.plugin["req-1"] = map[string]string{"user": "alice@example.com", "issue_id": id}
		w.request("req-1")
		var gone atomic.Bool
		w.cluster.set(func(op string) error {
			if op == "linked" && !gone.Load() {
				return &Error{Side: "teleport", Op: op, Err: errLost}
			}
			return nil
		}, nil)
		w.start()
		w.after(time.Second)
		w.cluster.remove("req-1")
		gone.Store(true)
		w.after(10 * time.Minute)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		require.Empty(t, w.issue("req-1").Comments)
	})
}

func TestWhatTeleportsOwnPluginSettledIsNotSettledAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		id := w.tracker.forge("req-1", bob, approvedStatus)
		w.cluster.plugin["req-1"] = map[string]string{"issue_id": id, "resolution": "approved"}
		w.request("req-1")
		w.cluster.change("req-1", func(r *Request) {
			r.State, r.Reviews = StateApproved, []Review{{Author: "carol", Verdict: StateApproved}}
		})
		w.start()
		w.after(10 * time.Minute)
		require.Equal(t, id, w.store.row("req-1").Bound.ID)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		require.Empty(t, w.issue("req-1").Comments)
	})
}

func TestAnIssueThatWasClosedAsMadeTwiceIsNotAdoptedAgain(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]bool{"beside the request's own": true, "and is the only one left": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.stop()
				w.request("req-1")
				w.cluster.plugin["req-1"] = map[string]string{"claim": "of a lost database"}
				w.tracker.mu.Lock()
				closed := w.tracker.made("req-1")
				w.tracker.say(closed, agentAccount, "stray:ACCESS-10002", "This issue was made twice.")
				w.tracker.transition(closed, agentAccount, expiredStatus)
				want := closed.Issue.ID
				if other {
					want = w.tracker.made("req-1").Issue.ID
				}
				w.tracker.mu.Unlock()
				w.start()
				w.after(time.Hour / 2)
				require.Equal(t, want, w.store.row("req-1").Bound.ID)
				require.Zero(t, w.tracker.count("create"))
			})
		})
	}
}

func TestAnIssueThatIsGoneWithTheDatabaseIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.stop()
		w.store = newMemStore()
		w.tracker.remove(w.issue("req-1").Issue.ID)
		w.start()
		w.after(time.Minute)
		require.True(t, w.store.row("req-1").Parked)
		require.Contains(t, w.store.row("req-1").LastError, "decide the request in Teleport")
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(time.Minute)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		require.Equal(t, 1, w.tracker.count("create"))
	})
}

func TestManyOldIssuesHoldUpNobodyAfterALostDatabase(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		var old []string
		for n := range 300 {
			id := fmt.Sprintf("old-%d", n)
			old = append(old, id)
			w.tracker.mu.Lock()
			i := w.tracker.made(id)
			w.tracker.say(i, agentAccount, "resolution:approved", "The Access Request is *approved*.")
			w.tracker.transition(i, agentAccount, approvedStatus)
			w.tracker.mu.Unlock()
			w.after(time.Second)
		}
		w.after(time.Hour) // what changed within the look-back is looked at at once
		w.store = newMemStore()
		w.start()
		w.after(10 * time.Second)
		w.request("req-1")
		w.after(time.Second)
		w.issue("req-1")
		settled := func(id string) bool { return !w.store.row(id).SettledAt.IsZero() }
		require.True(t, settled(old[len(old)-1]), "the latest changed comes first")
		require.False(t, settled(old[0]))
		require.LessOrEqual(t, w.tracker.count("read"), 10)
		w.after(time.Duration(len(old)) * movedApart)
		for _, id := range old {
			require.True(t, settled(id), id)
		}
		require.Equal(t, len(old)+1, w.tracker.count("read"), "each is read once, the new one too")
		require.Equal(t, 1, w.tracker.count("move"), "that of the new one to Pending")
		require.Zero(t, w.tracker.count("comment"))
	})
}
