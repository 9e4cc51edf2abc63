package jira

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

var since = time.UnixMilli(1790000000123)

// searched collects what a search tells.
func searched(t *testing.T, c *Client, q sync.Query) (ids []string, pages int, err error) {
	t.Helper()
	err = c.Search(testContext(t), q, func(page []sync.Issue) error {
		pages++
		for _, i := range page {
			ids = append(ids, i.ID)
		}
		return nil
	})
	return ids, pages, err
}

func cloudPage(token string, last bool, issues ...any) func(seen) (int, any) {
	body := map[string]any{"issues": issues, "isLast": last, "nextPageToken": token}
	if token == "" {
		body["nextPageToken"] = nil
	}
	return always(200, body)
}

func TestCloudSearchFollowsTokensThroughEmptyPages(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": inTurn(
		cloudPage("t1", false, issueBody(1), issueBody(2)),
		cloudPage("t2", false),
		cloudPage("", false, issueBody(3)),
	)})
	c, _ := connected(t, f, Cloud)
	reconcile := []string{"7", "not-a-number"}
	for i := range 60 {
		reconcile = append(reconcile, fmt.Sprint(100+i))
	}
	ids, pages, err := searched(t, c, sync.Query{Since: since, Reconcile: reconcile})
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "3"}, ids)
	require.Equal(t, 2, pages)

	calls := f.received("POST", "/search/jql")
	require.Len(t, calls, 3)
	for i, token := range []any{nil, "t1", "t2"} {
		body := calls[i].body
		require.Equal(
			t,
			`project = "ACC" AND cf[10042] is not EMPTY AND updated >= 1790000000123 ORDER BY updated ASC, key ASC`,
			body["jql"],
		)
		require.Equal(t, []any{fieldID, "status", "project", "issuetype", "updated", "created", "creator"}, body["fields"])
		require.EqualValues(t, 100, body["maxResults"])
		require.Equal(t, token, body["nextPageToken"])
		require.Len(t, body["reconcileIssues"], 50)
		require.EqualValues(t, 7, body["reconcileIssues"].([]any)[0])
	}
}

func TestCloudSearchEndsAtTheLastPageDespiteAToken(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage("again", true, issueBody(1))})
	c, _ := connected(t, f, Cloud)
	ids, _, err := searched(t, c, sync.Query{})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, ids)
	call := f.received("POST", "/search/jql")[0]
	require.Contains(t, call.body["jql"], "updated >= 0 ")
	require.NotContains(t, call.body, "reconcileIssues")
}

func TestRepeatedPageTokenIsAnError(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage("t", false, issueBody(1))})
	c, _ := connected(t, f, Cloud)
	_, _, err := searched(t, c, sync.Query{})
	require.ErrorContains(t, err, "page token")
	require.Equal(t, sync.ScopeSide, asSyncError(t, err).Scope)
	require.Len(t, f.received("POST", "/search/jql"), 2)
}

func TestDataCenterSearchPagesByOffsetInOrderOfCreation(t *testing.T) {
	t.Parallel()
	page := func(total int, issues ...any) func(seen) (int, any) {
		return always(200, map[string]any{"issues": issues, "total": total, "startAt": 0, "maxResults": 2})
	}
	f := newFake(t, routes{"POST /search": inTurn(
		page(3, issueBody(1), issueBody(2)),
		page(5, issueBody(3)), // shorter than before, and the total has grown
		page(5, issueBody(4)),
		page(5), // the fifth is gone again
	)})
	c, _ := connected(t, f, DataCenter)
	ids, _, err := searched(t, c, sync.Query{Since: since, Reconcile: []string{"9"}})
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "3", "4"}, ids)
	calls := f.received("POST", "/search")
	require.Len(t, calls, 4)
	for i, start := range []int{0, 2, 3, 4} {
		require.Equal(t, map[string]any{
			"jql":        `project = "ACC" AND cf[10042] is not EMPTY AND updated >= 1790000000123 ORDER BY created ASC, key ASC`,
			"fields":     []any{fieldID, "status", "project", "issuetype", "updated", "created", "creator", "archiveddate"},
			"maxResults": 100.0,
			"startAt":    float64(start),
		}, calls[i].body)
	}
}

