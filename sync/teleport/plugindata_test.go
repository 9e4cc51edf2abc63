package teleport

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

// row is plugin data as the Auth Service keeps it; Update is the server's own rule.
func row(t *testing.T) types.PluginData {
	t.Helper()
	data, err := types.NewPluginData("id", types.KindAccessRequest)
	require.NoError(t, err)
	return data
}

func swap(data types.PluginData, set, expect map[string]string) error {
	return data.Update(
		types.PluginDataUpdateParams{
			Kind:     types.KindAccessRequest,
			Resource: "id",
			Plugin:   pluginName,
			Set:      set,
			Expect:   expect,
		},
	)
}

func TestClaimDataReadsAsTeleportsOwnPluginWritesIt(t *testing.T) {
	t.Parallel()
	data := row(t)
	set, expect := claimData(sync.Request{
		ID: "id", User: "alice", Roles: []string{"db", "web"}, Reason: "why", Created: time.Unix(1700000000, 5).UTC(),
		Reviews: []sync.Review{{Author: "bob"}, {Author: "eve"}},
	})
	require.NoError(t, swap(data, set, expect))
	require.Equal(t, map[string]string{
		"user": "alice", "roles": "db,web", "created": "1700000000", "request_reason": "why", "reviews_count": "2",
	}, data.Entries()["jira"].Data)
}

func TestClaimDataRefusesAnyFormerClaim(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		"issue_id", "issue_key", "user", "roles", "created", "request_reason", "reviews_count", "resolution", "resolve_reason",
	} {
		data := row(t)
		require.NoError(t, swap(data, map[string]string{key: "x"}, nil))
		set, expect := claimData(sync.Request{ID: "id", User: "alice"})
		require.True(t, trace.IsCompareFailed(swap(data, set, expect)), key)
	}
}

func TestClaimDataIsBounded(t *testing.T) {
	t.Parallel()
	set, _ := claimData(sync.Request{User: "alice", Reason: strings.Repeat("é", 5000)})
	require.LessOrEqual(t, len(set["request_reason"]), 4096)
	require.True(t, strings.HasSuffix(set["request_reason"], "…"))
}

func TestResolveDataReplacesADifferentResolutionAndDropsEmptyKeys(t *testing.T) {
	t.Parallel()
	data := row(t)
	require.NoError(t, swap(data, map[string]string{
		"issue_id": "10001", "resolution": "approved", "resolve_reason": "fine", "reviews_count": "1",
	}, nil))
	set, expect := resolveData(data.Entries()["jira"].Data, "denied", "", 0)
	require.NoError(t, swap(data, set, expect))
	require.Equal(t, map[string]string{"issue_id": "10001", "resolution": "denied"}, data.Entries()["jira"].Data)
	require.True(t, contains(data.Entries()["jira"].Data, set), "a repeat finds nothing to write")
	require.True(t, trace.IsCompareFailed(swap(data, set, expect)), "another's write in between is noticed")
}

func TestClaimIsFirstOnlyOnce(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{User: "alice", Roles: []string{"db", "web"}, Reason: "why"})
	r, err := c.Request(soon(t), id)
	require.NoError(t, err)
	server.ResetCalls()

	ref, claimed, err := c.Claim(soon(t), r, "m", "OPS-7")
	require.NoError(t, err)
	require.True(t, claimed)
	require.Zero(t, ref)
	require.Equal(t, map[string]int{"UpdatePluginData": 1}, server.Calls())
	require.Equal(t, map[string]string{
		"user":           "alice",
		"roles":          "db,web",
		"request_reason": "why",
		"created":        fmt.Sprint(r.Created.Unix()),
		"claim":          "m",
		"claim_after":    "OPS-7",
	}, server.PluginData(id)["jira"])

	for mark, mine := range map[string]bool{"m": true, "other": false} {
		ref, claimed, err = c.Claim(soon(t), r, mark, "OPS-7")
		require.NoError(t, err)
		require.Equal(t, mine, claimed)
		require.Zero(t, ref, "a claim without an issue")
	}
	require.NoError(t, c.Reclaim(soon(t), id, "other", "OPS-8"))
	_, claimed, err = c.Claim(soon(t), r, "other", "OPS-7")
	require.NoError(t, err)
	require.True(t, claimed)
	data, err := c.Linked(soon(t), id)
	require.NoError(t, err)
	require.Equal(t, sync.PluginData{Claimed: true, Mark: "other", After: "OPS-8"}, data)

	require.NoError(t, c.Link(soon(t), id, sync.IssueRef{ID: "10001", Key: "P-1"}))
	ref, claimed, err = c.Claim(soon(t), r, "m", "OPS-7")
	require.NoError(t, err)
	require.False(t, claimed)
	require.Equal(t, sync.IssueRef{ID: "10001", Key: "P-1"}, ref)
	require.NoError(t, c.Resolve(soon(t), id, issueRef, "denied", "", 0))
	data, err = c.Linked(soon(t), id)
	require.NoError(t, err)
	require.Equal(
		t,
		sync.PluginData{
			Claimed:    true,
			Issue:      sync.IssueRef{ID: "10001", Key: "P-1"},
			Resolution: sync.OutcomeDenied,
			Mark:       "other",
			After:      "OPS-8",
		},
		data,
	)
	require.ErrorIs(t, c.Reclaim(soon(t), id, "third", "OPS-8"), sync.ErrChanged)
	data, err = c.Linked(soon(t), "unknown")
	require.NoError(t, err)
	require.Zero(t, data)
}

