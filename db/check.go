package db

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// The checks, in their order.
const (
	checkConnect  = "postgresql.connect"
	checkVersion  = "postgresql.version"
	checkPooler   = "postgresql.pooler"
	checkTimeouts = "postgresql.idle_session_timeout"
	checkPrimary  = "postgresql.replication"
	checkRights   = "postgresql.rights"
	checkSchema   = "postgresql.schema"
	checkLock     = "postgresql.lock"
	checkTLS      = "postgresql.tls"
	checkClock    = "postgresql.clock"
	checkAgents   = "postgresql.other_agents"
)

// clockSlack is by how much the server's clock may differ before people wonder about the times that
// they are told.
const clockSlack = 5 * time.Second

const (
	// statementTime bounds each statement of a check, which may wait for a table that is being
	// migrated.
	statementTime = 5 * time.Second
	// answerTime bounds each check, where the server or the way to it has gone silent. It ends the
	// connection.
	answerTime = 2 * statementTime
)

// Check finds out what the agent of a scope needs of PostgreSQL. Where the cluster is not known,
// nobody is looked for who works on it, too. It only reads, sets limits on its own session, and for
// a moment holds a lock that nobody else asks for.
func Check(ctx context.Context, config Config, scope Scope) []sync.Finding {
	f := &sync.Findings{Group: sync.GroupPostgreSQL}
	conn, err := reach(ctx, config)
	if err != nil {
		err = failure("connect", err)
		f.Fails(checkConnect, connectRemedy(err), "%s", err)
		f.Skipped("PostgreSQL cannot be reached", checkTLS, checkVersion, checkPrimary, checkPooler, checkTimeouts,
			checkRights, checkSchema, checkLock, checkClock, checkAgents)
		return f.All
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	settings := conn.Config()
	f.Holds(
		checkConnect,
		"database %s at %s as user %s",
		settings.Database,
		conn.PgConn().Conn().RemoteAddr(),
		settings.User,
	)
	c := checking{conn: conn, config: config, scope: scope, Findings: f}
	c.tls()
	within := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		return do(ctx)
	}
	for _, check := range []struct {
		name string
		do   func(context.Context) error
	}{
		{checkVersion, c.version},
		{checkPrimary, c.primary},
		{checkPooler, c.pooler},
		{checkTimeouts, c.timeouts},
		{checkRights, c.rights},
		{checkSchema, c.schema},
		{checkLock, c.lock},
		{checkClock, c.clock},
		{checkAgents, c.agents},
	} {
		if err := within(check.do); err != nil {
			err = failure("ask", err)
			f.Fails(check.name, askRemedy(err), "%s", err)
		}
	}
	return f.All
}

// reach connects as the agent does, to the server that takes writes. Where none does it takes the
// first that answers, since that is a finding of its own.
func reach(ctx context.Context, config Config) (*pgx.Conn, error) {
	conn, err := dedicated(ctx, config.URL(), config.Instance, nil)
	if errors.Is(err, errReadOnly) {
		conn, err = dedicated(
			ctx,
			config.URL(),
			config.Instance,
			func(settings *pgx.ConnConfig) { settings.ValidateConnect = nil },
		)
	}
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := configure(limited, conn, map[string]time.Duration{"statement_timeout": statementTime}); err != nil {
		_ = conn.Close(limited)
		return nil, err
	}
	return conn, nil
}

// connectRemedy is what to do about a connection that does not come about.
func connectRemedy(err error) string {
	var known *Error
	if !errors.As(err, &known) {
		return "check DATABASE_URL"
	}
	switch known.Code {
	case "28P01", "28000": // invalid password, invalid authorization
		return "check the user and the password in DATABASE_URL, and pg_hba.conf on the server; for a new user: CREATE " +
			"ROLE agent LOGIN PASSWORD '…'"
	case "3D000": // no such database
		return "create the database: createdb --owner=agent agent"
	case insufficientPrivilege:
		return "let the user connect to the database: GRANT CONNECT ON DATABASE … TO …"
	case "57P03": // cannot connect now
		return "wait until the server has started, and run check again"
	case "53300": // too many connections
		return "raise max_connections, or end sessions that nobody needs: each replica takes up to " + fmt.Sprint(poolSize+1)
	}
	if errors.Is(err, errMalformedURL) {
		return "set DATABASE_URL to postgres://user:password@host:5432/database"
	}
	return "check the host and the port in DATABASE_URL, that the server runs (pg_isready -h HOST -p PORT), and that " +
		"this machine reaches it; where TLS is refused, see sslmode and sslrootcert"
}

