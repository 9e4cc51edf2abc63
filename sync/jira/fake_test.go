package jira

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"teleport-jira-agent/sync"
)

const (
	secret  = "s3cr3t-t0ken"
	ownID   = "acc-agent"
	fieldID = "customfield_10042"
)

// seen is one call that the fake received.
type seen struct {
	method, path string
	query        map[string][]string
	header       http.Header
	body         map[string]any
}

// fakeJira answers each route with a function of the test, and fails the test on any other.
type fakeJira struct {
	*httptest.Server
	mu    stdsync.Mutex
	calls []seen
}

// routes are answers by "METHOD /path below /rest/api/2".
type routes map[string]func(call seen) (code int, body any)

func newFake(t *testing.T, answers routes) *fakeJira {
	t.Helper()
	f := &fakeJira{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := seen{method: r.Method, path: r.URL.Path, query: r.URL.Query(), header: r.Header}
		raw, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(raw, &call.body)
		f.mu.Lock()
		f.calls = append(f.calls, call)
		f.mu.Unlock()
		const prefix = "/rest/api/2"
		answer, ok := answers[r.Method+" "+r.URL.Path[min(len(prefix), len(r.URL.Path)):]]
		if !ok {
			t.Errorf("unexpected call %s %s", r.Method, r.URL.Path)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		code, body := answer(call)
		send(w, code, body)
	}))
	t.Cleanup(f.Close)
	return f
}

// send writes a string as it is and anything else as JSON. A body of type func(http.ResponseWriter)
// writes itself.
func send(w http.ResponseWriter, code int, body any) {
	switch b := body.(type) {
	case func(http.ResponseWriter):
		b(w)
	case nil:
		w.WriteHeader(code)
	case string:
		w.WriteHeader(code)
		_, _ = io.WriteString(w, b)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(b)
	}
}

// received are the calls so far whose method and path are these.
func (f *fakeJira) received(method, path string) []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []seen
	for _, c := range f.calls {
		if c.method == method && c.path == "/rest/api/2"+path {
			found = append(found, c)
		}
	}
	return found
}

func always(code int, body any) func(seen) (int, any) {
	return func(seen) (int, any) { return code, body }
}

// inTurn gives one answer after the other, and the last one again and again.
func inTurn(answers ...func(seen) (int, any)) func(seen) (int, any) {
	var mu stdsync.Mutex
	n := 0
	return func(c seen) (int, any) {
		mu.Lock()
		defer mu.Unlock()
		answer := answers[min(n, len(answers)-1)]
		n++
		return answer(c)
	}
}

func testConfig(url string) Config {
	return Config{
		URL: url, Username: "agent@example.com", Token: func() string { return secret },
		Project: "ACC", IssueType: "Task", RequestIDField: "teleportAccessRequestId", MaxRPS: 10_000,
	}
}

// connected is a client as after a preflight, with everything that it logs.
func connected(t *testing.T, f *fakeJira, d Deployment, change ...func(*Config)) (*Client, *observer.ObservedLogs) {
	t.Helper()
	cfg := testConfig(f.URL)
	for _, c := range change {
		c(&cfg)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	c, err := newClient(cfg, zap.New(core))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	c.deployment = d
	c.field = requestIDField{id: fieldID, number: "10042", name: "teleportAccessRequestId"}
	c.self = sync.Person{AccountID: ownID, Agent: true}
	if d == DataCenter {
		c.self = sync.Person{Key: "JIRAUSER1", Name: "agent", Agent: true}
	}
	return c, logs
}

// issueBody is an issue as Jira sends it, in status Pending (id 1) unless changed.
func issueBody(id int, change ...func(m map[string]any)) map[string]any {
	m := map[string]any{
		"id": fmt.Sprint(id), "key": fmt.Sprintf("ACC-%d", id),
		"fields": map[string]any{
			fieldID:   fmt.Sprintf("req-%d", id),
			"status":  map[string]any{"id": "1", "name": "Pending"},
			"project": map[string]any{"key": "ACC"},
			"updated": "2026-11-22T10:00:00.123+0000",
			"created": "2026-11-22T09:00:00.000+0000",
			"creator": map[string]any{"accountId": ownID},
		},
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func withField(name string, value any) func(map[string]any) {
	return func(m map[string]any) { m["fields"].(map[string]any)[name] = value }
}

func with(name string, value any) func(map[string]any) {
	return func(m map[string]any) { m[name] = value }
}

func inStatus(id, name string) func(map[string]any) {
	return withField("status", map[string]any{"id": id, "name": name})
}

func jiraError(messages ...string) map[string]any {
	return map[string]any{"errorMessages": messages, "errors": map[string]any{}}
}

// noteCommit is a commit callback that counts.
func noteCommit(n *int) func(context.Context) error {
	return func(context.Context) error { *n++; return nil }
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func asSyncError(t *testing.T, err error) *sync.Error {
	t.Helper()
	var e *sync.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "jira", e.Side)
	require.NotEmpty(t, e.Op)
	return e
}

// noteStep is noteCommit for a transition.
func noteStep(committed *int) func(context.Context, sync.Status) error {
	commit := noteCommit(committed)
	return func(ctx context.Context, _ sync.Status) error { return commit(ctx) }
}
