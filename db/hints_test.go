package db

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/sync"
)

// hint keeps a hint about an issue of a row.
func hint(t *testing.T, d *DB, issueID string, claimed time.Time) {
	t.Helper()
	noted, err := d.Hint(t.Context(), board, issueID, claimed)
	require.NoError(t, err)
	require.True(t, noted)
}

// hints are those that are due, and how long until the next.
func hints(t *testing.T, s sync.Store, limit int) (due []sync.Hint, next time.Duration) {
	t.Helper()
	due, next, err := s.Hints(t.Context(), limit)
	require.NoError(t, err)
	return due, next
}

// named makes rows that name the issues, each of a request of its own.
func named(t *testing.T, s sync.Store, issueIDs ...string) {
	t.Helper()
	for _, id := range issueIDs {
		bind(t, s, observe(t, s, request("request-of-"+id))[0], id)
	}
}

func TestHint_IsKeptOnlyOfAnIssueThatARowOfTheScopeNames(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	other := leading(t, d, Scope{Cluster: board.Cluster, Project: "OTHER"}, 1)
	named(t, s, "100", "101")
	named(t, other, "200")
	save(t, s, row(t, s, "request-of-101"), func(l *sync.Link) { l.SettledAt = t0 })
	for _, id := range []string{"200", "999", "", "1e3"} {
		noted, err := d.Hint(t.Context(), board, id, t0)
		require.NoError(t, err)
		require.False(t, noted, id)
	}
	require.Zero(t, scalar[int](t, d, "SELECT count(*) FROM hints"))

	require.NoError(
		t,
		s.ObserveIssues(t.Context(), []sync.Issue{issue("100", "request-of-100", t0.Add(time.Hour))}, time.Time{}),
	)
	exec(t, d, "DELETE FROM leadership") // a hint belongs to no term
	hint(t, d, "100", t0)
	hint(t, d, "101", time.Time{})
	due, next := hints(t, leading(t, d, board, 7), 10)
	require.Empty(t, cmp.Diff([]sync.Hint{
		{IssueID: "100", Open: true, Claimed: t0, Recorded: t0.Add(time.Hour), Seq: 1},
		{IssueID: "101", Seq: 1}, // its row is settled
	}, due))
	require.Zero(t, next)
	elsewhere := leading(t, d, Scope{Cluster: board.Cluster, Project: "OTHER"}, 7)
	require.NoError(t, elsewhere.Heeded(t.Context(), []sync.Heeded{{Hint: due[0]}}))
	due, _ = hints(t, elsewhere, 10)
	require.Empty(t, due)
	require.Equal(t, 2, scalar[int](t, d, "SELECT count(*) FROM hints"))
}

func TestHint_OfManyWebhooksAboutOneIssueIsOneRow(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	named(t, s, "100")
	var replicas errgroup.Group
	for n := range 100 {
		replicas.Go(func() error {
			_, err := d.Hint(t.Context(), board, "100", t0.Add(time.Duration(n%10)*time.Minute))
			return err
		})
	}
	require.NoError(t, replicas.Wait())
	due, _ := hints(t, s, 10)
	require.Equal(t, []sync.Hint{{IssueID: "100", Open: true, Claimed: t0.Add(9 * time.Minute), Seq: 100}}, due)

	hint(t, d, "100", time.Time{})
	hint(t, d, "100", t0)
	due, _ = hints(t, s, 10)
	require.Equal(
		t,
		[]sync.Hint{{IssueID: "100", Open: true, Seq: 102}},
		due,
		"one that says no time is answered by no time",
	)
}

