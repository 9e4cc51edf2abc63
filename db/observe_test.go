package db

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/sync"
)

func TestObserveRequests_MakesARowForAPendingRequestOnly(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	approved := request("b")
	approved.State = sync.StateApproved
	require.NoError(t, s.ObserveRequests(t.Context(), []sync.Request{request("a"), approved}))

	open, err := s.Open(t.Context(), "", 10)
	require.NoError(t, err)
	require.Len(t, open, 1)
	got := open[0]
	require.WithinDuration(t, time.Now(), got.Due, answerTimes, "due at once")
	got.Due = time.Time{}
	require.Regexp(t, "^[0-9a-f]{32}$", got.Mark)
	got.Mark = ""
	want := sync.Link{
		RequestID: "a",
		Seq:       1,
		Request:   request("a"),
		Strays:    []string{},
		Work:      sync.Work{Commented: []string{}, Answered: []string{}},
	}
	require.Empty(t, cmp.Diff(want, got))
	require.Equal(t, []string{"a"}, dueIDs(t, s))
}

func TestRows_HaveMarksOfTheirOwnHoweverTheyCameAbout(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	require.NoError(t, s.ObserveRequests(t.Context(), []sync.Request{request("a"), request("b")}))
	require.NoError(t, s.Recover(t.Context(), []sync.Request{request("c"), request("d")}))
	require.NoError(t, s.RecoverIssues(t.Context(), []sync.Issue{issue("1", "e", t0), issue("2", "f", t0)}, t0, 0))
	marks := make(map[string]bool)
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		l := row(t, s, id)
		require.Len(t, l.Mark, 32)
		require.Equal(t, l.Mark, save(t, s, l, func(*sync.Link) {}).Mark)
		marks[l.Mark] = true
	}
	require.Len(t, marks, 6)
}

func TestObserveRequests_MergesInWhicheverOrderFactsCome(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	pending, approved := request("a"), request("a")
	approved.State, approved.ResolveReason = sync.StateApproved, "fine"

	first := observe(t, s, pending)[0]
	save(t, s, first, func(l *sync.Link) { l.Due, l.Parked, l.Attempts, l.LastError = farFuture(), true, 7, "broken" })
	second := observe(t, s, approved)[0]
	require.Equal(t, sync.StateApproved, second.Request.State)
	require.Greater(t, second.Seq, first.Seq)
	require.Equal(t, []string{"a"}, dueIDs(t, s))
	require.False(t, second.Parked)
	require.Zero(t, second.Attempts)
	require.Equal(t, "broken", second.LastError, "the agent's own part is kept")

	untouched(t, d, func() {
		require.Empty(t, cmp.Diff(second, observe(t, s, pending)[0], about), "an older state")
		require.Empty(t, cmp.Diff(second, observe(t, s, approved)[0], about), "the same again")
	})
}

func TestObserveRequests_TakesTheSameRequestTwiceInOnePage(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	reviewed := request("a")
	reviewed.Reviews = []sync.Review{{Author: "bob", Verdict: sync.StateApproved, Created: t0}}
	require.NoError(t, s.ObserveRequests(t.Context(), []sync.Request{request("a"), reviewed, request("a")}))
	require.Len(t, row(t, s, "a").Request.Reviews, 1)
}

func TestObserveRequests_OfManyObserversLosesNothing(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	const requests, observers = 200, 6
	var group errgroup.Group
	for o := range observers {
		group.Go(func() error {
			page := make([]sync.Request, requests)
			for i := range page {
				// Each observer sees them in an order of its own, with as many reviews as its
				// number says.
				page[i] = request(fmt.Sprintf("%03d", (i*7+o*31)%requests))
				for r := range o {
					page[i].Reviews = append(page[i].Reviews, sync.Review{Author: fmt.Sprint(r), Verdict: sync.StateDenied})
				}
			}
			return s.ObserveRequests(t.Context(), page)
		})
	}
	require.NoError(t, group.Wait())
	open, err := s.Open(t.Context(), "", 1000)
	require.NoError(t, err)
	require.Len(t, open, requests)
	for _, l := range open {
		require.Len(t, l.Request.Reviews, observers-1)
	}
}

