package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
)

// Webhook mode: the schedules are so slow that no poll and no sweep comes while a test runs, but those at the start of a term.

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
	h := &hook{system: s, secret: "s3cret/of+the=webhook", cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key")}
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
func certify(tb testing.TB, name, certFile, keyFile string) (trusted *x509.CertPool) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(tb, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(tb, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(tb, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	require.NoError(tb, os.WriteFile(certFile, cert, 0o600))
	trusted = x509.NewCertPool()
	require.True(tb, trusted.AppendCertsFromPEM(cert))
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
	h.jira.SetWebhook(&jirasim.Webhook{URL: h.url(r), Secret: h.secret, Client: h.client, RetryAfter: 100 * time.Millisecond})
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
		"timestamp": updated.UnixMilli(), "webhookEvent": "jira:issue_updated", "issue_event_type_name": "issue_generic",
		"user": map[string]any{"accountId": "712020:bob", "name": "bob", "displayName": "Bob Cratchit", "emailAddress": "bob@example.com"},
		"issue": map[string]any{"id": issue.ID, "key": issue.Key, "fields": map[string]any{
			"updated": updated.UTC().Format("2006-01-02T15:04:05.000-0700"), "status": map[string]any{"id": "10302", "name": "Approved"},
		}},
		"changelog": map[string]any{"id": "99999", "items": []any{map[string]any{
			"field": "status", "fieldId": "status", "from": "10301", "fromString": "Pending", "to": "10302", "toString": "Approved",
		}}},
	})
	require.NoError(h.t, err)
	return body
}

// searches is how often Jira was searched.
func (h *hook) searches(d jirasim.Deployment) int { return h.jira.CallCount(searchRoute(d)) }

// readRoute is how issues are read that a webhook named.
func readRoute(d jirasim.Deployment) string {
	if d == jirasim.Cloud {
		return "POST issue/bulkfetch"
	}
	return "GET issue/{issue}"
}

// unheard is less than the time between two looks at hints that nobody tells the leader of: what takes that long was not told.
const unheard = 20 * time.Second

func TestAWebhookMakesAMoveVisibleWithoutAPoll(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for _, to := range []string{"leader", "standby"} {
			t.Run("sent to the "+to, func(t *testing.T) {
				t.Parallel()
				s := newSystem(t, on{deployment: d, jira: func(c *jirasim.Config) { c.IndexLag = jirasim.FixedLag(time.Hour) }})
				h := s.webhook()
				a := s.start("a")
				b := s.standsBy("b")
				approve, deny := s.request(), s.request()
				first, second := s.issueIn(approve, "Pending"), s.issueIn(deny, "Pending")
				s.linked(a, approve, deny)
				h.sendTo(map[string]*replica.Replica{"leader": a, "standby": b}[to])
				searches := h.searches(d)

				require.NoError(t, s.jira.Move(first.Key, "bob", "Approved"))
				s.stateIs(approve, types.RequestState_APPROVED)
				start := time.Now()
				require.NoError(t, s.jira.Move(second.Key, "mallory", "Denied"))
				s.stateIs(deny, types.RequestState_DENIED)
				require.Less(t, time.Since(start), unheard)
				s.settled(approve, "approved")
				s.settled(deny, "denied")
				require.Equal(t, approved(), s.story(approve))
				require.NotContains(t, b.Log(), `"msg":"done"`)

				// A settled issue is put back, too.
				require.NoError(t, s.jira.Move(first.Key, "bob", "Denied"))
				s.issueWith(approve, 2)
				s.issueIn(approve, "Approved")
				require.Equal(t, types.RequestState_APPROVED, s.teleport.State(approve))
				require.Equal(t, searches, h.searches(d), "a search came between")
				if d == jirasim.Cloud {
					require.Equal(t, 3, s.jira.CallCount(readRoute(d)), "one look at each move by a person, and none at the agent's own changes")
				}
			})
		}
	})
}

// linked waits until the leader is done with making the issues of requests.
func (s *system) linked(leader *replica.Replica, ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		_, err := leader.WaitLog(s.ctx, "done", "action", "link", "request_id", id)
		require.NoError(s.t, err)
	}
}

