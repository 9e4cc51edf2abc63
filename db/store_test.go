package db

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

// t0 is some time on the clocks of Jira and Teleport.
var t0 = time.Date(2026, 3, 14, 15, 9, 26, 535000000, time.UTC)

// farFuture is later than any due time that a test sets by observing.
func farFuture() time.Time { return time.Now().Add(24 * time.Hour) }

// leading returns the store of a term that has begun.
func leading(t testing.TB, d *DB, scope Scope, epoch int64) sync.Store {
	t.Helper()
	exec(t, d, `
		INSERT INTO leadership (name, epoch, term, holder, resigned) VALUES ($1, $2, gen_random_uuid(), 'test', false)
		ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch`, scope.String(), epoch)
	return d.Store(scope, epoch)
}

func newStore(t testing.TB) (*DB, sync.Store) {
	t.Helper()
	d := migrated(t)
	return d, leading(t, d, board, 1)
}

func request(id string) sync.Request {
	return sync.Request{
		ID: id, State: sync.StatePending, User: "ann", Roles: []string{"admin"}, Reason: "quote \" nul \x00 emoji 🙂",
		Created: t0, Expires: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), AccessExpires: t0.Add(2 * time.Hour),
	}
}

func issue(id, requestID string, updated time.Time) sync.Issue {
	return sync.Issue{
		ID:        id,
		Key:       "OPS-" + id,
		Project:   "OPS",
		Status:    sync.Status{ID: "1", Name: "Pending"},
		RequestID: requestID,
		Updated:   updated,
	}
}

// observe records requests and returns their rows.
func observe(t testing.TB, s sync.Store, requests ...sync.Request) []sync.Link {
	t.Helper()
	require.NoError(t, s.ObserveRequests(t.Context(), requests))
	links := make([]sync.Link, len(requests))
	for i, r := range requests {
		links[i] = row(t, s, r.ID)
	}
	return links
}

// row reads one open row.
func row(t testing.TB, s sync.Store, id string) sync.Link {
	t.Helper()
	open, err := s.Open(t.Context(), "", 1000)
	require.NoError(t, err)
	i := slices.IndexFunc(open, func(l sync.Link) bool { return l.RequestID == id })
	require.GreaterOrEqual(t, i, 0, "row %s is not among the %d open ones", id, len(open))
	return open[i]
}

// save records work on a row and returns it.
func save(t testing.TB, s sync.Store, l sync.Link, change func(*sync.Link)) sync.Link {
	t.Helper()
	change(&l)
	saved, err := s.Save(t.Context(), l)
	require.NoError(t, err)
	return saved
}

// bind gives a row an issue and takes it off the queue.
func bind(t testing.TB, s sync.Store, l sync.Link, issueID string) sync.Link {
	t.Helper()
	return save(t, s, l, func(l *sync.Link) {
		l.Bound, l.Due = sync.IssueRef{ID: issueID, Key: "OPS-" + issueID}, time.Time{}
	})
}

// answerTimes is how long a question to PostgreSQL may take in a test. A time that is kept by the
// server's clock and read by the process's is uncertain by that.
const answerTimes = 10 * time.Second

// about compares times as far as that goes.
var about = cmpopts.EquateApproxTime(answerTimes)

// dueIDs are the requests that are due now.
func dueIDs(t *testing.T, s sync.Store, skip ...string) []string {
	t.Helper()
	due, _, err := s.Due(t.Context(), time.Now(), 100, skip)
	require.NoError(t, err)
	ids := []string{}
	for _, l := range due {
		ids = append(ids, l.RequestID)
	}
	return ids
}

// untouched runs do and requires that it wrote no row.
func untouched(t *testing.T, d *DB, do func()) {
	t.Helper()
	versions := func() string {
		return scalar[string](
			t,
			d,
			"SELECT COALESCE(string_agg(concat(ctid, xmin, request_id), ' ' ORDER BY request_id), '') FROM links",
		)
	}
	before := versions()
	do()
	require.Equal(t, before, versions())
}