func TestLearn_ThatARequestIsGoneIsAFactOnce(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := observe(t, s, request("a"))[0]
	require.NoError(t, s.SuspectRequests(t.Context(), []string{"a"}))
	save(t, s, row(t, s, "a"), func(l *sync.Link) { l.Due = time.Time{} })
	require.NoError(t, vanish(t.Context(), s, "a"))
	gone := row(t, s, "a")
	require.True(t, gone.Gone)
	require.False(t, gone.SuspectRequest)
	require.Greater(t, gone.Seq, l.Seq)
	require.Equal(t, []string{"a"}, dueIDs(t, s))
	untouched(t, d, func() {
		require.NoError(t, vanish(t.Context(), s, "a"))
		require.ErrorIs(t, vanish(t.Context(), s, "unknown"), sync.ErrNotFound)
		require.NoError(t, s.SuspectRequests(t.Context(), []string{"a", "unknown"}))
	})
}

func TestSuspectRequests_MakesOpenRowsDueUntilTheWorkerHasLooked(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	rows := observe(t, s, request("a"), request("b"))
	for _, l := range rows {
		save(t, s, l, func(l *sync.Link) { l.Due = time.Time{} })
	}
	save(t, s, row(t, s, "b"), func(l *sync.Link) { l.SettledAt = t0 })
	require.Empty(t, dueIDs(t, s))

	require.NoError(t, s.SuspectRequests(t.Context(), []string{"b", "a"}))
	require.Equal(t, []string{"a"}, dueIDs(t, s), "the settled row is left alone")
	suspect := row(t, s, "a")
	require.True(t, suspect.SuspectRequest)
	require.Greater(t, suspect.Seq, rows[0].Seq)
	untouched(t, d, func() { require.NoError(t, s.SuspectRequests(t.Context(), []string{"a"})) })

	seen := observe(t, s, request("a"))[0]
	require.True(t, seen.SuspectRequest, "a page of a list may be older than the suspicion")
	save(t, s, rows[0], func(l *sync.Link) { l.SuspectRequest = false })
	require.True(t, row(t, s, "a").SuspectRequest, "what was read before the suspicion does not lift it")
	save(t, s, suspect, func(l *sync.Link) { l.SuspectRequest = false })
	require.False(t, row(t, s, "a").SuspectRequest)
}

func TestObserveIssues_MergesIntoTheRowThatNamesTheIssue(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := bind(t, s, observe(t, s, request("a"))[0], "100")
	require.Zero(t, l.Issue)
	require.Empty(t, dueIDs(t, s))

	moved := issue("100", "a", t0)
	moved.Status, moved.Property, moved.ByAgent = sync.Status{ID: "3", Name: "Approved"}, "a", true
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{moved}, time.Time{}))
	seen := row(t, s, "a")
	require.Empty(t, cmp.Diff(moved, seen.Issue))
	require.Greater(t, seen.Seq, l.Seq)
	require.Equal(t, []string{"a"}, dueIDs(t, s))
	require.Equal(t, sync.IssueRef{ID: "100", Key: "OPS-100"}, seen.Bound)

	untouched(t, d, func() {
		older := issue("100", "a", t0.Add(-time.Second))
		require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{older, moved}, time.Time{}))
	})
	later := issue("100", "a", t0.Add(time.Second))
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{later}, time.Time{}))
	require.Equal(t, "Pending", row(t, s, "a").Issue.Status.Name)
	require.True(t, row(t, s, "a").Issue.ByAgent, "what only a full read tells is kept")
}

func TestObserveIssues_OfAnIssueThatNoRowNamesWakesTheRowThatWaitsAndStraysFromTheOther(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	rows := observe(t, s, request("a"), request("b"))
	waiting := save(t, s, rows[0], func(l *sync.Link) { l.Due, l.Attempts, l.Parked = farFuture(), 3, true })
	bind(t, s, rows[1], "200")

	forged := []sync.Issue{issue("1", "a", t0), issue("2", "b", t0), issue("3", "nobody", t0), issue("4", "\x00\xff", t0)}
	require.NoError(t, s.ObserveIssues(t.Context(), forged, time.Time{}))
	require.Equal(t, []string{"a", "b"}, dueIDs(t, s))
	require.Equal(t, []string{"2"}, row(t, s, "b").Strays)
	woken := row(t, s, "a")
	woken.Due, waiting.Due = time.Time{}, time.Time{}
	require.Equal(t, waiting, woken)
	require.Zero(t, row(t, s, "b").Issue)
	untouched(t, d, func() { require.NoError(t, s.ObserveIssues(t.Context(), forged, time.Time{})) })
}

