package jirasim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

type object = map[string]any

const requestID = "0193a1b2-1111-7222-8333-444455556666"

// client speaks to a simulator as one account.
type client struct {
	t        *testing.T
	base     string
	username string // empty: bearer
	token    string
	http     *http.Client
}

// reply is an answer, decoded if it is a JSON object.
type reply struct {
	status int
	header http.Header
	raw    string
	body   object
}

// start serves a simulator for the test and returns the agent's client.
func start(t *testing.T, cfg jirasim.Config) (*jirasim.Server, *client) {
	t.Helper()
	s := jirasim.New(cfg)
	base, stop := s.Start()
	t.Cleanup(stop)
	return s, connect(t, base)
}

func connect(t *testing.T, base string) *client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{
		t: t, base: base, username: jirasim.AgentUsername, token: jirasim.AgentToken,
		http: &http.Client{Transport: transport, Timeout: 20 * time.Second},
	}
}

func (c *client) as(username, token string) *client {
	other := *c
	other.username, other.token = username, token
	return &other
}

func (c *client) try(ctx context.Context, method, path string, body any) (reply, error) {
	c.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		raw, err := json.Marshal(body)
		require.NoError(c.t, err)
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+"/rest/api/2/"+path, content)
	require.NoError(c.t, err)
	r.Header.Set("Content-Type", "application/json")
	switch {
	case c.username != "":
		r.SetBasicAuth(c.username, c.token)
	case c.token != "":
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	a := reply{status: response.StatusCode, header: response.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.body) // lists and pages of HTML are looked at as raw
	return a, err
}

func (c *client) do(method, path string, body any) reply {
	c.t.Helper()
	a, err := c.try(context.Background(), method, path, body)
	require.NoError(c.t, err)
	return a
}

func (c *client) get(path string) reply { c.t.Helper(); return c.do(http.MethodGet, path, nil) }

func (c *client) post(path string, body any) reply {
	c.t.Helper()
	return c.do(http.MethodPost, path, body)
}

// at descends into an answer: at(a.body, "fields", "status", "name"); numbers index lists.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			o, ok := v.(object)
			require.Truef(t, ok, "no object at %v of %v: %v", step, path, v)
			v = o[step]
		case int:
			l, ok := v.([]any)
			require.Truef(t, ok && step < len(l), "no element %d of %v in %v", step, path, v)
			v = l[step]
		}
	}
	return v
}

// draft is a valid body of POST issue, changed by the given fields; a nil value removes one.
func draft(changes object) object {
	fields := object{
		"project": object{"key": "OPS"}, "issuetype": object{"name": "Task"},
		"summary": "Access for alice", "customfield_10042": requestID,
	}
	for id, value := range changes {
		fields[id] = value
		if value == nil {
			delete(fields, id)
		}
	}
	return object{"fields": fields}
}

// create makes an issue through REST and returns its id.
func (c *client) create() string {
	c.t.Helper()
	a := c.post("issue", draft(nil))
	require.Equal(c.t, http.StatusCreated, a.status, a.raw)
	return at(c.t, a.body, "id").(string)
}

// refusal requires an answer with the status and the message in errorMessages.
func refusal(t *testing.T, a reply, status int, message string) {
	t.Helper()
	require.Equal(t, status, a.status, a.raw)
	require.Contains(t, at(t, a.body, "errorMessages", 0), message)
}

// fieldRefusal requires an answer 400 with the message at the field in errors.
func fieldRefusal(t *testing.T, a reply, field, message string) {
	t.Helper()
	require.Equal(t, http.StatusBadRequest, a.status, a.raw)
	require.Contains(t, at(t, a.body, "errors", field), message)
}

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 12, 45, 30, 123456789, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// examples are the two deployments, each tested where they should agree.
func examples() []jirasim.Config {
	return []jirasim.Config{jirasim.Example(jirasim.Cloud), jirasim.Example(jirasim.DataCenter)}
}

// decodeList reads an answer that is a JSON list.
func decodeList(t *testing.T, raw string) []any {
	t.Helper()
	var l []any
	require.NoError(t, json.Unmarshal([]byte(raw), &l))
	return l
}

// jsonNumber is a number of an answer as text.
func jsonNumber(v any) string { return fmt.Sprint(v) }