func TestIssueThatCannotBeReadHidesNoOther(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage("", true,
		issueBody(1), issueBody(2, withField("updated", "yesterday")), issueBody(3, withField("status", nil)), "no issue",
		issueBody(5, withField("updated", nil)), issueBody(4))})
	c, logs := connected(t, f, Cloud)
	ids, _, err := searched(t, c, sync.Query{})
	require.NoError(t, err)
	require.Equal(t, []string{"1", "4"}, ids)
	warned := logs.FilterMessageSnippet("cannot be read").All()
	require.Len(t, warned, 4)
	require.Equal(t, "2", warned[0].ContextMap()["issue_id"])
	require.Equal(t, "ACC-3", warned[1].ContextMap()["issue_key"])
}

func TestErrorOfThePageIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage("t", false, issueBody(1))})
	c, _ := connected(t, f, Cloud)
	full := errors.New("disk full")
	err := c.Search(testContext(t), sync.Query{}, func([]sync.Issue) error { return full })
	require.Equal(t, full, err)
}

func TestIssueIsReadWhole(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage(
		"",
		true,
		issueBody(1),
		issueBody(
			2,
			withField(fieldID, nil),
			withField("creator", map[string]any{"accountId": "other"}),
			withField("updated", "2026-11-22T10:00:00Z"),
		),
	)})
	c, _ := connected(t, f, Cloud)
	var got []sync.Issue
	require.NoError(
		t,
		c.Search(testContext(t), sync.Query{}, func(p []sync.Issue) error { got = append(got, p...); return nil }),
	)
	pending := sync.Status{ID: "1", Name: "Pending"}
	for n := range got {
		require.WithinDuration(t, time.Now(), got[n].AsOf, time.Minute)
		require.True(t, got[n].FromIndex)
		got[n].AsOf, got[n].FromIndex = time.Time{}, false
	}
	require.Equal(t, []sync.Issue{
		{
			ID: "1", Key: "ACC-1", Project: "ACC", Status: pending, RequestID: "req-1", ByAgent: true,
			Updated: time.Date(2026, 11, 22, 10, 0, 0, 123e6, time.UTC), Archived: sync.NotArchived,
		},
		{
			ID:       "2",
			Key:      "ACC-2",
			Project:  "ACC",
			Status:   pending,
			Updated:  time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
			Archived: sync.NotArchived,
		},
	}, got)
}

func TestFindOnCloudTakesPropertiesFromTheSearch(t *testing.T) {
	t.Parallel()
	ours := withField(fieldID, "req-x")
	property := with("properties", map[string]any{propertyKey: "req-x"})
	f := newFake(t, routes{"POST /search/jql": cloudPage("", true,
		issueBody(10, ours, property), issueBody(9, ours, with("properties", map[string]any{})), issueBody(8, property))})
	c, _ := connected(t, f, Cloud)
	found, err := c.Find(testContext(t), "req-x")
	require.NoError(t, err)
	require.Len(t, found, 2, "the match of words in issue 8 counts")
	require.Equal(t, "9", found[0].ID) // by number, not by text
	require.Empty(t, found[0].Property)
	require.Equal(t, "10", found[1].ID)
	require.Equal(t, "req-x", found[1].Property)
	require.True(t, found[1].ByAgent)
	call := f.received("POST", "/search/jql")[0]
	require.Equal(t, `project = "ACC" AND cf[10042] ~ "\"req-x\"" ORDER BY created ASC`, call.body["jql"])
	require.Equal(t, []any{propertyKey}, call.body["properties"])
}

func TestFindOnDataCenterReadsEachHit(t *testing.T) {
	t.Parallel()
	ours := withField(fieldID, "req-x")
	f := newFake(t, routes{
		"POST /search": always(200, map[string]any{"total": 4, "issues": []any{
			issueBody(1, ours), issueBody(2, ours), issueBody(3, ours), issueBody(4),
		}}),
		"GET /issue/1": always(
			200,
			issueBody(
				1,
				ours,
				with("properties", map[string]any{propertyKey: "req-x"}),
				withField("creator", map[string]any{"key": "JIRAUSER1"}),
			),
		),
		"GET /issue/2":     always(404, jiraError("gone")),
		"GET /issue/ACC-2": always(404, jiraError("gone")),
		"GET /issue/3":     always(200, issueBody(3)), // the index was behind: the field holds something else by now
	})
	c, _ := connected(t, f, DataCenter)
	found, err := c.Find(testContext(t), "req-x")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "1", found[0].ID)
	require.Equal(t, "req-x", found[0].Property)
	require.True(t, found[0].ByAgent)
	require.NotContains(t, f.received("POST", "/search")[0].body, "properties")
	require.Equal(t, []string{propertyKey}, f.received("GET", "/issue/1")[0].query["properties"])
}

