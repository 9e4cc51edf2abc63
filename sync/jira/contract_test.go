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

func commitNothing(context.Context) error { return nil }

// working is a client that has connected to a simulated Jira.
func working(t *testing.T, sim jirasim.Config) (*jirasim.Server, *Client) {
	t.Helper()
	server := jirasim.New(sim)
	url, stop := server.Start()
	t.Cleanup(stop)
	c, err := Connect(testContext(t), simulatedConfig(url), zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return server, c
}

// scoped is the example whose agent's token has some scopes only.
func scoped(scopes ...string) jirasim.Config {
	sim := jirasim.Example(jirasim.Cloud)
	sim.Credentials = slices.Clone(sim.Credentials)
	sim.Credentials[0].Scopes = scopes
	return sim
}

var wrongScopeBody = map[string]any{"code": 401, "message": "Unauthorized; scope does not match"}

func TestAMissingScopeIsAMissingRightOfThatCall(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"GET /issue/7": always(401, wrongScopeBody), "POST /issue": always(401, wrongScopeBody),
		"POST /search/jql": always(401, wrongScopeBody), "GET /user/groups": always(401, wrongScopeBody),
	})
	c, _ := connected(t, f, Cloud)
	calls := map[string]func() error{
		"read:jira-work": func() error { _, err := c.Read(testContext(t), "7"); return err },
		"write:jira-work": func() error {
			_, err := c.Create(testContext(t), sync.Draft{RequestID: "r"}, commitNothing)
			return err
		},
		"read:jira-user": func() error { _, err := c.Groups(testContext(t), sync.Person{AccountID: "x"}); return err },
		"the scope read:jira-work": func() error {
			return c.Search(testContext(t), sync.Query{}, func([]sync.Issue) error { return nil })
		},
	}
	for scope, call := range calls {
		err := call()
		e := asSyncError(t, err)
		require.Equal(t, sync.ScopeRequest, e.Scope, scope)
		require.True(t, e.Permanent, scope)
		require.False(t, e.Uncertain, scope)
		require.ErrorIs(t, err, sync.ErrForbidden)
		require.ErrorContains(t, err, scope)
	}
}

func TestIssuesAreReadOneByOneWhereTheTokenMayNotReadInBulk(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"POST /issue/bulkfetch": always(401, wrongScopeBody),
		"POST /search/jql":      always(200, map[string]any{"issues": []any{}, "isLast": true}),
		"GET /issue/7":          always(200, issueBody(7)),
	})
	c, _ := connected(t, f, Cloud)
	found, err := c.Issues(testContext(t), []string{"7"})
	require.NoError(t, err)
	require.Len(t, found, 1)
}

func TestHistoryWithinTheIssueServesWhereTheTokenMayNotReadTheLog(t *testing.T) {
	t.Parallel()
	newest := history("1", "2026-11-22T10:00:00.000+0000", "acc-bob", "1", "Pending", "2", "Approved")
	log := with("changelog", map[string]any{"startAt": 0, "total": 200, "histories": []any{newest}})
	none := withField("comment", map[string]any{"total": 0, "comments": []any{}})
	f := newFake(t, routes{
		"GET /issue/7":           always(200, issueBody(7, inStatus("2", "Approved"), log, none)),
		"GET /issue/7/changelog": always(401, wrongScopeBody),
	})
	c, _ := connected(t, f, Cloud)
	detail, err := c.Read(testContext(t), "7")
	require.NoError(t, err)
	require.Len(t, detail.Moves, 1)
}

func history(id, at, author, from, fromName, to, toName string) map[string]any {
	return map[string]any{
		"id": id, "created": at, "author": map[string]any{"accountId": author},
		"items": []any{map[string]any{
			"field": "status", "fieldId": "status", "from": from, "fromString": fromName, "to": to, "toString": toName,
		}},
	}
}

func TestCheckNamesTheScopeThatATokenLacks(t *testing.T) {
	t.Parallel()
	for lacking, scopes := range map[string][]string{
		"read:jira-user":  {jirasim.ReadWork, jirasim.WriteWork},
		"write:jira-work": {jirasim.ReadWork, jirasim.ReadUsers},
		"read:jira-work":  {jirasim.WriteWork, jirasim.ReadUsers},
	} {
		server := jirasim.New(scoped(scopes...))
		url, stop := server.Start()
		t.Cleanup(stop)
		all := Check(testContext(t), simulatedConfig(url), CheckFor{Statuses: testStatuses}, zap.NewNop())
		at := slices.IndexFunc(all, func(f sync.Finding) bool { return f.Condition == sync.Fails })
		require.GreaterOrEqual(t, at, 0)
		require.Contains(t, all[at].Remedy, lacking, "%+v", all[at])
		require.NotContains(t, all[at].Found, "expired")
	}
}

