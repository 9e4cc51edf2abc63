package jirasim_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// receiver takes webhooks and answers each with the next of the codes, the last one for ever.
func receiver(t *testing.T, s *jirasim.Server, codes ...int) (received chan *http.Request) {
	t.Helper()
	received = make(chan *http.Request, 100)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		*r = *r.WithContext(context.WithValue(context.Background(), bodyKey{}, body))
		code := codes[0]
		if len(codes) > 1 {
			codes = codes[1:]
		}
		w.WriteHeader(code)
		received <- r
	}))
	t.Cleanup(server.Close)
	s.SetWebhook(
		&jirasim.Webhook{URL: server.URL, Secret: "s3cret", Client: server.Client(), RetryAfter: time.Millisecond},
	)
	t.Cleanup(func() { s.SetWebhook(nil) })
	return received
}

type bodyKey struct{}

// event is the body of a webhook.
func event(t *testing.T, r *http.Request) (body []byte, fields map[string]any) {
	t.Helper()
	body, _ = r.Context().Value(bodyKey{}).([]byte)
	require.NoError(t, json.Unmarshal(body, &fields), string(body))
	return body, fields
}

func next(t *testing.T, received chan *http.Request) *http.Request {
	t.Helper()
	select {
	case r := <-received:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("no webhook came")
		return nil
	}
}

func TestWebhookTellsWhatBecomesOfAnIssue(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s := jirasim.New(cfg)
			received := receiver(t, s, 200)
			issue, err := s.CreateIssue("bob", map[string]any{"summary": "x"}, nil)
			require.NoError(t, err)
			r := next(t, received)
			body, created := event(t, r)
			require.Equal(t, "jira:issue_created", created["webhookEvent"])
			require.Equal(t, jirasim.Webhook{Secret: "s3cret"}.Sign(body), r.Header.Get("X-Hub-Signature"))
			require.NotEqual(t, jirasim.Webhook{Secret: "another"}.Sign(body), r.Header.Get("X-Hub-Signature"))

			require.NoError(t, s.Move(issue.ID, "bob", "Approved"))
			_, moved := event(t, next(t, received))
			require.Equal(t, "jira:issue_updated", moved["webhookEvent"])
			require.Equal(t, "issue_generic", moved["issue_event_type_name"])
			require.InDelta(t, time.Now().UnixMilli(), moved["timestamp"], 60_000)
			now, _ := s.Issue(issue.ID)
			shown := moved["issue"].(map[string]any)
			require.Equal(t, issue.ID, shown["id"])
			require.Equal(t, issue.Key, shown["key"])
			fields := shown["fields"].(map[string]any)
			require.Equal(t, now.Updated.UTC().Format("2006-01-02T15:04:05.000-0700"), fields["updated"])
			require.Equal(t, "Approved", fields["status"].(map[string]any)["name"])
			item := moved["changelog"].(map[string]any)["items"].([]any)[0].(map[string]any)
			require.Equal(t, []any{"status", "To Do", "Approved"}, []any{item["field"], item["fromString"], item["toString"]})
			require.Equal(t, "Bob Cratchit", moved["user"].(map[string]any)["displayName"])

			_, err = s.Comment(issue.ID, "alice", "Reason: x")
			require.NoError(t, err)
			_, commented := event(t, next(t, received))
			require.Equal(t, "issue_commented", commented["issue_event_type_name"])
			require.Equal(t, "Reason: x", commented["comment"].(map[string]any)["body"])

			require.NoError(t, s.DeleteIssue(issue.ID, "bob"))
			_, deleted := event(t, next(t, received))
			require.Equal(t, "jira:issue_deleted", deleted["webhookEvent"])
			require.Equal(t, issue.ID, deleted["issue"].(map[string]any)["id"])
		})
	}
}

func TestWebhookIsSentAgainUntilItIsTaken(t *testing.T) {
	t.Parallel()
	s := jirasim.New(jirasim.Example(jirasim.Cloud))
	received := receiver(t, s, 503, 429, 408, 200)
	_, err := s.CreateIssue("bob", map[string]any{"summary": "x"}, nil)
	require.NoError(t, err)
	first := next(t, received)
	require.Empty(t, first.Header.Get("X-Atlassian-Webhook-Retry"))
	for _, try := range []string{"1", "2", "3"} {
		r := next(t, received)
		require.Equal(t, try, r.Header.Get("X-Atlassian-Webhook-Retry"))
		require.Equal(t, first.Header.Get("X-Atlassian-Webhook-Identifier"), r.Header.Get("X-Atlassian-Webhook-Identifier"))
	}
	taken, err := s.WaitDelivery(t.Context(), func(d jirasim.Delivery) bool { return d.Status == 200 })
	require.NoError(t, err)
	require.Equal(t, "3", taken.Header.Get("X-Atlassian-Webhook-Retry"))
	require.Len(t, s.Deliveries(), 4)
	require.Empty(t, received)
}

func TestWebhookIsSentSixTimesAtMostAndOnceWhenItIsRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]int{500: 6, 401: 1, 400: 1, 413: 1} {
		s := jirasim.New(jirasim.Example(jirasim.Cloud))
		received := receiver(t, s, code)
		_, err := s.CreateIssue("bob", map[string]any{"summary": "x"}, nil)
		require.NoError(t, err)
		for range want {
			next(t, received)
		}
		require.Eventually(t, func() bool { return len(s.Deliveries()) == want }, 30*time.Second, time.Millisecond)
		s.SetWebhook(nil)
		require.Empty(t, received)
	}
}

func TestReadsThatAreHeldBackShowAnIssueAsItWas(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			issue, err := s.CreateIssue("bob", map[string]any{"summary": "x"}, nil)
			require.NoError(t, err)
			release := s.HoldReads(issue.ID)
			require.NoError(t, s.Move(issue.ID, "bob", "Approved"))
			status := func() any {
				return c.get("issue/" + issue.ID).body["fields"].(map[string]any)["status"].(map[string]any)["name"]
			}
			require.Equal(t, "To Do", status())
			now, _ := s.Issue(issue.ID)
			require.Equal(t, "Approved", now.Status.Name)
			release()
			require.Equal(t, "Approved", status())
		})
	}
}
