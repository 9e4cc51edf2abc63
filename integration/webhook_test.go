package integration

import (
	"crypto/tls"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
)

// unheard is less than the time between two looks at hints that nobody tells the leader of: what
// takes that long was not told.
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
			})
		}
	})
}

func TestTheAgentsOwnChangesAreNoNewsToIt(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		h := s.webhook()
		a := s.start("a")
		id := s.request()
		issue := s.issueIn(id, "Pending")
		s.linked(a, id)
		h.sendTo(a)
		require.NoError(t, s.teleport.Deny(id, "carol@example.com", "no"))
		s.settled(id, "denied")
		for _, own := range []string{`"issue_commented"`, `"issue_generic"`} {
			_, err := s.jira.WaitDelivery(
				s.ctx,
				func(d jirasim.Delivery) bool { return d.Status == 200 && strings.Contains(string(d.Body), own) },
			)
			require.NoError(t, err)
		}
		require.Zero(t, s.number(s.env["DATABASE_URL"], "SELECT count(*) FROM hints"))
		if d == jirasim.Cloud {
			require.Zero(t, s.jira.CallCount("POST issue/bulkfetch"))
		}

		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.issueWith(id, 2)
		s.issueIn(id, "Denied")
	})
}

// TestNoWebhookDecidesAnything sends what somebody might who knows the address, the secret, or an
// old webhook.
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
			return d.Status == 200 && strings.Contains(string(d.Body), `"issue_generic"`) &&
				strings.Contains(string(d.Body), first.Key)
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
		require.Zero(
			t,
			s.jira.CallCount("GET issue/{issue}")+s.jira.CallCount("POST issue/bulkfetch"),
			"the row knows of something later than the old webhook tells",
		)

		code, _ := h.posts(a, forged, h.sign(forged))
		require.Equal(t, 200, code)
		unknown := issue
		unknown.ID = "4711"
		for _, body := range [][]byte{h.claim(unknown, time.Now()), []byte(`{"webhookEvent":"jira:version_released"}`), []byte(`[]`)} {
			code, _ = h.posts(a, body, h.sign(body))
			require.Equal(t, 200, code)
		}
		s.heeded(issue.ID) // the claim never comes true: it is looked at as long as it may be
		require.Equal(t, 5, s.jira.CallCount("GET issue/{issue}"))
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
		const read = "GET issue/{issue}"
		searches, reads := h.searches(d), s.jira.CallCount(read)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.calls(read, 2+reads-s.jira.CallCount(read))
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
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}).DialContext(
			s.ctx,
			"tcp",
			addr,
		)
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
