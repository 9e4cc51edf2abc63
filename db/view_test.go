package db

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/sync"
)

// failedRow records a request with an issue of the same number, whose last step failed.
func failedRow(t *testing.T, s sync.Store, id, issueID string, parked bool) sync.Link {
	t.Helper()
	l := observe(t, s, request(id))[0]
	l.Bound = sync.IssueRef{ID: issueID, Key: "OPS-" + issueID}
	l.LastError, l.Attempts, l.Parked, l.Due = "Jira is angry", 3, parked, farFuture()
	saved, err := s.Save(
		t.Context(),
		l,
		sync.Activity{At: time.Now(), Action: "move", Outcome: "Jira is angry", Cause: "the request is approved", Attempt: 3},
	)
	require.NoError(t, err)
	return saved
}

func TestView_ShowsParkedAndDelayedRowsOfItsScopeAlone(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	failedRow(t, s, "parked", "1", true)
	failedRow(t, s, "delayed", "2", false)
	moved := failedRow(t, s, "settled, and its issue moved since", "5", true)
	moved.SettledAt = time.Now()
	_, err := s.Save(t.Context(), moved)
	require.NoError(t, err)
	observe(t, s, request("healthy"))
	dry := observe(t, s, request("dry"))[0]
	dry.LastError = sync.DryRunError + "create an issue"
	_, err = s.Save(t.Context(), dry)
	require.NoError(t, err)
	failedRow(t, leading(t, d, Scope{Cluster: "other.example.com", Project: "OPS"}, 1), "of another cluster", "3", true)
	failedRow(
		t,
		leading(t, d, Scope{Cluster: "teleport.example.com", Project: "XOPS"}, 1),
		"of another project",
		"4",
		true,
	)

	rows, err := d.View(board).Queue(t.Context(), 0)
	require.NoError(t, err)
	var ids []string
	for _, row := range rows {
		ids = append(ids, row.RequestID)
	}
	require.Equal(t, []string{"delayed", "parked", moved.RequestID}, ids, "what is tried again comes first")
	rows, err = d.View(board).Queue(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, rows, 1)

	scopes, err := d.Scopes(t.Context(), "OPS")
	require.NoError(t, err)
	require.Equal(t, []Scope{{Cluster: "other.example.com", Project: "OPS"}, board}, scopes)
	o, err := d.View(board).Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, sync.Stats{Open: 4, Pending: 4, Due: 2, Parked: 2, OldestDue: o.OldestDue}, o.Stats)
	require.Equal(t, 1, o.Delayed)
}

func TestView_FindsARowByWhatPeopleCallIt(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := failedRow(t, s, "0195e9a2", "17", true)
	observe(t, s, request("without an issue"))
	moved := issue("17", "0195e9a2", t0)
	moved.Key = "NEW-4"
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{moved}, time.Time{}))
	view := d.View(board)
	for _, name := range []string{"0195e9a2", "OPS-17", "ops-17", "17", "NEW-4", "new-4"} {
		found, err := view.Find(t.Context(), name)
		require.NoError(t, err, name)
		require.Equal(t, l.RequestID, found.RequestID, name)
	}
	for _, name := range []string{"OPS-1", "0195", ""} {
		_, err := view.Find(t.Context(), name)
		require.ErrorIs(t, err, sync.ErrNotFound, name)
	}
	story, err := view.Activity(t.Context(), l.RequestID)
	require.NoError(t, err)
	require.Equal(t, "move", story[1].Action, story)
	require.Equal(t, int64(1), story[1].Epoch)
}

func TestView_RetryMakesARowDueAndForgetsItsFailures(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	before := failedRow(t, s, "parked", "1", true)
	view := d.View(board)
	require.NoError(t, view.Retry(t.Context(), []string{before.RequestID}))
	due, _, err := s.Due(t.Context(), time.Now().Add(time.Second), 10, nil)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Zero(t, due[0].Attempts)
	require.False(t, due[0].Parked)

	// A worker that was at work meanwhile does not take it back.
	before.Due, before.Parked = farFuture(), true
	after, err := s.Save(t.Context(), before)
	require.NoError(t, err)
	require.False(t, after.Parked)
	require.WithinDuration(t, time.Now(), after.Due, time.Minute)
}

func TestView_DroppedRowIsTakenUpAgainByRetry(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := failedRow(t, s, "parked", "1", true)
	view, rows := d.View(board), []string{l.RequestID}
	require.NoError(t, view.Drop(t.Context(), rows))
	l = row(t, s, "parked")
	require.True(t, l.Dropped)
	require.Empty(t, l.LastError)
	l.SettledAt = time.Now()
	_, err := s.Save(t.Context(), l) // as the leader does
	require.NoError(t, err)
	require.NoError(t, view.Retry(t.Context(), rows))
	l = row(t, s, "parked")
	require.False(t, l.Dropped)
	require.Zero(t, l.SettledAt)

	story, err := view.Activity(t.Context(), l.RequestID)
	require.NoError(t, err)
	var done []string
	for _, line := range story {
		done = append(done, line.Action)
	}
	require.Equal(t, []string{"observe", "move", "drop", "retry"}, done)
}

