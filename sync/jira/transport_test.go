package jira

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// wire stands in for the network, so that time can be synthetic.
type wire func(*http.Request) (*http.Response, error)

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func answer(code int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// over is a client whose calls go over w.
func over(t *testing.T, w wire, change ...func(*Config)) *Client {
	t.Helper()
	cfg := testConfig("https://jira.example.com")
	for _, c := range change {
		c(&cfg)
	}
	c, err := newClient(cfg, zap.NewNop())
	require.NoError(t, err)
	c.deployment = Cloud
	c.transport.send = w
	return c
}

func (c *Client) get(ctx context.Context, endpoint string) error {
	_, err := c.do(
		ctx,
		request{op: "get " + endpoint, method: "GET", endpoint: endpoint, scope: sync.ScopeSide},
		&struct{}{},
	)
	return err
}

func (c *Client) comment(ctx context.Context, issue string) error {
	return c.Comment(ctx, issue, "k", "b", func(context.Context) error { return nil })
}

func TestCallsKeepTheSharedPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu stdsync.Mutex
		var at []time.Duration
		c := over(t, func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(start))
			return answer(200, "{}"), nil
		}, func(cfg *Config) { cfg.MaxRPS = 10 })
		var calls stdsync.WaitGroup
		for range 32 {
			calls.Go(func() { _ = c.get(t.Context(), "x") })
		}
		calls.Wait()
		require.Len(t, at, 32)
		// Two at once, the other 30 a tenth of a second apart.
		require.InDelta(t, 3.0, at[31].Seconds(), 0.01)
		for i := 12; i < len(at); i++ {
			require.GreaterOrEqual(t, at[i]-at[i-12], 999*time.Millisecond, "more than 12 calls within a second")
		}
	})
}

func TestCallThatWouldWaitTooLongFailsAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		pause string
		time  time.Duration // of the context
		rest  float64       // of the pause, a second later
	}{
		"longer than a call waits": {"32", time.Hour, 31},
		"longer than its context":  {"20", 10 * time.Second, 19},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				c := over(t, func(*http.Request) (*http.Response, error) {
					sent++
					return answer(429, "", "Retry-After", tt.pause), nil
				})
				require.Error(t, c.get(t.Context(), "a"))
				time.Sleep(time.Second) // one second of the pause passes
				ctx, cancel := context.WithTimeout(t.Context(), tt.time)
				defer cancel()
				start := time.Now()
				committed := 0
				err := c.Comment(ctx, "1", "k", "b", noteCommit(&committed))
				e := asSyncError(t, err)
				require.Zero(t, time.Since(start))
				require.Equal(t, sync.ScopeSide, e.Scope)
				require.InDelta(t, tt.rest, e.RetryAfter.Seconds(), 0.01)
				require.False(t, e.Uncertain)
				require.Zero(t, committed)
				require.Equal(t, 1, sent)
			})
		})
	}
}

func TestTurnThatComesTooLateIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := over(
			t,
			func(*http.Request) (*http.Response, error) { return answer(200, "{}"), nil },
			func(cfg *Config) { cfg.MaxRPS = 0.1 },
		)
		require.NoError(t, c.get(t.Context(), "a"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		e := asSyncError(t, c.get(ctx, "a"))
		require.Equal(t, sync.ScopeSide, e.Scope)
		require.InDelta(t, 10, e.RetryAfter.Seconds(), 0.01)
		start := time.Now()
		require.NoError(t, c.get(t.Context(), "a"))
		require.InDelta(t, 10, time.Since(start).Seconds(), 0.01)
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := over(t, func(*http.Request) (*http.Response, error) { return answer(429, "", "Retry-After", "20"), nil })
		require.Error(t, c.get(t.Context(), "a"))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		require.ErrorIs(t, c.get(ctx, "a"), context.Canceled)
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestWriteWaitsBeforeItsCommitAndNotAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sentAt time.Time
		c := over(t, func(*http.Request) (*http.Response, error) {
			sentAt = time.Now()
			return answer(200, "{}"), nil
		}, func(cfg *Config) { cfg.MaxRPS = 0.1 })
		require.NoError(t, c.get(t.Context(), "a")) // takes the only turn there is
		start := time.Now()
		var committedAt time.Time
		err := c.Comment(t.Context(), "1", "k", "b", func(ctx context.Context) error {
			committedAt = time.Now()
			// Another call is told to pause meanwhile: this one goes out all the same.
			c.transport.pauses.begin(&request{}, pause{length: time.Hour}, time.Now())
			return nil
		})
		require.NoError(t, err)
		require.InDelta(t, 10, committedAt.Sub(start).Seconds(), 0.01)
		require.Equal(t, committedAt, sentAt)
	})
}

