package teleport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

func errLimit() error { return trace.LimitExceeded("rate limit exceeded") }

func errNotImplemented() error { return trace.NotImplemented("unknown method") }

func file(t *testing.T, server *teleportsim.Server, r teleportsim.Request) string {
	t.Helper()
	if r.User == "" {
		r.User = "alice"
	}
	if len(r.Roles) == 0 && len(r.Resources) == 0 {
		r.Roles = []string{"editor"}
	}
	id, err := server.CreateRequest(r)
	require.NoError(t, err)
	return id
}

func open(t *testing.T, c *Client) sync.Watch {
	t.Helper()
	w, err := c.Watch(soon(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

func TestWatchTellsOfEveryChangeAndDeletion(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{ProxyPublicAddr: "proxy.example.com:443"})
	w := open(t, c)
	id := file(t, server, teleportsim.Request{Reason: "why"})
	require.NoError(t, server.Review(id, "bob", true, "fine"))
	require.NoError(t, server.Delete(id))

	created, err := w.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, sync.StatePending, created.Request.State)
	require.Equal(t, "https://proxy.example.com:443/web/requests/"+id, created.Request.URL)
	reviewed, err := w.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, sync.StateApproved, reviewed.Request.State)
	require.Len(t, reviewed.Request.Reviews, 1)
	require.Equal(t, "bob", reviewed.Request.Reviews[0].Author)
	deleted, err := w.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, sync.Event{DeletedID: id}, deleted)
}

func TestWatchReportsARefusal(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{AgentUser: "agent"})
	server.SetRole("agent", teleportsim.Role{})
	_, err := c.Watch(soon(t))
	require.ErrorContains(t, err, `"read" on "access_request"`)
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
}

func TestWatchGivesUpWhenItIsNotConfirmed(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	server.Inject(teleportsim.Fault{RPC: "WatchEvents", Kind: teleportsim.FaultHang})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.Watch(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
}

func TestWatchGivesUpWhileTheConnectionIsBeingMade(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	w := open(t, c)
	server.Stop()
	_, err := w.Next(soon(t)) // gRPC knows that the connection is gone, and makes another for the next call
	require.Error(t, err)
	silent, err := net.Listen("tcp", server.Addr()) // accepts through its backlog and never says a word
	require.NoError(t, err)
	defer silent.Close()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = c.Watch(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 10*time.Second, "gRPC alone would wait 20 s for the handshake")
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
}

func TestWatchOutlivesTheContextItWasOpenedIn(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	w, err := c.Watch(ctx)
	require.NoError(t, err)
	cancel()
	id := file(t, server, teleportsim.Request{})
	event, err := w.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, id, event.Request.ID)
	require.NoError(t, w.Close())
	require.NoError(t, server.Wait(soon(t), func(s *teleportsim.Server) bool { return s.Watches() == 0 }))
}

func TestNextReturnsWhenTheStreamBreaksOrTheContextEnds(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	w := open(t, c)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Next(canceled)
	require.ErrorIs(t, err, context.Canceled)

	server.BreakWatches()
	_, err = w.Next(soon(t))
	require.ErrorContains(t, err, "error reading from server: EOF")
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)

	id := file(t, server, teleportsim.Request{})
	again := open(t, c)
	list(t, c, func(r sync.Request) { require.Equal(t, id, r.ID) })
	require.NoError(t, server.Delete(id))
	event, err := again.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, id, event.DeletedID)
}

func list(t *testing.T, c *Client, see func(sync.Request)) (count, pages int) {
	t.Helper()
	require.NoError(t, c.Requests(soon(t), func(page []sync.Request) error {
		pages++
		for _, r := range page {
			count++
			see(r)
		}
		return nil
	}))
	return count, pages
}

func TestRequestsReadsAllPages(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	want := make(map[string]bool)
	for range 2*pageSize + 50 {
		want[file(t, server, teleportsim.Request{})] = true
	}
	expired := file(t, server, teleportsim.Request{TTL: -time.Minute})
	count, pages := list(t, c, func(r sync.Request) {
		require.True(t, want[r.ID], "seen twice, or not to be seen")
		delete(want, r.ID)
	})
	require.Equal(t, 2*pageSize+50, count)
	require.Equal(t, 3, pages)
	require.Empty(t, want)

	r, err := c.Request(soon(t), expired)
	require.NoError(t, err, "by ID an expired one is found")
	require.True(t, r.Expires.Before(time.Now()))
}

func TestRequestsReadsPagesLargerThanAMessageOfGRPCsOwnLimit(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	many := make([]string, 6000)
	for i := range many {
		many[i] = fmt.Sprintf("reviewer-%d@example.com", i)
	}
	for range 40 { // 40 × 6000 × 25 bytes, beyond 4 MiB
		file(t, server, teleportsim.Request{SuggestedReviewers: many})
	}
	count, pages := list(t, c, func(sync.Request) {})
	require.Equal(t, 40, count)
	require.Equal(t, 1, pages)
}

