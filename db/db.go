package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

const (
	// connectTime bounds one attempt to connect, unless the URL sets connect_timeout.
	connectTime = 5 * time.Second
	// poolSize is enough for 16 workers and a few observers, whose transactions last milliseconds,
	// and small against PostgreSQL's default of 100 connections. The URL may set pool_max_conns.
	poolSize = 8
	// application is the first part of application_name; the instance follows.
	application = "teleport-jira-agent"
	// oldestServer is the first version with idle_session_timeout.
	oldestServer = 14
)

// Scope is what one agent keeps in agreement: one Teleport cluster and one Jira project.
type Scope struct {
	Cluster string // the Teleport cluster's name
	Project string // the Jira project's key
}

// String is the scope as the tables name it. A project key contains no slash, so two scopes never
// share a name.
func (s Scope) String() string { return s.Cluster + "/" + s.Project }

// Config is what a DB needs to know.
type Config struct {
	// URL is asked for at each connection, so that a password that was replaced is used at once.
	// Hosts and pool settings are those of the first answer.
	URL func() string
	// Instance tells this replica from the others, in PostgreSQL's list of sessions.
	Instance string
	// Lease is the elector's. No transaction is left open or at work for longer than 1.5 times
	// this, so that one whose process is gone or frozen does not hold up the next leader's term.
	Lease time.Duration
	// Now is the clock of this process; nil is time.Now.
	Now func() time.Time
	// OnStatement, if not nil, is told of each statement of the pool's, and of each batch of them.
	// It is called from many goroutines and must not block.
	OnStatement func(StatementInfo)
	Log         *zap.Logger
}

// DB is a pool of connections. It is safe for concurrent use.
type DB struct {
	config   Config
	pool     *pgxpool.Pool
	callTime time.Duration // the longest that one transaction may take
}

// Open prepares the pool. It does not wait for the server, nor need one: connections are made when
// they are first used.
func Open(ctx context.Context, config Config) (*DB, error) {
	const op = "open the database"
	if err := validateLease(config.Lease); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	url := config.URL()
	settings, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, &Error{Op: op, Err: errMalformedURL}
	}
	if !strings.Contains(url, "pool_max_conns") {
		settings.MaxConns = poolSize
	}
	d := &DB{config: config, callTime: lockTime(config.Lease)}
	prepare(settings.ConnConfig, config.Instance)
	keeps := settings.ConnConfig.OnPgError
	settings.ConnConfig.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		if takesNoWrites(err) {
			d.pool.Reset() // this session and the others are of that server; the next ones are made anew, and validated
		}
		return keeps(conn, err)
	}
	if config.OnStatement != nil {
		settings.ConnConfig.Tracer = statementTracer(config.OnStatement)
	}
	settings.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		now, err := pgx.ParseConfig(config.URL())
		if err != nil {
			return errMalformedURL
		}
		conn.User, conn.Password = now.User, now.Password
		return nil
	}
	settings.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// The queries of the hot paths have plans that suit all arguments, and planning them each
		// time took longer than running them: what is due and due next 0.75 ms, else 0.27; pending
		// issues 0.46, else 0.28.
		if _, err := conn.Exec(ctx, "SELECT set_config('plan_cache_mode', 'force_generic_plan', false)"); err != nil {
			return fmt.Errorf("set plan_cache_mode: %w", err)
		}
		limits := map[string]time.Duration{"statement_timeout": d.callTime, "idle_in_transaction_session_timeout": d.callTime}
		return configure(ctx, conn, limits)
	}
	if d.pool, err = pgxpool.NewWithConfig(ctx, settings); err != nil {
		return nil, failure(op, err)
	}
	return d, nil
}

// Close ends all connections, when those at work are done.
func (d *DB) Close() { d.pool.Close() }

// Ping asks the server for a sign of life.
func (d *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.callTime)
	defer cancel()
	return failure("reach the database", d.pool.Ping(ctx))
}

// prepare sets what all connections have in common. Of several hosts in the URL the one that takes
// writes is chosen, for on a standby even the election's lock would be granted, beside the
// primary's.
func prepare(settings *pgx.ConnConfig, instance string) {
	settings.RuntimeParams["application_name"] = application + "/" + instance
	if settings.ConnectTimeout == 0 {
		settings.ConnectTimeout = connectTime
	}
	settings.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		err := pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn)
		if errors.Is(err, pgconn.ErrReadOnlyConnection) {
			return whyReadOnly(ctx, conn)
		}
		return err
	}
}

// whyReadOnly tells apart what makes a server read-only.
func whyReadOnly(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := conn.Exec(ctx, "SELECT pg_is_in_recovery()").ReadAll()
	switch {
	case err != nil || len(results) != 1 || len(results[0].Rows) != 1:
		return errReadOnly
	case string(results[0].Rows[0][0]) == "t":
		return errStandby
	}
	return errWritesOff
}

// configure sets time limits on a session, with statements rather than start-up parameters, which
// poolers refuse in words of their own.
func configure(ctx context.Context, conn *pgx.Conn, limits map[string]time.Duration) error {
	for name, limit := range limits {
		if _, err := conn.Exec(
			ctx,
			"SELECT set_config($1, $2, false)",
			name,
			fmt.Sprintf("%dms", limit.Milliseconds()),
		); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// dedicated opens a connection outside the pool.
func dedicated(ctx context.Context, url, instance string, adjust func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	settings, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errMalformedURL
	}
	prepare(settings, instance)
	if adjust != nil {
		adjust(settings)
	}
	return pgx.ConnectConfig(ctx, settings)
}
