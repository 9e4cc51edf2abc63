package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	stdsync "sync"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// The benchmarks measure the built agent, without the race detector, against simulators on the same machine. The figures are those of the
// agent's own work and waiting: the simulators answer at once, unless a latency is set, and limit nothing.

// plainBinary is the agent without the race detector, built when a benchmark first asks. TestMain removes it with the other one.
var plainBinary = stdsync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(binary), "plain")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return replica.Build(context.Background(), dir)
})

// benchTime ends a benchmark that is stuck; one with the usual -benchtime takes seconds.
const benchTime = 10 * time.Minute

// rig is one Jira, one Teleport, one database and one replica that leads.
type rig struct {
	b        *testing.B
	ctx      context.Context
	jira     *jirasim.Server
	teleport *teleportsim.Server
	agent    *replica.Replica
}

// newRig starts all of it. env is added to the agent's environment, and onCall is told of each call to Jira.
func newRig(b *testing.B, d jirasim.Deployment, onCall func(jirasim.Call), env ...string) *rig {
	b.Helper()
	agent, err := plainBinary()
	require.NoError(b, err)
	ctx, cancel := context.WithTimeout(b.Context(), benchTime)
	b.Cleanup(cancel)
	r := &rig{b: b, ctx: ctx}

	cfg := jirasim.Example(d)
	cfg.RateLimit, cfg.LimitIssueWrites, cfg.OnCall = jirasim.RateLimit{}, false, onCall
	r.jira = jirasim.New(cfg)
	jiraURL, stopJira := r.jira.Start()
	b.Cleanup(stopJira)

	r.teleport, err = teleportsim.New(teleportsim.Config{})
	require.NoError(b, err)
	require.NoError(b, r.teleport.Start("127.0.0.1:0"))
	b.Cleanup(r.teleport.Stop)
	home := b.TempDir()
	identity := filepath.Join(home, "identity")
	require.NoError(b, r.teleport.WriteIdentity(identity, teleportsim.IdentityOptions{}))

	r.agent, err = replica.Start("agent", agent, append([]string{
		"TELEPORT_ADDR=" + r.teleport.Addr(), "TELEPORT_IDENTITY_FILE=" + identity,
		"JIRA_URL=" + jiraURL, "JIRA_USERNAME=" + jirasim.AgentUsername, "JIRA_API_TOKEN=" + jirasim.AgentToken, "JIRA_PROJECT=OPS",
		"JIRA_MAX_RPS=1000", "DATABASE_URL=" + pgtest.URL(b), "SYNC_POLL_SCHEDULE=@every 1s", "ADMIN_LISTEN_ADDR=", "HOME=" + home,
	}, env...), nil)
	require.NoError(b, err)
	b.Cleanup(r.agent.Kill)
	for _, loop := range []string{"teleport list", "jira poll", "sweep"} {
		r.logs("working", "loop", loop)
	}
	return r
}

// logs waits until the agent has logged a line.
func (r *rig) logs(message string, pairs ...string) {
	r.b.Helper()
	_, err := r.agent.WaitLog(r.ctx, message, pairs...)
	require.NoError(r.b, err, tail(r.agent.Log(), 50))
}

func (r *rig) request(ttl time.Duration) (id string) {
	r.b.Helper()
	id, err := r.teleport.CreateRequest(teleportsim.Request{
		User: "alice@example.com", Roles: []string{"db-admin"}, Reason: "on call this week", TTL: ttl,
	})
	require.NoError(r.b, err)
	return id
}

// issue waits until the request has one.
func (r *rig) issue(id string) jirasim.Issue {
	r.b.Helper()
	issue, err := r.jira.WaitIssue(r.ctx, func(i jirasim.Issue) bool { return i.Text(field) == id })
	require.NoError(r.b, err)
	return issue
}

// pending waits until the agent has done all that it does about a pending request.
func (r *rig) pending(id string) jirasim.Issue {
	r.b.Helper()
	r.logs("done", "action", "link", "request_id", id)
	return r.issue(id)
}

// report shows the distribution of what was measured in place of the time of an iteration, which includes the making of its request.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(took[len(took)/2]), "ms-p50")
	b.ReportMetric(ms(took[len(took)*95/100]), "ms-p95")
	b.ReportMetric(ms(took[len(took)-1]), "ms-max")
}

// BenchmarkRequestToIssue is the time from a request in Teleport until its issue exists in Jira.
func BenchmarkRequestToIssue(b *testing.B) {
	r := newRig(b, jirasim.Cloud, nil)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		id := r.request(0)
		r.issue(id)
		took = append(took, time.Since(start))
		r.pending(id)
	}
	report(b, took)
}

// BenchmarkMoveToState is the time from a person's move in Jira until Teleport has the state, at a poll of 1 s. The moves are spread evenly
// over a second, since it matters how long before the next poll one is made.
func BenchmarkMoveToState(b *testing.B) {
	r := newRig(b, jirasim.Cloud, nil)
	var took []time.Duration
	for b.Loop() {
		took = append(took, r.moves()...)
	}
	report(b, took)
}

