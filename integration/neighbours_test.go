package integration

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

func TestAnotherAgentOnTheSameClusterIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	a := s.start("a")
	conn, err := pgx.Connect(s.ctx, s.database)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(s.ctx))
	_, err = conn.Exec(s.ctx, `INSERT INTO leadership (name, epoch, term, holder, resigned, renewed_at)
		SELECT split_part(name, '/', 1) || '/OLD', 3, gen_random_uuid(), 'other-host/1', false, now() FROM leadership`)
	require.NoError(t, err)

	const warning = "another agent works on this cluster: both take up its requests"
	b := s.standsBy("b")
	line, err := b.WaitLog(s.ctx, warning, "holder", "other-host/1")
	require.NoError(t, err)
	require.Regexp(t, "/OLD$", line.Fields["other"])
	require.NotContains(t, a.Log(), warning)

	found, _ := s.findingsOf(nil)
	told := found["postgresql.other_agents"]
	require.Equal(t, sync.Doubt, told.Condition)
	require.Contains(t, told.Found, "for the project OLD")
	require.NotEmpty(t, told.Remedy)
}
