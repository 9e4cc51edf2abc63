package teleportsim_test

import (
	"context"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"teleport-jira-agent/integration/teleportsim"
)

func approve(ctx context.Context, clt interface {
	SetAccessRequestState(context.Context, types.AccessRequestUpdate) error
}, id string,
) error {
	return clt.SetAccessRequestState(ctx, types.AccessRequestUpdate{RequestID: id, State: approved})
}

func TestAnInjectedErrorStrikesAsOftenAsSaid(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	fault := server.Inject(teleportsim.Fault{
		RPC: "SetAccessRequestState", Times: 2, Err: trace.CompareFailed("too many concurrent writes"),
	})
	for range 2 {
		err := approve(ctx, clt, id)
		require.True(t, trace.IsCompareFailed(err), "%v", err)
		require.Equal(t, pending, server.State(id))
	}
	_, err := clt.Ping(ctx)
	require.NoError(t, err, "other calls go their way")
	require.NoError(t, approve(ctx, clt, id))
	require.Equal(t, 2, fault.Struck())
	require.Equal(t, 3, server.Calls()["SetAccessRequestState"])
}

func TestAFaultCanPickItsCalls(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	unlucky, lucky := file(t, server, teleportsim.Request{}), file(t, server, teleportsim.Request{})
	fault := server.Inject(teleportsim.Fault{Match: func(request any) bool {
		setter, ok := request.(*proto.RequestStateSetter)
		return ok && setter.ID == unlucky
	}})
	require.NoError(t, approve(ctx, clt, lucky))
	require.True(t, trace.IsConnectionProblem(approve(ctx, clt, unlucky)), "Unavailable by default")
	fault.Remove()
	fault.Remove()
	require.NoError(t, approve(ctx, clt, unlucky))
}

// startClusterAndHear is startCluster with a channel that tells the end of each state change on the
// server's side, before which nothing can be said about a missing effect.
func startClusterAndHear(t *testing.T) (*teleportsim.Server, <-chan teleportsim.Call) {
	t.Helper()
	ended := make(chan teleportsim.Call, 100)
	return startCluster(t, teleportsim.Config{OnCall: func(call teleportsim.Call) {
		if call.RPC == "SetAccessRequestState" {
			ended <- call
		}
	}}), ended
}

func TestADroppedCallHasNoEffect(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server, ended := startClusterAndHear(t)
	clt := connect(t, server, "")
	watch := openWatch(t, clt, nil)
	id := file(t, server, teleportsim.Request{})
	require.Equal(t, id, next(t, watch).Resource.GetName())

	server.Inject(teleportsim.Fault{RPC: "SetAccessRequestState", Times: 1, Kind: teleportsim.FaultDropBefore})
	err := approve(ctx, clt, id)
	require.True(t, trace.IsConnectionProblem(err), "%v", err)
	require.Error(t, (<-ended).Err)
	require.Equal(t, pending, server.State(id))
	require.True(t, trace.IsConnectionProblem(brokenBy(t, watch)), "the whole connection is cut")
	require.Equal(t, 1, server.Calls()["SetAccessRequestState"], "the client does not repeat it by itself")
}

func TestALostAnswerLeavesTheEffect(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	server.Inject(teleportsim.Fault{RPC: "SetAccessRequestState", Times: 1, Kind: teleportsim.FaultLoseAnswer})
	err := approve(ctx, clt, id)
	require.True(t, trace.IsConnectionProblem(err), "%v", err)
	require.Equal(t, approved, server.State(id))
	require.Len(t, server.Audit(id), 2)
}

func TestAHungCallEndsWhenTheClientGivesUp(t *testing.T) {
	t.Parallel()
	server, ended := startClusterAndHear(t)
	clt := connect(t, server, "")
	for kind, state := range map[teleportsim.FaultKind]types.RequestState{
		teleportsim.FaultHang:       pending,
		teleportsim.FaultHangAnswer: approved,
	} {
		id := file(t, server, teleportsim.Request{})
		fault := server.Inject(teleportsim.Fault{RPC: "SetAccessRequestState", Kind: kind})
		ctx, giveUp := context.WithCancel(testContext(t))
		done := make(chan error, 1)
		go func() { done <- approve(ctx, clt, id) }()
		require.NoError(t, server.Wait(ctx, func(*teleportsim.Server) bool { return fault.Struck() == 1 }))
		giveUp()
		err := <-done
		require.Equal(t, codes.Canceled, status.Code(trace.Unwrap(err)), "%v", err)
		require.Error(t, (<-ended).Err)
		require.Equal(t, state, server.State(id))
		fault.Remove()
	}
}

func TestAHungCallGoesOnWhenTheFaultIsRemoved(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	fault := server.Inject(teleportsim.Fault{RPC: "SetAccessRequestState", Kind: teleportsim.FaultHang})
	done := make(chan error, 1)
	go func() { done <- approve(ctx, clt, id) }()
	require.NoError(t, server.Wait(ctx, func(*teleportsim.Server) bool { return fault.Struck() == 1 }))
	require.Equal(t, pending, server.State(id))
	server.ClearFaults()
	require.NoError(t, <-done)
	require.Equal(t, approved, server.State(id))
}

func TestADelayedCallTakesItsTimeAndSucceeds(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	server.Inject(teleportsim.Fault{RPC: "Ping", Kind: teleportsim.FaultDelay, Delay: 200 * time.Millisecond})
	began := time.Now()
	_, err := clt.Ping(testContext(t))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
}

func TestAFaultStrikesAWatchWhenItIsOpened(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	server.Inject(
		teleportsim.Fault{
			RPC:   "WatchEvents",
			Times: 1,
			Err:   trace.LimitExceeded("too many watches"),
			Match: func(request any) bool {
				watch, ok := request.(*proto.Watch)
				return ok && watch.Kinds[0].Kind == types.KindAccessRequest
			},
		},
	)
	err := brokenBy(t, newWatch(t, clt, types.WatchKind{Kind: types.KindAccessRequest}))
	require.True(t, trace.IsLimitExceeded(err), "%v", err)
	openWatch(t, clt, nil)
}

func TestAHungCallDoesNotHoldUpAStop(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	fault := server.Inject(teleportsim.Fault{RPC: "Ping", Kind: teleportsim.FaultHang})
	done := make(chan error, 1)
	go func() {
		_, err := clt.Ping(ctx)
		done <- err
	}()
	require.NoError(t, server.Wait(ctx, func(*teleportsim.Server) bool { return fault.Struck() == 1 }))
	server.Stop()
	require.True(t, trace.IsConnectionProblem(<-done))
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := server.Wait(ctx, func(*teleportsim.Server) bool { return false })
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, server.Wait(ctx, func(*teleportsim.Server) bool { return true }))
}
