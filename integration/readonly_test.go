package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
)

// PostgreSQL answers questions and takes no writes: nobody acts, and all goes on by itself
// afterwards.

// asSuperuser runs statements on a server, and returns what the last one returned.
func (s *system) asSuperuser(server *pgtest.Server, statements ...string) (answer string) {
	s.t.Helper()
	t, ctx := s.t, s.ctx
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	require.NoError(t, err)
	defer conn.Close(ctx)
	for _, statement := range statements {
		rows, err := conn.Query(ctx, statement, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		all, err := pgx.CollectRows(rows, pgx.RowTo[any])
		require.NoError(t, err, statement)
		for _, value := range all {
			answer, _ = value.(string)
		}
	}
	return answer
}

// notReady waits until a replica says that it is not, for this reason.
func (s *system) notReady(r *replica.Replica, reason string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		answer := s.ready(r)
		return answer.Code == 503 && strings.Contains(strings.Join(answer.Reasons, "\n"), reason)
	}, patience, 50*time.Millisecond, "%s: %s\n%+v", r.Name, reason, s.ready(r))
}

func TestAServerThatTurnsReadOnlyStopsAllAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud, jira: unlimited})
	server := s.ownPostgres()
	a := s.start("a", promptly)
	b := s.standsBy("b", promptly)
	id := s.request()
	issue := s.issueIn(id, "Pending")

	s.asSuperuser(server, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()::text")
	const reason = "the server is read-only: default_transaction_read_only is on"
	s.notReady(a, reason)
	s.notReady(b, reason)
	before := len(s.jira.Calls())
	require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
	s.notReady(a, reason)
	require.Equal(t, types.RequestState_PENDING, s.teleport.State(id), "a leader that cannot record does not act")
	require.Len(t, s.jira.Calls(), before)

	s.asSuperuser(server, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()::text")
	s.settled(id, "approved")
	require.Equal(t, []string{"resolution:approved"}, marks(t, s.issueOf(id)))
}

// The old primary stays up and answers, as after a switchover without fencing; open connections
// through the address stay with it.
func TestASwitchoverThatLeavesTheOldPrimaryAliveAndReadOnlyIsFollowed(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud, jira: unlimited})
	before := s.ownPostgres()
	after, err := before.Standby(s.ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, after.Close()) })
	gate, throughGate := newGate(t, s.env["DATABASE_URL"])
	s.env["DATABASE_URL"] = throughGate
	a := s.start("a", promptly)
	b := s.standsBy("b", promptly)
	id := s.request()
	issue := s.issueIn(id, "Pending")

	s.asSuperuser(before, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()::text")
	s.notReady(a, "read-only")
	s.notReady(b, "read-only")
	written := s.asSuperuser(before, "SELECT pg_current_wal_lsn()::text")
	require.Eventually(t, func() bool {
		return s.asSuperuser(after, "SELECT (pg_last_wal_replay_lsn() >= '"+written+"')::text") == "true"
	}, patience, 50*time.Millisecond, "the standby lags")
	s.asSuperuser(after, "SELECT pg_promote()::text")
	gate.leadTo(t, after.URL("postgres"))

	require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
	s.settled(id, "approved")
	require.Len(t, s.issuesOf(id), 1)
	require.Equal(t, []string{"resolution:approved"}, marks(t, s.issueOf(id)))
	require.Eventually(t, func() bool {
		return s.ready(a).Code == 200 && s.ready(b).Code == 200
	}, patience, 50*time.Millisecond)
}
