package db

import (
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

func TestNeighbours_AreAgentsOfOtherProjectsThatWorkOnTheSameCluster(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	none, err := d.Neighbours(t.Context(), board)
	require.NoError(t, err)
	require.Empty(t, none)

	exec(t, d, `INSERT INTO leadership (name, epoch, term, holder, resigned, renewed_at) VALUES
		($1 || '/OPS', 1, gen_random_uuid(), 'self', false, now()),
		($1 || '/OLD', 1, gen_random_uuid(), 'other', false, now()),
		($1 || '/STOPPED', 1, gen_random_uuid(), 'stopped', true, now()),
		($1 || '/LONGGONE', 1, gen_random_uuid(), 'gone', false, now() - interval '2 hours'),
		($1 || '/EARLIER', 1, gen_random_uuid(), 'before renewals', false, NULL),
		($1 || '.org/OPS', 1, gen_random_uuid(), 'elsewhere', false, now())`, board.Cluster)
	found, err := d.Neighbours(t.Context(), board)
	require.NoError(t, err)
	require.Equal(t, []Neighbour{{Scope: Scope{Cluster: board.Cluster, Project: "OLD"}, Holder: "other"}}, found)
	told := checked(t, d.config.URL())[checkAgents]
	require.Equal(t, sync.Doubt, told.Condition)
	require.Contains(t, told.Found, "for the project OLD (replica other)")
	require.NotEmpty(t, told.Remedy)
}

func TestOverview_ListsOnlyReplicasOfItsOwnScope(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	e := &election{t: t}
	next(t, e.join(d.config.URL(), func(c *ElectorConfig) { c.Instance = "leader" }))
	e.join(d.config.URL(), func(c *ElectorConfig) { c.Instance = "standby" }).role(t, Standby)
	other := Scope{Cluster: board.Cluster, Project: "OTHER"}
	next(t, (&election{t: t}).join(d.config.URL(), func(c *ElectorConfig) { c.Scope, c.Instance = other, "neighbour" }))

	o, err := d.View(board).Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"leader", "standby"}, o.Replicas)
	o, err = d.View(other).Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"neighbour"}, o.Replicas)
}
