package jirasim_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

const createIssue = "POST issue"

func onCreate(effect jirasim.Effect) jirasim.Fault {
	return jirasim.Fault{Method: http.MethodPost, Endpoint: "issue", Times: 1, Effect: effect}
}

func TestFaultAnswersInPlaceOfJira(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	f := onCreate(jirasim.Respond(http.StatusServiceUnavailable, `{"errorMessages":["later"]}`, "Retry-After", "7"))
	f.Skip = 1
	s.Inject(f)
	c.create()
	a := c.post("issue", draft(nil))
	refusal(t, a, http.StatusServiceUnavailable, "later")
	require.Equal(t, "7", a.header.Get("Retry-After"))
	require.Len(t, s.Issues(), 1)
	c.create()
	require.Len(t, s.Issues(), 2, "the fault is used up")
}

func TestFaultMatchesByPredicate(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	remove := s.Inject(jirasim.Fault{
		When:   func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/comment") },
		Effect: jirasim.Respond(http.StatusBadGateway, "<html>"),
	})
	for range 2 {
		require.Equal(t, http.StatusBadGateway, c.get("issue/"+id+"/comment").status)
		require.Equal(t, http.StatusOK, c.get("issue/"+id).status)
	}
	remove()
	require.Equal(t, http.StatusOK, c.get("issue/"+id+"/comment").status)
	require.Panics(t, func() { s.Inject(jirasim.Fault{Endpoint: "isue", Effect: jirasim.Hang()}) })
}

func TestDropBeforeHasNoEffectAndLoseAnswerHas(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.Inject(onCreate(jirasim.DropBefore()))
	s.Inject(onCreate(jirasim.LoseAnswer()))
	for issues := range 2 {
		_, err := c.try(t.Context(), http.MethodPost, "issue", draft(nil))
		require.Error(t, err)
		require.Len(t, s.Issues(), issues)
	}
	require.Equal(t, map[int]int{0: 2}, s.Summary()[createIssue].Codes)
	require.Equal(t, "lose answer", s.Calls()[1].Fault)
}

func TestHangEndsWithTheClientOrWithTheFault(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	ended := make(chan jirasim.Call, 10)
	cfg.OnCall = func(c jirasim.Call) { ended <- c }
	s, c := start(t, cfg)

	for issues, effect := range []jirasim.Effect{jirasim.Hang(), jirasim.HangAnswer()} {
		ctx, giveUp := context.WithCancel(t.Context())
		f := onCreate(effect)
		f.When = func(*http.Request) bool { giveUp(); return true } // the call has arrived
		s.Inject(f)
		_, err := c.try(ctx, http.MethodPost, "issue", draft(nil))
		giveUp()
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, (<-ended).Status)
		require.Len(t, s.Issues(), issues, "Hang has no effect, HangAnswer has")
	}

	reached := make(chan struct{})
	f := onCreate(jirasim.Hang())
	f.When = func(*http.Request) bool { close(reached); return true }
	remove := s.Inject(f)
	go func() { <-reached; remove() }()
	require.Equal(t, http.StatusCreated, c.post("issue", draft(nil)).status, "released")
}

func TestDelayAndLatencyHoldCallsUp(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.SetLatency(30 * time.Millisecond)
	s.Inject(onCreate(jirasim.Delay(30 * time.Millisecond)))
	began := time.Now()
	c.create()
	require.GreaterOrEqual(t, time.Since(began), 60*time.Millisecond)
	s.ClearFaults()
	c.create()
	require.Less(t, s.Summary()[createIssue].Max, 20*time.Second)
	require.GreaterOrEqual(t, s.Calls()[0].Took, 60*time.Millisecond)
}

func TestDownClosesEveryConnection(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.SetDown(true)
	_, err := c.try(t.Context(), http.MethodGet, "serverInfo", nil)
	require.Error(t, err)
	s.SetDown(false)
	require.Equal(t, http.StatusOK, c.get("serverInfo").status)
}