// TestNoWebhookDecidesAnything sends what somebody might who knows the address, the secret, or an old webhook.
func TestNoWebhookDecidesAnything(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d, jira: unlimited})
		h := s.webhook()
		a := s.start("a")
		decided, pending := s.request(), s.request()
		first, issue := s.issueIn(decided, "Pending"), s.issueIn(pending, "Pending")
		s.linked(a, decided, pending)
		h.sendTo(a)
		require.NoError(t, s.jira.Move(first.Key, "bob", "Approved"))
		s.settled(decided, "approved")
		old, err := s.jira.WaitDelivery(s.ctx, func(d jirasim.Delivery) bool {
			return d.Status == 200 && strings.Contains(string(d.Body), `"issue_generic"`) && strings.Contains(string(d.Body), first.Key)
		})
		require.NoError(t, err)
		s.jira.SetWebhook(nil)
		replay := func() {
			code, _ := h.posts(a, old.Body, old.Header.Get("X-Hub-Signature")) // the very request that was signed once
			require.Equal(t, 200, code)
		}
		replay() // now the row learns of what came after the move: the agent's own comment
		s.heeded(first.ID)
		s.heeded(issue.ID)
		s.jira.ResetCalls()

		forged := h.claim(issue, time.Now().Add(time.Minute))
		for name, signature := range map[string]string{
			"unsigned": "", "signed by another": jirasim.Webhook{Secret: "guessed"}.Sign(forged), "of another body": h.sign(old.Body),
			"another method": strings.Replace(h.sign(forged), "sha256", "sha1", 1), "cut short": h.sign(forged)[:60],
		} {
			code, _ := h.posts(a, forged, signature)
			require.Equal(t, 401, code, name)
		}
		for range 20 {
			replay()
		}
		s.heeded(first.ID)
		require.Zero(t, s.jira.CallCount(readRoute(d)), "the row knows of something later than the old webhook tells")

		code, _ := h.posts(a, forged, h.sign(forged))
		require.Equal(t, 200, code)
		unknown := issue
		unknown.ID = "4711"
		for _, body := range [][]byte{h.claim(unknown, time.Now()), []byte(`{"webhookEvent":"jira:version_released"}`), []byte(`[]`)} {
			code, _ = h.posts(a, body, h.sign(body))
			require.Equal(t, 200, code)
		}
		s.heeded(issue.ID) // the claim never comes true: it is looked at as long as it may be
		require.Equal(t, 5, s.jira.CallCount(readRoute(d)))
		require.Equal(t, story{State: types.RequestState_PENDING, Moves: []string{placed}}, s.story(pending))
		require.Equal(t, approved(), s.story(decided))

		require.NoError(t, s.jira.Move(issue.Key, "bob", "Denied"))
		code, _ = h.posts(a, forged, h.sign(forged))
		require.Equal(t, 200, code)
		s.stateIs(pending, types.RequestState_DENIED) // as Jira says, and not as the webhook does
		require.Equal(t, byBob(types.RequestState_DENIED), s.verdicts(pending))
		require.InDelta(t, 5, s.metrics(a)[`teleport_jira_agent_webhook_requests_total{code="401"}`], 0)

		for what, secret := range map[string]string{
			"secret": h.secret, "signature": old.Header.Get("X-Hub-Signature"), "body": "Bob Cratchit", "forged": h.sign(forged)[7:],
		} {
			require.NotContains(t, a.Log(), secret, what)
		}
	})
}

// heeded waits until no hint about an issue is kept.
func (s *system) heeded(issueID string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		return s.number(s.env["DATABASE_URL"], "SELECT count(*) FROM hints WHERE issue_id = $1", issueID) == 0
	}, patience, 20*time.Millisecond)
}

func TestAWebhookThatIsEarlierThanJirasOwnAnswerLosesNothing(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		h := s.webhook()
		a := s.start("a")
		id := s.request()
		issue := s.issueIn(id, "Pending")
		s.linked(a, id)
		release := s.jira.HoldReads(issue.ID)
		h.sendTo(a)
		searches, reads := h.searches(d), s.jira.CallCount(readRoute(d))
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.calls(readRoute(d), 2+reads-s.jira.CallCount(readRoute(d)))
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
		release()
		s.settled(id, "approved")
		require.Equal(t, approved(), s.story(id))
		require.Equal(t, searches, h.searches(d))
	})
}