func TestRefusedCommitSendsNothing(t *testing.T) {
	t.Parallel()
	sent := 0
	c := over(t, func(*http.Request) (*http.Response, error) { sent++; return answer(200, "{}"), nil })
	_, err := c.Create(t.Context(), sync.Draft{}, func(context.Context) error { return sync.ErrNotLeader })
	require.Equal(t, sync.ErrNotLeader, err)
	require.Zero(t, sent)
}

func TestCallHasItsOwnDeadline(t *testing.T) {
	t.Parallel()
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	hangInBody := func(r *http.Request) (*http.Response, error) {
		resp := answer(200, "")
		resp.Body = io.NopCloser(hanging{r.Context()})
		return resp, nil
	}
	for name, w := range map[string]wire{"before the answer": hang, "within the answer": hangInBody} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var info CallInfo
				c := over(t, w, func(cfg *Config) {
					cfg.MaxRPS = 0.05
					cfg.OnCall = func(i CallInfo) { info = i }
				})
				require.NoError(
					t,
					c.transport.pace.wait(t.Context(), sync.PriorityWork),
				) // the next turn is in 20 s, which does not count
				start := time.Now()
				err := c.get(t.Context(), "a")
				require.ErrorContains(t, err, "no answer within 15s")
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, sync.ScopeSide, asSyncError(t, err).Scope)
				require.InDelta(t, 35, time.Since(start).Seconds(), 0.01)
				require.Equal(t, CallInfo{Endpoint: "/rest/api/2/a", Method: "GET", Duration: callTime, Waited: info.Waited}, info)
				require.InDelta(t, 20, info.Waited.Seconds(), 0.01)
			})
		})
	}
}

type hanging struct{ ctx context.Context }

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

func TestCallsAreAuthenticatedWithTheTokenOfTheMoment(t *testing.T) {
	t.Parallel()
	basic := func(token string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("agent@example.com:"+token))
	}
	for name, tt := range map[string]struct {
		username string
		want     []string
	}{
		"basic":  {"agent@example.com", []string{basic("one"), basic("two")}},
		"bearer": {"", []string{"Bearer one", "Bearer two"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			token := "one"
			c := over(t, func(r *http.Request) (*http.Response, error) {
				got = append(got, r.Header.Get("Authorization"))
				require.Equal(t, userAgent, r.Header.Get("User-Agent"))
				require.Equal(t, "application/json", r.Header.Get("Accept"))
				return answer(200, "{}"), nil
			}, func(cfg *Config) { cfg.Username, cfg.Token = tt.username, func() string { return token } })
			require.NoError(t, c.get(t.Context(), "a"))
			token = "two"
			require.NoError(t, c.get(t.Context(), "a"))
			require.Equal(t, tt.want, got)
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := newFake(t, nil) // fails the test when called
	f := newFake(t, routes{"POST /issue": always(0, func(w http.ResponseWriter) {
		w.Header().Set("Location", elsewhere.URL+"/rest/api/2/issue")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})})
	c, _ := connected(t, f, Cloud)
	_, err := c.Create(testContext(t), sync.Draft{}, noteCommit(new(int)))
	require.ErrorContains(t, err, "redirect")
	require.Empty(t, elsewhere.calls)
}

func TestCallsAreReportedByTemplate(t *testing.T) {
	t.Parallel()
	var infos []CallInfo
	f := newFake(t, routes{"GET /issue/7": always(404, jiraError("gone"))})
	c, _ := connected(t, f, Cloud, func(cfg *Config) { cfg.OnCall = func(i CallInfo) { infos = append(infos, i) } })
	_, err := c.Read(testContext(t), "7")
	require.Error(t, err)
	require.Len(t, infos, 1)
	require.Equal(t, "/rest/api/2/issue/{id}", infos[0].Endpoint)
	require.Equal(t, 404, infos[0].Code)
	require.Positive(t, infos[0].Duration)
}

func TestBaseURLMayHaveAPath(t *testing.T) {
	t.Parallel()
	var got string
	c := over(t, func(r *http.Request) (*http.Response, error) {
		got = r.URL.String()
		return answer(200, "{}"), nil
	}, func(cfg *Config) {
		cfg.URL = "https://api.atlassian.com/ex/jira/1-2-3"
		cfg.BrowseURL = "https://example.atlassian.net/"
	})
	require.NoError(t, c.get(t.Context(), "myself"))
	require.Equal(t, "https://api.atlassian.com/ex/jira/1-2-3/rest/api/2/myself", got)
	require.Equal(t, "https://example.atlassian.net/browse/ACC-1", c.cfg.IssueURL("ACC-1"))
}
