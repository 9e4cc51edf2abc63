package teleport

import (
	stdsync "sync"
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

func TestEachCallIsToldByMethodAndCodeAndAWatchIsNone(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	var mu stdsync.Mutex
	var calls []string
	cfg.OnCall = func(c CallInfo) {
		mu.Lock()
		defer mu.Unlock()
		require.Positive(t, c.Duration)
		calls = append(calls, c.Method+" "+c.Code)
	}
	c := connect(t, cfg)
	open(t, c)
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, c.Requests(soon(t), func([]sync.Request) error { return nil }))
	require.NoError(t, c.Decide(soon(t), id, sync.Decision{State: sync.StateApproved, Delegator: "jira:bob"}))
	require.ErrorIs(
		t,
		c.Decide(soon(t), "nobody's", sync.Decision{State: sync.StateApproved, Delegator: "jira:bob"}),
		sync.ErrNotFound,
	)

	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, calls, "Ping OK")
	require.Subset(
		t,
		calls,
		[]string{"ListAccessRequests OK", "SetAccessRequestState OK", "SetAccessRequestState NotFound"},
	)
	for _, call := range calls {
		require.NotContains(t, call, "WatchEvents")
	}
}
