package jira

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

// tracing is a simulated Jira and a client whose preflight is done.
func tracing(t *testing.T, d jirasim.Deployment) (*jirasim.Server, *Client) {
	t.Helper()
	sim := jirasim.Example(d)
	sim.RateLimit = jirasim.RateLimit{}
	server, c := simulated(t, sim)
	require.NoError(t, c.preflight(testContext(t)))
	return server, c
}

// lost makes an issue for a request while the answer goes wrong.
func lost(t *testing.T, s *jirasim.Server, c *Client, requestID string, effect jirasim.Effect) {
	t.Helper()
	s.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: "issue", Times: 1, Effect: effect})
	_, err := c.Create(testContext(t), sync.Draft{RequestID: requestID, Summary: "x"}, noteCommit(new(int)))
	require.True(t, asSyncError(t, err).Uncertain)
}

// foreign makes issues as somebody else.
func foreign(t *testing.T, s *jirasim.Server, n int) (last jirasim.Issue) {
	t.Helper()
	for range n {
		issue, err := s.CreateIssue("bob", map[string]any{"summary": "another"}, nil)
		require.NoError(t, err)
		last = issue
	}
	return last
}

// traced is what Trace finds, by key, looking as if long after the scan before.
func traced(t *testing.T, c *Client, requestID, after string, since time.Time) (keys []string, complete bool) {
	t.Helper()
	c.traces.ended = time.Time{}
	found, complete, err := c.Trace(testContext(t), requestID, after, since)
	require.NoError(t, err)
	for _, i := range found {
		require.True(t, i.ByAgent)
		require.Equal(t, requestID, i.Property)
		require.False(t, i.FromIndex)
		require.WithinDuration(t, time.Now(), i.AsOf, time.Minute)
		keys = append(keys, i.Key)
	}
	return keys, complete
}

func lastKey(t *testing.T, c *Client) string {
	t.Helper()
	key, err := c.LastKey(testContext(t))
	require.NoError(t, err)
	return key
}

func TestTraceFindsWhatTheIndexDoesNotShow(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		_, err := c.Create(testContext(t), sync.Draft{RequestID: "r0", Summary: "x"}, noteCommit(new(int)))
		require.NoError(t, err)
		require.Equal(t, "OPS-1", lastKey(t, c))
		s.FreezeIndex()
		foreign(t, s, 2)
		lost(t, s, c, "r1", jirasim.LoseAnswer())
		s.HideIssue(foreign(t, s, 1).Key, "agent")
		lost(t, s, c, "r2", jirasim.FinishNever(jirasim.Respond(500, "")))
		foreign(t, s, 1)
		lost(t, s, c, "r3", jirasim.FinishLate(0, jirasim.Respond(502, "<html>")))
		lost(t, s, c, "r4", jirasim.LoseAnswer())

		for request, want := range map[string][]string{"r1": {"OPS-4"}, "r2": nil, "r3": nil, "r4": {"OPS-9"}} {
			keys, complete := traced(t, c, request, "OPS-1", time.Time{})
			require.Equal(t, want, keys, request)
			require.True(t, complete)
		}
		require.Equal(t, "OPS-9", lastKey(t, c))
		s.FinishCreates()
		keys, complete := traced(t, c, "r3", "OPS-1", time.Time{})
		require.Equal(t, []string{"OPS-8"}, keys, "its key had been missing below others")
		require.True(t, complete)
	})
}

func TestTraceFindsTheFirstIssueOfAProject(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		s.FreezeIndex()
		require.Equal(t, "OPS-0", lastKey(t, c))
		lost(t, s, c, "r1", jirasim.LoseAnswer())
		keys, complete := traced(t, c, "r1", "", time.Now().Add(-time.Minute))
		require.Equal(t, []string{"OPS-1"}, keys)
		require.True(t, complete)
	})
}

func TestTraceWithoutAKeyLooksBackToTheTime(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		s.ShiftClock(-time.Hour)
		foreign(t, s, 300)
		s.ShiftClock(0)
		since := time.Now().Add(-time.Minute)
		lost(t, s, c, "r1", jirasim.LoseAnswer())
		foreign(t, s, 10)
		s.ResetCalls()
		keys, complete := traced(t, c, "r1", "", since)
		require.Equal(t, []string{"OPS-301"}, keys)
		require.True(t, complete)
		most := map[jirasim.Deployment]int{jirasim.Cloud: 4, jirasim.DataCenter: 25}[d]
		require.LessOrEqual(t, len(s.Calls()), most)
		before := len(s.Calls())
		_, complete = traced(t, c, "r1", "", since.Add(time.Second))
		require.True(t, complete)
		require.LessOrEqual(t, len(s.Calls())-before, gapDataCenter+1, "what was looked at is not looked at again")
	})
}