func TestDue_ReturnsTheLongestDueFirstWithoutThoseInSkip(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	now := time.Now()
	for id, due := range map[string]time.Time{
		"a": now.Add(-time.Minute), "b": now.Add(-time.Hour), "c": now.Add(-answerTimes), "d": now.Add(time.Minute), "e": {},
	} {
		l := observe(t, s, request(id))[0]
		save(t, s, l, func(l *sync.Link) { l.Due = due })
	}
	expect := func(ids []string, next time.Time, limit int, skip ...string) {
		due, at, err := s.Due(t.Context(), now, limit, skip)
		require.NoError(t, err)
		found := []string{}
		for _, l := range due {
			found = append(found, l.RequestID)
		}
		require.Equal(t, ids, found)
		require.Empty(t, cmp.Diff(next, at, about))
	}
	never, later := time.Time{}, now.Add(time.Minute)
	expect([]string{"b", "a", "c"}, later, 10)
	expect([]string{"b", "a", "c"}, never, 3)
	expect([]string{"b"}, never, 1)
	expect([]string{"a"}, never, 1, "b")
	expect([]string{"b"}, later, 10, "a", "c")
	expect([]string{}, later, 10, "a", "b", "c")
	expect([]string{}, never, 10, "a", "b", "c", "d")
}

func TestDue_ReturnsARowWhoseIssueWasMovedBeforeAThousandThatWaitForTheirs(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	rows := observe(t, s, request("moved"), request("suspect"), request("edited"))
	for n, l := range rows {
		bind(t, s, l, fmt.Sprint(n))
	}
	pending := []sync.Issue{issue("0", "moved", t0), issue("1", "suspect", t0), issue("2", "edited", t0)}
	require.NoError(t, s.ObserveIssues(t.Context(), pending, time.Time{}))
	for _, l := range rows {
		seen := row(t, s, l.RequestID)
		require.False(t, seen.Urgent, "a status that was not known before is nobody's move")
		save(t, s, seen, func(l *sync.Link) { l.Due = time.Time{} })
	}
	page := make([]sync.Request, 1000)
	for n := range page {
		page[n] = request(fmt.Sprintf("%04d", n))
	}
	require.NoError(t, s.ObserveRequests(t.Context(), page))
	edited, moved := pending[2], pending[0]
	edited.Updated, moved.Updated = t0.Add(time.Minute), t0.Add(time.Minute)
	moved.Status = sync.Status{ID: "3", Name: "Approved"}
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{edited}, time.Time{}))
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{moved}, time.Time{}))
	require.NoError(t, s.SuspectIssues(t.Context(), []string{"1"}, true))

	first := func() []sync.Link {
		due, _, err := s.Due(t.Context(), time.Now(), 3, nil)
		require.NoError(t, err)
		require.Len(t, due, 3)
		return due
	}
	due := first()
	require.Equal(t, []string{"moved", "suspect", "0000"}, []string{due[0].RequestID, due[1].RequestID, due[2].RequestID})
	require.Equal(t, []bool{true, true, false}, []bool{due[0].Urgent, due[1].Urgent, due[2].Urgent})

	further := moved
	further.Updated, further.Status = t0.Add(time.Hour), sync.Status{ID: "4", Name: "Denied"}
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{further}, time.Time{}))
	stale := save(t, s, due[0], func(l *sync.Link) { l.Due = time.Time{} })
	require.True(t, stale.Urgent, "moved again since")
	later := farFuture().UTC().Truncate(time.Microsecond)
	done := save(t, s, stale, func(l *sync.Link) { l.Due = later })
	require.False(t, done.Urgent)
	require.Equal(t, "suspect", first()[0].RequestID)
}

