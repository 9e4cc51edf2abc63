package sync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// withMemory is inWorld with a tracker that remembers how issues move, after one request has shown
// it.
func withMemory(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	remember := func(w *world) { w.tracker.memory = &memMemory{known: make(map[string]bool)} }
	inWorldWith(t, remember, func(t *testing.T, w *world) {
		w.tracker.begin(pendingStatus)
		w.request("req-0")
		w.after(10 * time.Second)
		w.deny("req-0")
		w.after(10 * time.Second)
		require.False(t, w.store.row("req-0").SettledAt.IsZero())
		test(t, w)
	})
}

func (w *world) deny(id string) { w.cluster.change(id, func(r *Request) { r.State = StateDenied }) }

func TestARequestIsSettledOnceJiraHasShownWhereItsIssueIs(t *testing.T) {
	t.Parallel()
	withMemory(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(10 * time.Second)
		reads, moves := w.tracker.count("read"), w.tracker.count("move")
		w.tracker.lag = 20 * time.Second
		w.deny("req-1")
		w.after(time.Second)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		row := w.store.row("req-1")
		require.True(t, row.SettledAt.IsZero())
		require.False(t, row.Issue.Assumed.IsZero())
		w.after(2 * time.Minute)
		row = w.store.row("req-1")
		require.False(t, row.SettledAt.IsZero())
		require.Zero(t, row.Issue.Assumed)
		require.Equal(t, []int{reads, moves}, []int{w.tracker.count("read"), w.tracker.count("move")}, "a poll has shown it")
		require.Equal(t, 1, w.tracker.count("drive"))
	})
}

func TestAnIssueThatNoPollShowsIsReadToSettleItsRequest(t *testing.T) {
	t.Parallel()
	withMemory(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(10 * time.Second)
		w.tracker.lag = time.Hour
		reads := w.tracker.count("read")
		w.deny("req-1")
		w.after(assumedFor - time.Second)
		require.True(t, w.store.row("req-1").SettledAt.IsZero())
		w.after(2 * time.Second)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		require.Equal(t, reads+1, w.tracker.count("read"))
	})
}

func TestAnIssueThatWentAstrayIsBroughtToWhereItBelongs(t *testing.T) {
	t.Parallel()
	withMemory(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(10 * time.Second)
		w.tracker.memory.astray = func() bool { return true }
		w.deny("req-1")
		w.after(time.Second)
		require.Equal(
			t,
			todoStatus,
			w.issue("req-1").Issue.Status,
			"a status that means nothing, where people may leave a settled issue",
		)
		w.after(time.Minute)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		require.Len(t, w.issue("req-1").Comments, 1)
	})
}

func TestAnIssueThatBeganElsewhereThanTheLastIsPlacedUnderPending(t *testing.T) {
	t.Parallel()
	withMemory(t, func(t *testing.T, w *world) {
		reads := w.tracker.count("read")
		w.tracker.begin(todoStatus)
		w.request("req-1")
		w.after(10 * time.Second)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, reads+1, w.tracker.count("read"), "its history tells that it has not been there")
		w.request("req-2")
		w.after(10 * time.Second)
		require.Equal(t, pendingStatus, w.issue("req-2").Issue.Status)
		require.Equal(t, reads+1, w.tracker.count("read"), "and where issues begin now")
	})
}

func TestARequesterIsAskedForOnceForDecisionsInARow(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for _, id := range []string{"req-1", "req-2"} {
			w.request(id)
			w.after(10 * time.Second)
			w.tracker.person(w.issue(id).Issue.ID, bob, approvedStatus)
			w.after(10 * time.Second)
			require.Equal(t, StateApproved, w.cluster.get(id).State)
		}
		require.Equal(t, 1, w.cluster.count("users"))
	})
}

func TestWhereAPersonLeavesAnIssueThatPollsHaveShownUnderPendingItStays(t *testing.T) {
	t.Parallel()
	withMemory(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Minute)
		require.Zero(t, w.store.row("req-1").Issue.Assumed, "a poll has shown it")
		w.tracker.person(w.issue("req-1").Issue.ID, bob, todoStatus)
		w.after(time.Minute)
		require.Equal(t, todoStatus, w.issue("req-1").Issue.Status)
	})
}

func TestAnIssueThatWentAstrayOnItsWayFromOneOutcomeToAnotherIsBroughtThere(t *testing.T) {
	t.Parallel()
	withMemory(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(10 * time.Second)
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.after(time.Minute)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		w.tracker.memory.known[approvedStatus.ID] = true
		w.tracker.memory.astray = func() bool { return true }
		w.deny("req-1")
		w.after(3 * time.Minute)
		var ways []Status
		for _, m := range w.issue("req-1").Moves {
			ways = append(ways, m.To)
		}
		require.Equal(t, []Status{approvedStatus, todoStatus, deniedStatus}, ways)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
	})
}

func TestAnIssueThatWasMadeTwiceIsClosedWhereItIsSeenToBe(t *testing.T) {
	t.Parallel()
	withMemory(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(10 * time.Second)
		w.tracker.memory.astray = func() bool { return true }
		w.tracker.mu.Lock()
		twice := w.tracker.made("req-1")
		w.tracker.mu.Unlock()
		w.after(time.Minute)
		require.Equal(t, []string{twice.Issue.ID}, w.store.row("req-1").Answered)
		require.Equal(t, expiredStatus, twice.Issue.Status, "no poll sees to an issue that no row names")
	})
}

func TestAMoveIsNotJudgedByAReadThatTheRowKnowsBetterThan(t *testing.T) {
	t.Parallel()
	store, tracker := newMemStore(), newMemTracker()
	term := store.term()
	require.NoError(t, term.ObserveRequests(t.Context(), []Request{{ID: "req-1", State: StatePending}}))
	made := tracker.made("req-1")
	l := store.row("req-1")
	l.Bound, l.Issue = IssueRef{ID: made.Issue.ID, Key: made.Issue.Key}, made.Issue
	l, err := term.Save(t.Context(), l)
	require.NoError(t, err)
	w := newWorker(&Engine{Settings: Settings{Policy: testPolicy}, Store: term, Tracker: tracker, Log: zap.NewNop()}, l)

	tracker.person(made.Issue.ID, bob, approvedStatus)
	require.NoError(t, w.read(t.Context()))
	tracker.person(made.Issue.ID, bob, deniedStatus)
	require.NoError(t, term.ObserveIssues(t.Context(), []Issue{made.Issue}, time.Time{}))
	require.NoError(t, w.record(t.Context()))
	judged, err := w.reread(t.Context())
	require.NoError(t, err)
	require.Equal(t, deniedStatus, judged.Issue.Status)

	require.NoError(t, w.read(t.Context()))
	reads := tracker.count("read")
	_, err = w.reread(t.Context())
	require.NoError(t, err)
	require.Equal(t, reads, tracker.count("read"), "what the row says, too, is not read again")
}
