package jira

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

var testStatuses = sync.Statuses{
	sync.OutcomePending: {"Pending"}, sync.OutcomeApproved: {"Approved"}, sync.OutcomeDenied: {"Denied"},
	sync.OutcomeExpired: {"Expired"}, sync.OutcomePromoted: {"Approved"},
}

const fieldName = "teleportAccessRequestId"

// administeredJira is the example without the field, and with an agent that may administer Jira.
func administeredJira(d jirasim.Deployment, change ...func(*jirasim.Config)) jirasim.Config {
	sim := jirasim.Example(d)
	sim.Fields = nil
	sim.Users = slices.Clone(sim.Users)
	sim.Users[0].Permissions = append(jirasim.AllPermissions(), jirasim.Administer)
	for _, c := range change {
		c(&sim)
	}
	return sim
}

func withFields(fields ...jirasim.Field) func(*jirasim.Config) {
	return func(c *jirasim.Config) { c.Fields = fields }
}

func withoutAdministration(c *jirasim.Config) { c.Users[0].Permissions = nil }

// ownScreens are those that Jira makes for a project of a template.
func ownScreens(c *jirasim.Config) {
	c.Screens = []jirasim.Screen{
		{Name: "OPS: Task Management Create Issue Screen", Fields: []string{"summary", "description"}},
		{Name: "OPS: Task Management Edit/View Issue Screen", Fields: []string{"summary", "description"}},
		{Name: "OPS: Resolve", Fields: []string{"environment"}},
		{Name: "OLD: Create", Fields: []string{"summary"}},
	}
	c.Projects[0].Screens = jirasim.ScreenScheme{
		Create: "OPS: Task Management Create Issue Screen",
		Edit:   "OPS: Task Management Edit/View Issue Screen",
		View:   "OPS: Task Management Edit/View Issue Screen",
	}
}

var textLine = jirasim.Field{ID: "customfield_10042", Name: fieldName, Type: jirasim.TextField}

func changed(f jirasim.Field, change func(*jirasim.Field)) jirasim.Field {
	change(&f)
	return f
}

// planned is the plan for a simulated Jira, with an issue in each status so that the transitions
// can be told.
func planned(t *testing.T, sim jirasim.Config, change ...func(*Config)) (*jirasim.Server, *Setup) {
	t.Helper()
	server := jirasim.New(sim)
	url, stop := server.Start()
	t.Cleanup(stop)
	for _, status := range sim.Statuses {
		issue, err := server.CreateIssue(
			"alice",
			map[string]any{"summary": "sample", "project": map[string]any{"key": sim.Projects[0].Key}},
			nil,
		)
		require.NoError(t, err)
		require.NoError(t, server.ForceStatus(issue.ID, "", status.Name))
	}
	cfg := simulatedConfig(url)
	cfg.Project = sim.Projects[0].Key
	for _, c := range change {
		c(&cfg)
	}
	s, err := PlanSetup(testContext(t), cfg, testStatuses, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return server, s
}

// writes are the calls that are meant to change something, in order.
func writes(server *jirasim.Server) []string {
	var all []string
	for _, c := range server.Calls() {
		if c.Method != http.MethodGet && !strings.HasPrefix(c.Endpoint, "search") {
			all = append(all, c.Route())
		}
	}
	return all
}

func conditions(s *Setup) map[string]sync.Condition {
	all := make(map[string]sync.Condition)
	for _, f := range s.Findings() {
		all[strings.TrimPrefix(f.Check, "jira.")] = f.Condition
	}
	return all
}

func found(t *testing.T, s *Setup, check string) sync.Finding {
	t.Helper()
	at := slices.IndexFunc(s.Findings(), func(f sync.Finding) bool { return f.Check == check })
	require.GreaterOrEqual(t, at, 0)
	return s.Findings()[at]
}

func whats(steps []Step) []string {
	var all []string
	for _, step := range steps {
		all = append(all, step.What)
	}
	return all
}

func apply(ctx context.Context, s *Setup) ([]string, error) {
	var reported []string
	err := s.Apply(ctx, func(_, _ int, what string) { reported = append(reported, what) })
	return reported, err
}

// allHolds is a project that lacks nothing, as far as setup looks.
func allHolds(t *testing.T, s *Setup) {
	t.Helper()
	for check, condition := range conditions(s) {
		require.Equal(t, sync.Holds, condition, check)
	}
	require.Empty(t, s.Steps())
}

// connects requires that the agent itself is content with the project.
func connects(t *testing.T, s *Setup) {
	t.Helper()
	c, err := Connect(testContext(t), s.c.cfg, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	nothing := func(context.Context) error { return nil }
	issue, err := c.Create(testContext(t), sync.Draft{RequestID: "r1", Summary: "x"}, nothing)
	require.NoError(t, err)
	require.NoError(t, c.SetRequestID(testContext(t), issue.ID, "r2", nothing), "the edit screen is asked, too")
	hits, err := c.Find(testContext(t), "r2")
	require.NoError(t, err)
	require.Len(t, hits, 1)
}

func onBoth(t *testing.T, test func(t *testing.T, d jirasim.Deployment)) {
	t.Helper()
	for _, d := range deployments {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}
