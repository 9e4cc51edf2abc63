package jira

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

func TestPauseHoldsBackWhatItConcerns(t *testing.T) {
	t.Parallel()
	type call func(*Client) error
	get := func(endpoint string) call {
		return func(c *Client) error { return c.get(context.Background(), endpoint) }
	}
	comment := func(issue string) call {
		return func(c *Client) error { return c.comment(context.Background(), issue) }
	}
	read := func(issue string) call {
		return func(c *Client) error {
			_, err := c.do(context.Background(), request{op: "r", method: "GET", endpoint: "issue/{id}", issue: issue}, nil)
			return err
		}
	}
	for name, tt := range map[string]struct {
		code   int
		header []string
		first  call
		held   []call
		free   []call
		want   time.Duration
	}{
		"429": {429, []string{"Retry-After", "7"}, get("a"), []call{get("a"), get("b"), comment("1")}, nil, 7 * time.Second},
		"429 with unknown reason": {
			429,
			[]string{"Retry-After", "7", reasonHeader, "jira-cost-based"},
			get("a"),
			[]call{get("a"), get("b")},
			nil,
			7 * time.Second,
		},
		"429 without a time": {429, nil, get("a"), []call{get("b")}, nil, defaultPause},
		"429 burst": {
			429, []string{"Retry-After", "7", reasonHeader, "jira-burst-based"}, get("a"), []call{get("a")}, []call{
				get("b"),
				comment("1"),
			}, 7 * time.Second,
		},
		"429 per issue": {
			429,
			[]string{"Retry-After", "7", reasonHeader, "jira-per-issue-on-write"},
			comment("1"),
			[]call{comment("1")},
			[]call{comment("2"), read("1"), get("b")},
			7 * time.Second,
		},
		"503":                     {503, []string{"Retry-After", "9"}, get("a"), []call{get("b"), comment("1")}, nil, 9 * time.Second},
		"503 without Retry-After": {503, nil, get("a"), nil, []call{get("a"), get("b")}, 0},
		"400 with Retry-After":    {400, []string{"Retry-After", "9"}, get("a"), nil, []call{get("a")}, 0},
		"429 with a date": {
			429,
			[]string{"Retry-After", "Sun, 22 Nov 2026 10:00:11 GMT", "Date", "Sun, 22 Nov 2026 10:00:00 GMT"},
			get("a"),
			[]call{get("b")},
			nil, 11 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i, next := range append(tt.held, tt.free...) {
				synctest.Test(t, func(t *testing.T) {
					first := true
					c := over(t, func(*http.Request) (*http.Response, error) {
						if first {
							first = false
							return answer(tt.code, "", tt.header...), nil
						}
						return answer(200, "{}"), nil
					})
					require.Error(t, tt.first(c))
					start := time.Now()
					require.NoError(t, next(c))
					want := time.Duration(0)
					if i < len(tt.held) {
						want = tt.want
					}
					require.InDelta(t, want.Seconds(), time.Since(start).Seconds(), 0.01, "call %d", i)
				})
			}
		})
	}
}

func TestPerIssueLimitConcernsTheIssueAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := over(t, func(*http.Request) (*http.Response, error) {
			return answer(429, "", "Retry-After", "60", reasonHeader, "jira-per-issue-on-write"), nil
		})
		for range 2 { // refused by Jira, then by the pause
			e := asSyncError(t, c.comment(t.Context(), "1"))
			require.Equal(t, sync.ScopeRequest, e.Scope)
			require.Equal(t, 60*time.Second, e.RetryAfter)
			require.False(t, e.Permanent)
			require.False(t, e.Uncertain)
		}
	})
}

func TestPauseThatBeginsWhileACallWaitsForItsTurnHoldsItBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := over(
			t,
			func(*http.Request) (*http.Response, error) { return answer(200, "{}"), nil },
			func(cfg *Config) { cfg.MaxRPS = 0.1 },
		)
		require.NoError(t, c.get(t.Context(), "a"))
		time.AfterFunc(9*time.Second, func() {
			c.transport.pauses.begin(&request{}, pause{length: 20 * time.Second}, time.Now())
		})
		start := time.Now()
		require.NoError(t, c.get(t.Context(), "a"))
		require.InDelta(t, 29, time.Since(start).Seconds(), 0.01)
	})
}

func TestShorterPauseDoesNotReplaceALongerOne(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p pauses
	p.begin(&request{}, pause{length: time.Minute}, now)
	p.begin(&request{}, pause{length: time.Second}, now)
	rest, _ := p.rest(&request{}, now)
	require.Equal(t, time.Minute, rest)
	p.begin(&request{endpoint: "x"}, pause{reach: oneEndpoint, length: time.Second}, now.Add(time.Hour))
	require.Len(t, p.until, 1, "pauses that are over are kept")
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		header []string
		want   time.Duration
	}{
		"seconds":           {[]string{"Retry-After", "12"}, 12 * time.Second},
		"none":              {nil, 0},
		"nonsense":          {[]string{"Retry-After", "soon"}, 0},
		"negative":          {[]string{"Retry-After", "-5"}, 0},
		"beyond measure":    {[]string{"Retry-After", "9000000000000"}, maxPause},
		"date by our clock": {[]string{"Retry-After", "Sun, 22 Nov 2026 10:00:30 GMT"}, 30 * time.Second},
		"date by the answer's": {[]string{"Retry-After", "Sun, 22 Nov 2026 11:00:30 GMT", "Date", "Sun, 22 Nov 2026 " +
			"11:00:00 GMT"}, 30 * time.Second},
		"date in the past":          {[]string{"Retry-After", "Sun, 22 Nov 2026 09:00:00 GMT"}, 0},
		"date whose Date is broken": {[]string{"Retry-After", "Sun, 22 Nov 2026 10:00:30 GMT", "Date", "x"}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, retryAfter(answer(503, "", tt.header...), now)) //nolint:bodyclose // its body is a string
			require.Zero(t, retryAfter(answer(500, "", tt.header...), now))           //nolint:bodyclose // its body is a string
		})
	}
}
