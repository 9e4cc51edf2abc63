package db

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

// The benchmarks report, beside the time, what the time hides behind a server on the same machine:
// how often the store waits for the network (roundtrips/op), how many transactions are given a
// number, which is what makes them write (xids/op), and the bytes of the log (wal_bytes/op).

// countedConn counts what is sent: pgx sends once for each answer that it waits for.
type countedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.sent.Add(1)
	return c.Conn.Write(b)
}

// counted returns a DB like d with one connection whose round trips are counted.
func counted(t testing.TB, d *DB) (*DB, *atomic.Int64) {
	t.Helper()
	sent := new(atomic.Int64)
	config := d.pool.Config()
	config.MaxConns = 1
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return countedConn{conn, sent}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return &DB{config: d.config, pool: pool, callTime: d.callTime}, sent
}

const benchRows = 1000

// measure runs do over and over, against a store with rows that each have an issue and are due.
func measure(b *testing.B, do func(b *testing.B, s sync.Store, rows []sync.Link, n int)) {
	d := migrated(b)
	leading(b, d, board, 1)
	own, sent := counted(b, d)
	s := own.Store(board, 1)
	requests := make([]sync.Request, benchRows)
	for n := range requests {
		requests[n] = request(fmt.Sprintf("%04d", n))
	}
	require.NoError(b, s.ObserveRequests(b.Context(), requests))
	rows, err := s.Open(b.Context(), "", benchRows)
	require.NoError(b, err)
	issues := make([]sync.Issue, len(rows))
	for n := range rows {
		rows[n].Bound = sync.IssueRef{ID: fmt.Sprint(n), Key: fmt.Sprintf("OPS-%d", n)}
		rows[n], err = s.Save(b.Context(), rows[n])
		require.NoError(b, err)
		issues[n] = issue(fmt.Sprint(n), rows[n].RequestID, t0)
	}
	require.NoError(b, s.ObserveIssues(b.Context(), issues, t0))
	exec(b, d, "VACUUM ANALYZE links, activity")
	do(b, s, rows, 0) // prepares the statements

	wal := func() int64 {
		return scalar[int64](b, d, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
	}
	xids := func() int64 {
		return scalar[int64](b, d, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
	}
	sentBefore, walBefore, xidsBefore := sent.Load(), wal(), xids()
	b.ResetTimer()
	for n := range b.N {
		do(b, s, rows, n+1)
	}
	b.StopTimer()
	per := func(count int64, unit string) { b.ReportMetric(float64(count)/float64(b.N), unit) }
	per(sent.Load()-sentBefore, "roundtrips/op")
	per(xids()-xidsBefore, "xids/op")
	per(wal()-walBefore, "wal_bytes/op")
}

func BenchmarkSave(b *testing.B) {
	for _, lines := range []int{0, 1, 3} {
		b.Run(fmt.Sprintf("activity=%d", lines), func(b *testing.B) {
			measure(b, func(b *testing.B, s sync.Store, rows []sync.Link, n int) {
				done := make([]sync.Activity, lines)
				for i := range done {
					done[i] = sync.Activity{At: t0, Action: "comment", Outcome: "ok", Cause: "a review in Teleport"}
				}
				l := rows[n%len(rows)]
				l.Linked, l.Placed = true, n%2 == 0
				_, err := s.Save(b.Context(), l, done...)
				require.NoError(b, err)
			})
		})
	}
}

func BenchmarkDue(b *testing.B) {
	measure(b, func(b *testing.B, s sync.Store, _ []sync.Link, _ int) {
		due, _, err := s.Due(b.Context(), time.Now(), 16, nil)
		require.NoError(b, err)
		require.Len(b, due, 16)
	})
}

// BenchmarkDispatch is what the engine asks when fewer rows are due than it has room for.
func BenchmarkDispatch(b *testing.B) {
	measure(b, func(b *testing.B, s sync.Store, _ []sync.Link, _ int) {
		long := t0.Add(-time.Hour)
		_, _, err := s.Due(b.Context(), long, 16, nil)
		require.NoError(b, err)
	})
}

func BenchmarkPendingIssues(b *testing.B) {
	measure(b, func(b *testing.B, s sync.Store, _ []sync.Link, _ int) {
		_, _, err := s.PendingIssues(b.Context(), 50)
		require.NoError(b, err)
	})
}

func BenchmarkCursor(b *testing.B) {
	measure(b, func(b *testing.B, s sync.Store, _ []sync.Link, _ int) {
		_, err := s.Cursor(b.Context())
		require.NoError(b, err)
	})
}

func BenchmarkObserveIssues(b *testing.B) {
	for _, changed := range []bool{false, true} {
		b.Run(fmt.Sprintf("changed=%t", changed), func(b *testing.B) {
			measure(b, func(b *testing.B, s sync.Store, rows []sync.Link, n int) {
				page := make([]sync.Issue, 10)
				for i := range page {
					page[i] = issue(fmt.Sprint(i), rows[i].RequestID, t0)
					if changed {
						page[i].Updated = t0.Add(time.Duration(n+1) * time.Second)
					}
				}
				require.NoError(b, s.ObserveIssues(b.Context(), page, time.Time{}))
			})
		})
	}
}

func BenchmarkObserveRequests(b *testing.B) {
	for _, changed := range []bool{false, true} {
		b.Run(fmt.Sprintf("changed=%t", changed), func(b *testing.B) {
			measure(b, func(b *testing.B, s sync.Store, _ []sync.Link, n int) {
				page := make([]sync.Request, 10)
				for i := range page {
					page[i] = request(fmt.Sprintf("%04d", i))
					if changed {
						page[i].Reason = fmt.Sprint(n)
					}
				}
				require.NoError(b, s.ObserveRequests(b.Context(), page))
			})
		})
	}
}

func BenchmarkSuspectRequests(b *testing.B) {
	measure(b, func(b *testing.B, s sync.Store, rows []sync.Link, n int) {
		require.NoError(b, s.SuspectRequests(b.Context(), []string{rows[n%len(rows)].RequestID}))
	})
}