func TestHeeded_EndsAHintOrLetsItWait(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	named(t, s, "100", "101", "102")
	for _, id := range []string{"102", "101", "100"} {
		hint(t, d, id, t0)
	}
	exec(t, d, "UPDATE hints SET due = now() - interval '1 minute' WHERE issue_id = '101'")
	first, _ := hints(t, s, 2)
	require.Len(t, first, 2)
	require.Equal(t, "101", first[0].IssueID, "the longest due first")
	due, _ := hints(t, s, 10)
	require.Len(t, due, 3)

	require.NoError(t, s.Heeded(t.Context(), []sync.Heeded{
		{Hint: sync.Hint{IssueID: "100", Open: true, Seq: 1}, Again: time.Hour},
		{Hint: sync.Hint{IssueID: "101", Open: true, Seq: 1}},
		{Hint: sync.Hint{IssueID: "102", Open: true, Seq: 1}, Again: time.Minute},
	}))
	due, next := hints(t, s, 10)
	require.Empty(t, due)
	require.Greater(t, next, 30*time.Second)
	require.LessOrEqual(t, next, time.Minute)
	require.Equal(t, 2, scalar[int](t, d, "SELECT count(*) FROM hints WHERE looks = 1"))

	hint(t, d, "100", t0.Add(time.Second)) // another webhook
	due, _ = hints(t, s, 10)
	require.Equal(t, []sync.Hint{{IssueID: "100", Open: true, Claimed: t0.Add(time.Second), Seq: 2}}, due)
}

func TestHeeded_LeavesAHintDueThatWasRenewedMeanwhile(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	named(t, s, "100", "101")
	hint(t, d, "100", t0)
	hint(t, d, "101", t0)
	read, _ := hints(t, s, 10)
	hint(t, d, "100", t0)
	hint(t, d, "101", t0)
	require.NoError(t, s.Heeded(t.Context(), []sync.Heeded{{Hint: read[0]}, {Hint: read[1], Again: time.Hour}}))
	due, _ := hints(t, s, 10)
	require.Len(t, due, 2)
	require.Zero(t, due[1].Looks)
}

func TestHint_GoesWithItsRow(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	named(t, s, "100")
	save(t, s, row(t, s, "request-of-100"), func(l *sync.Link) { l.SettledAt = t0 })
	hint(t, d, "100", t0)
	pruned, err := s.Prune(t.Context(), t0.Add(time.Second))
	require.NoError(t, err)
	require.Equal(t, 1, pruned)
	require.Zero(t, scalar[int](t, d, "SELECT count(*) FROM hints"))
}