// Answering "not found" would have the issue made a second time.
func TestFindDoesNotPassOverAnIssueThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage("", true, issueBody(1, withField("status", nil)))})
	c, _ := connected(t, f, Cloud)
	_, err := c.Find(testContext(t), "req-1")
	require.Equal(t, sync.ScopeRequest, asSyncError(t, err).Scope)
}

// ofTheOfficialPlugin is what its issue has: no field, and the request's ID as a property.
func ofTheOfficialPlugin(n int, edits ...func(map[string]any)) map[string]any {
	return issueBody(
		n,
		append(
			[]func(map[string]any){withField(fieldID, nil), with("properties", map[string]any{propertyKey: "req-x"})},
			edits...)...)
}

func TestInheritedOnCloudTakesPropertiesFromTheSearch(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage(
		"",
		true,
		ofTheOfficialPlugin(10),
		ofTheOfficialPlugin(9),
		ofTheOfficialPlugin(8, with("properties", map[string]any{})),
		ofTheOfficialPlugin(7, with("properties", map[string]any{propertyKey: "req-y"})),
		ofTheOfficialPlugin(6, withField(fieldID, "req-x")),
		ofTheOfficialPlugin(5, withField("creator", map[string]any{"accountId": "acc-eve"})),
	)})
	c, _ := connected(t, f, Cloud)
	found, err := c.Inherited(testContext(t), "req-x", nil)
	require.NoError(t, err)
	require.Len(t, found, 2, "without the property, of another request, with the field and of another account")
	require.Equal(t, "9", found[0].ID)
	require.Equal(t, "req-x", found[0].Property)
	call := f.received("POST", "/search/jql")[0]
	require.Equal(
		t,
		`project = "ACC" AND cf[10042] is EMPTY AND creator = currentUser() AND description ~ "\"req-x\"" ORDER BY created ASC`,
		call.body["jql"],
	)
	require.Equal(t, []any{propertyKey}, call.body["properties"])
}

func TestInheritedByStatusReadsOnlyWhatStandsThere(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"POST /search": always(200, map[string]any{"total": 3, "issues": []any{
			ofTheOfficialPlugin(1, with("properties", nil)), ofTheOfficialPlugin(2, with("properties", nil)),
			ofTheOfficialPlugin(3, with("properties", nil), withField("status", map[string]any{"id": "9", "name": "Approved"})),
		}}),
		"GET /issue/1": always(200, ofTheOfficialPlugin(1, withField("creator", map[string]any{"key": "JIRAUSER1"}))),
		"GET /issue/2": always(404, jiraError("gone")), "GET /issue/ACC-2": always(404, jiraError("gone")),
	})
	c, _ := connected(t, f, DataCenter)
	found, err := c.Inherited(testContext(t), "", []string{"pending"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "req-x", found[0].Property)
	require.Equal(
		t,
		`project = "ACC" AND cf[10042] is EMPTY AND creator = currentUser() ORDER BY created ASC, key ASC`,
		f.received("POST", "/search")[0].body["jql"],
	)
}

func TestInheritedIsEmptyWhereJiraRefusesTheSearch(t *testing.T) {
	t.Parallel()
	f := newFake(
		t,
		routes{
			"POST /search/jql": always(
				400,
				jiraError("Field 'description' does not exist or you do not have permission to view it."),
			),
		},
	)
	c, logs := connected(t, f, Cloud)
	found, err := c.Inherited(testContext(t), "req-x", nil)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, 1, logs.FilterMessageSnippet("cannot be searched for").Len())

	f = newFake(t, routes{"POST /search/jql": always(500, "")})
	c, _ = connected(t, f, Cloud)
	_, err = c.Inherited(testContext(t), "req-x", nil)
	require.Error(t, err)
}

func TestInheritedDoesNotPassOverAnIssueThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": cloudPage("", true, ofTheOfficialPlugin(1, withField("status", nil)))})
	c, _ := connected(t, f, Cloud)
	_, err := c.Inherited(testContext(t), "req-x", nil)
	require.Error(t, err)
	found, err := c.Inherited(testContext(t), "", []string{"Pending"}) // it hides no other
	require.NoError(t, err)
	require.Empty(t, found)
}

func manyIDs(n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprint(1000+i))
	}
	return ids
}

