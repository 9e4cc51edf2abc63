package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/replica"
)

func TestTheBoardLetsNoOtherPageIn(t *testing.T) {
	t.Parallel()
	b := &board{
		world:   &world{},
		url:     "http://127.0.0.1:7777/",
		origins: map[string]bool{"127.0.0.1:7777": true, "localhost:7777": true},
	}
	handler := b.handler()
	const page, act, refused = "/board.css", "/act/dance", http.StatusForbidden
	for _, c := range []struct {
		what, method, path, host string
		headers                  map[string]string
		status                   int
		told                     string
	}{
		{"itself", "GET", page, "127.0.0.1:7777", nil, http.StatusOK, ""},
		{"by its other name", "GET", page, "localhost:7777", nil, http.StatusOK, ""},
		{"a foreign name that leads here", "GET", page, "evil.example:7777", nil, refused, "open that address"},
		{"a foreign name for an act", "POST", act, "evil.example:7777", map[string]string{"Origin": "http://evil.example:7777"}, refused, "open that address"},
		{"another port", "GET", page, "127.0.0.1:80", nil, refused, "open that address"},
		{"an act by itself", "POST", act, "127.0.0.1:7777", map[string]string{"Origin": "http://127.0.0.1:7777", "Sec-Fetch-Site": "same-origin"}, http.StatusNotFound, "no act"},
		{"an act by curl", "POST", act, "127.0.0.1:7777", nil, http.StatusNotFound, "no act"},
		{"an act by a foreign page", "POST", act, "127.0.0.1:7777", map[string]string{"Origin": "https://evil.example"}, refused, "evil.example may not act"},
		{"an act by a page without an origin", "POST", act, "127.0.0.1:7777", map[string]string{"Origin": "null"}, refused, "may not act"},
		{"an act by a page on another port", "POST", act, "127.0.0.1:7777", map[string]string{"Origin": "http://127.0.0.1:9999"}, refused, "may not act"},
		{"an act that the browser calls foreign", "POST", act, "127.0.0.1:7777", map[string]string{"Sec-Fetch-Site": "cross-site"}, refused, "may not act"},
		{"the events for a foreign page", "GET", "/events", "127.0.0.1:7777", map[string]string{"Origin": "https://evil.example"}, refused, "may not act"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			answer := serve(t, handler, c.method, c.path, c.host, c.headers)
			require.Equal(t, c.status, answer.code, answer.body)
			require.Contains(t, answer.body, c.told)
		})
	}
}

// answered is an answer that was kept.
type answered struct {
	http.ResponseWriter
	header http.Header
	code   int
	body   string
}

func (a *answered) Header() http.Header { return a.header }

func (a *answered) WriteHeader(code int) { a.code = code }

func (a *answered) Write(p []byte) (int, error) {
	a.body += string(p)
	return len(p), nil
}

func serve(t *testing.T, handler http.Handler, method, path, host string, headers map[string]string) *answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	require.NoError(t, err)
	r.Host = host
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	a := &answered{header: http.Header{}, code: http.StatusOK}
	handler.ServeHTTP(a, r)
	return a
}

func TestTheBoardListensOnThisMachineOnly(t *testing.T) {
	t.Parallel()
	_, err := listenLocally("0.0.0.0:0")
	require.ErrorContains(t, err, "only for this machine; set DEMO_ADDR")
	_, err = listenLocally("nowhere.invalid:1")
	require.ErrorContains(t, err, "set DEMO_ADDR to a free address")
}

// client is a page without a browser.
type client struct {
	t   *testing.T
	url string
}

// post orders an act, and returns the status and the message of a refusal.
func (c client) post(act, order string) (status int, message string) {
	c.t.Helper()
	resp, err := http.Post(c.url+"act/"+act, "application/json", strings.NewReader(order))
	require.NoError(c.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	if len(text) == 0 {
		return resp.StatusCode, ""
	}
	var refusal struct{ Error string }
	require.NoError(c.t, json.Unmarshal(text, &refusal), string(text))
	return resp.StatusCode, refusal.Error
}

func (c client) do(act, order string) {
	c.t.Helper()
	status, message := c.post(act, order)
	require.Equal(c.t, http.StatusNoContent, status, message)
}

// until reads snapshots until one is as it should be.
func (c client) until(what string, is func(snapshot) bool) (found snapshot) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"events", http.NoBody)
	require.NoError(c.t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	require.Equal(c.t, "text/event-stream", resp.Header.Get("Content-Type"))
	events := bufio.NewReader(resp.Body)
	var last string
	for {
		line, err := events.ReadString('\n')
		require.NoError(c.t, err, "%s does not come about: %s", what, last)
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			last, found = data, snapshot{}
			require.NoError(c.t, json.Unmarshal([]byte(data), &found))
			if is(found) {
				return found
			}
		}
	}
}