func TestView_RetryIsNotUndoneByAWorkerThatSettlesADroppedRow(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	view, rows := d.View(board), []string{failedRow(t, s, "parked", "1", true).RequestID}
	require.NoError(t, view.Drop(t.Context(), rows))
	l := row(t, s, "parked")
	require.NoError(t, view.Retry(t.Context(), rows))
	l.SettledAt = time.Now()
	after, err := s.Save(t.Context(), l)
	require.NoError(t, err)
	require.False(t, after.Dropped)
	require.Zero(t, after.SettledAt, "no poll and no sweep would look at it any more")
	require.WithinDuration(t, time.Now(), after.Due, time.Minute)
}

func TestView_RecheckSuspectsBothSides(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	failedRow(t, s, "with", "1", false)
	observe(t, s, request("without"))
	require.NoError(t, d.View(board).Recheck(t.Context(), []string{"with", "without"}))
	withIssue, without := row(t, s, "with"), row(t, s, "without")
	require.True(t, withIssue.SuspectRequest && withIssue.SuspectIssue)
	require.True(t, without.SuspectRequest)
	require.False(t, without.SuspectIssue)
}

func TestView_MarksNothingWhenARowIsGone(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	failedRow(t, s, "parked", "1", true)
	err := d.View(board).Retry(t.Context(), []string{"parked", "pruned"})
	require.ErrorIs(t, err, sync.ErrNotFound)
	require.True(t, row(t, s, "parked").Parked)
}

func TestView_TellsWhoLeadsAndHowItGoes(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	view := d.View(board)
	o, err := view.Overview(t.Context())
	require.NoError(t, err)
	require.Zero(t, o.Epoch)
	require.Zero(t, o.Cursor)

	asked, hinted := make(chan struct{}, 1), make(chan struct{}, 10)
	elector, err := NewElector(ElectorConfig{
		URL: d.config.URL, Scope: board, Instance: "host/1", Lease: 2 * time.Second, Log: zap.NewNop(),
		OnAsk: func() { asked <- struct{}{} }, OnHint: func() { hinted <- struct{}{} },
	})
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	leads, ended := make(chan int64, 1), make(chan error, 1)
	go func() {
		ended <- elector.Run(ctx, func(ctx context.Context, term *Term) error {
			leads <- term.Epoch
			<-ctx.Done()
			return nil
		})
	}()
	epoch := <-leads
	s := d.Store(board, epoch)
	require.NoError(t, s.Condition(t.Context(), sync.LoopPoll, ""))
	require.NoError(t, s.Condition(t.Context(), sync.LoopWatch, "no route"))
	require.NoError(t, s.ObserveIssues(t.Context(), nil, t0))

	o, err = view.Overview(t.Context())
	require.NoError(t, err)
	require.True(t, o.Led)
	require.False(t, o.Resigned)
	require.Equal(t, epoch, o.Epoch)
	require.Equal(t, "host/1", o.Holder)
	require.Contains(t, o.Replicas, "host/1")
	require.WithinDuration(t, t0, o.Cursor, time.Millisecond)
	require.Len(t, o.Loops, 2)
	require.Equal(t, Loop{Name: sync.LoopWatch, Epoch: epoch, Problem: "no route", Since: o.Loops[1].Since}, o.Loops[1])

	// Another reason for the same failure keeps the time, a success does not.
	since := o.Loops[1].Since
	require.NoError(t, s.Condition(t.Context(), sync.LoopWatch, "no address"))
	o, err = view.Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, "no address", o.Loops[1].Problem)
	require.Equal(t, since, o.Loops[1].Since)
	require.NoError(t, s.Condition(t.Context(), sync.LoopWatch, ""))
	o, err = view.Overview(t.Context())
	require.NoError(t, err)
	require.True(t, o.Loops[1].Since.After(since))

	require.NoError(t, view.Ask(t.Context()))
	<-asked
	require.NoError(t, view.Retry(t.Context(), []string{observe(t, s, request("a"))[0].RequestID}))
	<-hinted

	stop()
	require.NoError(t, <-ended)
	o, err = view.Overview(t.Context())
	require.NoError(t, err)
	require.False(t, o.Led)
}

func TestView_AFailureLastsThroughAChangeOfLeader(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	since := func() time.Time {
		o, err := d.View(board).Overview(t.Context())
		require.NoError(t, err)
		require.Len(t, o.Loops, 1)
		return o.Loops[0].Since
	}
	require.NoError(t, s.Condition(t.Context(), sync.LoopPoll, "Jira is down"))
	began := since()
	s = leading(t, d, board, 2)
	require.NoError(t, s.Condition(t.Context(), sync.LoopPoll, "Jira is still down"))
	require.Equal(t, began, since())
	require.NoError(t, s.Condition(t.Context(), sync.LoopPoll, ""))
	works := since()
	require.True(t, works.After(began))
	s = leading(t, d, board, 3)
	require.NoError(t, s.Condition(t.Context(), sync.LoopPoll, ""))
	require.True(t, since().After(works), "that it worked all the time between is not known")
}

func TestView_SaysWhatIsWrongWithTheTables(t *testing.T) {
	t.Parallel()
	d := open(t, pgtest.URL(t))
	_, err := d.View(board).Overview(t.Context())
	require.ErrorIs(t, err, ErrNoSchema)
	require.NoError(t, d.Migrate(t.Context()))
	exec(t, d, "UPDATE "+versionTable+" SET version = 1")
	_, err = d.View(board).Queue(t.Context(), 0)
	require.ErrorIs(t, err, ErrOlderSchema)
	exec(t, d, "UPDATE "+versionTable+" SET version = 1000")
	_, err = d.View(board).Find(t.Context(), "OPS-1")
	require.ErrorIs(t, err, ErrNewerSchema)
}