func TestAReplicaThatIsKilledAfterItsAnswerLosesNoWebhook(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"leader", "standby"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, on{deployment: jirasim.Cloud})
			h := s.webhook()
			s.env["LEADER_LEASE"] = "3s"
			a := s.start("a")
			b := s.standsBy("b")
			id := s.request()
			issue := s.issueIn(id, "Pending")
			s.linked(a, id)
			replicas := map[string]*replica.Replica{"leader": a, "standby": b}
			taker := replicas[victim]
			delete(replicas, victim)
			remove := s.jira.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: "issue/bulkfetch", Effect: jirasim.Hang()})
			require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
			now, _ := s.jira.Issue(issue.ID)
			body := h.claim(issue, now.Updated)
			code, _ := h.posts(taker, body, h.sign(body))
			require.Equal(t, 200, code)
			taker.Kill()
			require.Equal(t, 1, s.number(s.env["DATABASE_URL"], "SELECT count(*) FROM hints"))
			remove()
			s.settled(id, "approved")
			require.Equal(t, approved(), s.story(id))
			s.heeded(issue.ID)
			for _, other := range replicas {
				s.leads(other)
			}
		})
	}
}

func TestAWebhookIsSentAgainWhileNothingCanBeKept(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	h := s.webhook()
	s.env["LEADER_LEASE"] = "2s"
	postgres := s.ownPostgres()
	require.NoError(t, postgres.Stop(s.ctx, pgtest.Fast))
	a := s.launch("a")
	body := []byte(`{"issue":{"id":"10001"}}`)
	code, header := h.posts(a, body, h.sign(body))
	require.Equal(t, 503, code, "PostgreSQL was never there")
	require.NotEmpty(t, header.Get("Retry-After"))
	code, _ = h.posts(a, body, "")
	require.Equal(t, 401, code)
	status, err := h.client.Get(h.url(a) + "status")
	require.NoError(t, err)
	require.NoError(t, status.Body.Close())
	require.Equal(t, 200, status.StatusCode)

	require.NoError(t, postgres.Start(s.ctx))
	s.leads(a)
	id := s.request()
	issue := s.issueIn(id, "Pending")
	s.linked(a, id)
	h.sendTo(a)
	s.stopJira() // the agent can neither poll nor sweep when it leads again
	require.NoError(t, postgres.Stop(s.ctx, pgtest.Fast))
	require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
	_, err = s.jira.WaitDelivery(s.ctx, func(d jirasim.Delivery) bool { return d.Status == 503 })
	require.NoError(t, err)
	require.NoError(t, postgres.Start(s.ctx))
	_, err = s.jira.WaitDelivery(s.ctx, func(d jirasim.Delivery) bool { return d.Status == 200 })
	require.NoError(t, err)
	_, s.stopJira = s.jira.Start()
	s.settled(id, "approved")
	require.Equal(t, approved(), s.story(id))
}

func TestTheWebhooksCertificateIsRenewedWhileTheAgentWorks(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	h := s.webhook()
	a := s.start("a")
	addr := strings.TrimSuffix(strings.TrimPrefix(h.url(a), "https://"), "/")
	shown := func() (name, protocol string) {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}).DialContext(s.ctx, "tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		state := conn.(*tls.Conn).ConnectionState()
		return state.PeerCertificates[0].Subject.CommonName, state.NegotiatedProtocol
	}
	name, protocol := shown()
	require.Equal(t, []string{"first", "h2"}, []string{name, protocol})

	whole, err := os.ReadFile(h.cert)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(h.cert, whole[:len(whole)/2], 0o600))
	s.hangUp(a, "reload failed; the old TLS certificate stays in use")
	name, _ = shown()
	require.Equal(t, "first", name)

	h.certify("second")
	s.hangUp(a, "TLS certificate changed, the new one is in use")
	name, _ = shown()
	require.Equal(t, "second", name)

	h.certify("third") // nobody asks for this one
	require.Eventually(t, func() bool { name, _ := shown(); return name == "third" }, patience, 100*time.Millisecond)
	require.Equal(t, 1, strings.Count(a.Log(), "TLS files unusable"), "it is told once")
}

func TestAWebhookAddressInUseEndsTheStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.webhook()
	a := s.launch("a", "WEBHOOK_LISTEN_ADDR="+strings.TrimPrefix(s.jiraURL, "http://"))
	code, err := a.Wait(s.ctx)
	require.NoError(t, err)
	require.Equal(t, 1, code)
	line, err := a.WaitLog(s.ctx, "agent failed")
	require.NoError(t, err)
	require.Contains(t, line.Fields["error"], "WEBHOOK_LISTEN_ADDR: ")
	require.Contains(t, line.Fields["error"], "address already in use")
}
