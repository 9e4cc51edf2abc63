package db

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/tern/v2/migrate"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/integration/heldport"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/sync"
)

// patience bounds what a test waits for; only a failing test ever waits that long.
const patience = 30 * time.Second

// board is the scope of the tests that need only one.
var board = Scope{Cluster: "teleport.example.com", Project: "OPS"}

// always is a database URL that never changes.
func always(databaseURL string) func() string { return func() string { return databaseURL } }

// open returns a DB, without migrating it.
func open(t testing.TB, databaseURL string) *DB {
	t.Helper()
	d, err := Open(
		t.Context(),
		Config{URL: always(databaseURL), Instance: t.Name(), Lease: 10 * time.Second, Log: zap.NewNop()},
	)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// migrated returns a DB with its tables.
func migrated(t testing.TB) *DB {
	t.Helper()
	d := open(t, pgtest.URL(t))
	require.NoError(t, d.Migrate(t.Context()))
	return d
}

// exec runs a statement outside the store.
func exec(t testing.TB, d *DB, statement string, args ...any) {
	t.Helper()
	_, err := d.pool.Exec(t.Context(), statement, args...)
	require.NoError(t, err)
}

// scalar reads one value outside the store.
func scalar[T any](t testing.TB, d *DB, query string, args ...any) (value T) {
	t.Helper()
	require.NoError(t, d.pool.QueryRow(t.Context(), query, args...).Scan(&value))
	return value
}

func TestMigrate_WorksFromTwoReplicasAtOnce(t *testing.T) {
	t.Parallel()
	databaseURL := pgtest.URL(t)
	var replicas errgroup.Group
	for range 4 {
		d := open(t, databaseURL)
		replicas.Go(func() error { return d.Migrate(t.Context()) })
	}
	require.NoError(t, replicas.Wait())

	d := open(t, databaseURL)
	require.Positive(t, scalar[int](t, d, "SELECT version FROM "+versionTable))
	require.NoError(t, d.Migrate(t.Context()), "a schema that is up to date is left alone")
	exec(t, d, "TABLE links")
}

func TestMigrate_MarksTheRowsThatStillNeedIt(t *testing.T) {
	t.Parallel()
	d := open(t, pgtest.URL(t))
	migrateTo(t, d, 3)
	exec(t, d, `INSERT INTO links (scope, request_id, seq, request, state, mark, issue_id, settled_at, dropped) VALUES
		($1, 'a', 1, '{}', 'pending', '', NULL, NULL, false), ($1, 'b', 1, '{}', 'pending', '', NULL, NULL, false),
		($1, 'claimed', 1, '{}', 'pending', 'm', NULL, NULL, false), ($1, 'bound', 1, '{}', 'pending', '', '1', NULL, false),
		($1, 'dropped', 1, '{}', 'pending', '', NULL, now(), true), ($1,
			'settled', 1, '{}', 'denied', '', NULL, now(), false)`, board.String())
	require.NoError(t, d.Migrate(t.Context()))
	require.Equal(
		t,
		"32 32 0 1 32 0",
		scalar[string](t, d, "SELECT string_agg(length(mark)::text, ' ' ORDER BY request_id) FROM links"),
	)
	require.Equal(t, 3, scalar[int](t, d, "SELECT count(DISTINCT mark) FROM links WHERE length(mark) = 32"))
}

// migrateTo brings an empty database to an earlier version of the schema.
func migrateTo(t *testing.T, d *DB, version int32) {
	t.Helper()
	files, _, err := embedded()
	require.NoError(t, err)
	migrator, err := migrate.NewMigrator(t.Context(), connect(t, d.config.URL()), versionTable)
	require.NoError(t, err)
	require.NoError(t, migrator.LoadMigrations(files))
	require.NoError(t, migrator.MigrateTo(t.Context(), version))
}

func TestMigrate_RefusesANewerSchema(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	exec(t, d, "UPDATE "+versionTable+" SET version = 1000")

	err := d.Migrate(t.Context())
	require.ErrorIs(t, err, ErrNewerSchema)
	require.ErrorContains(t, err, "1000")
	require.False(t, Retryable(err))
	require.Equal(t, 1000, scalar[int](t, d, "SELECT version FROM "+versionTable))
}

func TestOpen_LimitsEachSession(t *testing.T) {
	t.Parallel()
	d := open(t, pgtest.URL(t))
	require.Equal(t, "15s", scalar[string](t, d, "SHOW statement_timeout"))
	require.Equal(t, "15s", scalar[string](t, d, "SHOW idle_in_transaction_session_timeout"))
	require.Equal(t, "teleport-jira-agent/"+t.Name(), scalar[string](t, d, "SHOW application_name"))
}

// closedPort is an address that nobody listens on while the test runs.
func closedPort(t *testing.T) string {
	t.Helper()
	port, err := heldport.Any()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, port.Release()) })
	return port.Addr()
}

