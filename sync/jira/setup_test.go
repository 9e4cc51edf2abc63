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
		Create: "OPS: Task Management Create Issue Screen", Edit: "OPS: Task Management Edit/View Issue Screen", View: "OPS: Task Management Edit/View Issue Screen",
	}
}

var textLine = jirasim.Field{ID: "customfield_10042", Name: fieldName, Type: jirasim.TextField}

func changed(f jirasim.Field, change func(*jirasim.Field)) jirasim.Field {
	change(&f)
	return f
}

// planned is the plan for a simulated Jira, with an issue in each status so that the transitions can be told.
func planned(t *testing.T, sim jirasim.Config, change ...func(*Config)) (*jirasim.Server, *Setup) {
	t.Helper()
	server := jirasim.New(sim)
	url, stop := server.Start()
	t.Cleanup(stop)
	for _, status := range sim.Statuses {
		issue, err := server.CreateIssue("alice", map[string]any{"summary": "sample", "project": map[string]any{"key": sim.Projects[0].Key}}, nil)
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

func TestSetupMakesTheFieldWhereThereIsNone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, ownScreens))
		screens := []string{`put the custom field "teleportAccessRequestId" on screen "OPS: Task Management Create Issue Screen"`}
		if d == jirasim.DataCenter {
			screens = append(screens, `put the custom field "teleportAccessRequestId" on screen "OPS: Task Management Edit/View Issue Screen"`)
		}
		plan := append([]string{`create the custom field "teleportAccessRequestId"`}, screens...)
		require.Equal(t, plan, whats(s.Steps()))
		require.Equal(t, map[string]sync.Condition{
			"field": sync.Fails, "field.searchable": sync.Skipped, "field.context": sync.Skipped, "field.screen": sync.Skipped,
			"statuses": sync.Holds, "transitions": sync.Holds,
		}, conditions(s))
		require.Contains(t, found(t, s, "jira.field").Remedy, "teleport-jira-agent setup --apply; or by hand: ")
		require.Empty(t, writes(server), "a plan changes nothing")

		reported, err := apply(testContext(t), s)
		require.NoError(t, err)
		require.Equal(t, append(plan, ""), reported)
		require.Equal(t, plan, s.Done())
		allHolds(t, s)
		connects(t, s)
	})
}

func TestSetupUsesTheDefaultScreenWhereProjectsHaveNoOther(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		_, s := planned(t, administeredJira(d))
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		require.Contains(t, s.Done(), `put the custom field "teleportAccessRequestId" on screen "Default Screen"`)
		allHolds(t, s)
		connects(t, s)
	})
}

func TestSetupTakesTheScreenOfTheIssueType(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens, func(c *jirasim.Config) {
		c.Projects[0].TypeScreens = map[string]jirasim.ScreenScheme{"Task": {Create: "OPS: Resolve"}}
		c.Screens[2].Fields = append(c.Screens[2].Fields, "summary", "description")
	}))
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	allHolds(t, s)
	require.Equal(t, 1, server.CallCount("POST screens/{screen}/tabs/{tab}/fields"))
}

func TestSetupDoesNothingWhereNothingLacks(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, withFields(textLine)))
		allHolds(t, s)
		reported, err := apply(testContext(t), s)
		require.NoError(t, err)
		require.Equal(t, []string{""}, reported)
		require.Empty(t, s.Done())
		require.Empty(t, writes(server))
	})
}

func TestSetupTwiceIsSetupOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, ownScreens))
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		before := writes(server)
		again, err := PlanSetup(testContext(t), s.c.cfg, testStatuses, zap.NewNop())
		require.NoError(t, err)
		t.Cleanup(again.Close)
		allHolds(t, again)
		_, err = apply(testContext(t), again)
		require.NoError(t, err)
		_, err = apply(testContext(t), s)
		require.NoError(t, err)
		require.Equal(t, before, writes(server))
		require.Equal(t, 1, server.CallCount("POST field"))
	})
}

func TestSetupLooksForTheFieldRightBeforeItMakesOne(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d))
		server.AddField(textLine) // somebody else, since the plan
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		allHolds(t, s)
		require.Zero(t, server.CallCount("POST field"))
	})
}

