package deploy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// A run of two replicas is recorded, as Prometheus would, and the dashboard's queries are put to
// it. To see what they show of a longer one:
//
//	go test ./deploy -run TestTheDashboardShowsSenseOfARecordedRun -record 2m -picture /tmp/dashboard.png
//
// and of agents that run elsewhere, as those of the demo, whose addresses it prints:
//
//	go test ./deploy -run TestADashboardOfAgentsElsewhere -of http://127.0.0.1:41234,http://127.0.0.1:41235 -record 2m -picture /tmp/dashboard.png
var (
	recordFor = flag.Duration("record", 12*time.Second, "how long the run is that the dashboard is tried with, at least")
	recordOf  = flag.String(
		"of",
		"",
		"admin addresses of agents that run elsewhere, separated by commas, for TestADashboardOfAgentsElsewhere",
	)
	pictureAt = flag.String(
		"picture",
		"",
		"where a picture of the dashboard is written to, which needs chromium; empty: nowhere",
	)
)

const (
	// runTime bounds what is waited for in the run, beyond its length.
	runTime = 5 * time.Minute
	// scrapeTime bounds one scrape. A replica that was killed refuses at once.
	scrapeTime = 10 * time.Second
	// requestIDField is that of jirasim.Example.
	requestIDField = "customfield_10042"
)

// recorder is a Prometheus with a memory for its store.
type recorder struct {
	interval time.Duration
	begun    time.Time
	scraped  time.Time                // the last time
	longest  time.Duration            // between two scrapes: on a busy machine they are further apart than planned
	names    map[string]labels.Labels // by series
	values   map[string][]sample
	seen     map[string][]string // series of each agent at the last scrape
	once     sync.Once
	parked   chan struct{} // closed once a parked request was seen
}

func newRecorder(length time.Duration) *recorder {
	return &recorder{
		interval: length / 120,
		begun:    time.Now(),
		names:    make(map[string]labels.Labels),
		values:   make(map[string][]sample),
		seen:     make(map[string][]string),
		parked:   make(chan struct{}),
	}
}

// record scrapes the agents until ctx ends.
func (r *recorder) record(ctx context.Context, agents []instance) error {
	ticks := time.NewTicker(r.interval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		if err := r.scrape(context.WithoutCancel(ctx), agents); err != nil {
			return err
		}
	}
}

// instance is an agent whose metrics are recorded.
type instance struct {
	name string
	get  func(ctx context.Context, path string) (code int, body string, err error)
}

// scrape asks each agent once. The series of one that does not answer end.
func (r *recorder) scrape(ctx context.Context, agents []instance) error {
	begun := time.Now()
	if !r.scraped.IsZero() {
		r.longest = max(r.longest, begun.Sub(r.scraped))
	}
	r.scraped = begun
	now := begun.UnixMilli()
	for _, a := range agents {
		ctx, cancel := context.WithTimeout(ctx, scrapeTime)
		code, body, err := a.get(ctx, "/metrics")
		cancel()
		before := r.seen[a.name]
		r.seen[a.name] = nil
		if err == nil && code == 200 {
			if err := r.take(a.name, body, now); err != nil {
				return err
			}
		}
		for _, series := range before {
			if !slices.Contains(r.seen[a.name], series) {
				r.values[series] = append(r.values[series], sample{at: now, v: math.Float64frombits(value.StaleNaN)})
			}
		}
	}
	return nil
}

func (r *recorder) take(name, body string, now int64) error {
	for p := textparse.NewPromParser([]byte(body), labels.NewSymbolTable()); ; {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the metrics of %s: %w", name, err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var own labels.Labels
		p.Metric(&own)
		_, _, v := p.Series()
		full := labels.NewBuilder(own).
			Set("namespace", "demo").
			Set("job", "teleport-jira-agent").
			Set("instance", name).
			Labels()
		series := full.String()
		r.names[series] = full
		r.values[series] = append(r.values[series], sample{at: now, v: v})
		r.seen[name] = append(r.seen[name], series)
		if v == 1 && own.Get(labels.MetricName) == "teleport_jira_agent_requests_parked" {
			r.once.Do(func() { close(r.parked) })
		}
	}
}

func (r *recorder) samples() (s samples) {
	for series, values := range r.values {
		s.add(r.names[series], values)
	}
	return s
}

// trial is a Teleport, a Jira and the replicas between them.
type trial struct {
	t        *testing.T
	ctx      context.Context
	jira     *jirasim.Server
	teleport *teleportsim.Server
	binary   string
	env      []string
	replicas []*replica.Replica
}