func TestDue_TellsWhenTheNextRowFallsDueUrgentOrNot(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	observe(t, s, request("a"), request("b"))
	const past, soon, later = -time.Minute, time.Minute, time.Hour
	for _, test := range []struct{ urgent, other, want time.Duration }{{soon, later, soon}, {later, soon, soon}, {past, later, later}, {later, past, later}} {
		exec(t, d, "UPDATE links SET urgent = true, due = $1 WHERE request_id = 'a'", now.Add(test.urgent))
		exec(t, d, "UPDATE links SET due = $1 WHERE request_id = 'b'", now.Add(test.other))
		_, next, err := s.Due(t.Context(), now, 10, nil)
		require.NoError(t, err)
		require.WithinDuration(t, now.Add(test.want), next, answerTimes)
		stats, err := s.Stats(t.Context(), now)
		require.NoError(t, err)
		if test.urgent < 0 || test.other < 0 {
			require.Equal(t, 1, stats.Due)
			require.WithinDuration(t, now.Add(past), stats.OldestDue, answerTimes)
		}
	}
}

func TestSave_RecordsTheWholeWorkAndNoFact(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := observe(t, s, request("a"))[0]
	work := sync.Work{
		Bound: sync.IssueRef{ID: "100", Key: "OPS-100"}, Begun: sync.EffectComment + "review:bob", BegunAt: t0,
		Mark: "m", Linked: true, IssueGone: true, Placed: true, Walking: sync.OutcomeDenied, Answered: []string{"200"},
		Commented: []string{"review:ann", "resolution:denied"}, Resolved: sync.OutcomeDenied,
		Due: t0.Add(time.Hour), Attempts: 3, LastError: "broken", Parked: true,
	}
	changed := l
	changed.Work, changed.Request.User, changed.Gone, changed.Issue.Key = work, "mallory", true, "OPS-666"
	activity := sync.Activity{At: t0, Action: "comment", Outcome: "err\x00or \xff", Cause: "because", Attempt: 4}
	_, err := s.Save(t.Context(), changed, activity, activity)
	require.NoError(t, err)

	want := l
	want.Work = work
	saved := row(t, s, "a")
	require.Empty(t, cmp.Diff(want, saved, about))
	require.Equal(
		t,
		2,
		scalar[int](t, d, `SELECT count(*) FROM activity WHERE scope = $1 AND request_id = 'a' AND epoch = 1
		AND action = 'comment' AND outcome = 'error ' || chr(65533) AND cause = 'because' AND attempt = 4
		AND at - $2 BETWEEN -$3::interval AND $3`, board.String(), t0, answerTimes),
	)

	saved.SettledAt = t0
	_, err = s.Save(t.Context(), saved)
	require.NoError(t, err)
	require.WithinDuration(t, t0, scalar[time.Time](t, d, "SELECT settled_at FROM links"), answerTimes)
}

func TestSave_RecordsTheIssueThatARowGetsAndNoLaterOne(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := observe(t, s, request("a"))[0]
	made := issue("100", "a", t0)
	l.Issue = made
	_, err := s.Save(t.Context(), l)
	require.NoError(t, err)
	require.Zero(t, row(t, s, "a").Issue, "the row has no issue yet")
	l.Bound = sync.IssueRef{ID: "100", Key: "OPS-100"}
	other := observe(t, s, request("b"))[0]
	other.Issue, other.Bound = issue("666", "b", t0), sync.IssueRef{ID: "200", Key: "OPS-200"}
	_, err = s.Save(t.Context(), other)
	require.NoError(t, err)
	other = row(t, s, "b")
	require.Zero(t, other.Issue, "that is another issue")

	l.Issue = made
	bound, err := s.Save(t.Context(), l)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(made, bound.Issue))
	require.Equal(t, l.Seq, bound.Seq)
	require.Equal(t, t0, scalar[time.Time](t, d, "SELECT issue_updated FROM links WHERE issue_id = '100'").UTC())
	require.Zero(t, scalar[int](t, d, "SELECT count(*) FROM activity WHERE cause = 'jira'"))

	bound.Issue.Status.Name, bound.Issue.Updated = "Approved", t0.Add(time.Hour)
	_, err = s.Save(t.Context(), bound)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(made, row(t, s, "a").Issue), "from then on only observers say what Jira says")
	untouched(t, d, func() { require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{made}, time.Time{})) })

	unseen := observe(t, s, request("c"))[0]
	unseen.Bound = sync.IssueRef{ID: "300", Key: "OPS-300"}
	unseen.Issue = sync.Issue{ID: "300", Key: "OPS-300"} // all that the answer to a create tells
	unseen, err = s.Save(t.Context(), unseen)
	require.NoError(t, err)
	require.Equal(t, sync.Issue{ID: "300", Key: "OPS-300"}, unseen.Issue)
	require.True(
		t,
		scalar[bool](t, d, "SELECT issue_updated IS NULL FROM links WHERE issue_id = '300'"),
		"so that it is looked for first",
	)
}