func TestSetupGivesASearcher(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, withFields(changed(textLine, func(f *jirasim.Field) { f.Unsearchable = true }))))
		require.Equal(t, []string{"give the custom field customfield_10042 the free text searcher"}, whats(s.Steps()))
		require.Equal(t, sync.Fails, found(t, s, "jira.field.searchable").Condition)
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		if d == jirasim.DataCenter { // has no call for it
			require.Empty(t, writes(server))
			require.Contains(t, found(t, s, "jira.field.searchable").Remedy, "System > Indexing")
			require.NotContains(t, found(t, s, "jira.field.searchable").Remedy, "--apply")
			server.MakeSearchable("customfield_10042")
			require.NoError(t, s.look(testContext(t)))
		}
		allHolds(t, s)
		connects(t, s)
	})
}

func TestSetupPutsAnExistingFieldOnTheScreen(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, ownScreens, withFields(textLine)))
		f := found(t, s, "jira.field.screen")
		require.Equal(t, sync.Fails, f.Condition)
		require.Contains(t, f.Found, `customfield_10042 is not on "OPS: Task Management Create Issue Screen"`)
		if d == jirasim.Cloud {
			require.Equal(t, sync.Holds, found(t, s, "jira.field.context").Condition)
		}
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		allHolds(t, s)
		connects(t, s)
		require.NotContains(t, writes(server), "POST field")
	})
}

func TestSetupDoubtsAnEditScreenThatLacksTheField(t *testing.T) {
	t.Parallel()
	_, s := planned(t, administeredJira(jirasim.DataCenter, ownScreens, withFields(textLine), func(c *jirasim.Config) {
		c.Screens[0].Fields = []string{"summary", "description", "customfield_10042"}
	}))
	require.Equal(t, sync.Doubt, found(t, s, "jira.field.screen").Condition)
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	require.Len(t, s.Done(), 1)
	allHolds(t, s)
	connects(t, s)
}

func TestSetupBringsAFieldOfOtherProjectsIntoThisOne(t *testing.T) {
	t.Parallel()
	elsewhere := changed(textLine, func(f *jirasim.Field) { f.Projects = []string{"OLD"} })
	nowhere := changed(textLine, func(f *jirasim.Field) { f.Projects = []string{} })
	for name, field := range map[string]jirasim.Field{"elsewhere": elsewhere, "nowhere": nowhere} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, d jirasim.Deployment) {
				server, s := planned(t, administeredJira(d, withFields(field)))
				require.Equal(t, sync.Holds, found(t, s, "jira.field").Condition)
				_, err := apply(testContext(t), s)
				require.NoError(t, err)
				require.Zero(t, server.CallCount("POST field"), "it is there: no second one")
				if d == jirasim.DataCenter { // has no call for it
					require.Empty(t, writes(server))
					require.NotEmpty(t, s.Steps())
					require.Contains(t, found(t, s, "jira.field.context").Remedy+s.Steps()[0].ByHand, "Configure > Edit Configuration > choose issue type Task, and project OPS")
					server.SetFieldProjects("customfield_10042", "OLD", "OPS")
					require.NoError(t, s.look(testContext(t)))
				}
				allHolds(t, s)
				connects(t, s)
			})
		})
	}
}

func TestSetupAddsTheIssueTypeToAContext(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, withFields(changed(textLine, func(f *jirasim.Field) { f.Projects = []string{"OLD"} }))))
	_, err := s.c.do(testContext(t), request{
		method: http.MethodPost, endpoint: "field/{field}/context", vars: map[string]string{"field": "customfield_10042"},
		body: map[string]any{"name": "bugs of OPS", "projectIds": []string{"10100"}, "issueTypeIds": []string{"10201"}},
	}, nil)
	require.NoError(t, err)
	server.ResetCalls()
	require.NoError(t, s.look(testContext(t)))
	require.Equal(t, []string{`add issue type "Task" to the context of the custom field customfield_10042 for project OPS`}, whats(s.Steps()))
	_, err = apply(testContext(t), s)
	require.NoError(t, err)
	allHolds(t, s)
	require.Equal(t, []string{"PUT field/{field}/context/{context}/issuetype"}, writes(server))
}