func TestFailures_AreClassifiedAndNeverShowThePassword(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-in-url"
	good, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	altered := func(change func(*url.URL)) string {
		u := *good
		u.User = url.UserPassword(good.User.Username(), secret)
		change(&u)
		return u.String()
	}
	for name, test := range map[string]struct {
		url       string
		retryable bool
		code      string
	}{
		"server not reachable": {url: altered(func(u *url.URL) { u.Host = closedPort(t) }), retryable: true},
		"wrong password":       {url: altered(func(*url.URL) {}), code: "28P01"},
		"no such database": {url: altered(func(u *url.URL) {
			u.User, u.Path = good.User, "/missing_"+secret
		}), code: "3D000"},
		"read-only server": {url: altered(func(u *url.URL) {
			u.User, u.RawQuery = good.User, good.RawQuery+"&default_transaction_read_only=on"
		}), retryable: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, test.url)
			for _, err := range []error{d.Ping(t.Context()), d.Migrate(t.Context())} {
				var failure *Error
				require.ErrorAs(t, err, &failure)
				require.Equal(t, test.retryable, Retryable(err), "%v", err)
				require.Equal(t, test.code, failure.Code, "%v", err)
				require.NotContains(t, err.Error(), ":"+secret)
				require.NotContains(t, fmt.Sprintf("%+v %#v", err, failure.Err), ":"+secret)
			}
		})
	}
}

func TestFailures_OfAMalformedURLDoNotRepeatIt(t *testing.T) {
	t.Parallel()
	for _, malformed := range []string{"postgres://user:s3cr3t@host:port/db", "postgres://user:s3cr3t/x@[::1/db", "password='s3cr3t port=x", "postgres://u:s3cr3t@h/db?pool_max_conns=s3cr3t"} {
		_, err := Open(t.Context(), Config{URL: always(malformed), Lease: time.Second, Log: zap.NewNop()})
		require.Error(t, err, malformed)
		require.NotContains(t, err.Error(), "s3cr3t")
		require.False(t, Retryable(err))
	}
}

func TestFailures_OfAServerThatIsStartingOrStoppingPass(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	d := open(t, server.URL("postgres"))
	require.NoError(t, d.Migrate(t.Context()))
	exec(
		t,
		d,
		"INSERT INTO leadership (name, epoch, term, holder, resigned) VALUES ($1, 1, gen_random_uuid(), '', false)",
		board.String(),
	)
	store := d.Store(board, 1)
	_, err = store.Cursor(t.Context())
	require.NoError(t, err)

	require.NoError(t, server.Restart(t.Context(), pgtest.Immediate))
	require.Eventually(t, func() bool {
		_, err = store.Cursor(t.Context())
		require.True(t, err == nil || Retryable(err), "%v", err)
		return err == nil
	}, patience, 10*time.Millisecond, "the pool finds back by itself")

	require.NoError(t, server.Stop(t.Context(), pgtest.Fast))
	_, err = store.Cursor(t.Context())
	require.True(t, Retryable(err), "%v", err)
	require.NotErrorIs(t, err, sync.ErrNotLeader)
}

func TestStore_GivesUpOnAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	exec(
		t,
		d,
		"INSERT INTO leadership (name, epoch, term, holder, resigned) VALUES ($1, 1, gen_random_uuid(), '', false)",
		board.String(),
	)
	d.callTime = 200 * time.Millisecond
	conn, err := d.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // only its lock matters
	_, err = tx.Exec(t.Context(), "LOCK TABLE links")
	require.NoError(t, err)

	_, err = d.Store(board, 1).Open(t.Context(), "", 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, Retryable(err))
}

// observed is a logger whose lines a test can read.
func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

// connect opens a connection of the test's own.
func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