func TestRestartKeepsAddressAndIssues(t *testing.T) {
	t.Parallel()
	s := jirasim.New(jirasim.Example(jirasim.Cloud))
	base, stop := s.Start()
	c := connect(t, base)
	id := c.create()
	reached := make(chan struct{})
	s.Inject(
		jirasim.Fault{
			Endpoint: "myself",
			When:     func(*http.Request) bool { close(reached); return true },
			Effect:   jirasim.Hang(),
		},
	)
	go func() { <-reached; stop() }()
	_, err := c.try(t.Context(), http.MethodGet, "myself", nil)
	require.Error(t, err, "stop breaks hanging calls")
	stop()
	_, err = c.try(t.Context(), http.MethodGet, "serverInfo", nil)
	require.ErrorContains(t, err, "refused")
	s.ClearFaults()

	again, stop := s.Start()
	defer stop()
	require.Equal(t, base, again)
	require.Equal(t, http.StatusOK, c.get("issue/"+id).status)
	_, _, err = s.StartAt("256.0.0.1:1")
	require.ErrorContains(t, err, "256.0.0.1:1")
}

func TestBurstLimitOnCloudIsPerEndpointAndMethod(t *testing.T) {
	t.Parallel()
	clock := newClock()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Now = clock.Now
	cfg.RateLimit = jirasim.RateLimit{PerSecond: 0.5, Burst: 2}
	cfg.EndpointLimits = map[string]jirasim.RateLimit{"GET field": {PerSecond: 1, Burst: 1}}
	s, c := start(t, cfg)
	a := c.get("myself")
	require.Equal(
		t,
		[]string{"2", "1", "false"},
		[]string{
			a.header.Get("X-RateLimit-Limit"),
			a.header.Get("X-RateLimit-Remaining"),
			a.header.Get("X-RateLimit-NearLimit"),
		},
	)
	require.Empty(t, a.header.Get("Retry-After"))
	require.Equal(t, "true", c.get("myself").header.Get("X-RateLimit-NearLimit"))
	a = c.get("myself")
	refusal(t, a, http.StatusTooManyRequests, "rate-limited")
	require.Equal(t, "2", a.header.Get("Retry-After"))
	require.Equal(t, "jira-burst-based", a.header.Get("RateLimit-Reason"))
	require.NotEmpty(t, a.header.Get("X-RateLimit-Reset"))
	require.Equal(t, http.StatusOK, c.get("project/OPS").status, "another endpoint")
	require.Equal(t, http.StatusOK, c.get("field").status)
	require.Equal(t, http.StatusTooManyRequests, c.get("field").status, "its own limit")
	for range 5 {
		require.Equal(t, http.StatusOK, c.get("serverInfo").status)
	}
	clock.advance(2 * time.Second)
	require.Equal(t, http.StatusOK, c.get("myself").status)
	s.SetRateLimit(jirasim.RateLimit{})
	for range 5 {
		require.Equal(t, http.StatusOK, c.get("myself").status)
	}
}

func TestWritesToOneIssueAreLimitedOnCloud(t *testing.T) {
	t.Parallel()
	clock := newClock()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Now, cfg.RateLimit = clock.Now, jirasim.RateLimit{}
	s, c := start(t, cfg)
	busy, calm := c.create(), c.create()
	write := func(id string) reply { return c.post("issue/"+id+"/comment", object{"body": "x"}) }
	for range 20 {
		require.Equal(t, http.StatusCreated, write(busy).status)
	}
	a := write("OPS-1")
	require.Equal(t, http.StatusTooManyRequests, a.status, "by key it is the same issue")
	require.Equal(t, "jira-per-issue-on-write", a.header.Get("RateLimit-Reason"))
	require.Equal(t, "2", a.header.Get("Retry-After"))
	require.Equal(t, http.StatusCreated, write(calm).status)
	require.Equal(t, http.StatusOK, c.get("issue/"+busy).status, "reads are not limited")
	for range 4 {
		clock.advance(2 * time.Second)
		for range 20 {
			require.Equal(t, http.StatusCreated, write(busy).status)
		}
	}
	clock.advance(2 * time.Second)
	a = write(busy)
	require.Equal(t, http.StatusTooManyRequests, a.status, "100 in 30 s")
	require.Equal(t, "20", a.header.Get("Retry-After"))
	issue, _ := s.Issue(busy)
	require.Len(t, issue.Comments, 100)
}

