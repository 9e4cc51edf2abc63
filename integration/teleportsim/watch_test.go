package teleportsim_test

import (
	"testing"
	"time"

	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
)

// newWatch opens a watch without waiting for OpInit.
func newWatch(t *testing.T, clt *client.Client, kinds ...types.WatchKind) types.Watcher {
	t.Helper()
	watch, err := clt.NewWatcher(t.Context(), types.Watch{Kinds: kinds})
	require.NoError(t, err)
	t.Cleanup(func() { _ = watch.Close() })
	return watch
}

// openWatch opens a watch of access requests, and returns once it is confirmed.
func openWatch(t *testing.T, clt *client.Client, filter map[string]string) types.Watcher {
	t.Helper()
	watch := newWatch(t, clt, types.WatchKind{Kind: types.KindAccessRequest, Filter: filter})
	first := next(t, watch)
	require.Equal(t, types.OpInit, first.Type)
	status, ok := first.Resource.(types.WatchStatus)
	require.True(t, ok, "OpInit carries %T", first.Resource)
	require.Equal(t, types.KindAccessRequest, status.GetKinds()[0].Kind)
	return watch
}

func next(t *testing.T, watch types.Watcher) types.Event {
	t.Helper()
	select {
	case event := <-watch.Events():
		return event
	case <-watch.Done():
		require.NoError(t, watch.Error(), "the watch is broken")
	case <-time.After(patience):
		require.Fail(t, "no event came")
	}
	return types.Event{}
}

// brokenBy waits for the end of a watch that has nothing more to tell.
func brokenBy(t *testing.T, watch types.Watcher) error {
	t.Helper()
	select {
	case event := <-watch.Events():
		require.Fail(t, "an event came", "%v", event)
	case <-watch.Done():
	case <-time.After(patience):
		require.Fail(t, "the watch stays open")
	}
	return watch.Error()
}

func TestAWatchTellsEveryChangeWithTheWholeRequest(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	file(t, server, teleportsim.Request{}) // what happened before is not told
	watch := openWatch(t, connect(t, server, ""), nil)

	id := file(t, server, teleportsim.Request{Reason: "why", Approvals: 2})
	require.NoError(t, server.Review(id, "bob", true, "r"))
	require.NoError(t, server.Approve(id, "carol", "ok"))
	require.NoError(t, server.Delete(id))

	created := next(t, watch)
	require.Equal(t, types.OpPut, created.Type)
	require.Equal(t, id, created.Resource.GetName())
	require.Equal(t, "why", created.Resource.(types.AccessRequest).GetRequestReason())
	reviewed := next(t, watch).Resource.(types.AccessRequest)
	require.Equal(t, pending, reviewed.GetState())
	require.Equal(t, "bob", reviewed.GetReviews()[0].Author)
	require.Equal(t, approved, next(t, watch).Resource.(types.AccessRequest).GetState())

	deleted := next(t, watch)
	require.Equal(t, types.OpDelete, deleted.Type)
	require.IsType(t, &types.ResourceHeader{}, deleted.Resource)
	require.Equal(t, types.KindAccessRequest, deleted.Resource.GetKind())
	require.Equal(t, id, deleted.Resource.GetName())
}

func TestAnExpiryIsToldAsADeletionOnly(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{AuditExpiry: true})
	watch := openWatch(t, connect(t, server, ""), nil)
	id := file(t, server, teleportsim.Request{})
	require.Equal(t, types.OpPut, next(t, watch).Type)
	require.NoError(t, server.Expire(id))
	event := next(t, watch)
	require.Equal(t, types.OpDelete, event.Type)
	require.Equal(t, id, event.Resource.GetName())
	require.Nil(t, server.Request(id))
	require.Equal(t, teleportsim.AuditExpire, server.Audit(id)[1].Type)
	require.True(t, trace.IsNotFound(server.Expire(id)))
}

func TestAFilterHoldsForPutsAndNotForDeletions(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	watch := openWatch(t, connect(t, server, ""), map[string]string{"user": "alice", "state": "PENDING"})

	ofCarol := file(t, server, teleportsim.Request{User: "carol"})
	ofAlice := file(t, server, teleportsim.Request{User: "alice"})
	require.Equal(t, ofAlice, next(t, watch).Resource.GetName(), "another user's request is not told")

	require.NoError(t, server.Approve(ofAlice, "bob", ""))
	require.NoError(t, server.Delete(ofCarol))
	event := next(t, watch)
	require.Equal(t, types.OpDelete, event.Type, "the approval left the filter and is not told")
	require.Equal(t, ofCarol, event.Resource.GetName(), "another user's deletion is told")
}

