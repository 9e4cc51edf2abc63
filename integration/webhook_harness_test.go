package integration

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
)

// Webhook mode: the schedules are so slow that no poll and no sweep comes while a test runs, but
// those at the start of a term.

// hook is what a system's webhooks have in common.
type hook struct {
	*system
	secret    string
	cert, key string // files
	client    *http.Client
}

// webhook switches the webhook on for all replicas, and polls all but off.
func (s *system) webhook() *hook {
	s.t.Helper()
	dir := s.t.TempDir()
	h := &hook{
		system: s,
		secret: "s3cret/of+the=webhook",
		cert:   filepath.Join(dir, "tls.crt"),
		key:    filepath.Join(dir, "tls.key"),
	}
	h.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: h.certify("first")}, ForceAttemptHTTP2: true,
	}}
	s.t.Cleanup(h.client.CloseIdleConnections)
	for name, value := range map[string]string{
		"WEBHOOK_ENABLED": "true", "WEBHOOK_LISTEN_ADDR": "127.0.0.1:0", "WEBHOOK_SECRET": h.secret,
		"WEBHOOK_TLS_CERT_FILE": h.cert, "WEBHOOK_TLS_KEY_FILE": h.key,
		"SYNC_POLL_SCHEDULE": "@every 1h", "SYNC_IDLE_SCHEDULE": "@every 1h", "SYNC_SWEEP_SCHEDULE": "@every 1h", "SYNC_LOOKBACK": "2h",
		"LEADER_LEASE": "10s", // leadership changes only where a test lets it
	} {
		s.env[name] = value
	}
	return h
}

// certify makes the listener's certificate anew, and returns who trusts it.
func (h *hook) certify(name string) *x509.CertPool {
	h.t.Helper()
	return certify(h.t, name, h.cert, h.key)
}

// certify writes a certificate for 127.0.0.1 and its key.
func certify(t *testing.T, name, certFile, keyFile string) (trusted *x509.CertPool) {
	t.Helper()
	trusted, err := replica.Certify(name, certFile, keyFile)
	require.NoError(t, err)
	return trusted
}

// url is where a replica takes webhooks.
func (h *hook) url(r *replica.Replica) string {
	h.t.Helper()
	line, err := r.WaitLog(h.ctx, "webhook listener")
	require.NoError(h.t, err, tail(r.Log(), 50))
	return fmt.Sprintf("https://%s/", line.Fields["addr"])
}

// sendTo lets Jira send webhooks to a replica from now on.
func (h *hook) sendTo(r *replica.Replica) {
	h.t.Helper()
	h.jira.SetWebhook(&jirasim.Webhook{URL: h.url(r), Secret: h.secret, Client: h.client, RetryAfter: time.Second})
	h.t.Cleanup(func() { h.jira.SetWebhook(nil) })
}

// posts sends a body with a signature and returns the answer.
func (h *hook) posts(r *replica.Replica, body []byte, signature string) (code int, header http.Header) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.ctx, http.MethodPost, h.url(r), strings.NewReader(string(body)))
	require.NoError(h.t, err)
	if signature != "" {
		req.Header.Set("X-Hub-Signature", signature)
	}
	resp, err := h.client.Do(req)
	require.NoError(h.t, err)
	require.NoError(h.t, resp.Body.Close())
	return resp.StatusCode, resp.Header
}

func (h *hook) sign(body []byte) string { return jirasim.Webhook{Secret: h.secret}.Sign(body) }

// claim is the body of a webhook that tells of a move which never happened.
func (h *hook) claim(issue jirasim.Issue, updated time.Time) []byte {
	h.t.Helper()
	body, err := json.Marshal(map[string]any{
		"timestamp":             updated.UnixMilli(),
		"webhookEvent":          "jira:issue_updated",
		"issue_event_type_name": "issue_generic",
		"user": map[string]any{
			"accountId":    "712020:bob",
			"name":         "bob",
			"displayName":  "Bob Cratchit",
			"emailAddress": "bob@example.com",
		},
		"issue": map[string]any{"id": issue.ID, "key": issue.Key, "fields": map[string]any{
			"updated": updated.UTC().
				Format("2006-01-02T15:04:05.000-0700"),
			"status": map[string]any{"id": "10302", "name": "Approved"},
		}},
		"changelog": map[string]any{"id": "99999", "items": []any{
			map[string]any{
				"field":      "status",
				"fieldId":    "status",
				"from":       "10301",
				"fromString": "Pending",
				"to":         "10302",
				"toString":   "Approved",
			},
		}},
	})
	require.NoError(h.t, err)
	return body
}

// searches is how often Jira was searched.
func (h *hook) searches(d jirasim.Deployment) int { return h.jira.CallCount(searchRoute(d)) }

// linked waits until the leader is done with making the issues of requests.
func (s *system) linked(leader *replica.Replica, ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		_, err := leader.WaitLog(s.ctx, "done", "action", "link", "request_id", id)
		require.NoError(s.t, err)
	}
}

// heeded waits until no hint about an issue is kept, and nothing that one led to is left to do.
func (s *system) heeded(issueID string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		return s.number(s.env["DATABASE_URL"], `
			SELECT (SELECT count(*) FROM hints WHERE issue_id = $1) + (SELECT count(*) FROM links WHERE issue_id = $1
				AND (suspect_issue OR due <= now()))`, issueID) == 0
	}, patience, 20*time.Millisecond)
}