func TestObserveIssues_TakesAPageInAnyOrder(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	const rows = 300
	requests, page := make([]sync.Request, rows), make([]sync.Issue, rows)
	for i := range rows {
		requests[i] = request(fmt.Sprintf("%03d", i))
		page[i] = issue(fmt.Sprint(1000-i), requests[i].ID, t0)
	}
	require.NoError(t, s.ObserveRequests(t.Context(), requests))
	for i, r := range requests {
		bind(t, s, sync.Link{RequestID: r.ID, Seq: 1}, page[i].ID)
	}
	var group errgroup.Group
	for o := range 4 {
		shuffled := slices.Concat(page[o*50:], page[:o*50])
		group.Go(func() error { return s.ObserveIssues(t.Context(), shuffled, time.Time{}) })
	}
	require.NoError(t, group.Wait())
	open, err := s.Open(t.Context(), "", rows)
	require.NoError(t, err)
	require.Len(t, open, rows)
	for i, l := range open {
		require.Equal(t, page[i], l.Issue)
	}
	require.Len(t, dueIDs(t, s), 100, "the limit")
}

func TestSuspectIssues_ThatASweepMissesIsBehindWhatAPersonMayHaveMoved(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	for n, l := range observe(t, s, request("a"), request("b")) {
		bind(t, s, l, fmt.Sprint(n))
	}
	require.NoError(t, s.SuspectIssues(t.Context(), []string{"0"}, false))
	require.NoError(t, s.SuspectIssues(t.Context(), []string{"1"}, true))
	require.Equal(t, []string{"b", "a"}, dueIDs(t, s))
	require.False(t, row(t, s, "a").Urgent)
}

func TestSuspectIssues_MakesOpenRowsDueUntilTheWorkerHasLooked(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	rows := observe(t, s, request("a"), request("b"))
	bind(t, s, rows[0], "100")
	settled := bind(t, s, rows[1], "200")
	save(t, s, settled, func(l *sync.Link) { l.SettledAt = t0 })
	require.NoError(t, s.SuspectIssues(t.Context(), []string{"200", "100", "999"}, true))
	require.Equal(t, []string{"a"}, dueIDs(t, s))
	suspect := row(t, s, "a")
	require.True(t, suspect.SuspectIssue)
	require.True(t, suspect.Urgent)

	save(t, s, suspect, func(l *sync.Link) { l.Due, l.Parked = farFuture(), true })
	untouched(t, d, func() { require.NoError(t, s.SuspectIssues(t.Context(), []string{"100"}, true)) })

	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{issue("100", "a", t0)}, time.Time{}))
	seen := row(t, s, "a")
	require.True(t, seen.SuspectIssue, "a search may show an issue that is gone")
	save(t, s, seen, func(l *sync.Link) { l.SuspectIssue = false })
	require.False(t, row(t, s, "a").SuspectIssue)
}

func TestCursor_NeverFalls(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	cursor := func() time.Time {
		at, err := s.Cursor(t.Context())
		require.NoError(t, err)
		return at
	}
	require.Zero(t, cursor())
	for _, step := range []struct{ raise, want time.Time }{
		{t0, t0}, {t0.Add(-time.Hour), t0}, {time.Time{}, t0}, {t0.Add(time.Millisecond), t0.Add(time.Millisecond)},
	} {
		require.NoError(t, s.ObserveIssues(t.Context(), nil, step.raise))
		require.Equal(t, step.want, cursor())
	}
}

func TestRecover_MakesARowForEachRequestThatLooksForItsIssue(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	approved := request("a")
	approved.State = sync.StateApproved
	require.NoError(t, s.Recover(t.Context(), []sync.Request{approved, request("b")}))
	for _, id := range []string{"a", "b"} {
		require.Equal(t, sync.EffectCreate, row(t, s, id).Begun)
		require.WithinDuration(t, time.Now(), row(t, s, id).BegunAt, time.Minute)
	}
	require.Equal(t, []string{"a", "b"}, dueIDs(t, s))
}

