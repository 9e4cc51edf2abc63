package teleportsim_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/integration/teleportsim"
)

func update(id string, set, expect map[string]string) types.PluginDataUpdateParams {
	return types.PluginDataUpdateParams{
		Kind:     types.KindAccessRequest,
		Resource: id,
		Plugin:   "jira",
		Set:      set,
		Expect:   expect,
	}
}

func TestPluginDataThatHasOutlivedItsRequestIsNotThereAgain(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, clt.UpdatePluginData(testContext(t), update(id, map[string]string{"k": "v"}, nil)))
	require.NoError(t, server.Delete(id))
	require.NotNil(t, server.PluginData(id), "it outlives its request")
	server.OutlivePluginData(id)
	require.Nil(t, server.PluginData(id))
	err := clt.UpdatePluginData(testContext(t), update(id, map[string]string{"k": "v"}, nil))
	require.True(t, trace.IsNotFound(err), "%v", err)
}

func TestPluginDataIsComparedAndSwapped(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})

	require.NoError(
		t,
		clt.UpdatePluginData(ctx, update(id, map[string]string{"user": "alice"}, map[string]string{"issue_id": ""})),
	)
	require.NoError(
		t,
		clt.UpdatePluginData(ctx, update(id, map[string]string{"issue_id": "10001"}, map[string]string{"issue_id": ""})),
	)
	err := clt.UpdatePluginData(ctx, update(id, map[string]string{"issue_id": "10002"}, map[string]string{"issue_id": ""}))
	require.True(t, trace.IsCompareFailed(err), "%v", err)
	require.ErrorContains(t, err, `expectations not met for field "issue_id"`)
	require.NoError(t, clt.UpdatePluginData(ctx, update(id, map[string]string{"user": ""}, nil)))
	require.Equal(t, map[string]map[string]string{"jira": {"issue_id": "10001"}}, server.PluginData(id))
}

func TestOfManyClaimsOneWins(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	won := make(chan struct{}, 8)
	var group errgroup.Group
	for range cap(won) {
		group.Go(func() error {
			err := clt.UpdatePluginData(
				testContext(t),
				update(id, map[string]string{"claimed": "yes"}, map[string]string{"claimed": ""}),
			)
			if trace.IsCompareFailed(err) {
				return nil
			}
			won <- struct{}{}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.Len(t, won, 1)
}

func TestPluginDataIsSelectedByPluginAndNotTrimmed(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	both, other := file(t, server, teleportsim.Request{}), file(t, server, teleportsim.Request{})
	require.NoError(t, server.SetPluginData(both, "jira", map[string]string{"k": "v"}))
	require.NoError(t, server.SetPluginData(both, "slack", map[string]string{"k": "w"}))
	require.NoError(t, server.SetPluginData(other, "slack", map[string]string{"k": "x"}))
	get := func(filter types.PluginDataFilter) []types.PluginData {
		filter.Kind = types.KindAccessRequest
		rows, err := clt.GetPluginData(ctx, filter)
		require.NoError(t, err)
		return rows
	}
	require.Len(t, get(types.PluginDataFilter{}), 2)
	require.Empty(t, get(types.PluginDataFilter{Resource: "x"}))
	rows := get(types.PluginDataFilter{Plugin: "jira"})
	require.Len(t, rows, 1)
	require.Equal(t, both, rows[0].GetName())
	require.Equal(t, "w", rows[0].Entries()["slack"].Data["k"], "the other plugin's entry comes along")
}

func TestPluginDataNeedsItsRequestOnlyToBegin(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, server.SetPluginData(id, "jira", map[string]string{"k": "v"}))
	require.NoError(t, server.Delete(id))
	require.NoError(t, clt.UpdatePluginData(ctx, update(id, map[string]string{"k": "w"}, nil)))
	require.Equal(t, "w", server.PluginData(id)["jira"]["k"])

	err := clt.UpdatePluginData(ctx, update("x", map[string]string{"k": "w"}, nil))
	require.True(t, trace.IsNotFound(err), "%v", err)
}

func TestPluginDataEndsOneHourAfterTheAccess(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	longAgo := file(t, server, teleportsim.Request{AccessTTL: -2 * 3600e9})
	require.NoError(t, server.SetPluginData(longAgo, "jira", map[string]string{"k": "v"}))
	require.Nil(t, server.PluginData(longAgo))
}

func TestPluginDataIsBoundedForAllPluginsTogether(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, server.SetPluginData(id, "slack", map[string]string{"k": strings.Repeat("x", 600_000)}))
	err := clt.UpdatePluginData(testContext(t), update(id, map[string]string{"k": strings.Repeat("x", 500_000)}, nil))
	require.True(t, trace.IsBadParameter(err), "%v", err)
	require.ErrorContains(t, err, "plugin data size limit exceeded")
	require.NotContains(t, server.PluginData(id), "jira")
}

func TestPluginDataNeedsTheVerbOnEitherKind(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{AgentUser: "jira"})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	read := func(ctx context.Context) error {
		_, err := clt.GetPluginData(ctx, types.PluginDataFilter{Kind: types.KindAccessRequest, Resource: id})
		return err
	}
	write := func(ctx context.Context) error {
		return clt.UpdatePluginData(ctx, update(id, map[string]string{"k": "v"}, nil))
	}
	rules := func(kind string, verbs ...string) teleportsim.Role {
		return teleportsim.Role{Rules: map[string][]string{kind: verbs}}
	}
	for name, c := range map[string]struct {
		role        teleportsim.Role
		read, write bool
	}{
		"nothing":            {teleportsim.Role{}, false, false},
		"update of requests": {rules(types.KindAccessRequest, types.VerbUpdate), false, true},
		"update of data":     {rules(types.KindAccessPluginData, types.VerbUpdate), false, true},
		"read of data":       {rules(types.KindAccessPluginData, types.VerbRead, types.VerbList), true, false},
		"read but no list":   {rules(types.KindAccessPluginData, types.VerbRead), false, false},
		"read of requests":   {rules(types.KindAccessRequest, types.VerbRead, types.VerbList), true, false},
		"the plugin's role":  {teleportsim.PluginRole(), true, true},
	} {
		server.SetRole("jira", c.role)
		for try, want := range map[*func(context.Context) error]bool{&read: c.read, &write: c.write} {
			err := (*try)(ctx)
			require.Equal(t, want, err == nil, "%s: %v", name, err)
			require.True(t, err == nil || trace.IsAccessDenied(err), "%s: %v", name, err)
		}
	}
	_, err := clt.GetPluginData(ctx, types.PluginDataFilter{Kind: types.KindNode})
	require.True(t, trace.IsBadParameter(err), "%v", err)
}