func TestSetupLeavesAnUnfitFieldToPeople(t *testing.T) {
	t.Parallel()
	second := changed(textLine, func(f *jirasim.Field) { f.ID = "customfield_10043" })
	tests := map[string]struct {
		fields []jirasim.Field
		found  string
		remedy string
	}{
		"a number": {
			[]jirasim.Field{changed(textLine, func(f *jirasim.Field) { f.Type = jirasim.Number })},
			`customfield_10042 ("teleportAccessRequestId") holds number, not a line of text`, "set JIRA_REQUEST_ID_FIELD to another name",
		},
		"a URL": {
			[]jirasim.Field{changed(textLine, func(f *jirasim.Field) { f.Type = jirasim.URLField })}, "holds a URL", "set JIRA_REQUEST_ID_FIELD to another name",
		},
		"two of that name": {
			[]jirasim.Field{second, textLine},
			`2 custom fields are named "teleportAccessRequestId": customfield_10042, customfield_10043`,
			"set JIRA_REQUEST_ID_FIELD to the id of the right one (customfield_10042 or customfield_10043)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, d jirasim.Deployment) {
				server, s := planned(t, administeredJira(d, withFields(test.fields...)))
				f := found(t, s, "jira.field")
				require.Equal(t, sync.Fails, f.Condition)
				require.Contains(t, f.Found, test.found)
				require.Contains(t, f.Remedy, test.remedy)
				_, err := apply(testContext(t), s)
				require.NoError(t, err)
				require.Empty(t, writes(server))
				require.Equal(t, []string{"settle which custom field holds the request ID"}, whats(s.Steps()))
			})
		})
	}
}

func TestSetupMakesNoFieldForAnID(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d), func(c *Config) { c.RequestIDField = "customfield_10099" })
		require.Contains(t, found(t, s, "jira.field").Remedy, "set JIRA_REQUEST_ID_FIELD to the name or the id of a text field")
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		require.Empty(t, writes(server))
	})
}

func TestSetupWithoutAdministerJiraTellsTheClicks(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, ownScreens, withoutAdministration))
		f := found(t, s, "jira.field")
		require.Equal(t, sync.Fails, f.Condition)
		where := map[jirasim.Deployment]string{
			jirasim.Cloud: "Settings (cog) > Work items (Issues) > Fields", jirasim.DataCenter: "Administration (cog) > Issues > Custom fields",
		}[d]
		require.True(t, strings.HasPrefix(f.Remedy, where), f.Remedy)
		require.Contains(t, f.Remedy, "lacks the global permission Administer Jira")

		server.AddField(changed(textLine, func(f *jirasim.Field) { f.NoScreen = true })) // a person follows
		require.NoError(t, s.look(testContext(t)))
		require.Equal(t, sync.Fails, found(t, s, "jira.field.screen").Condition)
		require.Equal(t, sync.Doubt, found(t, s, "jira.field.context").Condition)
		require.Contains(t, found(t, s, "jira.field.screen").Remedy, "Screens > the screen")
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		require.Empty(t, writes(server))
		server.AddFieldToScreen("customfield_10042", "OPS: Task Management Create Issue Screen")
		server.AddFieldToScreen("customfield_10042", "OPS: Task Management Edit/View Issue Screen")
		require.NoError(t, s.look(testContext(t)))
		allHolds(t, s)
		connects(t, s)
	})
}

func TestSetupOfATeamManagedProjectIsByHand(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, func(c *jirasim.Config) {
		c.Projects = append([]jirasim.Project{{ID: "10109", Key: "TEAM", Name: "Team", TeamManaged: true}}, c.Projects...)
	}))
	require.Contains(t, found(t, s, "jira.field").Remedy, "Space settings (Project settings) > Work types (Issue types) > Task > Create field > Short text")
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	require.Empty(t, writes(server))

	own := server.AddField(jirasim.Field{Name: fieldName, Type: jirasim.TextField, Project: "TEAM", OffScreen: true})
	server.AddField(jirasim.Field{Name: fieldName, Type: jirasim.TextField}) // the site's, which counts for nothing here
	require.NoError(t, s.look(testContext(t)))
	require.Contains(t, found(t, s, "jira.field").Found, own)
	require.Contains(t, found(t, s, "jira.field.screen").Remedy, "drag the field")
	server.AddFieldToScreen(own, "")
	require.NoError(t, s.look(testContext(t)))
	allHolds(t, s)
	connects(t, s)
	require.Zero(t, server.CallCount("GET screens"), "a team-managed project has none")
}

func TestSetupThatBreaksOffIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	breaks := map[string]jirasim.Effect{
		"refused":     jirasim.Respond(http.StatusForbidden, `{"errorMessages":["no"],"errors":{}}`),
		"no answer":   jirasim.DropBefore(),
		"answer lost": jirasim.LoseAnswer(),
	}
	for name, effect := range breaks {
		for _, route := range []string{"field", "screens/{screen}/tabs/{tab}/fields"} {
			t.Run(name+" at "+route[:5], func(t *testing.T) {
				t.Parallel()
				onBoth(t, func(t *testing.T, d jirasim.Deployment) {
					server, s := planned(t, administeredJira(d, ownScreens))
					server.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: route, Times: 1, Effect: effect})
					_, err := apply(testContext(t), s)
					if name == "answer lost" {
						require.NoError(t, err, "the look after it shows that it is done")
					} else {
						require.ErrorContains(t, err, "by hand: ")
						require.NotEmpty(t, s.Steps())
						_, err = apply(testContext(t), s)
						require.NoError(t, err)
					}
					allHolds(t, s)
					connects(t, s)
					made := 0
					for _, c := range server.Calls() {
						if c.Route() == "POST field" && c.Fault != string("drop before") && c.Fault != "status" {
							made++
						}
					}
					require.Equal(t, 1, made, "one field")
				})
			})
		}
	}
}

func TestSetupSaysWhereJiraIsLost(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens))
	server.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: "field", Times: 1, Effect: jirasim.LoseAnswer()})
	server.Inject(jirasim.Fault{Method: http.MethodGet, Endpoint: "project/{project}", Times: 1, Effect: jirasim.DropBefore()})
	_, err := apply(testContext(t), s)
	require.ErrorContains(t, err, `create the custom field "teleportAccessRequestId"`)
	_, err = apply(testContext(t), s)
	require.NoError(t, err)
	allHolds(t, s)
	require.Equal(t, 1, server.CallCount("POST field"), "the one whose answer was lost is found")
}

func TestSetupEndsWhereJiraTakesAStepWithoutEffect(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens))
	server.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: "field", Effect: jirasim.Respond(http.StatusCreated, `{}`)})
	_, err := apply(testContext(t), s)
	require.ErrorIs(t, err, errStillLacking)
}

func TestSetupSeesDuplicatesThatTwoMadeAtOnce(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens))
	server.AddField(changed(textLine, func(f *jirasim.Field) { f.ID = "customfield_10700" }))
	server.AddField(changed(textLine, func(f *jirasim.Field) { f.ID = "customfield_10701" }))
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	require.Equal(t, sync.Fails, found(t, s, "jira.field").Condition)
	require.Contains(t, found(t, s, "jira.field").Found, "customfield_10700, customfield_10701")
	require.Empty(t, writes(server))
}

func TestSetupFailsWhereItCannotLook(t *testing.T) {
	t.Parallel()
	server := jirasim.New(jirasim.Example(jirasim.Cloud))
	url, stop := server.Start()
	t.Cleanup(stop)
	cfg := simulatedConfig(url)
	cfg.Token = func() string { return "wrong" }
	_, err := PlanSetup(testContext(t), cfg, testStatuses, zap.NewNop())
	require.True(t, asSyncError(t, err).Permanent)
	cfg = simulatedConfig(url)
	cfg.Project = "NOPE"
	_, err = PlanSetup(testContext(t), cfg, testStatuses, zap.NewNop())
	require.ErrorContains(t, err, "check JIRA_PROJECT")
}

func TestSetupCallsHaveBoundedNames(t *testing.T) {
	t.Parallel()
	names := make(chan string, 1000)
	_, s := planned(t, administeredJira(jirasim.Cloud, ownScreens), func(c *Config) { c.OnCall = func(i CallInfo) { names <- i.Endpoint } })
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	close(names)
	for name := range names {
		require.NotRegexp(t, `[0-9]{3}|OPS`, name)
	}
}