func TestRequestsServesAnAuthServiceWithoutPages(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	server.Inject(
		teleportsim.Fault{
			RPC:  "ListAccessRequests",
			Kind: teleportsim.FaultError,
			Err:  trace.NotImplemented("unknown method"),
		},
	)
	count, _ := list(t, c, func(r sync.Request) { require.Equal(t, id, r.ID) })
	require.Equal(t, 1, count)
	r, err := c.Request(soon(t), id)
	require.NoError(t, err)
	require.Equal(t, id, r.ID)
}

func TestRequestsReturnsThePagesOwnErrorAsItIs(t *testing.T) {
	t.Parallel()
	_, c := cluster(t, teleportsim.Config{})
	own := errors.New("the store is down")
	require.Equal(t, own, c.Requests(soon(t), func([]sync.Request) error { return own }))
}

func TestRequestReadsPastTheCache(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{CacheDelay: time.Hour})
	id := file(t, server, teleportsim.Request{
		User: "alice", Reason: "why", SuggestedReviewers: []string{"bob"},
		Resources: []types.ResourceID{{ClusterName: "main", Kind: "node", Name: "n1"}},
	})
	require.NoError(t, server.Promote(id, "bob", "Database people"))
	count, _ := list(t, c, func(sync.Request) {})
	require.Zero(t, count)

	got, err := c.Request(soon(t), id)
	require.NoError(t, err)
	stored := server.Request(id)
	require.Empty(t, cmp.Diff(convert(stored, c.webURL()), got))
	require.Equal(t, sync.StatePromoted, got.State)
	require.Equal(t, "Database people", got.PromotedTo)
	require.Equal(t, []string{"/main/node/n1"}, got.Resources)
}

func TestRequestSaysWhenItIsGone(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, server.Delete(id))
	for _, missing := range []string{id, ""} {
		_, err := c.Request(soon(t), missing)
		require.ErrorIs(t, err, sync.ErrNotFound)
		require.Equal(t, sync.ScopeRequest, failure(t, err).Scope)
	}
}

func TestDecideSetsStateReasonAndDelegator(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{AgentUser: "agent"})
	id := file(t, server, teleportsim.Request{})
	long := strings.Repeat("é", 3000)
	require.NoError(
		t,
		c.Decide(soon(t), id, sync.Decision{State: sync.StateApproved, Reason: long, Delegator: "jira:bob@example.com"}),
	)
	request := server.Request(id)
	require.Equal(t, types.RequestState_APPROVED, request.GetState())
	require.Equal(t, cut(long, 4096), request.GetResolveReason())
	audit := server.Audit(id)
	last := audit[len(audit)-1]
	require.Equal(t, teleportsim.AuditUpdate, last.Type)
	require.Equal(t, "agent", last.UpdatedBy)
	require.Equal(t, "jira:bob@example.com", last.Delegator)

	require.NoError(t, c.Decide(soon(t), id, sync.Decision{State: sync.StateDenied}))
	require.Equal(t, types.RequestState_DENIED, server.State(id))
}

func TestDecideReportsRefusalsAsFinal(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{AgentUser: "agent"})
	denied, own := file(t, server, teleportsim.Request{}), file(t, server, teleportsim.Request{User: "agent"})
	require.NoError(t, server.Deny(denied, "bob", ""))
	approve := sync.Decision{State: sync.StateApproved}
	for id, d := range map[string]sync.Decision{denied: approve, own: approve, "any": {State: sync.StatePromoted}} {
		e := failure(t, c.Decide(soon(t), id, d))
		require.Equal(t, sync.ScopeRequest, e.Scope)
		require.True(t, e.Permanent)
		require.False(t, e.Uncertain)
	}
	err := c.Decide(soon(t), "nobody", approve)
	require.ErrorIs(t, err, sync.ErrNotFound)
	require.False(t, failure(t, err).Uncertain)
}

func TestALostAnswerToAWriteIsUncertain(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]teleportsim.FaultKind{
		"connection cut": teleportsim.FaultLoseAnswer,
		"answer hangs":   teleportsim.FaultHangAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, cfg := start(t, teleportsim.Config{})
			c := connect(t, cfg)
			if kind == teleportsim.FaultHangAnswer {
				c.cfg.CallTimeout = 500 * time.Millisecond
			}
			id := file(t, server, teleportsim.Request{})
			server.Inject(teleportsim.Fault{RPC: "SetAccessRequestState", Kind: kind, Times: 1})
			e := failure(t, c.Decide(soon(t), id, sync.Decision{State: sync.StateApproved}))
			require.True(t, e.Uncertain)
			require.False(t, e.Permanent)
			require.Equal(t, sync.ScopeSide, e.Scope)
			require.Equal(t, types.RequestState_APPROVED, server.State(id))
		})
	}
}