func TestSave_LeavesARowDueThatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	read := observe(t, s, request("a"))[0]
	denied := request("a")
	denied.State = sync.StateDenied
	observe(t, s, denied)

	saved := save(t, s, read, func(l *sync.Link) {
		l.Linked, l.Due, l.Attempts, l.Parked = true, farFuture(), 5, true
	})
	require.True(t, saved.Linked, "what was done is recorded")
	require.Equal(t, sync.StateDenied, saved.Request.State)
	require.Equal(t, []string{"a"}, dueIDs(t, s))
	require.Zero(t, saved.Attempts)
	require.False(t, saved.Parked)

	again := save(t, s, saved, func(l *sync.Link) { l.Due = time.Time{} })
	require.Zero(t, again.Due)
	require.Empty(t, dueIDs(t, s))
}

func TestSave_LetsOneRowNameAnIssueAndARowNameOneIssue(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	rows := observe(t, s, request("a"), request("b"))
	bound := bind(t, s, rows[0], "100")

	second := rows[1]
	second.Bound = sync.IssueRef{ID: "100", Key: "OPS-100"}
	second.Linked = true
	_, err := s.Save(t.Context(), second, sync.Activity{At: t0, Action: "create"})
	require.ErrorIs(t, err, ErrIssueTaken)
	require.ErrorIs(t, err, sync.ErrChanged)
	require.False(t, row(t, s, "b").Linked, "nothing of it is recorded")
	require.Zero(t, scalar[int](t, d, "SELECT count(*) FROM activity WHERE action <> 'observe'"))

	for _, other := range []sync.IssueRef{{ID: "300", Key: "OPS-300"}, {}} {
		rebound := bound
		rebound.Bound = other
		_, err = s.Save(t.Context(), rebound)
		require.ErrorIs(t, err, sync.ErrChanged)
		require.NotErrorIs(t, err, ErrIssueTaken)
	}
	require.Equal(t, "100", row(t, s, "a").Bound.ID)

	_, err = s.Save(t.Context(), sync.Link{RequestID: "missing"})
	require.ErrorIs(t, err, sync.ErrNotFound)

	elsewhere := leading(t, d, Scope{Cluster: board.Cluster, Project: "OTHER"}, 1)
	bind(t, elsewhere, observe(t, elsewhere, request("z"))[0], "100")
}

func TestOpen_PagesThroughUnsettledRows(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	for _, id := range []string{"b", "B", "a", "_", "é", "c"} {
		observe(t, s, request(id))
	}
	save(t, s, row(t, s, "b"), func(l *sync.Link) { l.SettledAt = t0 })
	var ids []string
	for after := ""; ; {
		page, err := s.Open(t.Context(), after, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			ids = append(ids, l.RequestID)
		}
		after = ids[len(ids)-1]
	}
	require.Equal(t, []string{"B", "_", "a", "c", "é"}, ids)
}