func TestSetupApplyNeedsTheScopesToManage(t *testing.T) {
	t.Parallel()
	sim := administeredJira(jirasim.Cloud)
	sim.Credentials[0].Scopes = []string{jirasim.ReadWork, jirasim.WriteWork, jirasim.ReadUsers}
	server, s := planned(t, sim)
	require.Contains(t, found(t, s, "jira.field").Remedy, "manage:jira-configuration")
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	require.Empty(t, writes(server))
}

func TestAnUnplacedFieldIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	unplaced := withFields(changed(textLine, func(f *jirasim.Field) { f.NoScreen = true }))
	t.Run("administrators find it", func(t *testing.T) {
		t.Parallel()
		server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens, unplaced))
		require.Equal(t, sync.Holds, found(t, s, "jira.field").Condition)
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		require.Zero(t, server.CallCount("POST field"))
		allHolds(t, s)
		connects(t, s)
	})
	t.Run("others are told that it may exist", func(t *testing.T) {
		t.Parallel()
		_, s := planned(t, administeredJira(jirasim.Cloud, ownScreens, unplaced, withoutAdministration))
		f := found(t, s, "jira.field")
		require.Contains(t, f.Found, "may exist on no screen")
		require.True(t, strings.HasPrefix(f.Remedy, "first have a Jira administrator look"), f.Remedy)
		_, err := Connect(testContext(t), s.c.cfg, zap.NewNop())
		require.ErrorContains(t, err, "may exist on no screen")
	})
}

func TestWhoSeesNoScreensIsToldOfTheEditScreen(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(
			t,
			administeredJira(d, ownScreens, withoutAdministration, withFields(textLine), func(c *jirasim.Config) {
				c.Screens[0].Fields = append(c.Screens[0].Fields, textLine.ID)
			}),
		)
		f := found(t, s, "jira.field.screen")
		require.Equal(t, sync.Doubt, f.Condition)
		require.Contains(t, f.Found, "when issues are edited")
		require.Contains(t, f.Remedy, "Edit Issue")
		server.UpdateUser("agent", func(u *jirasim.User) {
			u.Permissions = slices.DeleteFunc(jirasim.AllPermissions(), func(p string) bool { return p == jirasim.EditIssues })
		})
		require.NoError(t, s.look(testContext(t)))
		require.Equal(t, sync.Holds, found(t, s, "jira.field.screen").Condition, "who may not edit is told nothing")
		server.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = jirasim.AllPermissions() })
		server.AddFieldToScreen(textLine.ID, "OPS: Task Management Edit/View Issue Screen")
		require.NoError(t, s.look(testContext(t)))
		allHolds(t, s)
		connects(t, s)
	})
}

func TestARefusedEditNamesTheEditScreen(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens, withFields(textLine), func(c *jirasim.Config) {
		c.Screens[0].Fields = append(c.Screens[0].Fields, textLine.ID)
	}))
	f := found(t, s, "jira.field.screen")
	require.Equal(t, sync.Doubt, f.Condition)
	require.Contains(t, f.Found, `is not on "OPS: Task Management Edit/View Issue Screen"`)
	c, err := Connect(testContext(t), s.c.cfg, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	issue, err := c.Create(testContext(t), sync.Draft{RequestID: "r1", Summary: "x"}, commitNothing)
	require.NoError(t, err)
	err = c.SetRequestID(testContext(t), issue.ID, "r2", commitNothing)
	require.ErrorContains(t, err, "edit screen of project OPS")
	_, err = apply(testContext(t), s)
	require.NoError(t, err)
	require.NoError(t, c.SetRequestID(testContext(t), issue.ID, "r2", commitNothing))
	setup := slices.DeleteFunc(writes(server), func(w string) bool { return strings.Contains(w, "issue") })
	require.Equal(t, []string{"POST screens/{screen}/tabs/{tab}/fields"}, setup)
}