// TestHint_GetsInNobodysWay lets webhooks, observers, workers and the deletion of old rows at the
// same rows.
func TestHint_GetsInNobodysWay(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	var issues []sync.Issue
	for n := range 20 {
		id := fmt.Sprint(100 + n)
		named(t, s, id)
		issues = append(issues, issue(id, "request-of-"+id, t0))
	}
	var all errgroup.Group
	for n := range 4 {
		all.Go(func() error {
			for i := range 50 {
				if _, err := d.Hint(t.Context(), board, issues[(7*n+i)%len(issues)].ID, t0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	all.Go(func() error {
		for i := range 50 {
			for j := range issues {
				issues[j].Updated = t0.Add(time.Duration(i) * time.Second)
			}
			if err := s.ObserveIssues(t.Context(), issues, time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
	all.Go(func() error {
		for range 50 {
			due, _, err := s.Hints(t.Context(), 10)
			if err != nil {
				return err
			}
			heeded := make([]sync.Heeded, len(due))
			for i := range due {
				heeded[i].Hint = due[i]
			}
			if err := s.Heeded(t.Context(), heeded); err != nil {
				return err
			}
		}
		return nil
	})
	all.Go(func() error {
		for n := range 10 {
			l := row(t, s, fmt.Sprintf("request-of-%d", 100+n))
			l.SettledAt = t0
			if _, err := s.Save(t.Context(), l); err != nil {
				return err
			}
			if _, err := s.Prune(t.Context(), t0.Add(time.Second)); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, all.Wait())
	require.Equal(t, 10, scalar[int](t, d, "SELECT count(*) FROM links"))
}

// listens returns what receives when an elector is told of hints.
func listens(c *ElectorConfig) (told chan struct{}) {
	told = make(chan struct{}, 1)
	c.OnHint = func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	return told
}

func TestElector_TellsTheLeaderAndNobodyElseOfHints(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	named(t, s, "100")
	exec(t, d, "DELETE FROM leadership")
	e := &election{t: t}
	var leads, stands chan struct{}
	first := e.join(d.config.URL(), func(c *ElectorConfig) { leads, c.Lease = listens(c), 10*time.Second })
	reign := next(t, first)
	second := e.join(d.config.URL(), func(c *ElectorConfig) { stands, c.Lease = listens(c), 10*time.Second })
	second.role(t, Standby)

	hint(t, d, "100", t0) // as a standby would: it has no term
	receive(t, leads, "the leader to be told")
	due, _ := hints(t, d.Store(board, reign.term.Epoch), 10)
	require.Len(t, due, 1)
	_, err := d.Hint(t.Context(), board, "999", t0)
	require.NoError(t, err)

	hint(t, d, "100", t0)
	receive(t, leads, "the leader to be told")
	require.Empty(t, leads, "nobody is told of an issue that no row names")
	require.Empty(t, stands)

	first.stop()
	next(t, second)
	hint(t, d, "100", t0)
	receive(t, stands, "the new leader to be told")
	require.Empty(t, leads)
}

func TestElector_LosesNoHintWithItsSession(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	named(t, s, "100")
	exec(t, d, "DELETE FROM leadership")
	var told chan struct{}
	r := (&election{t: t}).join(d.config.URL(), func(c *ElectorConfig) { told = listens(c) })
	reign := next(t, r)
	killLeader(t, d)
	hint(t, d, "100", t0) // whoever listened is gone
	receive(t, reign.ended, "the end of the reign")

	after := next(t, r)
	require.Greater(t, after.term.Epoch, reign.term.Epoch)
	due, _ := hints(t, d.Store(board, after.term.Epoch), 10)
	require.Len(t, due, 1)
	require.ErrorIs(
		t,
		d.Store(board, reign.term.Epoch).Heeded(t.Context(), []sync.Heeded{{Hint: due[0]}}),
		sync.ErrNotLeader,
	)
	due, _ = hints(t, d.Store(board, after.term.Epoch), 10)
	require.Len(t, due, 1)
	hint(t, d, "100", t0)
	receive(t, told, "the next term's leader to be told")
}

func TestElector_IsKeptFromNoHeartbeatByHintsThatAreThereAlready(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	told := 0
	e, err := NewElector(ElectorConfig{
		URL: d.config.URL, Scope: board, Lease: testLease, Log: zap.NewNop(), OnHint: func() { told++ },
	})
	require.NoError(t, err)
	s, err := e.connect(t.Context())
	require.NoError(t, err)
	defer s.close()
	_, err = s.conn.Exec(t.Context(), "LISTEN "+board.hintChannel())
	require.NoError(t, err)
	exec(t, d, "SELECT pg_notify($1, n::text) FROM generate_series(1, 1000) AS n", board.hintChannel())
	for range 2 { // with the second answer at the latest the connection has them all, and tells them one by one
		_, err = s.conn.Exec(t.Context(), "SELECT 1")
		require.NoError(t, err)
	}
	for n := range 3 {
		_, err = s.wait(t.Context(), time.Now())
		require.NoError(t, err)
		require.Equal(t, n+1, told)
	}
	_, err = s.wait(t.Context(), time.Now().Add(time.Second))
	require.NoError(t, err)
	require.Equal(t, 1000, told)
}

func TestElector_KeepsLeadingUnderAFloodOfHints(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	named(t, s, "100")
	exec(t, d, "DELETE FROM leadership")
	const lease = 2 * testLease // room for heartbeats on a busy machine, which the flood itself makes busier
	r := (&election{t: t}).join(d.config.URL(), func(c *ElectorConfig) { listens(c); c.Lease = lease })
	reign := next(t, r)
	for flood := time.Now(); time.Since(flood) < 2*lease; {
		exec(t, d, "SELECT pg_notify($1, n::text) FROM generate_series(1, 1000) AS n", board.hintChannel())
		hint(t, d, "100", t0)
	}
	require.NoError(t, reign.term.Check())
	require.NoError(t, reign.ctx.Err())
	r.stop()
	receive(t, reign.ended, "the end of the reign")
}
