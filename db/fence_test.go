package db

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/sync"
)

// beginTerm is what the elector does to begin a term, as far as it concerns a store.
const beginTerm = `
	WITH before AS (SELECT epoch, resigned FROM leadership WHERE name = $1 FOR UPDATE)
	UPDATE leadership AS l SET epoch = before.epoch + 1, resigned = false FROM before WHERE l.name = $1 RETURNING l.epoch`

// writes are the methods of a store that write, each called so that it has something to write: row
// a has issue 100.
var writes = map[string]func(ctx context.Context, s sync.Store, l sync.Link) error{
	"Save": func(ctx context.Context, s sync.Store, l sync.Link) error {
		_, err := s.Save(ctx, l, sync.Activity{At: t0, Action: "comment"}, sync.Activity{At: t0, Action: "move"})
		return err
	},
	"ObserveRequests": func(ctx context.Context, s sync.Store, l sync.Link) error {
		denied := request(l.RequestID)
		denied.State = sync.StateDenied
		return s.ObserveRequests(ctx, []sync.Request{denied, request("new")})
	},
	"Recover": func(ctx context.Context, s sync.Store, _ sync.Link) error {
		return s.Recover(ctx, []sync.Request{request("new")})
	},
	"RecoverIssues": func(ctx context.Context, s sync.Store, _ sync.Link) error {
		return s.RecoverIssues(ctx, []sync.Issue{issue("900", "new", t0)}, t0, 0)
	},
	"Learn": func(ctx context.Context, s sync.Store, l sync.Link) error { return vanish(ctx, s, l.RequestID) },
	"SuspectRequests": func(ctx context.Context, s sync.Store, l sync.Link) error {
		return s.SuspectRequests(ctx, []string{l.RequestID})
	},
	"SuspectIssues": func(ctx context.Context, s sync.Store, l sync.Link) error {
		return s.SuspectIssues(ctx, []string{l.Bound.ID}, true)
	},
	"ObserveIssues": func(ctx context.Context, s sync.Store, l sync.Link) error {
		return s.ObserveIssues(ctx, []sync.Issue{issue(l.Bound.ID, l.RequestID, t0)}, t0)
	},
	"ObserveIssues of none": func(ctx context.Context, s sync.Store, _ sync.Link) error { return s.ObserveIssues(ctx, nil, t0) },
	"EndDryRun":             func(ctx context.Context, s sync.Store, _ sync.Link) error { return s.EndDryRun(ctx) },
	"Condition":             func(ctx context.Context, s sync.Store, _ sync.Link) error { return s.Condition(ctx, "poll", "broken") },
	"Prune": func(ctx context.Context, s sync.Store, _ sync.Link) error {
		_, err := s.Prune(ctx, farFuture())
		return err
	},
}

// fencedRow makes the rows that writes have something to write to, and returns row a.
func fencedRow(t *testing.T, d *DB, s sync.Store) sync.Link {
	t.Helper()
	rows := observe(t, s, request("a"), request("old"))
	save(t, s, rows[1], func(l *sync.Link) { l.SettledAt = t0 })
	bind(t, s, rows[0], "100")
	return save(t, s, row(t, s, "a"), func(l *sync.Link) { l.LastError, l.Due = sync.DryRunError, farFuture() })
}

// contents are all that a store writes.
func contents(t *testing.T, d *DB) string {
	t.Helper()
	return scalar[string](
		t,
		d,
		`SELECT concat((SELECT json_agg(l ORDER BY request_id)::text FROM links AS l), (SELECT count(*) FROM activity),
		(SELECT json_agg(c)::text FROM cursors AS c), (SELECT json_agg(c)::text FROM conditions AS c))`,
	)
}

// waiting waits until as many statements of the database wait for locks.
func waiting(t *testing.T, d *DB, statements int) {
	t.Helper()
	require.Eventually(t, func() bool {
		return statements == scalar[int](
			t,
			d,
			"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
		)
	}, patience, 5*time.Millisecond, "%d statements that wait for a lock", statements)
}

func TestFence_LetsNothingBeWrittenWhenTheNextTermBeginsBetweenSnapshotAndLock(t *testing.T) {
	t.Parallel()
	for method, write := range writes {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			d, s := newStore(t)
			l := fencedRow(t, d, s)
			before := contents(t, d)
			next, err := connect(t, d.config.URL()).Begin(t.Context())
			require.NoError(t, err)
			_, err = next.Exec(t.Context(), beginTerm, board.String())
			require.NoError(t, err)

			answer := make(chan error, 1)
			go func() { answer <- write(t.Context(), s, l) }()
			waiting(t, d, 1) // its snapshot still shows the old term
			require.NoError(t, next.Commit(t.Context()))
			require.ErrorIs(t, <-answer, sync.ErrNotLeader)
			require.Equal(t, before, contents(t, d))

			require.NoError(t, write(t.Context(), d.Store(board, 2), l))
			require.NotEqual(t, before, contents(t, d), "the next term has something to write")
		})
	}
}