// request makes one and waits for its card to be pending.
func (c client) request(user string, reviews string) (requestShown, card) {
	c.t.Helper()
	c.do("request", `{"user":"`+user+`","roles":["db-admin"],"reason":"on call","lifetime":3600,"reviews":`+reviews+`}`)
	s := c.until("the card of "+user, func(s snapshot) bool {
		return s.Requests[0].User == user &&
			slices.ContainsFunc(s.Cards, func(c card) bool { return c.Request == s.Requests[0].ID && c.Status == "Pending" })
	})
	at := slices.IndexFunc(s.Cards, func(c card) bool { return c.Request == s.Requests[0].ID })
	return s.Requests[0], s.Cards[at]
}

func (s snapshot) requestByID(id string) requestShown {
	return s.Requests[slices.IndexFunc(s.Requests, func(r requestShown) bool { return r.ID == id })]
}

func (s snapshot) cardByKey(key string) card {
	return s.Cards[slices.IndexFunc(s.Cards, func(c card) bool { return c.Key == key })]
}

func TestTheBoardsActs(t *testing.T) {
	t.Parallel()
	agent, err := replica.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	w := startWorld(t, agent)
	c := client{t: t, url: w.board.url}

	for _, refusal := range []struct {
		act, order string
		status     int
		told       string
	}{
		{"dance", `{}`, http.StatusNotFound, `there is no act "dance"`},
		{"move", `{`, http.StatusBadRequest, "cannot be read"},
		{"move", `{"speed":1}`, http.StatusBadRequest, `unknown field "speed"`},
		{"move", `{"as":"agent","issue":"OPS-1","to":"Approved"}`, http.StatusBadRequest, `nobody called "agent" acts here`},
		{"move", `{"as":"bob","issue":"OPS-99","to":"Approved"}`, http.StatusConflict, "jira refuses (404)"},
		{"comment", `{"as":"eve","issue":"OPS-1"}`, http.StatusBadRequest, `nobody called "eve"`},
		{"request", `{"user":"alice@example.com"}`, http.StatusBadRequest, "needs a user and a role"},
		{"request", `{"user":"alice@example.com","roles":["x"],"lifetime":-1}`, http.StatusBadRequest, "-1 seconds"},
		{"request", `{"user":"alice@example.com","roles":["x"],"lifetime":99999999999}`, http.StatusBadRequest, "99999999999 seconds"},
		{"review", `{"request":"nonesuch"}`, http.StatusBadRequest, "needs a reviewer"},
		{"decide", `{"request":"nonesuch"}`, http.StatusConflict, "not found"},
		{"expire", `{"request":"nonesuch"}`, http.StatusConflict, "not found"},
		{"kill", `{"replica":"agent 3"}`, http.StatusBadRequest, `no replica "agent 3"`},
		{"thaw", `{"replica":"agent 1"}`, http.StatusConflict, "agent 1 is not frozen"},
		{"break", `{"side":"moon"}`, http.StatusBadRequest, `"moon" is neither`},
	} {
		status, message := c.post(refusal.act, refusal.order)
		require.Equal(t, refusal.status, status, "%s %s: %s", refusal.act, refusal.order, message)
		require.Contains(t, message, refusal.told)
	}

	c.playJira()
	c.playTeleport()
	c.playReplicas()
	c.playSides()

	// What is left frozen and broken must not keep the world from being taken down.
	c.do("freeze", `{"replica":"agent 2"}`)
	c.do("break", `{"side":"postgres"}`)
	require.NoError(t, w.close())
	requireEnded(t, w)
}

