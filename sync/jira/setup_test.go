package jira

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

func TestSetupMakesTheFieldWhereThereIsNone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, ownScreens))
		screens := []string{
			`put the custom field "teleportAccessRequestId" on screen "OPS: Task Management Create Issue Screen"`,
		}
		screens = append(
			screens,
			`put the custom field "teleportAccessRequestId" on screen "OPS: Task Management Edit/View Issue Screen"`,
		)
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
	require.Equal(
		t,
		2,
		server.CallCount("POST screens/{screen}/tabs/{tab}/fields"),
		"of the type to create on, of all to edit on",
	)
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

func TestSetupGivesASearcher(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(
			t,
			administeredJira(d, withFields(changed(textLine, func(f *jirasim.Field) { f.Unsearchable = true }))),
		)
		require.Equal(t, []string{"give the custom field customfield_10042 the free text searcher"}, whats(s.Steps()))
		require.Equal(t, sync.Fails, found(t, s, "jira.field.searchable").Condition)
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		if d == jirasim.DataCenter { // has no call for it
			require.Empty(t, writes(server))
			require.Contains(t, found(t, s, "jira.field.searchable").Remedy, "System → Indexing")
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
					require.Contains(
						t,
						found(t, s, "jira.field.context").Remedy+s.Steps()[0].ByHand,
						"Configure → Edit Configuration (or Add new context) → choose issue type Task, and project OPS",
					)
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
	server, s := planned(
		t,
		administeredJira(
			jirasim.Cloud,
			withFields(changed(textLine, func(f *jirasim.Field) { f.Projects = []string{"OLD"} })),
		),
	)
	_, err := s.c.do(testContext(t), request{
		method: http.MethodPost, endpoint: "field/{field}/context", vars: map[string]string{"field": "customfield_10042"},
		body: map[string]any{"name": "bugs of OPS", "projectIds": []string{"10100"}, "issueTypeIds": []string{"10201"}},
	}, nil)
	require.NoError(t, err)
	server.ResetCalls()
	require.NoError(t, s.look(testContext(t)))
	require.Equal(
		t,
		[]string{`add issue type "Task" to the context of the custom field customfield_10042 for project OPS`},
		whats(s.Steps()),
	)
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
			`customfield_10042 ("teleportAccessRequestId") holds number, not a line of text`,
			"set JIRA_REQUEST_ID_FIELD to another name",
		},
		"a URL": {
			[]jirasim.Field{
				changed(textLine, func(f *jirasim.Field) { f.Type = jirasim.URLField }),
			},
			"holds a URL",
			"set JIRA_REQUEST_ID_FIELD to another name",
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

func TestSetupWantsTheDescriptionOnTheCreateScreen(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(
			t,
			administeredJira(d, ownScreens, func(c *jirasim.Config) { c.Screens[0].Fields = []string{"summary"} }),
		)
		require.Contains(t, whats(s.Steps()), `show the description when issues of type "Task" are created in project OPS`)
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		f := found(t, s, "jira.field.screen")
		require.Equal(t, sync.Fails, f.Condition)
		require.Contains(t, f.Found, "but the description, which the agent fills in, is not")
		require.Contains(t, f.Remedy, `Select Field: "Description"`)
		server.AddFieldToScreen("description", "OPS: Task Management Create Issue Screen")
		require.NoError(t, s.look(testContext(t)))
		allHolds(t, s)
		connects(t, s)
	})
}

func TestSetupLeavesTheCreateScreensOfOtherIssueTypesAlone(t *testing.T) {
	t.Parallel()
	server, s := planned(
		t,
		administeredJira(jirasim.DataCenter, ownScreens, withFields(textLine), func(c *jirasim.Config) {
			c.Screens = append(c.Screens, jirasim.Screen{Name: "OPS: Bug Create Screen", Fields: []string{"summary"}})
			c.Screens[0].Fields = append(c.Screens[0].Fields, "customfield_10042")
			c.Screens[1].Fields = append(c.Screens[1].Fields, "customfield_10042")
		}),
	)
	allHolds(t, s)
	require.Empty(t, writes(server))
}