// Learn is not among them: it reads the row again when that was changed, and finds that its term is
// over.
func TestFence_HoldsTheNextTermBackUntilWhatWasBegunIsDone(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Save", "ObserveRequests", "SuspectRequests", "SuspectIssues", "ObserveIssues", "EndDryRun"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			d, s := newStore(t)
			l := fencedRow(t, d, s)
			before := contents(t, d)
			busy, err := connect(t, d.config.URL()).Begin(t.Context())
			require.NoError(t, err)
			_, err = busy.Exec(
				t.Context(),
				"UPDATE links SET seq = seq + 1, due = now() WHERE request_id = 'a'",
			) // so that the row's newest version is not the one of the snapshot
			require.NoError(t, err)

			answer := make(chan error, 1)
			go func() { answer <- writes[method](t.Context(), s, l) }()
			waiting(t, d, 1)
			next := connect(t, d.config.URL())
			begun := make(chan error, 1)
			go func() {
				_, err := next.Exec(t.Context(), beginTerm, board.String())
				begun <- err
			}()
			waiting(t, d, 2)
			require.Empty(t, begun)
			require.NoError(t, busy.Commit(t.Context()))
			require.NoError(t, <-answer, "the term is the present one until it is done")
			require.NoError(t, <-begun)
			require.NotEqual(t, before, contents(t, d))
			require.ErrorIs(t, writes[method](t.Context(), s, l), sync.ErrNotLeader)
		})
	}
}

func TestFence_LetsNoWriterOfAnOldTermWriteAfterTheNextHasBegun(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	const rows, terms = 6, 40
	var requests []sync.Request
	for n := range rows {
		requests = append(requests, request(fmt.Sprint(n)))
	}
	links := observe(t, s, requests...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	elector := connect(t, d.config.URL())
	written := func(epoch int64) (lines int) {
		require.NoError(
			t,
			elector.QueryRow(t.Context(), "SELECT count(*) FROM activity WHERE epoch < $1", epoch).Scan(&lines),
		)
		return lines
	}
	for epoch := int64(1); epoch < terms; epoch++ {
		var writers errgroup.Group
		old := d.Store(board, epoch)
		one := make(chan struct{}, rows)
		for _, l := range links {
			writers.Go(func() error {
				for {
					if _, err := old.Save(ctx, l, sync.Activity{At: t0, Action: "comment"}); err != nil {
						return err
					}
					select {
					case one <- struct{}{}:
					default:
					}
				}
			})
		}
		<-one // they are at it
		var next int64
		require.NoError(t, elector.QueryRow(t.Context(), beginTerm, board.String()).Scan(&next))
		before := written(next)
		require.ErrorIs(t, writers.Wait(), sync.ErrNotLeader)
		require.Equal(t, before, written(next), "lines of terms before %d that came after it had begun", next)
	}
}

func TestSave_TellsThatAnotherTermHasBegunRatherThanThatTheRowChanged(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := bind(t, s, observe(t, s, request("a"))[0], "100")
	l.Bound = sync.IssueRef{ID: "200", Key: "OPS-200"}
	_, err := s.Save(t.Context(), l)
	require.ErrorIs(t, err, sync.ErrChanged)
	exec(t, d, "UPDATE leadership SET epoch = 2")
	for _, l := range []sync.Link{l, {RequestID: "missing"}} {
		_, err = s.Save(t.Context(), l)
		require.ErrorIs(t, err, sync.ErrNotLeader)
		require.NotErrorIs(t, err, sync.ErrChanged)
		require.NotErrorIs(t, err, sync.ErrNotFound)
	}
}

func TestSave_KeepsTheLinesOfActivityInOrder(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	l := observe(t, s, request("a"))[0]
	var done []sync.Activity
	want := ""
	for n := range 50 {
		done = append(done, sync.Activity{At: t0.Add(-time.Duration(n) * time.Second), Action: fmt.Sprint(n % 7), Attempt: n})
		want += fmt.Sprint(n, " ")
	}
	_, err := s.Save(t.Context(), l, done...)
	require.NoError(t, err)
	require.Equal(
		t,
		want,
		scalar[string](t, d, "SELECT string_agg(attempt || ' ', '' ORDER BY id) FROM activity WHERE action <> 'observe'"),
	)
}

// xids is the number that the next transaction which writes will be given.
func xids(t testing.TB, d *DB) int64 {
	t.Helper()
	return scalar[int64](t, d, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
}

func TestReads_TakeOneRoundTripAndNoTransactionNumber(t *testing.T) {
	t.Parallel()
	d := isolated(t)
	s := leading(t, d, board, 1)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	require.NoError(t, s.ObserveIssues(t.Context(), nil, t0))
	own, sent := counted(t, d)
	s = own.Store(board, 1)
	reads := map[string]func() error{
		"Due":           func() error { _, _, err := s.Due(t.Context(), time.Now(), 10, nil); return err },
		"Cursor":        func() error { _, err := s.Cursor(t.Context()); return err },
		"Open":          func() error { _, err := s.Open(t.Context(), "", 10); return err },
		"PendingIssues": func() error { _, _, err := s.PendingIssues(t.Context(), 10); return err },
		"Stats":         func() error { _, err := s.Stats(t.Context(), time.Now()); return err },
		"Prune of none": func() error { _, err := s.Prune(t.Context(), t0); return err },
	}
	for method, read := range reads {
		require.NoError(t, read(), method) // prepares its statements
		sentBefore, before := sent.Load(), xids(t, d)
		require.NoError(t, read(), method)
		require.Equal(t, int64(1), sent.Load()-sentBefore, method)
		require.Equal(t, before, xids(t, d), method)
	}
}

func TestPolls_OfWhatIsKnownWriteNothing(t *testing.T) {
	t.Parallel()
	d := isolated(t)
	s := leading(t, d, board, 1)
	var requests []sync.Request
	var issues []sync.Issue
	for n := range 10 {
		requests = append(requests, request(fmt.Sprint(n)))
		issues = append(issues, issue(fmt.Sprint(100+n), requests[n].ID, t0))
		bind(t, s, observe(t, s, requests[n])[0], issues[n].ID)
	}
	issues = append(
		issues,
		issue("200", requests[0].ID, t0),
		issue("300", "nobody's", t0),
	) // a stray, and one without a row
	require.NoError(t, s.ObserveIssues(t.Context(), issues, t0))
	for _, l := range dueIDs(t, s) {
		save(t, s, row(t, s, l), func(l *sync.Link) { l.Due = farFuture() })
	}
	require.NoError(
		t,
		s.ObserveRequests(t.Context(), []sync.Request{request("waits")}),
	) // has no issue, and is due already
	issues = append(issues, issue("400", "waits", t0))

	dueIDs(t, s) // a term begins with a look at what a clock that was ahead put off
	before := xids(t, d)
	for range 3 {
		_, _, err := s.PendingIssues(t.Context(), 50)
		require.NoError(t, err)
		_, err = s.Cursor(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.RecoverIssues(t.Context(), issues[:10], time.Now(), 0))
		require.NoError(t, s.ObserveIssues(t.Context(), issues, t0))
		require.NoError(t, s.ObserveIssues(t.Context(), nil, t0))
		require.NoError(t, s.ObserveRequests(t.Context(), requests))
		_, _, err = s.Due(t.Context(), time.Now(), 16, nil)
		require.NoError(t, err)
		_, err = s.Stats(t.Context(), time.Now())
		require.NoError(t, err)
		_, err = s.Prune(t.Context(), t0)
		require.NoError(t, err)
	}
	require.Equal(t, before, xids(t, d))

	moved := issues[3]
	moved.Status.Name = "Approved"
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{moved}, t0))
	require.Greater(t, xids(t, d), before, "what is new is written")
}