func newTrial(t *testing.T, length time.Duration) *trial {
	t.Helper()
	w := &trial{t: t, jira: jirasim.New(jirasim.Example(jirasim.Cloud))}
	jiraURL, stop := w.jira.Start()
	t.Cleanup(stop)
	w.jira.SetLatency(40 * time.Millisecond)
	var err error
	w.teleport, err = teleportsim.New(teleportsim.Config{})
	require.NoError(t, err)
	require.NoError(t, w.teleport.Start("127.0.0.1:0"))
	t.Cleanup(func() { _ = w.teleport.Close() })
	identity := filepath.Join(t.TempDir(), "identity")
	require.NoError(t, w.teleport.WriteIdentity(identity, teleportsim.IdentityOptions{}))
	w.binary, err = replica.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	w.env = []string{
		"TELEPORT_ADDR=" + w.teleport.Addr(),
		"TELEPORT_IDENTITY_FILE=" + identity,
		"JIRA_URL=" + jiraURL,
		"JIRA_USERNAME=" + jirasim.AgentUsername,
		"JIRA_API_TOKEN=" + jirasim.AgentToken,
		"JIRA_PROJECT=OPS",
		"DATABASE_URL=" + pgtest.URL(t),
		"SYNC_POLL_SCHEDULE=@every 1s",
		"SYNC_IDLE_SCHEDULE=@every 2s",
		"SYNC_SWEEP_SCHEDULE=@every 5s",
		"LEADER_LEASE=5s",
		"ADMIN_LISTEN_ADDR=127.0.0.1:0",
		"HOME=" + t.TempDir(),
		"PATH=" + os.Getenv("PATH"),
	}
	// The building, which takes minutes on a machine that has never done it, is no part of the run.
	ctx, cancel := context.WithTimeout(t.Context(), length+runTime)
	t.Cleanup(cancel)
	w.ctx = ctx
	return w
}

// start starts a replica and waits until it says how it is.
func (w *trial) start(name, says string) *replica.Replica {
	w.t.Helper()
	r, err := replica.Start(name, w.binary, w.env, nil)
	require.NoError(w.t, err)
	w.t.Cleanup(r.Kill)
	_, err = r.WaitLog(w.ctx, says)
	require.NoError(w.t, err, r.Log())
	w.replicas = append(w.replicas, r)
	return r
}

// visit is a request's life up to a person's move in Jira; without one nobody decides.
func (w *trial) visit(user, mover, status string) {
	w.t.Helper()
	id, err := w.teleport.CreateRequest(teleportsim.Request{User: user, Roles: []string{"db-admin"}, Reason: "on call"})
	require.NoError(w.t, err)
	if mover == "" {
		return
	}
	issue, err := w.jira.WaitIssue(
		w.ctx,
		func(i jirasim.Issue) bool { return i.Text(requestIDField) == id && i.Status.Name == "Pending" },
	)
	require.NoError(w.t, err)
	require.NoError(w.t, w.jira.Move(issue.Key, mover, status))
}

// live is what happens in the run, in its quarters: people decide; then Jira and Teleport fail a
// few calls; then the leader dies; then a request is parked.
func (w *trial) live(length time.Duration) {
	quarter := length / 4
	rest := func() { // nothing depends on it: it only gives the pictures a shape
		select {
		case <-w.ctx.Done():
		case <-time.After(quarter / 4):
		}
	}
	begun := time.Now()
	for n := range 4 {
		switch n {
		case 1:
			w.jira.Inject(
				jirasim.Fault{Method: "POST", Endpoint: "search/jql", Times: 1, Effect: jirasim.Respond(503, "busy")},
			) // a poll
			w.jira.Inject(jirasim.Fault{Times: 4, Effect: jirasim.Respond(503, "busy")})
			w.teleport.Inject(teleportsim.Fault{RPC: "GetPluginData", Times: 2})
		case 2:
			require.NoError(w.t, w.replicas[0].Signal(os.Kill))
			_, err := w.replicas[1].WaitLog(w.ctx, "leading")
			require.NoError(w.t, err)
			w.jira.Inject(jirasim.Fault{
				Method: "POST", Endpoint: "issue", Times: 1,
				Effect: jirasim.Respond(400, `{"errors":{"duedate":"Due date is required."}}`, "Content-Type", "application/json"),
			})
			w.visit("erin@example.com", "", "")
			_, err = w.replicas[1].WaitLog(w.ctx, "parked: repeating cannot help until something changes")
			require.NoError(w.t, err)
		}
		for time.Since(begun) < time.Duration(n+1)*quarter {
			w.visit("alice@example.com", "bob", "Approved")
			w.visit("carol@example.com", "bob", "Denied")
			w.visit("mallory@example.com", "mallory", "Approved")
			rest()
		}
	}
}

// recorded lives through a run while it is scraped.
func recorded(t *testing.T, length time.Duration) *recorder {
	t.Helper()
	w := newTrial(t, length)
	w.start("agent-1", "leading")
	w.start("agent-2", "standing by")
	var agents []instance
	for _, replica := range w.replicas {
		agents = append(agents, instance{replica.Name, replica.Get})
	}
	r := newRecorder(length)
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.record(ctx, agents) }()
	w.live(length)
	select {
	case <-r.parked:
		stop()
	case <-w.ctx.Done():
		require.Fail(t, "the leader never counted the parked request", w.replicas[1].Log())
	}
	require.NoError(t, <-ended)
	return r
}