// BenchmarkMoveToStateByWebhook is the same with webhooks and without polls, each webhook being sent at the moment of the move. Where calls to
// Jira take time, a decision takes two of them one after the other: the look at the issue, and the read of its history.
func BenchmarkMoveToStateByWebhook(b *testing.B) {
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		b.Run(fmt.Sprintf("latency=%s", latency), func(b *testing.B) {
			dir := b.TempDir()
			cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
			trusted := certify(b, "bench", cert, key)
			r := newRig(b, jirasim.Cloud, nil, "WEBHOOK_ENABLED=true", "WEBHOOK_LISTEN_ADDR=127.0.0.1:0", "WEBHOOK_SECRET=s3cret",
				"WEBHOOK_TLS_CERT_FILE="+cert, "WEBHOOK_TLS_KEY_FILE="+key, "SYNC_POLL_SCHEDULE=@every 1h", "SYNC_LOOKBACK=2h")
			line, err := r.agent.WaitLog(r.ctx, "webhook listener")
			require.NoError(b, err)
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}}
			b.Cleanup(client.CloseIdleConnections)
			r.jira.SetWebhook(&jirasim.Webhook{URL: fmt.Sprintf("https://%s/", line.Fields["addr"]), Secret: "s3cret", Client: client})
			b.Cleanup(func() { r.jira.SetWebhook(nil) })
			r.jira.SetLatency(latency)
			var took []time.Duration
			for b.Loop() {
				took = append(took, r.moves()...)
			}
			report(b, took)
		})
	}
}

// moves lets people move 50 issues within a second, and returns how long it took for each until Teleport had the state.
func (r *rig) moves() []time.Duration {
	r.b.Helper()
	const moves = 50
	keys := make(map[string]string, moves)
	for range moves {
		id := r.request(0)
		keys[id] = r.pending(id).Key
	}
	times := make([]time.Duration, moves)
	var group stdsync.WaitGroup
	for i, id := range slices.Sorted(maps.Keys(keys)) {
		group.Go(func() {
			<-time.After(time.Duration(i) * time.Second / moves)
			start := time.Now()
			if err := r.jira.Move(keys[id], "bob", "Approved"); err != nil {
				r.b.Error(err)
				return
			}
			err := r.teleport.Wait(r.ctx, func(t *teleportsim.Server) bool { return t.State(id) == types.RequestState_APPROVED })
			if err != nil {
				r.b.Error(err)
			}
			times[i] = time.Since(start)
		})
	}
	group.Wait()
	return times
}

// BenchmarkBacklog is how fast issues are made for 1,000 requests at once, where Jira takes 20 ms for each call.
func BenchmarkBacklog(b *testing.B) {
	const backlog = 1000
	for _, concurrency := range []string{"16", "64"} {
		b.Run("SYNC_CONCURRENCY="+concurrency, func(b *testing.B) {
			var total time.Duration
			for b.Loop() {
				made := make(chan struct{}, backlog)
				r := newRig(b, jirasim.Cloud, func(c jirasim.Call) {
					if c.Route() == "POST issue" && c.Status == 201 {
						made <- struct{}{}
					}
				}, "SYNC_CONCURRENCY="+concurrency)
				r.jira.SetLatency(20 * time.Millisecond)
				start := time.Now()
				for range backlog {
					r.request(0)
				}
				for range backlog {
					select {
					case <-made:
					case <-r.ctx.Done():
						b.Fatal(r.ctx.Err(), tail(r.agent.Log(), 50))
					}
				}
				total += time.Since(start)
				r.agent.Kill()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(backlog*float64(b.N)/total.Seconds(), "issues/s")
		})
	}
}

// BenchmarkCalls counts the calls that one request costs from its making to its end, beyond what goes on anyway: polls, pings, the watch.
func BenchmarkCalls(b *testing.B) {
	lives := []struct {
		name string
		ttl  time.Duration
		end  func(r *rig, id, issueKey string) error
	}{
		{"approved in Jira", 0, func(r *rig, _, issueKey string) error {
			if _, err := r.jira.Comment(issueKey, "bob", "Reason: fine"); err != nil {
				return err
			}
			return r.jira.Move(issueKey, "bob", "Approved")
		}},
		{"denied in Teleport by a review", 0, func(r *rig, id, _ string) error {
			return r.teleport.Review(id, "bob@example.com", false, "not now")
		}},
		{"expired", 2 * time.Second, func(*rig, string, string) error { return nil }},
		{"deleted", 0, func(r *rig, id, _ string) error { return r.teleport.Delete(id) }},
	}
	for _, life := range lives {
		for _, d := range []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter} {
			b.Run(life.name+"/"+string(d), func(b *testing.B) {
				r := newRig(b, d, nil)
				r.jira.ResetCalls()
				r.teleport.ResetCalls()
				for b.Loop() {
					id := r.request(life.ttl)
					require.NoError(b, life.end(r, id, r.pending(id).Key))
					r.logs("done", "action", "settle", "request_id", id)
				}
				jira := make(map[string]int)
				for route, summary := range r.jira.Summary() {
					jira[route] = summary.Count
				}
				delete(jira, searchRoute(d))
				// The list was made at the start: what is listed from then on are single requests, by ID.
				teleport := r.teleport.Calls()
				delete(teleport, "Ping")
				delete(teleport, "WatchEvents")
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(sum(jira))/float64(b.N), "jira-calls")
				b.ReportMetric(float64(sum(teleport))/float64(b.N), "teleport-calls")
				b.Logf("of %d: %v %v", b.N, jira, teleport)
			})
		}
	}
}

func sum(counts map[string]int) (total int) {
	for n := range maps.Values(counts) {
		total += n
	}
	return total
}