func TestObservers_ReadAgainBehindTheLockWhatTheyHadLookedAt(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	busy, err := connect(t, d.config.URL()).Begin(t.Context())
	require.NoError(t, err)
	later := issue("100", "a", t0.Add(time.Hour))
	later.Status.Name = "Approved"
	reviewed := request("a")
	reviewed.State = sync.StateDenied
	_, err = busy.Exec(
		t.Context(),
		"UPDATE links SET issue = $1, request = $2, state = 'denied', strays = '{200}', seq = seq + 1",
		later,
		reviewed,
	)
	require.NoError(t, err)

	var observers errgroup.Group
	observers.Go(func() error {
		return s.ObserveIssues(t.Context(), []sync.Issue{issue("100", "a", t0), issue("300", "a", t0)}, t0)
	})
	observers.Go(func() error {
		approved := request("a")
		approved.State = sync.StateApproved
		return s.ObserveRequests(t.Context(), []sync.Request{approved})
	})
	waiting(t, d, 2) // both looked, and found news
	require.NoError(t, busy.Commit(t.Context()))
	require.NoError(t, observers.Wait())
	l := row(t, s, "a")
	require.Equal(t, "Approved", l.Issue.Status.Name, "an older version does not undo a newer one")
	require.Equal(t, sync.StateDenied, l.Request.State, "nothing overwrites a denial")
	require.Equal(t, []string{"200", "300"}, l.Strays)
}

// isolated returns a DB with its tables on a server where nobody else is given transaction numbers.
func isolated(t *testing.T) *DB {
	t.Helper()
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	d := open(t, server.URL("postgres"))
	require.NoError(t, d.Migrate(t.Context()))
	exec(t, d, "ALTER SYSTEM SET autovacuum = off")
	exec(t, d, "SELECT pg_reload_conf()")
	return d
}