func TestTraceGoesThroughAThousandIssuesOfOthers(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		foreign(t, s, 1)
		s.FreezeIndex()
		foreign(t, s, 1000)
		lost(t, s, c, "r1", jirasim.LoseAnswer())
		s.ResetCalls()
		var keys []string
		complete, rounds := false, 0
		for ; !complete; rounds++ {
			keys, complete = traced(t, c, "r1", "OPS-1", time.Time{})
		}
		require.Equal(t, []string{"OPS-1002"}, keys)
		if d == jirasim.Cloud {
			require.Equal(t, 1, rounds)
			require.LessOrEqual(t, len(s.Calls()), 13)
			return
		}
		require.Equal(t, 4, rounds, "each goes on from where the one before ended, and says that it is not complete")
		require.LessOrEqual(t, len(s.Calls()), 1000+4*gapDataCenter)
	})
}

func TestManyRequestsShareOneScan(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		foreign(t, s, 40)
		s.ResetCalls()
		for n := range 200 {
			_, complete, err := c.Trace(testContext(t), fmt.Sprint("r", n), "OPS-1", time.Time{})
			require.NoError(t, err)
			require.True(t, complete)
			c.traces.ended = time.Now() // however slow the machine is
		}
		require.LessOrEqual(t, len(s.Calls()), map[jirasim.Deployment]int{jirasim.Cloud: 1, jirasim.DataCenter: 45}[d])
	})
}

func TestTraceTakesNoIssueOfOthersForTheAgents(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		_, err := s.CreateIssue("mallory", map[string]any{"summary": "x", fieldID: "r1"}, map[string]any{propertyKey: "r1"})
		require.NoError(t, err)
		keys, complete := traced(t, c, "r1", "OPS-0", time.Time{})
		require.Empty(t, keys)
		require.True(t, complete)
	})
}

func TestTraceFindsAnIssueThatMovedToAnotherProject(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		lost(t, s, c, "r1", jirasim.LoseAnswer())
		foreign(t, s, 1)
		require.NoError(t, s.MoveToProject("OPS-1", "bob", "OLD"))
		keys, _ := traced(t, c, "r1", "OPS-0", time.Time{})
		require.Equal(t, []string{"OLD-1"}, keys)
	})
}

func TestTraceForgetsNothingOfAKeyThatIsMissingUntilItIsTooOld(t *testing.T) {
	t.Parallel()
	s, c := tracing(t, jirasim.DataCenter)
	s.SkipKeys("OPS", 3)
	foreign(t, s, 1)
	_, _ = traced(t, c, "r1", "OPS-0", time.Time{})
	s.ResetCalls()
	_, _ = traced(t, c, "r1", "OPS-0", time.Time{})
	require.Len(t, s.Calls(), 3+gapDataCenter)
	for n := range c.traces.missing {
		c.traces.missing[n] = time.Now().Add(-2 * lateCreate)
	}
	s.ResetCalls()
	_, complete := traced(t, c, "r1", "OPS-0", time.Time{})
	require.Len(t, s.Calls(), gapDataCenter)
	require.True(t, complete)
}

func TestTraceThatCannotBeFinishedSaysSo(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		foreign(t, s, 3)
		route := map[jirasim.Deployment]string{jirasim.Cloud: "issue/bulkfetch", jirasim.DataCenter: "issue/{issue}"}[d]
		s.Inject(jirasim.Fault{Endpoint: route, Times: 1, Effect: jirasim.Respond(503, "")})
		_, complete, err := c.Trace(testContext(t), "r1", "OPS-1", time.Time{})
		require.Error(t, err)
		require.False(t, complete)
		_, complete, err = c.Trace(testContext(t), "r1", "OPS-1", time.Time{})
		require.NoError(t, err)
		require.True(t, complete)
		ended, end := context.WithCancel(testContext(t))
		end()
		_, complete, err = c.Trace(ended, "r1", "OPS-1", time.Time{})
		require.Error(t, err)
		require.False(t, complete)
	})
}

func TestTraceReadsOneByOneWhereJiraHasNoBulkRead(t *testing.T) {
	t.Parallel()
	s, c := tracing(t, jirasim.Cloud)
	lost(t, s, c, "r1", jirasim.LoseAnswer())
	s.Inject(jirasim.Fault{Endpoint: "issue/bulkfetch", Effect: jirasim.Respond(404, `{"errorMessages":["no"]}`)})
	keys, complete := traced(t, c, "r1", "OPS-0", time.Time{})
	require.Equal(t, []string{"OPS-1"}, keys)
	require.True(t, complete)
}
