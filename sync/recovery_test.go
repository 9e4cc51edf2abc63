package sync

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAListThatBeganBeforeBringsNoResolvedRequestBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, cluster: newMemCluster(), tracker: newMemTracker(), store: newMemStore()}
		w.request("req-1")
		old := w.cluster.get("req-1")
		w.cluster.slowList = func() []Request {
			w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
			time.Sleep(time.Second) // synctest's clock: the watch tells of it before the page is there
			return []Request{old}
		}
		w.start()
		w.after(time.Minute)
		require.Empty(t, w.tracker.of("req-1"))
		w.stop()
	})
}

func TestADeletedIssueIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.request("req-2")
		w.after(time.Second)
		w.tracker.remove(w.issue("req-1").Issue.ID)
		w.tracker.remove(w.issue("req-2").Issue.ID)
		w.after(15 * time.Minute)
		require.True(t, w.store.row("req-1").Parked)
		require.Contains(t, w.store.row("req-1").LastError, "decide the request in Teleport")
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.after(time.Minute)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		require.Equal(t, 2, w.tracker.count("create"))
		w.after(time.Hour)
		require.False(t, w.store.row("req-2").SettledAt.IsZero(), "it expired")
	})
}

func TestAChangedFieldIsPutBackAndTheMoveStillCounts(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		id := w.issue("req-1").Issue.ID
		w.tracker.setField(id, "")
		w.after(11 * time.Minute) // no search shows it: the sweep does
		require.Equal(t, id, w.issue("req-1").Issue.ID)
		w.tracker.setField(id, "req-9")
		w.tracker.person(id, bob, approvedStatus)
		w.after(time.Minute)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		require.Equal(t, id, w.issue("req-1").Issue.ID)
	})
}

func TestOnlyTheIssueThatTheRowNamesDecides(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		own := w.issue("req-1").Issue
		forged := w.tracker.forge("req-1", eve, approvedStatus)
		w.after(2 * time.Minute)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, own.ID, w.store.row("req-1").Bound.ID)
		issues := w.tracker.of("req-1")
		require.Len(t, issues, 2)
		require.Equal(t, forged, issues[1].Issue.ID)
		require.Len(t, issues[1].Comments, 1, "it is told once")
		require.Contains(t, issues[1].Comments[0].Body, own.Key)
		require.Equal(t, approvedStatus, issues[1].Issue.Status)
	})
}

func TestAnIssueMadeTwiceIsClosedWithAPointer(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		// The answer is lost, the index lags longer than any Jira should, and there are too many
		// keys to look at.
		w.tracker.lag, w.tracker.untraced = 2*searchGrace, true
		w.tracker.absent = func(op, _ string) bool { return op == "trace" }
		w.tracker.set(nil, once("create", errLost))
		w.request("req-1")
		w.after(40 * time.Minute)
		issues := w.tracker.of("req-1")
		require.Len(t, issues, 2)
		bound := w.store.row("req-1").Bound
		for _, i := range issues {
			if i.Issue.ID == bound.ID {
				require.Equal(t, pendingStatus, i.Issue.Status)
				continue
			}
			require.Equal(t, expiredStatus, i.Issue.Status)
			require.Len(t, i.Comments, 1)
			require.Contains(t, i.Comments[0].Body, bound.Key)
		}
	})
}

func TestALostDatabaseIsRebuiltFromBothSides(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for n := range 5 {
			w.request(fmt.Sprintf("req-%d", n))
		}
		w.after(5 * time.Second)
		w.cluster.change("req-3", func(r *Request) { r.Reviews = []Review{{Author: "carol", Verdict: StateApproved}} })
		w.after(5 * time.Second)
		w.stop()
		w.cluster.breakWatches()
		w.store = newMemStore()
		delete(w.cluster.plugin["req-2"], "issue_id") // the crash came between the create and the plugin data
		w.cluster.remove("req-4")
		delete(w.cluster.plugin, "req-4")
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.tracker.person(w.issue("req-0").Issue.ID, bob, approvedStatus)

		w.start()
		w.after(10 * time.Minute)
		require.Equal(t, []string{"req-0 approved jira:bob@example.com"}, w.cluster.decided)
		for id, want := range map[string]Status{
			"req-0": approvedStatus, "req-1": deniedStatus, "req-2": pendingStatus, "req-3": pendingStatus, "req-4": expiredStatus,
		} {
			require.Equal(t, want, w.issue(id).Issue.Status, id)
		}
		require.Equal(t, []string{"resolution:denied"}, keysOf(w.issue("req-1")))
		require.Equal(t, []string{"review:carol"}, keysOf(w.issue("req-3")))
		require.Equal(t, 5, w.tracker.count("create"))
	})
}

func TestAClaimOfSomebodyElseIsGivenTimeToBecomeAnIssue(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.after(time.Second)
		w.cluster.plugin["req-1"] = map[string]string{"user": "alice@example.com"} // by Teleport's own plugin
		w.request("req-1")
		w.after(searchGrace - time.Second)
		require.Empty(t, w.tracker.of("req-1"))
		w.after(time.Minute)
		w.issue("req-1")
	})
}

func TestAFactThatChangesWhileAStepFailsIsNotParkedWithIt(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.tracker.remove(w.issue("req-1").Issue.ID)
		approve := func(op string) error {
			if op == "read" && w.cluster.get("req-1").State == StatePending {
				w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
				time.Sleep(time.Second) // synctest's clock: the watch records it before Jira answers that the issue is gone
			}
			return nil
		}
		w.tracker.set(approve, nil)
		w.after(12 * time.Minute) // the sweep misses the issue
		require.False(t, w.store.row("req-1").Parked)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
	})
}