// unseen are the panels, with the target, that show nothing of such a run, in which the webhook is
// off.
var unseen = []string{"Webhooks by code A", "Webhook certificate ends in A", "Time to the end of each B"}

func TestTheDashboardShowsSenseOfARecordedRun(t *testing.T) {
	t.Parallel()
	r := recorded(t, *recordFor)
	shown := r.shows(t)
	var empty []string
	for name, matrix := range shown {
		if len(matrix) == 0 {
			empty = append(empty, name)
		}
	}
	require.ElementsMatch(t, unseen, empty)

	require.InDelta(t, 1, last(shown["Leaders A"]), 0)
	require.InDelta(t, 1, last(shown["Ready replicas A"]), 0, "one was killed")
	require.GreaterOrEqual(t, last(shown["Term A"]), 2.0)
	require.InDelta(t, 1, last(shown["Parked A"]), 0)
	require.Len(t, shown["Lateness of the loops A"], 4)
	require.Less(t, last(shown["Lateness of the loops A"]), 0.5)
	require.Len(t, shown["Replicas A"], 2)
	require.Less(t, last(shown["Request to issue, p95 A"]), 30.0)
	require.Less(t, last(shown["Move to state, p95 A"]), 60.0)
	require.ElementsMatch(t, []string{`{state="approved"}`, `{state="denied"}`}, legends(shown["Decisions A"]))
	require.Equal(t, []string{`{reason="self"}`}, legends(shown["Refusals by reason A"]))
	require.Subset(
		t,
		legends(shown["Calls by code A"]),
		[]string{`{code="200"}`, `{code="201"}`, `{code="503"}`, `{code="400"}`},
	)
	require.Contains(t, legends(shown["Actions that failed A"]), `{action="create", outcome="permanent"}`)
	require.InDelta(t, time.Hour.Seconds(), last(shown["Teleport identity ends in A"]), 600)
}

// TestADashboardOfAgentsElsewhere shows what the dashboard makes of a run that a person plays, such
// as one of the demo.
func TestADashboardOfAgentsElsewhere(t *testing.T) {
	t.Parallel()
	if *recordOf == "" {
		t.Skip("asked for with -of")
	}
	var agents []instance
	for n, address := range strings.Split(*recordOf, ",") {
		agents = append(
			agents,
			instance{fmt.Sprintf("agent-%d", n+1), func(ctx context.Context, path string) (int, string, error) {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+path, http.NoBody)
				if err != nil {
					return 0, "", err
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return 0, "", err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				return resp.StatusCode, string(body), err
			}},
		)
	}
	ctx, cancel := context.WithTimeout(t.Context(), *recordFor)
	defer cancel()
	r := newRecorder(*recordFor)
	require.NoError(t, r.record(ctx, agents))
	require.NotEmpty(t, r.values, "no agent answers at %s", *recordOf)
	require.Len(t, r.shows(t)["Leaders A"], 1)
}

// shows puts the dashboard's queries to what was recorded, and draws the picture if one is asked
// for. The results are by panel and target.
func (r *recorder) shows(t *testing.T) map[string]promql.Matrix {
	t.Helper()
	s, engine, end := r.samples(), newEngine(t), time.Now()
	begin := end.Add(-end.Sub(r.begun).Truncate(r.interval)) // so that the last step is the end
	shown := make(map[string]promql.Matrix)
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			query := r.filled(target.Expr)
			q, err := engine.NewRangeQuery(t.Context(), s, nil, query, begin, end, r.interval)
			require.NoError(t, err, query)
			result := q.Exec(t.Context())
			require.NoError(t, result.Err, query)
			matrix, err := result.Matrix()
			require.NoError(t, err)
			shown[p.Title+" "+target.RefID] = numbers(matrix)
			q.Close()
		}
	}
	if *pictureAt != "" {
		draw(t, *pictureAt, readDashboard(t), shown)
	}
	return shown
}

// filled is a query as Grafana would send it: $__rate_interval is four intervals of the scrape, as
// long as they really were.
func (r *recorder) filled(query string) string {
	return filled(
		strings.ReplaceAll(query, "$__rate_interval", fmt.Sprintf("%dms", (4*max(r.interval, r.longest)).Milliseconds())),
	)
}

// numbers leaves out what is none, as a chart does, and series without any.
func numbers(m promql.Matrix) (some promql.Matrix) {
	for _, series := range m {
		floats := slices.DeleteFunc(slices.Clone(series.Floats), func(p promql.FPoint) bool { return math.IsNaN(p.F) })
		if len(floats) > 0 {
			some = append(some, promql.Series{Metric: series.Metric, Floats: floats})
		}
	}
	return some
}

// last is the greatest of the series' last values.
func last(m promql.Matrix) float64 {
	highest := math.Inf(-1)
	for _, series := range m {
		highest = max(highest, series.Floats[len(series.Floats)-1].F)
	}
	return highest
}

func legends(m promql.Matrix) []string {
	names := make(map[string]bool)
	for _, series := range m {
		names[series.Metric.String()] = true
	}
	return slices.Sorted(maps.Keys(names))
}