func TestSetupTakesATokenThatMayNotAdministerForWhatItIs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		endpoint string
		fields   []jirasim.Field
	}{
		"screens":       {"screens/{screen}/tabs", nil},
		"hidden fields": {"field/search", nil},
		"contexts": {
			"field/{field}/context/projectmapping",
			[]jirasim.Field{changed(textLine, func(f *jirasim.Field) { f.NoScreen = true })},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, s := planned(t, administeredJira(jirasim.Cloud, withFields(test.fields...)))
			server.Inject(
				jirasim.Fault{
					Method:   http.MethodGet,
					Endpoint: test.endpoint,
					Effect:   jirasim.Respond(http.StatusForbidden, `{"errorMessages":["scope"],"errors":{}}`),
				},
			)
			require.NoError(t, s.look(testContext(t)))
			require.NotEmpty(t, s.Steps())
			for _, step := range s.Steps() {
				require.False(t, step.ByToken, step.What)
			}
		})
	}
}

func TestAContextThatNamesTheProjectOverridesTheGlobalOne(t *testing.T) {
	t.Parallel()
	global, own, other := contextEntry{
		ContextID: "1",
		Global:    true,
	}, contextEntry{
		ContextID: "2",
		ProjectID: "10100",
	}, contextEntry{
		ContextID: "3",
		ProjectID: "10101",
	}
	anyType := func(id string) contextEntry { return contextEntry{ContextID: id, AnyType: true} }
	ofType := func(id, typ string) contextEntry { return contextEntry{ContextID: id, TypeID: typ} }
	tests := map[string]struct {
		projects, types []contextEntry
		want            contextSight
	}{
		"none": {nil, nil, contextSight{covers: no}},
		"global": {
			[]contextEntry{other, global},
			[]contextEntry{anyType("1"), anyType("3")},
			contextSight{covers: yes},
		},
		"its own": {
			[]contextEntry{other, own},
			[]contextEntry{ofType("2", "10201"), ofType("2", "10200")},
			contextSight{covers: yes},
		},
		"another project's":      {[]contextEntry{other}, []contextEntry{anyType("3")}, contextSight{covers: no}},
		"global, of other types": {[]contextEntry{global}, []contextEntry{ofType("1", "10201")}, contextSight{covers: no}},
		"its own, of other types": {
			[]contextEntry{own, global},
			[]contextEntry{anyType("1"), ofType("2", "10201")},
			contextSight{covers: no, limited: "2"},
		},
	}
	for name, test := range tests {
		require.Equal(t, test.want, covers(test.projects, test.types, "10100", "10200"), name)
	}
}

func TestSetupDoubtsWhatJiraDoesNotTell(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.DataCenter, withFields(textLine), withoutAdministration))
	server.Inject(
		jirasim.Fault{
			Endpoint: "issue/createmeta/{project}/issuetypes",
			Effect:   jirasim.Respond(http.StatusNotFound, "<status/>"),
		},
	) // before 8.4
	require.NoError(t, s.look(testContext(t)))
	require.Equal(t, sync.Doubt, found(t, s, "jira.field.screen").Condition)
	require.Equal(t, sync.Doubt, found(t, s, "jira.field.context").Condition)
	require.Contains(
		t,
		found(t, s, "jira.field.screen").Remedy,
		"see that it is: project OPS → Project settings → Screens",
	)
	require.Empty(t, s.Steps())
}

func TestSetupMakesNoFieldForAnID(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d), func(c *Config) { c.RequestIDField = "customfield_10099" })
		require.Contains(
			t,
			found(t, s, "jira.field").Remedy,
			"set JIRA_REQUEST_ID_FIELD to the name or the id of a text field",
		)
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
			jirasim.Cloud: "Settings (cog) → Work items (Issues) → Fields", jirasim.DataCenter: "Administration (cog) → " +
				"Issues → Custom fields",
		}[d]
		require.Contains(t, f.Remedy, where)
		require.Contains(t, f.Remedy, "or its token, lacks the global permission Administer Jira")

		server.AddField(changed(textLine, func(f *jirasim.Field) { f.NoScreen = true })) // a person follows
		server.AddFieldToScreen("customfield_10042", "OPS: Resolve")
		require.NoError(t, s.look(testContext(t)))
		require.Equal(t, sync.Fails, found(t, s, "jira.field.screen").Condition)
		require.Equal(t, sync.Doubt, found(t, s, "jira.field.context").Condition)
		require.Contains(t, found(t, s, "jira.field.screen").Remedy, "Screens → the screens")
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
	require.Contains(
		t,
		found(t, s, "jira.field").Remedy,
		"Space settings (Project settings) → Work types (Issue types) → Task → Create field → Short text",
	)
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
	_, s := planned(
		t,
		administeredJira(jirasim.Cloud, ownScreens),
		func(c *Config) { c.OnCall = func(i CallInfo) { names <- i.Endpoint } },
	)
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	close(names)
	for name := range names {
		require.NotRegexp(t, `[0-9]{3}|OPS`, name)
	}
}