func TestCheckAsksNoQuestionAboutAFieldThatCannotBeSearched(t *testing.T) {
	t.Parallel()
	unsearchable := changed(textLine, func(f *jirasim.Field) { f.Unsearchable = true })
	server := jirasim.New(administeredJira(jirasim.Cloud, withFields(unsearchable)))
	url, stop := server.Start()
	t.Cleanup(stop)
	for _, f := range Check(testContext(t), simulatedConfig(url), CheckFor{Statuses: testStatuses}, zap.NewNop()) {
		if f.Check == "jira.field.jql" {
			require.Equal(t, sync.Skipped, f.Condition)
		}
	}
	for _, c := range server.Calls() {
		require.NotContains(t, string(c.Body), "cf[]")
	}
}

func TestCheckFindsGroupsInAnyCaseAndSaysWhereItSawTooFew(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		sim := jirasim.Example(d)
		for n := range 30 {
			sim.Groups = append(sim.Groups, jirasim.Group{Name: "dba-" + string(rune('a'+n))})
		}
		sim.Groups = append(sim.Groups, jirasim.Group{Name: "dba"})
		server := jirasim.New(sim)
		url, stop := server.Start()
		t.Cleanup(stop)
		groups := func(names ...string) sync.Finding {
			all := Check(
				testContext(t),
				simulatedConfig(url),
				CheckFor{Statuses: testStatuses, ApproverGroups: names},
				zap.NewNop(),
			)
			return all[slices.IndexFunc(all, func(f sync.Finding) bool { return f.Check == "jira.groups" })]
		}
		require.Equal(t, sync.Holds, groups("APPROVERS").Condition)
		f := groups("dba")
		require.Equal(t, sync.Doubt, f.Condition, "%+v", f)
		require.Contains(t, f.Found, "20 of the 31 groups")
		require.Equal(t, sync.Fails, groups("nobody").Condition)
	})
}

func TestCommentsThatNotEverybodySeesAreRestricted(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		sim := jirasim.Example(d)
		sim.Projects[0].Type = "service_desk" // elsewhere no comment is internal
		server, c := working(t, sim)
		issue, err := c.Create(testContext(t), sync.Draft{RequestID: "r", Summary: "s"}, commitNothing)
		require.NoError(t, err)
		_, err = server.Comment(issue.ID, "bob", "open")
		require.NoError(t, err)
		require.NoError(t, server.CommentTo(issue.ID, "bob", "approvers", "closed"))
		require.NoError(t, server.CommentTo(issue.ID, "bob", jirasim.Internal, "inside"))
		detail, err := c.Read(testContext(t), issue.ID)
		require.NoError(t, err)
		restricted := make(map[string]bool)
		for _, comment := range detail.Comments {
			restricted[comment.Body] = comment.Restricted
		}
		require.Equal(t, map[string]bool{"open": false, "closed": true, "inside": true}, restricted)
	})
}

func TestCommentsOfOtherProjectsThanServiceDesksComeWithTheIssue(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, c := working(t, jirasim.Example(d))
		issue, err := c.Create(testContext(t), sync.Draft{RequestID: "r", Summary: "s"}, commitNothing)
		require.NoError(t, err)
		require.NoError(t, server.CommentTo(issue.ID, "bob", "approvers", "closed"))
		server.ResetCalls()
		detail, err := c.Read(testContext(t), issue.ID)
		require.NoError(t, err)
		require.Len(t, detail.Comments, 1)
		require.True(t, detail.Comments[0].Restricted)
		require.Len(t, server.Calls(), 1)
	})
}

func TestThePropertyIsReadFlatAndNested(t *testing.T) {
	t.Parallel()
	for _, nested := range []bool{false, true} {
		sim := jirasim.Example(jirasim.DataCenter)
		sim.NestedProperties = nested
		_, c := working(t, sim)
		_, err := c.Create(testContext(t), sync.Draft{RequestID: "r-1", Summary: "s"}, commitNothing)
		require.NoError(t, err)
		hits, err := c.Find(testContext(t), "r-1")
		require.NoError(t, err)
		require.Len(t, hits, 1)
		require.Equal(t, "r-1", hits[0].Property)
	}
}