// askRemedy is what to do about a statement that failed.
func askRemedy(err error) string {
	var known *Error
	if !errors.As(err, &known) {
		return "see PostgreSQL's log for the statement"
	}
	switch known.Code {
	case "": // no answer
		return "see whether the server is well, and what stands between: pg_isready -h HOST -p PORT"
	case insufficientPrivilege:
		return "let the agent's user own its tables, or have a database of its own: createdb --owner=agent agent"
	case "57014": // query canceled
		return "see what the statement waits for, be it a migration that goes on: SELECT pid, pg_blocking_pids(pid), " +
			"query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
	}
	return "see PostgreSQL's log for the statement"
}

// checking is one look at a server.
type checking struct {
	*sync.Findings
	conn   *pgx.Conn
	config Config
	scope  Scope
}

// tls looks at the connection itself: with sslmode=prefer, which is the default, it is encrypted
// only if the server can.
func (c checking) tls() {
	wire := c.conn.PgConn().Conn()
	_, encrypted := wire.(*tls.Conn)
	switch {
	case encrypted:
		c.Holds(checkTLS, "the connection is encrypted")
	case isLocal(wire.RemoteAddr()):
		c.Holds(checkTLS, "the connection does not leave this machine")
	default:
		c.Doubt(checkTLS, "add sslmode=verify-full to DATABASE_URL, and sslrootcert=FILE where the server's certificate "+
			"is of a private CA", "the connection to %s is not encrypted", wire.RemoteAddr())
	}
}

func isLocal(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback() // else it is a socket in the file system
}

func (c checking) version(ctx context.Context) error {
	var number int
	var name string
	if err := c.conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000, "+
		"current_setting('server_version')").
		Scan(&number, &name); err != nil {
		return err
	}
	if number < oldestServer {
		c.Fails(checkVersion, fmt.Sprintf("use PostgreSQL %d or newer", oldestServer), "PostgreSQL %s is too old: it has "+
			"no idle_session_timeout", name)
		return nil
	}
	c.Holds(checkVersion, "PostgreSQL %s", name)
	return nil
}

func (c checking) primary(ctx context.Context) error {
	var standby, readOnly bool
	err := c.conn.QueryRow(ctx, "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool").
		Scan(&standby, &readOnly)
	switch {
	case err != nil:
		return err
	case standby:
		c.Fails(checkPrimary, "name the primary in DATABASE_URL, or all servers, separated by commas: the one that takes "+
			"writes is chosen", "the server is a hot standby, which takes no writes")
	case readOnly:
		c.Fails(
			checkPrimary,
			"ALTER ROLE … RESET default_transaction_read_only, and the same for the database",
			"transactions are read-only by default",
		)
	default:
		c.Holds(checkPrimary, "the server takes writes")
	}
	return nil
}

// pooler: one that stands before the server hands out process numbers of its own.
func (c checking) pooler(ctx context.Context) error {
	var pid uint32
	if err := c.conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return err
	}
	if told := c.conn.PgConn().PID(); told != pid {
		c.Fails(
			checkPooler,
			"name the server itself in DATABASE_URL: the leader's lock needs a session of its own",
			"a connection pooler stands before the server",
		)
		return nil
	}
	c.Holds(checkPooler, "no pooler between")
	return nil
}

func (c checking) timeouts(ctx context.Context) error {
	limit := lockTime(c.config.Lease)
	if err := configure(ctx, c.conn, map[string]time.Duration{"idle_session_timeout": limit}); err != nil {
		c.Fails(
			checkTimeouts,
			"allow the agent's role to set it: GRANT SET ON PARAMETER idle_session_timeout TO …",
			"%s",
			failure("set it", err),
		)
		return nil
	}
	var set int64
	if err := c.conn.QueryRow(ctx, "SELECT setting::bigint FROM pg_settings WHERE name = 'idle_session_timeout'").
		Scan(&set); err != nil {
		return err
	}
	if set != limit.Milliseconds() {
		c.Fails(checkTimeouts, "let nothing on the way change it", "it is %d ms after it was set to %d ms, so that a "+
			"frozen leader would keep the lock", set, limit.Milliseconds())
		return nil
	}
	c.Holds(checkTimeouts, "can be set: the lock of a frozen leader is free after %s", limit)
	return configure(ctx, c.conn, map[string]time.Duration{"idle_session_timeout": 0})
}