func (c client) playJira() {
	c.t.Helper()
	r, issue := c.request("carol@example.com", "1")
	c.do("comment", `{"as":"bob","issue":"`+issue.Key+`","text":"Reason: covers the night"}`)
	c.do("move", `{"as":"bob","issue":"`+issue.Key+`","to":"Approved"}`)
	s := c.until("the approval", func(s snapshot) bool { return s.requestByID(r.ID).State == "approved" })
	approved := s.requestByID(r.ID)
	require.Equal(c.t, "jira:bob@example.com", approved.By)
	require.Equal(c.t, "covers the night", approved.Because)
	require.Equal(c.t, issue.Key, approved.Issue)
	require.GreaterOrEqual(c.t, s.Lag.Decision, int64(0))
	require.Nil(c.t, s.Lag.DecisionWaiting)

	for who, why := range map[string]string{"alice": "who made the request", "mallory": "who is not one of those who " +
		"may decide here"} {
		own, issue := c.request("alice@example.com", "1")
		c.do("move", `{"as":"`+who+`","issue":"`+issue.Key+`","to":"Approved"}`)
		s := c.until(
			"the putting back of "+who+"'s move",
			func(s snapshot) bool { return s.cardByKey(issue.Key).PutBack != nil },
		)
		back := s.cardByKey(issue.Key)
		require.Equal(c.t, "Pending", back.Status)
		require.Equal(c.t, who, back.PutBack.Who)
		require.Equal(c.t, "Approved", back.PutBack.To)
		require.Contains(c.t, back.PutBack.Reason, why)
		require.NotContains(c.t, back.PutBack.Reason, refusalIntro)
		require.Equal(c.t, "pending", s.requestByID(own.ID).State)
	}
}

func (c client) playTeleport() {
	c.t.Helper()
	r, issue := c.request("erin@example.com", "2")
	status, message := c.post("review", `{"request":"`+r.ID+`","user":"erin@example.com","approve":true}`)
	require.Equal(c.t, http.StatusConflict, status)
	require.Contains(c.t, message, "nobody review their own")
	c.do("review", `{"request":"`+r.ID+`","user":"dave@example.com","approve":true,"reason":"fine"}`)
	s := c.until(
		"the comment about the review",
		func(s snapshot) bool { return len(s.cardByKey(issue.Key).Comments) == 1 },
	)
	require.Equal(c.t, "pending", s.requestByID(r.ID).State)
	require.Equal(c.t, `approved, "fine"`, s.requestByID(r.ID).Reviews[0].Text)
	c.do("review", `{"request":"`+r.ID+`","user":"grace@example.com","approve":true}`)
	c.until("the approval on the board", func(s snapshot) bool {
		return s.requestByID(r.ID).State == "approved" && s.cardByKey(issue.Key).Status == "Approved"
	})

	r, issue = c.request("erin@example.com", "1")
	c.do("decide", `{"request":"`+r.ID+`","approve":false,"reason":"no"}`)
	s = c.until("the denial on the board", func(s snapshot) bool { return s.cardByKey(issue.Key).Status == "Denied" })
	require.Equal(c.t, "denied", s.requestByID(r.ID).State)
	require.Equal(c.t, admin, s.requestByID(r.ID).By)

	r, issue = c.request("erin@example.com", "1")
	c.do("expire", `{"request":"`+r.ID+`"}`)
	c.until("the expiry on the board", func(s snapshot) bool {
		return s.requestByID(r.ID).State == "expired" && s.cardByKey(issue.Key).Status == "Expired"
	})
}

// replica is the state of one in a snapshot.
func (s snapshot) replica(name string) replicaShown {
	return s.Replicas[slices.IndexFunc(s.Replicas, func(r replicaShown) bool { return r.Name == name })]
}