func TestClaimKnowsNoOtherPlugin(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	slack := map[string]string{"user": "alice", "issue_id": "7"}
	require.NoError(t, server.SetPluginData(id, "slack", slack))
	_, claimed, err := c.Claim(soon(t), sync.Request{ID: id, User: "alice"}, "m", "OPS-7")
	require.NoError(t, err)
	require.True(t, claimed)
	require.Equal(t, slack, server.PluginData(id)["slack"])
}

func TestClaimAndLinkSayWhenTheRequestIsGone(t *testing.T) {
	t.Parallel()
	_, c := cluster(t, teleportsim.Config{})
	_, claimed, err := c.Claim(soon(t), sync.Request{ID: "gone", User: "alice"}, "m", "OPS-7")
	require.ErrorIs(t, err, sync.ErrNotFound)
	require.False(t, claimed)
	require.ErrorIs(t, c.Link(soon(t), "gone", sync.IssueRef{ID: "1", Key: "P-1"}), sync.ErrNotFound)
}

func TestClaimOfALostAnswerIsUncertainAndFindsItselfAgain(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	server.Inject(teleportsim.Fault{RPC: "UpdatePluginData", Kind: teleportsim.FaultLoseAnswer, Times: 1})
	_, claimed, err := c.Claim(soon(t), sync.Request{ID: id, User: "alice"}, "m", "OPS-7")
	require.True(t, failure(t, err).Uncertain)
	require.False(t, claimed)
	awaitCall(t, c)
	ref, claimed, err := c.Claim(soon(t), sync.Request{ID: id, User: "alice"}, "m", "OPS-7")
	require.NoError(t, err)
	require.True(t, claimed, "by its mark")
	require.Zero(t, ref)
}

func TestLinkKeepsTheFirstIssue(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	first := sync.IssueRef{ID: "10001", Key: "P-1"}
	require.NoError(t, c.Link(soon(t), id, first))
	require.NoError(t, c.Link(soon(t), id, first), "a repeat is harmless")
	err := c.Link(soon(t), id, sync.IssueRef{ID: "10002", Key: "P-2"})
	require.ErrorIs(t, err, sync.ErrChanged)
	require.ErrorContains(t, err, "P-1")
	require.False(t, failure(t, err).Permanent)
	require.Equal(t, map[string]string{"issue_id": "10001", "issue_key": "P-1"}, server.PluginData(id)["jira"])
	require.True(t, failure(t, c.Link(soon(t), id, sync.IssueRef{Key: "P-3"})).Permanent)
}

func TestResolveWritesOnceAndReplacesADifferentResolution(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, c.Link(soon(t), id, sync.IssueRef{ID: "10001", Key: "P-1"}))
	server.ResetCalls()
	require.NoError(t, c.Resolve(soon(t), id, issueRef, "approved", "fine", 2))
	require.Equal(t, map[string]int{"UpdatePluginData": 1}, server.Calls())
	require.NoError(t, c.Resolve(soon(t), id, issueRef, "approved", "fine", 2))
	require.Equal(
		t,
		map[string]int{"UpdatePluginData": 2, "GetPluginData": 1},
		server.Calls(),
		"the repeat is refused, and finds it done",
	)
	require.Equal(t, map[string]string{
		"issue_id": "10001", "issue_key": "P-1", "resolution": "approved", "resolve_reason": "fine", "reviews_count": "2",
	}, server.PluginData(id)["jira"])

	require.NoError(t, c.Resolve(soon(t), id, issueRef, "denied", "", 0))
	require.Equal(
		t,
		map[string]string{"issue_id": "10001", "issue_key": "P-1", "resolution": "denied"},
		server.PluginData(id)["jira"],
	)
}

func TestResolveWritesAfterTheRequestIsGoneWhileItsDataLives(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, c.Link(soon(t), id, sync.IssueRef{ID: "10001", Key: "P-1"}))
	require.NoError(t, server.Expire(id))
	require.NoError(t, c.Resolve(soon(t), id, issueRef, "expired", "", 0))
	require.Equal(t, "expired", server.PluginData(id)["jira"]["resolution"])
}

func TestResolveWritesNothingWhereNothingIs(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, c.Resolve(soon(t), id, issueRef, "denied", "no", 1))
	require.NoError(t, c.Resolve(soon(t), "gone", issueRef, "denied", "no", 1))
	require.Nil(t, server.PluginData(id))
}

func TestResolveLeavesTheNameOfAnotherIssueAlone(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, c.Link(soon(t), id, sync.IssueRef{ID: "10002", Key: "P-2"}))
	require.NoError(t, c.Resolve(soon(t), id, issueRef, "denied", "no", 1))
	require.Equal(t, map[string]string{
		"issue_id": "10002", "issue_key": "P-2", "resolution": "denied", "resolve_reason": "no", "reviews_count": "1",
	}, server.PluginData(id)["jira"])
}

// issueRef is the issue of most tests.
var issueRef = sync.IssueRef{ID: "10001", Key: "P-1"}

func TestMissingRightsOnPluginDataConcernTheRequestForWritesAndAllForReads(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{AgentUser: "agent"})
	id := file(t, server, teleportsim.Request{})
	server.SetRole("agent", teleportsim.Role{})
	_, _, err := c.Claim(soon(t), sync.Request{ID: id, User: "alice"}, "m", "OPS-7")
	require.False(t, failure(t, err).Permanent)
	require.Equal(t, sync.ScopeRequest, failure(t, err).Scope)
	_, err = c.Linked(soon(t), id)
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
}
