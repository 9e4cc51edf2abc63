package db

import (
	"context"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/sync"
)

// checked is what Check finds, by the names of the checks.
func checked(t *testing.T, databaseURL string) map[string]sync.Finding {
	t.Helper()
	found := make(map[string]sync.Finding)
	config := Config{URL: always(databaseURL), Instance: t.Name(), Lease: 10 * time.Second, Log: zap.NewNop()}
	for _, f := range Check(t.Context(), config, board) {
		found[f.Check] = f
	}
	return found
}

func TestCheck_LooksAtTheServerThatTakesWrites(t *testing.T) {
	t.Parallel()
	first, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	name := first.Path[1:]
	onFirst, err := pgx.Connect(t.Context(), first.String())
	require.NoError(t, err)
	defer onFirst.Close(t.Context())
	_, err = onFirst.Exec(t.Context(), "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	require.NoError(t, err)

	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, server.CreateDatabase(t.Context(), name))
	second, err := url.Parse(server.URL(name))
	require.NoError(t, err)
	onSecond, err := pgx.Connect(t.Context(), second.String())
	require.NoError(t, err)
	defer onSecond.Close(t.Context())
	password, _ := first.User.Password()
	_, err = onSecond.Exec(
		t.Context(),
		"ALTER ROLE postgres PASSWORD '"+password+"'",
	) // one URL has one password for all servers
	require.NoError(t, err)

	require.Equal(t, sync.Fails, checked(t, first.String())[checkPrimary].Condition)
	both := *first
	both.Host = first.Host + "," + second.Host
	found := checked(t, both.String())
	require.Equal(t, sync.Holds, found[checkPrimary].Condition, "%+v", found[checkPrimary])
	require.Contains(t, found[checkConnect].Found, second.Host)
}

func TestCheck_CallsAConnectionEncryptedOnlyIfItIs(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	u.RawQuery = "" // sslmode=prefer
	require.Contains(t, checked(t, u.String())[checkTLS].Found, "does not leave this machine")
	require.False(t, isLocal(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5432}))
	require.True(t, isLocal(&net.UnixAddr{Net: "unix", Name: "/run/postgresql/.s.PGSQL.5432"}))
}

func TestCheck_DoesNotWaitForATableThatIsBeingMigrated(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // only its lock matters
	_, err = tx.Exec(t.Context(), "LOCK TABLE "+versionTable)
	require.NoError(t, err)
	began := time.Now()
	found := checked(t, d.config.URL())
	require.Less(t, time.Since(began), 2*answerTime)
	require.Equal(t, sync.Fails, found[checkSchema].Condition)
	require.Contains(t, found[checkSchema].Remedy, "pg_blocking_pids")
	require.Equal(t, sync.Holds, found[checkClock].Condition, "the rest is looked at all the same")
}

func TestCheck_TellsAUserThatMayNotConnectWhatToGrant(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	u, err := url.Parse(d.config.URL())
	require.NoError(t, err)
	name := u.Path[1:]
	exec(t, d, "CREATE ROLE stranger_"+name+" LOGIN PASSWORD 'stranger'")
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.WithoutCancel(t.Context()), d.config.URL())
		require.NoError(t, err)
		defer conn.Close(context.WithoutCancel(t.Context()))
		_, err = conn.Exec(context.WithoutCancel(t.Context()), "DROP ROLE stranger_"+name)
		require.NoError(t, err)
	})
	exec(t, d, "REVOKE CONNECT ON DATABASE "+name+" FROM PUBLIC")
	u.User = url.UserPassword("stranger_"+name, "stranger")
	f := checked(t, u.String())[checkConnect]
	require.Equal(t, sync.Fails, f.Condition)
	require.Contains(t, f.Remedy, "GRANT CONNECT ON DATABASE", f.Found)
}
