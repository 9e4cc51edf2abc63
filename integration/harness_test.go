package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// patience bounds every wait of a test. It is far above what the slowest step takes, since it only
// ends a test that has failed.
const patience = 90 * time.Second

// field is the custom field with the request ID in jirasim.Example.
const field = "customfield_10042"

// binary is the agent, built with the race detector when the tests start.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "agent-binary-")
	if err == nil {
		binary, err = replica.Build(context.Background(), dir, "-race")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// system is one Jira, one Teleport and one database, with any number of replicas.
type system struct {
	t        *testing.T
	ctx      context.Context
	jira     *jirasim.Server
	jiraURL  string
	stopJira func()
	teleport *teleportsim.Server
	database string
	identity string
	// env is what each replica is started with.
	env map[string]string

	mu     sync.Mutex
	called chan struct{} // closed at the next call to Jira
}

// on is which Jira a system has, and what differs from jirasim.Example.
type on struct {
	deployment jirasim.Deployment
	jira       func(*jirasim.Config)
	teleport   teleportsim.Config
}

// newSystem starts both sides and an empty database, and configures replicas for tight polls. No
// replica is started.
func newSystem(t *testing.T, o on) *system {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &system{t: t, ctx: ctx, called: make(chan struct{}), database: pgtest.URL(t)}

	cfg := jirasim.Example(o.deployment)
	cfg.OnCall = func(jirasim.Call) { s.jiraCalled() }
	if o.jira != nil {
		o.jira(&cfg)
	}
	s.jira = jirasim.New(cfg)
	s.jiraURL, s.stopJira = s.jira.Start()
	t.Cleanup(func() { s.stopJira() })

	var err error
	s.teleport, err = teleportsim.New(o.teleport)
	require.NoError(t, err)
	require.NoError(t, s.teleport.Start("127.0.0.1:0"))
	t.Cleanup(func() { _ = s.teleport.Close() })
	s.identity = filepath.Join(t.TempDir(), "identity")
	require.NoError(t, s.teleport.WriteIdentity(s.identity, teleportsim.IdentityOptions{}))

	s.env = map[string]string{
		"TELEPORT_ADDR":          s.teleport.Addr(),
		"TELEPORT_IDENTITY_FILE": s.identity,
		"JIRA_URL":               s.jiraURL,
		"JIRA_USERNAME":          jirasim.AgentUsername,
		"JIRA_API_TOKEN":         jirasim.AgentToken,
		"JIRA_PROJECT":           "OPS",
		"JIRA_MAX_RPS":           "90",
		"DATABASE_URL":           s.database,
		"SYNC_POLL_SCHEDULE":     "@every 1s",
		"SYNC_IDLE_SCHEDULE":     "@every 2s",
		"LEADER_LEASE":           "2s",
		"ADMIN_LISTEN_ADDR":      "127.0.0.1:0",
		"LOG_SEVERITY":           "debug",
		"HOME":                   t.TempDir(),
		"PATH":                   os.Getenv("PATH"),
	}
	return s
}

// environ is the environment of a replica: env with changes, each "NAME=value"; "NAME" alone takes
// one away.
func (s *system) environ(changes ...string) []string {
	env := make(map[string]string, len(s.env))
	for name, value := range s.env {
		env[name] = value
	}
	for _, change := range changes {
		name, value, set := strings.Cut(change, "=")
		if delete(env, name); set {
			env[name] = value
		}
	}
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// launch starts a replica and returns at once. Its log is printed if the test fails.
func (s *system) launch(name string, changes ...string) *replica.Replica {
	s.t.Helper()
	r, err := replica.Start(name, binary, s.environ(changes...), nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		r.Kill()
		if s.t.Failed() {
			s.t.Logf("---- log of %s\n%s", name, tail(r.Log(), 200))
		}
		require.NotContains(s.t, r.Log(), "DATA RACE")
		require.NotContains(s.t, r.Log(), "panic:")
	})
	return r
}

// start starts a replica and waits until it leads and has polled Jira and listed Teleport.
func (s *system) start(name string, changes ...string) *replica.Replica {
	s.t.Helper()
	r := s.launch(name, changes...)
	s.leads(r)
	return r
}

// leads waits until a replica leads and both sides work.
func (s *system) leads(r *replica.Replica) {
	s.t.Helper()
	for _, loop := range []string{"teleport list", "jira poll"} {
		_, err := r.WaitLog(s.ctx, "working", "loop", loop)
		require.NoError(s.t, err, tail(r.Log(), 100))
	}
}

// standsBy starts a replica and waits until it stands by.
func (s *system) standsBy(name string, changes ...string) *replica.Replica {
	s.t.Helper()
	r := s.launch(name, changes...)
	_, err := r.WaitLog(s.ctx, "standing by")
	require.NoError(s.t, err, tail(r.Log(), 100))
	return r
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// request makes an Access Request by alice.
func (s *system) request(edits ...func(*teleportsim.Request)) (id string) {
	s.t.Helper()
	r := teleportsim.Request{User: "alice@example.com", Roles: []string{"db-admin"}, Reason: "on call this week"}
	for _, edit := range edits {
		edit(&r)
	}
	id, err := s.teleport.CreateRequest(r)
	require.NoError(s.t, err)
	return id
}

// issueIn waits until the request's issue is in a status, and returns it.
func (s *system) issueIn(id, status string) jirasim.Issue {
	s.t.Helper()
	issue, err := s.jira.WaitIssue(
		s.ctx,
		func(i jirasim.Issue) bool { return i.Text(field) == id && i.Status.Name == status },
	)
	require.NoError(s.t, err)
	return issue
}

// issueWith waits until the request's issue carries so many comments by the agent, and returns it.
func (s *system) issueWith(id string, comments int) jirasim.Issue {
	s.t.Helper()
	issue, err := s.jira.WaitIssue(
		s.ctx,
		func(i jirasim.Issue) bool { return i.Text(field) == id && len(agentComments(i)) == comments },
	)
	require.NoError(s.t, err)
	return issue
}

// agentComments are the bodies of the agent's comments, oldest first.
func agentComments(i jirasim.Issue) []string {
	var bodies []string
	for _, c := range i.Comments {
		if c.Author == "agent" {
			bodies = append(bodies, c.Body)
		}
	}
	return bodies
}

// issuesOf are all issues whose field holds the request's ID.
func (s *system) issuesOf(id string) []jirasim.Issue {
	return slices.DeleteFunc(slices.Clone(s.jira.Issues()), func(i jirasim.Issue) bool { return i.Text(field) != id })
}

// stateIs waits until Teleport has the request in a state.
func (s *system) stateIs(id string, state types.RequestState) {
	s.t.Helper()
	err := s.teleport.Wait(s.ctx, func(t *teleportsim.Server) bool { return t.State(id) == state })
	require.NoError(s.t, err, "request %s is %s, not %s", id, s.teleport.State(id), state)
}

// resolvedInPluginData waits until the agent's last word about a request is written: nothing is
// left to do then.
func (s *system) settled(id, resolution string) {
	s.t.Helper()
	err := s.teleport.Wait(
		s.ctx,
		func(t *teleportsim.Server) bool { return t.PluginData(id)["jira"]["resolution"] == resolution },
	)
	require.NoError(s.t, err)
}

// updates are the state changes that the agent made, out of Teleport's audit log.
func (s *system) updates(id string) []teleportsim.AuditEvent {
	return slices.DeleteFunc(s.teleport.Audit(id), func(e teleportsim.AuditEvent) bool {
		return e.Type != teleportsim.AuditUpdate || e.UpdatedBy != "jira-agent"
	})
}

func (s *system) jiraCalled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.called)
	s.called = make(chan struct{})
}

// calls waits until Jira got so many further calls of a route, such as "POST search/jql".
func (s *system) calls(route string, more int) {
	s.t.Helper()
	for want := s.jira.CallCount(route) + more; ; {
		s.mu.Lock()
		called := s.called
		s.mu.Unlock()
		if s.jira.CallCount(route) >= want {
			return
		}
		select {
		case <-called:
		case <-s.ctx.Done():
			s.t.Fatalf("no further %s: %v", route, s.ctx.Err())
		}
	}
}

// searchRoute is how a deployment is polled.
func searchRoute(d jirasim.Deployment) string {
	if d == jirasim.Cloud {
		return "POST search/jql"
	}
	return "POST search"
}

// polls lets the agent poll so many times more: what it would still do about what it has seen, it
// has begun by then.
func (s *system) polls(d jirasim.Deployment, n int) {
	s.t.Helper()
	s.calls(searchRoute(d), n)
}

// eachDeployment runs a test on both kinds of Jira.
func eachDeployment(t *testing.T, test func(t *testing.T, d jirasim.Deployment)) {
	t.Helper()
	t.Parallel()
	for _, d := range []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}
