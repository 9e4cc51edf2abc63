package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// work is what a PostgreSQL did for one database, as pg_stat_statements counts it.
type work struct {
	Statements, Rows int64
	Time             float64 // in milliseconds
	WAL              int64   // in bytes, as the statements wrote it
	// Log is how far the server's write-ahead log has come, and Transactions how many numbers it
	// has given out, each for a transaction that wrote.
	Log, Transactions int64
	// Trips are round trips of the agent, where they are counted.
	Trips int64
}

func (w work) minus(before work) work {
	return work{
		w.Statements - before.Statements, w.Rows - before.Rows, w.Time - before.Time, w.WAL - before.WAL,
		w.Log - before.Log, w.Transactions - before.Transactions, w.Trips - before.Trips,
	}
}

// prepareStatements lets the database "postgres" tell of all others, so that asking counts for none
// of them.
func (b *bench) prepareStatements(ctx context.Context) error {
	return b.ask(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE EXTENSION pg_stat_statements")
		return err
	})
}

// ask runs do on a connection of its own to the database "postgres".
func (b *bench) ask(ctx context.Context, do func(*pgx.Conn) error) error {
	return askDatabase(ctx, b.postgres.URL("postgres"), do)
}

func askDatabase(ctx context.Context, url string, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return do(conn)
}

const workQuery = `
	SELECT COALESCE(sum(calls), 0)::bigint, COALESCE(sum(rows), 0)::bigint, COALESCE(sum(total_exec_time), 0),
		COALESCE(sum(wal_bytes), 0)::bigint,
		(pg_current_wal_insert_lsn() - '0/0')::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
	FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1)`

// worked is all that PostgreSQL did for the rig so far. Asking writes nothing and uses no
// transaction number.
func (r *rig) worked() (w work, err error) {
	err = r.bench.ask(r.ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(r.ctx, workQuery, r.database).
			Scan(&w.Statements, &w.Rows, &w.Time, &w.WAL, &w.Log, &w.Transactions)
	})
	if r.proxy != nil {
		w.Trips = r.proxy.trips.Load()
	}
	return w, err
}

// forgetStatements lets the list of expensive statements begin here. Sums taken before mean nothing
// after it.
func (r *rig) forgetStatements() error {
	return r.bench.ask(r.ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(r.ctx, "SELECT pg_stat_statements_reset()")
		return err
	})
}

const expensiveQuery = `
	SELECT calls, rows, total_exec_time, wal_bytes::bigint, query FROM pg_stat_statements WHERE dbid = (SELECT oid
		FROM pg_database WHERE datname = $1)
	ORDER BY total_exec_time DESC LIMIT 10`

// tellExpensive prints what PostgreSQL spent most of its time on, with -v.
func (r *rig) tellExpensive(title string) error {
	if !r.bench.verbose {
		return nil
	}
	return r.bench.ask(r.ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(r.ctx, expensiveQuery, r.database)
		if err != nil {
			return err
		}
		fmt.Fprintf(
			os.Stderr,
			"%s: most expensive statements\n%8s %8s %10s %10s  %s\n",
			title,
			"calls",
			"rows",
			"ms",
			"WAL bytes",
			"statement",
		)
		var calls, found, wal int64
		var took float64
		var query string
		_, err = pgx.ForEachRow(rows, []any{&calls, &found, &took, &wal, &query}, func() error {
			text := strings.Join(strings.Fields(query), " ")
			fmt.Fprintf(os.Stderr, "%8d %8d %10.2f %10d  %s\n", calls, found, took, wal, text[:min(len(text), 160)])
			return nil
		})
		return err
	})
}

// statements are what a whole life costs PostgreSQL, without the polls that go on meanwhile: these
// come once a minute here.
func statements(ctx context.Context, b *bench) ([]figure, error) {
	var all []figure
	for _, l := range allLives()[:2] {
		some, err := statementsOf(ctx, b, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// manyLives is how many requests the statements are the mean of.
const manyLives = 20

func statementsOf(ctx context.Context, b *bench, l life) ([]figure, error) {
	r, err := b.rig(ctx, setting{proxied: true, initial: "Pending", polls: true})
	if err != nil {
		return nil, err
	}
	defer r.close()
	going, err := r.background()
	if err != nil {
		return nil, err
	}
	if err := r.forgetStatements(); err != nil {
		return nil, err
	}
	before, err := r.worked()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for range manyLives {
		id, key, err := r.pending(0)
		if err != nil {
			return nil, err
		}
		if err := l.end(r, id, key); err != nil {
			return nil, err
		}
		if err := r.logs("done", "action", "settle", "request_id", id); err != nil {
			return nil, err
		}
	}
	after, err := r.worked()
	if err != nil {
		return nil, err
	}
	if err := r.tellExpensive(l.name); err != nil {
		return nil, err
	}
	w := after.minus(before)
	minutes := time.Since(start).Minutes()
	per := func(whole, background int64) float64 {
		return (float64(whole) - minutes*float64(background)) / manyLives
	}
	name := "PostgreSQL per life, " + l.name + ": "
	return []figure{
		{
			Name:  name + "statements",
			Value: per(w.Statements, going.Statements),
			Unit:  "statements",
			Note:  fmt.Sprintf("%.3g rows; BEGIN and COMMIT count", per(w.Rows, going.Rows)),
		},
		{Name: name + "round trips", Value: per(w.Trips, going.Trips), Unit: "round trips"},
		{Name: name + "time", Value: (w.Time - minutes*going.Time) / manyLives, Unit: "ms", Note: "in statements"},
		{Name: name + "log", Value: per(w.Log, going.Log) / 1024, Unit: "KiB", Note: fmt.Sprintf("%.3g transactions that "+
			"wrote", per(w.Transactions, going.Transactions))},
	}, nil
}

// backgroundTime is how long is watched what goes on anyway.
const backgroundTime = 10 * time.Second

// background is what a minute of waiting costs while a request is pending, which it makes: polls,
// heartbeats, counts for the metrics.
func (r *rig) background() (perMinute work, err error) {
	if _, _, err := r.pending(0); err != nil {
		return work{}, err
	}
	before, err := r.worked()
	if err != nil {
		return work{}, err
	}
	if err := pause(r.ctx, backgroundTime); err != nil {
		return work{}, err
	}
	after, err := r.worked()
	w := after.minus(before)
	times := int64(time.Minute / backgroundTime)
	return work{
		w.Statements * times,
		w.Rows * times,
		w.Time * float64(times),
		w.WAL * times,
		w.Log * times,
		w.Transactions * times,
		w.Trips * times,
	}, err
}