func TestPendingIssues_ReturnsTheLatestMovedFirst(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	for i, id := range []string{"old", "new", "unseen", "noissue", "gone", "decided"} {
		l := observe(t, s, request(id))[0]
		if id != "noissue" {
			bind(t, s, l, fmt.Sprint(i))
		}
	}
	decided := request("decided")
	decided.State = sync.StateApproved
	observe(t, s, decided)
	require.NoError(t, vanish(t.Context(), s, "gone"))
	seen := []sync.Issue{
		issue("0", "old", t0),
		issue("1", "new", t0.Add(time.Hour)),
		issue("4", "gone", t0),
		issue("5", "decided", t0),
	}
	require.NoError(t, s.ObserveIssues(t.Context(), seen, time.Time{}))

	ids, pending, err := s.PendingIssues(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []string{"2", "1", "0"}, ids)
	require.True(t, pending)
	ids, pending, err = s.PendingIssues(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"2"}, ids)
	require.True(t, pending)

	for _, id := range []string{"old", "new", "unseen"} {
		require.NoError(t, vanish(t.Context(), s, id))
	}
	ids, pending, err = s.PendingIssues(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, ids)
	require.True(t, pending, "one has no issue yet")
	require.NoError(t, vanish(t.Context(), s, "noissue"))
	_, pending, err = s.PendingIssues(t.Context(), 10)
	require.NoError(t, err)
	require.False(t, pending)
}

func TestPrune_DeletesOldSettledRowsWithTheirActivity(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	for id, settled := range map[string]time.Time{"old": t0.Add(-time.Minute), "young": t0.Add(time.Minute), "open": {}} {
		l := observe(t, s, request(id))[0]
		l.SettledAt = settled
		_, err := s.Save(t.Context(), l, sync.Activity{At: t0, Action: "settle"})
		require.NoError(t, err)
	}
	exec(t, d, `INSERT INTO links (scope, request_id, seq, request, state, settled_at)
		SELECT $1, 'many' || n, 1, '{}', 'denied', $2::timestamptz - interval '1 day' FROM generate_series(1, 2500) AS n`,
		board.String(), t0)

	pruned, err := s.Prune(t.Context(), t0)
	require.NoError(t, err)
	require.Equal(t, 2501, pruned)
	require.Equal(
		t,
		"open young",
		scalar[string](t, d, "SELECT string_agg(request_id, ' ' ORDER BY request_id) FROM links"),
	)
	require.Equal(
		t,
		"open young",
		scalar[string](t, d, "SELECT string_agg(DISTINCT request_id, ' ' ORDER BY request_id) FROM activity"),
	)
}

func TestStats_CountsRows(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	stats, err := s.Stats(t.Context(), now)
	require.NoError(t, err)
	require.Equal(t, sync.Stats{}, stats)

	rows := observe(t, s, request("a"), request("b"), request("c"), request("d"))
	save(t, s, rows[0], func(l *sync.Link) { l.Due = now.Add(-time.Hour) })
	save(t, s, rows[1], func(l *sync.Link) { l.Due = now.Add(-time.Minute) })
	save(t, s, rows[2], func(l *sync.Link) { l.Due, l.Parked = now.Add(time.Hour), true })
	denied := request("d")
	denied.State = sync.StateDenied
	save(t, s, observe(t, s, denied)[0], func(l *sync.Link) { l.Due, l.SettledAt = time.Time{}, now })
	stats, err = s.Stats(t.Context(), now)
	require.NoError(t, err)
	want := sync.Stats{Open: 3, Pending: 3, Due: 2, Parked: 1, OldestDue: now.Add(-time.Hour)}
	require.Empty(t, cmp.Diff(want, stats, about))
}

func TestEndDryRun_MakesDueWhatADryRunPutOffAndNothingElse(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	later := time.Now().Add(time.Minute)
	rows := observe(t, s, request("a"), request("b"), request("c"), request("d"))
	for n, lastError := range []string{sync.DryRunError + "create an issue", "jira: " + sync.DryRunError, "", sync.DryRunError + "move it"} {
		save(t, s, rows[n], func(l *sync.Link) {
			if l.LastError, l.Due = lastError, later; l.RequestID == "d" {
				l.SettledAt = t0
			}
		})
	}
	require.Empty(t, dueIDs(t, s))
	require.NoError(t, s.EndDryRun(t.Context()))
	require.Equal(t, []string{"a"}, dueIDs(t, s))
	require.Equal(t, sync.DryRunError+"create an issue", row(t, s, "a").LastError)
}

