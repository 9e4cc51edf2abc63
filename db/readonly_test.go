package db

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/sync"
)

// ownServer returns a server that no other test uses, with the tables, and a session of its
// superuser.
func ownServer(t *testing.T) (*pgtest.Server, *DB) {
	t.Helper()
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	d := open(t, server.URL("postgres"))
	require.NoError(t, d.Migrate(t.Context()))
	return server, d
}

// takesWrites turns writes on or off for all sessions of a server, those that are open included, as
// a provider does whose disk is full.
func takesWrites(t *testing.T, server *pgtest.Server, on bool) {
	t.Helper()
	conn := connect(t, server.URL("postgres"))
	statement := "ALTER SYSTEM SET default_transaction_read_only = on"
	if on {
		statement = "ALTER SYSTEM RESET default_transaction_read_only"
	}
	for _, s := range []string{statement, "SELECT pg_reload_conf()"} {
		_, err := conn.Exec(t.Context(), s)
		require.NoError(t, err)
	}
}

func TestElector_NeitherLeadsNorStandsByOnAServerThatTurnsReadOnlyAndGoesOnAfterwards(t *testing.T) {
	t.Parallel()
	server, _ := ownServer(t)
	e := &election{t: t}
	first := e.join(server.URL("postgres"))
	reign := next(t, first)
	second := e.join(server.URL("postgres"))
	second.role(t, Standby)

	takesWrites(t, server, false)
	receive(t, reign.ended, "the end of the reign")
	require.ErrorIs(t, reign.term.Check(), sync.ErrNotLeader)
	for _, r := range []*replica{first, second} {
		refused := r.until(t, "a refusal that says why", func(s State) bool {
			return s.Err != nil && !errors.Is(s.Err, sync.ErrNotLeader)
		})
		require.Equal(t, Connecting, refused.Role)
		require.ErrorContains(t, refused.Err, "the server is read-only: default_transaction_read_only is on")
		require.True(t, Retryable(refused.Err))
	}
	require.Empty(t, first.reigns)
	require.Empty(t, second.reigns)

	takesWrites(t, server, true)
	require.Greater(t, next(t, first, second).term.Epoch, reign.term.Epoch)
}

func TestElector_SaysThatAStandbyIsOneAndLeadsOnceItIsPromoted(t *testing.T) {
	t.Parallel()
	server, _ := ownServer(t)
	standby, err := server.Standby(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Close()) })

	r := (&election{t: t}).join(standby.URL("postgres"))
	refused := r.until(t, "a refusal", func(s State) bool { return s.Err != nil })
	require.ErrorContains(t, refused.Err, "it is a standby")
	require.NotContains(t, refused.Err.Error(), "default_transaction_read_only")

	_, err = connect(t, standby.URL("postgres")).Exec(t.Context(), "SELECT pg_promote()")
	require.NoError(t, err)
	next(t, r)
}

func TestPool_DropsAllSessionsOfAServerThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	server, d := ownServer(t)
	s := leading(t, d, board, 1)
	l := observe(t, s, request("a"))[0]
	var idle []func()
	for range 4 {
		conn, err := d.pool.Acquire(t.Context())
		require.NoError(t, err)
		idle = append(idle, conn.Release)
	}
	for _, release := range idle {
		release()
	}
	old := scalar[int](t, d, "SELECT count(*) FROM pg_stat_activity "+
		"WHERE starts_with(application_name, 'teleport-jira-agent/')")
	require.Equal(t, 4, old)
	began := scalar[time.Time](t, d, "SELECT now()")

	takesWrites(t, server, false)
	var err error
	require.Eventually(t, func() bool { _, err = s.Save(t.Context(), l); return err != nil }, patience, time.Millisecond)
	require.True(t, Retryable(err), "%v", err)
	_, err = s.Cursor(t.Context())
	require.ErrorContains(t, err, "default_transaction_read_only is on", "nothing is read on a session of before, either")

	takesWrites(t, server, true)
	require.Eventually(t, func() bool { _, err = s.Save(t.Context(), l); return err == nil }, patience, time.Millisecond)
	require.Zero(t, scalar[int](t, d, `SELECT count(*) FROM pg_stat_activity
		WHERE starts_with(application_name, 'teleport-jira-agent/') AND backend_start < $1`, began))
}

func TestStore_OfANewTermReadsNothingOnSessionsOfTheServerBefore(t *testing.T) {
	t.Parallel()
	before, direct := ownServer(t)
	after, err := before.Standby(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, after.Close()) })
	p, through := startProxy(t, before.URL("postgres"), 0)
	leading(t, direct, board, 1)
	// It may lack the last term: its next one has the same number.
	_, err = connect(t, after.URL("postgres")).Exec(t.Context(), "SELECT pg_promote()")
	require.NoError(t, err)
	stale := open(t, through)
	_, err = stale.Store(board, 1).Cursor(t.Context())
	require.NoError(t, err)
	takesWrites(t, before, false)
	p.leadTo(t, after.URL("postgres"))

	observe(t, leading(t, open(t, after.URL("postgres")), board, 1), request("new"))
	require.Equal(t, "new", row(t, stale.Store(board, 1), "new").RequestID)
}

func TestHeartbeat_RecordsThatTheServerTakesWritesAndOnlyForItsOwnTerm(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	r := (&election{t: t}).join(d.config.URL())
	reign := next(t, r)
	renewed := func() time.Time { return scalar[time.Time](t, d, "SELECT renewed_at FROM leadership") }
	first := renewed()
	r.until(t, "a heartbeat", func(s State) bool { return s.Role == Leading && renewed().After(first) })
	exec(t, d, "UPDATE leadership SET epoch = epoch + 1")
	receive(t, reign.ended, "the end of the reign")
}
