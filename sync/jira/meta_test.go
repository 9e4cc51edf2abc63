package jira

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/jirasim"
)

// simulated is a client of a simulated Jira, connected but for the field.
func simulated(t *testing.T, sim jirasim.Config, change ...func(*Config)) (*jirasim.Server, *Client) {
	t.Helper()
	s := jirasim.New(sim)
	url, stop := s.Start()
	t.Cleanup(stop)
	cfg := simulatedConfig(url)
	for _, c := range change {
		c(&cfg)
	}
	c, err := newClient(cfg, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	require.NoError(t, c.findDeployment(testContext(t)))
	return s, c
}

func simulatedConfig(url string) Config {
	cfg := testConfig(url)
	cfg.Username, cfg.Token, cfg.Project = jirasim.AgentUsername, func() string { return jirasim.AgentToken }, "OPS"
	return cfg
}

var deployments = []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter}

func TestCreateFieldsAreThoseOfTheCreateScreen(t *testing.T) {
	t.Parallel()
	for _, d := range deployments {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			sim := jirasim.Example(d)
			sim.Required = []string{"duedate", "customfield_10050"}
			sim.Fields = append(sim.Fields,
				jirasim.Field{ID: "customfield_10050", Name: "Team", Type: jirasim.TextField, Default: "IT"},
				jirasim.Field{ID: "customfield_10051", Name: "Hidden", Type: jirasim.TextField, OffScreen: true})
			for n := range 60 { // more than a page
				sim.Fields = append(
					sim.Fields,
					jirasim.Field{
						ID:   "customfield_" + string(rune('2'+n/10)) + string(rune('0'+n%10)),
						Name: "More",
						Type: jirasim.Number,
					},
				)
			}
			_, c := simulated(t, sim)
			fields, err := c.createFields(testContext(t))
			require.NoError(t, err)
			require.Len(t, fields, 2+6+2+60)
			require.Contains(t, fields, createField{ID: "duedate", Name: "Due date"})
			require.Contains(t, fields, createField{ID: "customfield_10050", Name: "Team"})
			require.Contains(t, fields, createField{ID: "customfield_10042", Name: "teleportAccessRequestId"})

			c.cfg.IssueType = "Story"
			_, err = c.createFields(testContext(t))
			require.ErrorContains(t, err, `none that the agent's account may create is called "Story"`)
		})
	}
}

func TestCreateFieldsAreNothingWhereJiraDoesNotTell(t *testing.T) {
	t.Parallel()
	s, c := simulated(t, jirasim.Example(jirasim.DataCenter))
	s.Inject(
		jirasim.Fault{
			Endpoint: "issue/createmeta/{project}/issuetypes",
			Effect:   jirasim.Respond(http.StatusNotFound, "<status/>", "Content-Type", "application/xml"),
		},
	)
	fields, err := c.createFields(testContext(t))
	require.NoError(t, err)
	require.Nil(t, fields)
}

func TestTokenExpiryIsTheFirstThatComes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	sim := jirasim.Example(jirasim.DataCenter)
	sim.Credentials = append(sim.Credentials,
		jirasim.Credential{User: "agent", Token: "old", Expires: now.Add(-time.Hour)},
		jirasim.Credential{User: "agent", Token: "later", Expires: now.Add(200 * time.Hour)},
		jirasim.Credential{User: "agent", Token: "soon", Expires: now.Add(100 * time.Hour)},
		jirasim.Credential{User: "agent", Token: "much later", Expires: now.Add(300 * time.Hour)},
		jirasim.Credential{User: "bob", Token: "his", Expires: now.Add(time.Hour)})
	_, c := simulated(t, sim, func(c *Config) { c.Username = "" })
	ends, known, err := c.tokenExpiry(testContext(t))
	require.NoError(t, err)
	require.True(t, known)
	require.WithinDuration(t, now.Add(100*time.Hour), ends, time.Second)

	c.cfg.Token, c.transport.token = nil, func() string { return "old" }
	_, _, err = c.tokenExpiry(testContext(t))
	require.Equal(t, http.StatusUnauthorized, codeOf(err), "a token that ended lets nobody in")
}

func TestTokenExpiryIsUnknown(t *testing.T) {
	t.Parallel()
	bearer := func(c *Config) { c.Username = "" }
	tests := map[string]struct {
		sim    jirasim.Config
		change func(*Config)
		answer int // in place of Jira's own; 0: none
	}{
		"basic authentication":   {jirasim.Example(jirasim.DataCenter), func(*Config) {}, 0},
		"Cloud":                  {jirasim.Example(jirasim.Cloud), func(*Config) {}, 0},
		"a token without an end": {jirasim.Example(jirasim.DataCenter), bearer, 0},
		"another kind of token":  {jirasim.Example(jirasim.DataCenter), bearer, http.StatusForbidden},
		"an older Jira":          {jirasim.Example(jirasim.DataCenter), bearer, http.StatusNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := simulated(t, test.sim, test.change)
			if test.answer != 0 {
				s.Inject(jirasim.Fault{Endpoint: "/rest/pat/latest/tokens", Effect: jirasim.Respond(test.answer, "{}")})
			}
			_, known, err := c.tokenExpiry(testContext(t))
			require.NoError(t, err)
			require.False(t, known)
		})
	}
}

func TestRateLimitsAreThoseOfTheLastAnswer(t *testing.T) {
	t.Parallel()
	sim := jirasim.Example(jirasim.DataCenter)
	sim.RateLimit = jirasim.RateLimit{PerSecond: 5, Burst: 10}
	now := time.Now()
	sim.Now = func() time.Time { return now }
	_, c := simulated(t, sim)
	_, told := c.rateLimits()
	require.False(t, told, "serverInfo is not limited")
	for range 2 {
		require.NoError(t, c.findSelf(testContext(t)))
	}
	limit, told := c.rateLimits()
	require.True(t, told)
	require.Equal(t, rateLimit{Limit: 10, Remaining: 8, FillRate: 5, Interval: time.Second}, limit)

	_, c = simulated(t, jirasim.Example(jirasim.Cloud))
	require.NoError(t, c.findSelf(testContext(t)))
	limit, told = c.rateLimits()
	require.True(t, told)
	require.Equal(t, 100, limit.Limit)
	require.Equal(t, 99, limit.Remaining)
	require.False(t, limit.NearLimit)
}