// everyMethod calls each method of a store and returns what each answered.
func everyMethod(ctx context.Context, s sync.Store, l sync.Link) map[string]error {
	answers := map[string]error{
		"ObserveRequests": s.ObserveRequests(ctx, []sync.Request{request(l.RequestID), request("new")}),
		"Learn":           vanish(ctx, s, l.RequestID),
		"Recover":         s.Recover(ctx, []sync.Request{request("new")}),
		"RecoverIssues":   s.RecoverIssues(ctx, []sync.Issue{issue("999", "new", t0)}, t0, time.Second),
		"SuspectRequests": s.SuspectRequests(ctx, []string{l.RequestID}),
		"ObserveIssues":   s.ObserveIssues(ctx, []sync.Issue{issue(l.Bound.ID, l.RequestID, t0)}, t0),
		"SuspectIssues":   s.SuspectIssues(ctx, []string{l.Bound.ID}, true),
		"EndDryRun":       s.EndDryRun(ctx),
		"Heeded":          s.Heeded(ctx, []sync.Heeded{{Hint: sync.Hint{IssueID: l.Bound.ID, Seq: 1}}}),
	}
	_, _, answers["Hints"] = s.Hints(ctx, 10)
	_, answers["Cursor"] = s.Cursor(ctx)
	_, _, answers["Due"] = s.Due(ctx, time.Now(), 10, nil)
	_, answers["Save"] = s.Save(ctx, l, sync.Activity{At: t0})
	_, answers["Open"] = s.Open(ctx, "", 10)
	_, _, answers["PendingIssues"] = s.PendingIssues(ctx, 10)
	_, answers["Prune"] = s.Prune(ctx, farFuture())
	_, answers["Stats"] = s.Stats(ctx, time.Now())
	return answers
}

func TestStore_RefusesEverythingOnceAnotherTermHasBegun(t *testing.T) {
	t.Parallel()
	d, old := newStore(t)
	l := bind(t, old, observe(t, old, request("a"))[0], "100")
	young := leading(t, d, board, 2)

	untouched(t, d, func() {
		for method, err := range everyMethod(t.Context(), old, l) {
			require.ErrorIs(t, err, sync.ErrNotLeader, method)
		}
	})
	require.Zero(t, scalar[int](t, d, "SELECT count(*) FROM cursors"))
	for method, err := range everyMethod(t.Context(), young, l) {
		require.NoError(t, err, method)
	}
	for method, err := range everyMethod(t.Context(), d.Store(board, 3), l) {
		require.ErrorIs(t, err, sync.ErrNotLeader, method)
	}
}

func TestStore_KeepsScopesApart(t *testing.T) {
	t.Parallel()
	d, ops := newStore(t)
	other := leading(t, d, Scope{Cluster: board.Cluster, Project: "OTHER"}, 7)
	bind(t, ops, observe(t, ops, request("a"))[0], "100")
	require.NoError(t, ops.ObserveIssues(t.Context(), []sync.Issue{issue("100", "a", t0)}, t0))
	l := save(t, ops, row(t, ops, "a"), func(l *sync.Link) { l.SettledAt = t0 })

	untouched(t, d, func() {
		for method, err := range everyMethod(t.Context(), other, l) {
			require.NoError(t, err, method)
		}
		exec(t, d, "DELETE FROM links WHERE scope = $1", Scope{Cluster: board.Cluster, Project: "OTHER"}.String())
	})
	observe(t, other, request("a"))
	cursor, err := other.Cursor(t.Context())
	require.NoError(t, err)
	require.Equal(t, t0, cursor, "its own, set above")
	require.NoError(t, other.ObserveIssues(t.Context(), nil, t0.Add(time.Hour)))
	cursor, err = ops.Cursor(t.Context())
	require.NoError(t, err)
	require.Equal(t, t0, cursor)
}