// rights: the tables go into the first schema of the search path.
func (c checking) rights(ctx context.Context) error {
	var schema *string
	var may bool
	err := c.conn.QueryRow(ctx, "SELECT current_schema(), COALESCE(has_schema_privilege(current_schema(), 'CREATE'), "+
		"false)").Scan(&schema, &may)
	switch {
	case err != nil:
		return err
	case schema == nil:
		c.Fails(
			checkRights,
			"CREATE SCHEMA agent AUTHORIZATION …, and ALTER ROLE … SET search_path = agent",
			"the search path names no schema that exists and that this user may use",
		)
		return nil
	case !may:
		c.Fails(checkRights, "GRANT USAGE, CREATE ON SCHEMA "+*schema+" TO "+c.conn.Config().User+", or make this user "+
			"the owner of the database", "the user may create no tables in the schema %s", *schema)
		return nil
	}
	var foreign *string
	err = c.conn.QueryRow(ctx, `
		SELECT string_agg(relname || ' of ' || pg_get_userbyid(relowner), ', ') FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1) AND NOT pg_has_role(relowner, 'USAGE')`,
		tables).Scan(&foreign)
	if err != nil {
		return err
	}
	if foreign != nil {
		c.Fails(checkRights, "REASSIGN OWNED BY … TO "+c.conn.Config().User, "the tables belong to another user (%s), so "+
			"that they cannot be migrated", *foreign)
		return nil
	}
	c.Holds(checkRights, "tables can be made in the schema %s", *schema)
	return nil
}

// tables are those of the agent.
var tables = []string{"activity", "conditions", "cursors", "hints", "leadership", "links", "statuses", versionTable}

func (c checking) schema(ctx context.Context) error {
	_, newest, err := embedded()
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, c.conn)
	switch {
	case err != nil:
		return err
	case version == 0:
		var there *string
		if err := c.conn.QueryRow(ctx, "SELECT string_agg(t, ', ') FROM unnest($1::text[]) AS t WHERE to_regclass(t) IS "+
			"NOT NULL", tables).
			Scan(&there); err != nil {
			return err
		}
		if there != nil {
			c.Fails(checkSchema, "use a database, or a schema, of the agent's own", "somebody else's tables have the names "+
				"of the agent's: %s", *there)
			return nil
		}
		c.Holds(checkSchema, "no tables yet; `start` makes them (version %d)", newest)
	case version < newest:
		c.Holds(checkSchema, "version %d; `start` migrates it to %d", version, newest)
	case version > newest:
		c.Fails(checkSchema, "run the release that migrated it, or a later one", "version %d is newer than this program's "+
			"%d", version, newest)
	default:
		c.Holds(checkSchema, "version %d", version)
	}
	return nil
}

// lock tries the leader's lock of a scope that nobody uses.
func (c checking) lock(ctx context.Context) error {
	var got bool
	err := c.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1::int4, -1), pg_advisory_unlock($1::int4, -1)", lockClass).
		Scan(&got, nil)
	if err != nil {
		return err
	}
	c.Holds(checkLock, "advisory locks work")
	return nil
}

// agents looks for those of other projects that work on the same cluster. Only tables of this
// release tell.
func (c checking) agents(ctx context.Context) error {
	_, newest, err := embedded()
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, c.conn)
	switch {
	case err != nil:
		return err
	case c.scope.Cluster == "":
		c.Skipped("which Teleport cluster the credentials are for is not known", checkAgents)
		return nil
	case version == 0:
		c.Holds(checkAgents, "no other agent has worked in this database")
		return nil
	case version != newest:
		c.Skipped("the tables are of another release", checkAgents)
		return nil
	}
	others, err := neighbours(ctx, c.conn, c.scope)
	if err != nil {
		return err
	}
	for _, other := range others {
		c.Doubt(checkAgents, NeighboursRemedy, "%s", other)
	}
	if len(others) == 0 {
		c.Holds(checkAgents, "no other agent in this database works on the cluster %s", c.scope.Cluster)
	}
	return nil
}

func (c checking) clock(ctx context.Context) error {
	began := time.Now()
	var now time.Time
	if err := c.conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return err
	}
	skew := now.Sub(began).Round(time.Millisecond)
	if skew > clockSlack || skew < -clockSlack {
		c.Doubt(checkClock, "set both clocks by NTP: chronyc tracking",
			"the server's clock differs from this machine's by %s; "+
				"the agents go by the server's, and nothing depends on it but the times that people are told", skew)
		return nil
	}
	c.Holds(checkClock, "the server's clock agrees")
	return nil
}