func TestATextThatIsTooLongIsShortened(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		sim := jirasim.Example(d)
		sim.MaxText = 5000
		server, c := working(t, sim)
		text := "*User:* alice\n" + strings.Repeat("word &#35; ", 3000) + "\n\nMove this issue to decide."
		issue, err := c.Create(testContext(t), sync.Draft{RequestID: "r", Summary: "s", Description: text}, commitNothing)
		require.NoError(t, err)
		require.NoError(t, c.Comment(testContext(t), issue.ID, "k", text, commitNothing))
		made, _ := server.Issue(issue.ID)
		for _, short := range []string{made.Text("description"), made.Comments[0].Body} {
			require.True(t, strings.HasPrefix(short, "*User:* alice\nword"), short)
			require.Contains(t, short, "the whole text is in Teleport")
			require.True(t, strings.HasSuffix(short, "Move this issue to decide."), short)
			require.Greater(t, len(short), 1000)
		}
		require.Len(t, server.Issues(), 1)
		require.LessOrEqual(t, server.CallCount("POST issue"), 5)
	})
}

func TestARefusalThatIsNotForTheLengthStays(t *testing.T) {
	t.Parallel()
	server, c := working(t, jirasim.Example(jirasim.Cloud))
	issue, err := c.Create(testContext(t), sync.Draft{RequestID: "r", Summary: "s"}, commitNothing)
	require.NoError(t, err)
	server.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	err = c.Comment(testContext(t), issue.ID, "k", "short", commitNothing)
	require.True(t, asSyncError(t, err).Permanent)
	require.ErrorContains(t, err, "permission to comment")
	require.Equal(t, 1, server.CallCount("POST issue/{issue}/comment"))
}

func TestATextThatJiraCannotStoreIsTheTroubleOfItsRequestAlone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		sim := jirasim.Example(d)
		sim.Unstorable = "😀"
		server, c := working(t, sim)
		_, err := c.Create(testContext(t), sync.Draft{RequestID: "r", Summary: "s", Description: "😀"}, commitNothing)
		e := asSyncError(t, err)
		require.Equal(t, sync.ScopeRequest, e.Scope, err)
		require.True(t, e.Uncertain)
		server.SetDown(true)
		server.Inject(jirasim.Fault{Effect: jirasim.Respond(http.StatusInternalServerError, "{}")})
		server.SetDown(false)
		_, err = c.Create(testContext(t), sync.Draft{RequestID: "r", Summary: "s"}, commitNothing)
		e = asSyncError(t, err)
		require.Equal(t, sync.ScopeSide, e.Scope, "all of Jira is in trouble")
		require.True(t, e.Uncertain)
	})
}

func TestSetupPutsTheFieldIntoTheFieldScheme(t *testing.T) {
	t.Parallel()
	schemes := func(c *jirasim.Config) { c.FieldSchemes = true }
	for name, change := range map[string]func(*jirasim.Config){
		"new field": func(*jirasim.Config) {}, "field that is there": withFields(textLine),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, s := planned(t, administeredJira(jirasim.Cloud, schemes, change))
			_, err := apply(testContext(t), s)
			require.NoError(t, err)
			require.Contains(t, s.Done(), `let the field scheme of project OPS hold the custom field "teleportAccessRequestId"`)
			allHolds(t, s)
			connects(t, s)
			require.Equal(t, 1, server.CallCount("PUT config/fieldschemes/fields"))
		})
	}
}

func TestAFieldSchemeThatLeavesTheTypeOutKeepsTheOthers(t *testing.T) {
	t.Parallel()
	_, s := planned(
		t,
		administeredJira(jirasim.Cloud, withFields(textLine), func(c *jirasim.Config) { c.FieldSchemes = true }),
	)
	restricted := func(types ...int) {
		item := map[string]any{"schemeIds": []int{30_000}, "restrictedToWorkTypes": types}
		_, err := s.c.do(testContext(t), request{
			method: http.MethodPut, endpoint: "config/fieldschemes/fields",
			body: map[string]any{"customfield_10042": []any{item}},
		}, nil)
		require.NoError(t, err)
		require.NoError(t, s.look(testContext(t)))
	}
	restricted(10201)
	f := found(t, s, "jira.field.context")
	require.Equal(t, sync.Fails, f.Condition)
	require.Contains(t, f.Found, "the field scheme")
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	allHolds(t, s)
	scheme, err := s.c.schemeOf(testContext(t), "customfield_10042", s.seen)
	require.NoError(t, err)
	require.Equal(t, []int64{10201, 10200}, scheme.types)
}