func TestObservationsThatChangedSomethingAreInTheActivity(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := observe(t, s, request("a"))[0]
	bind(t, s, l, "100")
	approved := request("a")
	approved.State = sync.StateApproved
	observe(t, s, approved)
	observe(t, s, approved)
	require.NoError(
		t,
		s.ObserveIssues(t.Context(), []sync.Issue{issue("100", "a", t0), issue("200", "a", t0)}, time.Time{}),
	)
	require.NoError(
		t,
		s.ObserveIssues(t.Context(), []sync.Issue{issue("100", "a", t0), issue("200", "a", t0)}, time.Time{}),
	)
	require.NoError(t, vanish(t.Context(), s, "a"))
	require.NoError(t, vanish(t.Context(), s, "a"))
	require.Equal(t, `teleport: new, pending
teleport: state approved, was pending
jira: status "Pending"; issue OPS-200 holds the request's ID, too
teleport: gone`, scalar[string](t, d, `SELECT string_agg(cause || ': ' || outcome, E'\n' ORDER BY id) FROM activity
	WHERE action = 'observe'`))
}

func TestRecoverIssues_LeavesTheIssuesOfAnotherClusterAlone(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	second := leading(t, d, Scope{Cluster: "second.example.com", Project: board.Project}, 1)
	require.NoError(t, second.RecoverIssues(t.Context(), []sync.Issue{issue("100", "a", t0)}, time.Now(), 0))
	open, err := second.Open(t.Context(), "", 10)
	require.NoError(t, err)
	require.Empty(t, open)
}

func TestRecoverIssues_MakesRowsThatLookForBothSides(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	known := bind(t, s, observe(t, s, request("a"))[0], "100")
	due := time.Now().UTC().Truncate(time.Microsecond)
	lostIssues := []sync.Issue{
		issue("100", "typed in", t0),
		issue("200", "b", t0),
		issue("201", "b", t0),
		issue("300", "c", t0),
	}
	require.NoError(t, s.RecoverIssues(t.Context(), lostIssues, due, time.Hour))
	require.Empty(t, cmp.Diff(known, row(t, s, "a"), about))
	require.Equal(t, 3, scalar[int](t, d, "SELECT count(*) FROM links"), "none for an issue that has a row")
	lost := row(t, s, "b")
	require.Equal(t, sync.EffectCreate, lost.Begun)
	require.True(t, lost.SuspectRequest)
	require.WithinDuration(t, due.Add(time.Hour), lost.Due, answerTimes, "the first of its issues")
	require.WithinDuration(t, due.Add(3*time.Hour), row(t, s, "c").Due, answerTimes)

	stats := func() sync.Stats {
		stats, err := s.Stats(t.Context(), time.Now())
		require.NoError(t, err)
		return stats
	}
	require.Equal(t, 1, stats().Pending, "whether the others are is not known")
	require.NoError(t, s.ObserveRequests(t.Context(), []sync.Request{request("b")}))
	require.Equal(t, request("b"), row(t, s, "b").Request, "what Teleport says fills it")
	require.Equal(t, 2, stats().Pending)
	require.Equal(t, []string{"b"}, dueIDs(t, s))
}

func TestObserveIssues_OfAMereChangeWakesNoRowThatWaits(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	for _, id := range []string{"waits", "failed", "resolved"} {
		l := observe(t, s, request(id))[0]
		bind(t, s, l, "of "+id)
		require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{issue("of "+id, id, t0)}, time.Time{}))
		if id == "resolved" {
			denied := request(id)
			denied.State = sync.StateDenied
			observe(t, s, denied)
		}
		save(t, s, row(t, s, id), func(l *sync.Link) {
			l.Due = time.Time{}
			if id == "failed" {
				l.Attempts = 2
			}
		})
	}
	before := row(t, s, "waits")
	for _, id := range []string{"waits", "failed", "resolved"} {
		require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{issue("of "+id, id, t0.Add(time.Hour))}, time.Time{}))
	}
	require.ElementsMatch(t, []string{"failed", "resolved"}, dueIDs(t, s))
	after := row(t, s, "waits")
	require.Equal(t, t0.Add(time.Hour), after.Issue.Updated)
	require.Equal(t, before.Seq, after.Seq)
	require.Zero(t, scalar[int](t, d, "SELECT count(*) FROM links WHERE urgent"))
}