func TestRateLimitOnDataCenterIsPerUser(t *testing.T) {
	t.Parallel()
	clock := newClock()
	cfg := jirasim.Example(jirasim.DataCenter)
	cfg.Now = clock.Now
	cfg.RateLimit = jirasim.RateLimit{PerSecond: 1, Burst: 2}
	cfg.Credentials = append(cfg.Credentials, jirasim.Credential{User: "bob", Username: "bob", Token: "secret"})
	_, c := start(t, cfg)
	a := c.get("myself")
	require.Equal(t, []string{"2", "1", "1", "1", "0"}, []string{
		a.header.Get("X-RateLimit-Limit"), a.header.Get("X-RateLimit-Remaining"), a.header.Get("X-RateLimit-FillRate"),
		a.header.Get("X-RateLimit-Interval-Seconds"), a.header.Get("Retry-After"),
	})
	require.Equal(t, http.StatusOK, c.get("field").status)
	a = c.get("project/OPS")
	require.Equal(t, http.StatusTooManyRequests, a.status, "all endpoints share the user's bucket")
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.Contains(t, a.raw, "<html>")
	require.Equal(t, http.StatusOK, c.as("bob", "secret").get("myself").status)
	require.Equal(t, http.StatusOK, c.get("serverInfo").status)
}

func TestCallsAreCountedByRoute(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []string
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.OnCall = func(c jirasim.Call) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprint(c.Route(), " ", c.Status, " ", c.User))
	}
	s, c := start(t, cfg)
	id := c.create()
	c.get("issue/" + id)
	c.get("issue/OPS-99")
	c.as("", "").get("issue/" + id)
	c.get("nothing")

	sum := s.Summary()["GET issue/{issue}"]
	require.Equal(t, 3, sum.Count)
	require.Equal(t, map[int]int{200: 1, 404: 1, 401: 1}, sum.Codes)
	require.False(t, sum.Last.Before(sum.First))
	require.Equal(t, 1, s.CallCount(createIssue))
	require.Contains(t, string(s.Calls()[0].Body), requestID)
	mu.Lock()
	require.Equal(
		t,
		[]string{
			"POST issue 201 agent",
			"GET issue/{issue} 200 agent",
			"GET issue/{issue} 404 agent",
			"GET issue/{issue} 401 ",
			"GET  404 ",
		},
		told,
	)
	mu.Unlock()
	s.ResetCalls()
	require.Empty(t, s.Calls())
	require.Empty(t, s.Summary())
}

func TestWaitReturnsAtTheChangeItWaitsFor(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	changed := s.Changed()
	done := make(chan error, 1)
	go func() {
		_, err := s.WaitIssue(t.Context(), func(i jirasim.Issue) bool { return i.Status.Name == "Approved" })
		done <- err
	}()
	require.NoError(t, s.Move(id, "bob", "Pending"))
	<-changed
	require.NoError(t, s.Move(id, "bob", "Approved"))
	require.NoError(t, <-done)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Wait(ctx, func(issues []jirasim.Issue) bool { return len(issues) == 2 })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "OPS-1 Approved")
}

func TestManyClientsAndPeopleAtOnce(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.RateLimit, cfg.LimitIssueWrites = jirasim.RateLimit{}, false
	s, c := start(t, cfg)
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() {
			for range 10 {
				a, err := c.try(t.Context(), http.MethodPost, "issue", draft(nil))
				if err != nil || a.status != http.StatusCreated {
					t.Errorf("create: %d %v", a.status, err)
					return
				}
				id := a.body["id"].(string)
				_, errComment := s.Comment(id, "bob", "x")
				errMove := s.Move(id, "alice", "Approved")
				a, err = c.try(
					t.Context(),
					http.MethodPost,
					"search/jql",
					object{"jql": "id = " + id, "fields": []string{"*all"}, "expand": "changelog"},
				)
				if errComment != nil || errMove != nil || err != nil || a.status != http.StatusOK {
					t.Errorf("round of %s: %v %v %v %d", id, errComment, errMove, err, a.status)
				}
			}
		})
	}
	busy.Wait()
	keys := map[string]bool{}
	for _, issue := range s.Issues() {
		keys[issue.Key] = issue.Status.Name == "Approved" && len(issue.Comments) == 1 && len(issue.History) == 1
	}
	require.Len(t, keys, 80)
	for key, whole := range keys {
		require.True(t, whole, key)
	}
}