func TestAWatchIsRefused(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{AgentUser: "jira"})
	clt := connect(t, server, "")
	request := types.WatchKind{Kind: types.KindAccessRequest}

	unknownKey := request
	unknownKey.Filter = map[string]string{"role": "editor"}
	require.True(t, trace.IsBadParameter(brokenBy(t, newWatch(t, clt, unknownKey))), "unknown filter key")
	require.True(t, trace.IsAccessDenied(brokenBy(t, newWatch(t, clt))), "no kind at all")
	require.True(
		t,
		trace.IsAccessDenied(brokenBy(t, newWatch(t, clt, request, types.WatchKind{Kind: types.KindNode}))),
		"a kind without a rule",
	)

	role := teleportsim.PluginRole()
	role.Rules[types.KindNode] = []string{types.VerbRead}
	server.SetRole("jira", role)
	require.True(
		t,
		trace.IsBadParameter(brokenBy(t, newWatch(t, clt, types.WatchKind{Kind: types.KindNode}))),
		"a kind that is not simulated",
	)

	server.SetRole("jira", teleportsim.Role{Rules: map[string][]string{types.KindAccessRequest: {types.VerbList}}})
	err := brokenBy(t, newWatch(t, clt, request))
	require.True(t, trace.IsAccessDenied(err), "%v", err)
	require.ErrorContains(t, err, `"read" on "access_request"`)
	openWatch(t, clt, map[string]string{"user": "jira"}) // anybody may watch their own
	require.Equal(t, 1, server.Watches())
}

func TestAPartialSuccessConfirmsTheKindsThatAreWatched(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	watch, err := connect(t, server, "").NewWatcher(t.Context(), types.Watch{
		Kinds:               []types.WatchKind{{Kind: types.KindNode}, {Kind: types.KindAccessRequest}},
		AllowPartialSuccess: true,
	})
	require.NoError(t, err)
	defer watch.Close()
	kinds := next(t, watch).Resource.(types.WatchStatus).GetKinds()
	require.Len(t, kinds, 1)
	require.Equal(t, types.KindAccessRequest, kinds[0].Kind)
}

func TestBrokenWatchesCanBeOpenedAgain(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	watch := openWatch(t, clt, nil)
	server.BreakWatches()
	require.True(t, trace.IsConnectionProblem(brokenBy(t, watch)))
	require.Zero(t, server.Watches())

	again := openWatch(t, clt, nil)
	id := file(t, server, teleportsim.Request{})
	require.Equal(t, id, next(t, again).Resource.GetName())
}

func TestAStopEndsWatchesAndTheClientComesBack(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	watch := openWatch(t, clt, nil)
	addr := server.Addr()
	server.Stop()
	require.True(t, trace.IsConnectionProblem(brokenBy(t, watch)))
	require.NoError(t, server.Start(addr))
	waitForReady(testContext(t), t, clt)
	openWatch(t, clt, nil)
}

func TestMutedWatchesLoseEventsAndStayOpen(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	watch := openWatch(t, connect(t, server, ""), nil)
	server.MuteWatches(true)
	file(t, server, teleportsim.Request{})
	server.MuteWatches(false)
	told := file(t, server, teleportsim.Request{})
	require.Equal(t, told, next(t, watch).Resource.GetName())
}

func TestASlowReadersStreamIsEnded(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{WatchBuffer: 10})
	watch := openWatch(t, connect(t, server, ""), nil)
	// Nobody reads: first HTTP/2's windows fill up, then the buffer.
	reason := string(make([]byte, 4000))
	ctx := testContext(t)
	for server.Watches() > 0 {
		require.NoError(t, ctx.Err(), "the stream is not ended")
		file(t, server, teleportsim.Request{Reason: reason})
	}
	for {
		select {
		case <-watch.Events():
			continue
		case <-watch.Done():
		case <-time.After(patience):
			require.Fail(t, "the watch stays open")
		}
		break
	}
	require.ErrorContains(t, watch.Error(), "failed to process fanout buffer backlog")
}