func (c client) playReplicas() {
	c.t.Helper()
	before := c.until("a leader", func(s snapshot) bool { return s.replica("agent 1").Health.Role == "leader" })
	c.do("freeze", `{"replica":"agent 1"}`)
	status, message := c.post("freeze", `{"replica":"agent 1"}`)
	require.Equal(c.t, http.StatusConflict, status)
	require.Contains(c.t, message, "frozen already")
	s := c.until("the takeover", func(s snapshot) bool { return s.replica("agent 2").Health.Role == "leader" })
	require.True(c.t, s.replica("agent 1").Frozen)
	require.Greater(c.t, s.replica("agent 2").Health.Epoch, before.replica("agent 1").Health.Epoch)
	c.do("thaw", `{"replica":"agent 1"}`)
	s = c.until("a standby", func(s snapshot) bool {
		r := s.replica("agent 1")
		return r.Running && r.Health.Role == "standby" && r.Health.Ready
	})
	require.False(c.t, s.replica("agent 1").Frozen)

	c.do("kill", `{"replica":"agent 1"}`)
	status, message = c.post("kill", `{"replica":"agent 1"}`)
	require.Equal(c.t, http.StatusConflict, status)
	require.Contains(c.t, message, "start it first")
	c.until("the end of agent 1", func(s snapshot) bool { return !s.replica("agent 1").Running })
	c.do("restart", `{"replica":"agent 1"}`)
	c.until("the return of agent 1", func(s snapshot) bool { return s.replica("agent 1").Health.Ready })

	c.do("restart", `{"replica":"agent 2"}`)
	s = c.until("the handing over", func(s snapshot) bool {
		return s.replica("agent 1").Health.Role == "leader" && s.replica("agent 2").Health.Ready
	})
	require.NotEmpty(c.t, s.replica("agent 1").Log)
	require.NotEqual(c.t, before.replica("agent 2").PID, s.replica("agent 2").PID)
}

func (c client) playSides() {
	c.t.Helper()
	_, issue := c.request("frank@example.com", "1")
	c.do("break", `{"side":"jira"}`)
	c.do("move", `{"as":"bob","issue":"`+issue.Key+`","to":"Approved"}`)
	s := c.until("a waiting move", func(s snapshot) bool { return s.Lag.DecisionWaiting != nil })
	require.Equal(c.t, []string{"jira"}, s.Broken)
	c.do("mend", `{"side":"jira"}`)
	c.until("the move's effect", func(s snapshot) bool {
		return len(s.Broken) == 0 && s.Lag.DecisionWaiting == nil && s.requestByID(issue.Request).State == "approved"
	})

	c.do("break", `{"side":"postgres"}`)
	c.until("agents without a database", func(s snapshot) bool {
		return slices.Equal(s.Broken, []string{"postgres"}) &&
			!slices.ContainsFunc(s.Replicas, func(r replicaShown) bool { return r.Health.Ready })
	})
	c.do("mend", `{"side":"postgres"}`)
	c.do("mend", `{"side":"postgres"}`) // twice is no mistake
	c.until("a leader again", func(s snapshot) bool {
		return slices.ContainsFunc(
			s.Replicas,
			func(r replicaShown) bool { return r.Health.Role == "leader" && r.Health.Ready },
		)
	})
}

// requireEnded is for a world in which an agent was thawed or killed to end it.
func requireEnded(t *testing.T, w *world) {
	t.Helper()
	require.NoDirExists(t, w.dir)
	for _, s := range w.slots {
		_, running, _ := s.now()
		require.False(t, running, s.name)
		require.ErrorContains(t, s.start(), "the demo is ending")
	}
}

func TestAVisitorTakesOverFromTheTour(t *testing.T) {
	t.Parallel()
	agent, err := replica.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	asked := make(chan struct{})
	out := &output{text: "notes OPS-1", seen: func() { close(asked) }}
	w := &world{screen: newScreen(out, false)}
	t.Cleanup(func() { require.NoError(t, w.close()) }) // also where the test fails before its end
	ended := make(chan error, 1)
	go func() { ended <- show(ctx, w, options{agent: agent, pace: time.Hour}) }()
	<-asked
	c := client{t: t, url: w.board.url}
	require.True(t, c.until("the tour", func(snapshot) bool { return true }).Touring)
	c.do("move", `{"as":"bob","issue":"OPS-1","to":"Denied"}`)
	c.until("the end of the tour", func(s snapshot) bool {
		told := slices.ContainsFunc(
			s.Story,
			func(l storyLine) bool { return strings.HasPrefix(l.Text, "You have taken over") },
		)
		return told && !s.Touring && s.cardByKey("OPS-1").Status == "Denied" && s.Requests[0].State == "denied"
	})
	require.NotContains(t, out.String(), "bob comments on OPS-1")

	c.do("request", `{"user":"alice@example.com","roles":["db-admin"],"lifetime":1}`)
	c.until(
		"the expiry service",
		func(s snapshot) bool { return len(s.Requests) == 2 && s.Requests[0].State == "expired" },
	)
	interrupt()
	require.NoError(t, <-ended)
	require.NoError(t, w.close())
	requireNothingLeft(t, w)
}