func TestCloudReadsIssuesInBulk(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /search/jql": showingAll, "POST /issue/bulkfetch": func(c seen) (int, any) {
		var issues []any
		for _, id := range c.body["issueIdsOrKeys"].([]any) {
			if id != "1005" {
				var n int
				_, _ = fmt.Sscan(id.(string), &n)
				issues = append(issues, issueBody(n))
			}
		}
		return 200, map[string]any{"issues": issues, "issueErrors": []any{}}
	}})
	c, _ := connected(t, f, Cloud)
	issues, err := c.Issues(testContext(t), append(manyIDs(150), "1000"))
	require.NoError(t, err)
	require.Len(t, issues, 149)
	calls := f.received("POST", "/issue/bulkfetch")
	require.Len(t, calls, 2)
	require.Len(t, calls[0].body["issueIdsOrKeys"], 100)
	require.Len(t, calls[1].body["issueIdsOrKeys"], 50)
}

func TestIssuesAreReadOneByOneWhereBulkIsNotOffered(t *testing.T) {
	t.Parallel()
	single := routes{
		"GET /issue/1": always(200, issueBody(1)),
		"GET /issue/2": always(404, jiraError("gone")), "GET /issue/ACC-2": always(404, jiraError("gone")),
		"GET /issue/3": always(200, issueBody(3)),
	}
	for name, tt := range map[string]struct {
		deployment Deployment
		route      string
		code       int
		single     int
	}{
		"Cloud 404":       {Cloud, "POST /issue/bulkfetch", 404, 3},
		"Cloud 405":       {Cloud, "POST /issue/bulkfetch", 405, 3},
		"Cloud 410":       {Cloud, "POST /issue/bulkfetch", 410, 3},
		"Data Center 400": {DataCenter, "POST /search", 400, 3},
		"Data Center lag": {DataCenter, "POST /search", 200, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := routes{
				"POST /search/jql": showingAll,
				tt.route: always(
					tt.code,
					map[string]any{"errorMessages": []string{"no"}, "issues": []any{issueBody(1)}, "total": 1},
				),
			}
			for route, answer := range single {
				answers[route] = answer
			}
			f := newFake(t, answers)
			c, _ := connected(t, f, tt.deployment)
			issues, err := c.Issues(testContext(t), []string{"1", "2", "3"})
			require.NoError(t, err)
			var ids []string
			for _, i := range issues {
				ids = append(ids, i.ID)
			}
			require.ElementsMatch(t, []string{"1", "3"}, ids)
			count := 0
			for _, call := range f.calls {
				if strings.HasPrefix(call.path, "/rest/api/2/issue/") && call.method == "GET" {
					count++
				}
			}
			require.Equal(t, tt.single, count)
		})
	}
}

func TestDataCenterReadsIssuesInBulkBySearch(t *testing.T) {
	t.Parallel()
	f := newFake(
		t,
		routes{"POST /search": always(200, map[string]any{"issues": []any{issueBody(1), issueBody(2)}, "total": 2})},
	)
	c, _ := connected(t, f, DataCenter)
	issues, err := c.Issues(testContext(t), []string{"2", "1"})
	require.NoError(t, err)
	require.Len(t, issues, 2)
	require.Equal(t, "id in (1, 2) ORDER BY created ASC, key ASC", f.received("POST", "/search")[0].body["jql"])
}

func TestTheLatestOfAnIssueIsNotAskedOfASearch(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"GET /issue/1": always(200, issueBody(1)), "GET /issue/2": always(404, jiraError("gone"))})
	c, _ := connected(t, f, DataCenter)
	issues, err := c.Latest(testContext(t), []string{"2", "1", "2"})
	require.NoError(t, err)
	require.Len(t, issues, 1)
	require.Equal(t, "1", issues[0].ID)
	require.Empty(t, f.received("POST", "/search"))

	f = newFake(t, routes{"POST /issue/bulkfetch": always(200, map[string]any{"issues": []any{issueBody(1)}})})
	c, _ = connected(t, f, Cloud)
	issues, err = c.Latest(testContext(t), []string{"2", "1"})
	require.NoError(t, err)
	require.Len(t, issues, 1)
	require.Len(t, f.received("POST", "/issue/bulkfetch"), 1)
}

func TestNoIDsNeedNoCall(t *testing.T) {
	t.Parallel()
	for _, d := range []Deployment{Cloud, DataCenter} {
		c, _ := connected(t, newFake(t, nil), d)
		issues, err := c.Issues(testContext(t), nil)
		require.NoError(t, err)
		require.Empty(t, issues)
	}
}

func TestBulkFailureIsNotAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /issue/bulkfetch": always(500, nil), "POST /search": always(500, nil)})
	for _, d := range []Deployment{Cloud, DataCenter} {
		c, _ := connected(t, f, d)
		_, err := c.Issues(testContext(t), []string{"1"})
		require.Equal(t, sync.ScopeSide, asSyncError(t, err).Scope)
	}
}
