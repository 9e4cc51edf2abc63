package jira

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

// listedIn are the ids that a search names.
func listedIn(c seen) []string {
	list, _, _ := strings.Cut(strings.TrimPrefix(c.body["jql"].(string), "id in ("), ")")
	return strings.Split(list, ", ")
}

// showing answers a search by id as Cloud does: with the issues that are asked for, less those that
// are archived.
func showing(c seen, archived ...string) (int, any) {
	issues := []any{}
	for _, id := range listedIn(c) {
		if !slices.Contains(archived, id) {
			issues = append(issues, map[string]any{"id": id})
		}
	}
	return 200, map[string]any{"issues": issues, "isLast": true}
}

func showingAll(c seen) (int, any) { return showing(c) }

func archivedIDs(issues []sync.Issue) []string {
	var ids []string
	for _, i := range issues {
		if i.Archived == sync.Archived {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

func TestOnCloudAnIssueThatNoSearchShowsIsArchived(t *testing.T) {
	t.Parallel()
	var all []any
	for n := range 100 {
		all = append(all, issueBody(1000+n))
	}
	f := newFake(t, routes{
		"POST /issue/bulkfetch": always(200, map[string]any{"issues": all}),
		"POST /search/jql":      func(c seen) (int, any) { return showing(c, "1007", "1070") },
		"GET /issue/1007":       always(200, issueBody(1007)),

		"GET /issue/1007/changelog": always(200, map[string]any{"values": []any{}, "isLast": true}),
		"GET /issue/1007/comment":   always(200, map[string]any{"comments": []any{}, "total": 0}),
	})
	c, _ := connected(t, f, Cloud)
	issues, err := c.Issues(testContext(t), manyIDs(100))
	require.NoError(t, err)
	require.Len(t, issues, 100)
	require.Equal(t, []string{"1007", "1070"}, archivedIDs(issues))
	require.Equal(t, sync.NotArchived, issues[0].Archived)
	calls := f.received("POST", "/search/jql")
	require.Len(t, calls, 2)
	require.Equal(t, []any{"id"}, calls[0].body["fields"], "a page of many holds nothing else")
	require.EqualValues(t, 5000, calls[0].body["maxResults"])
	require.NotContains(t, calls[0].body, "reconcileIssues")
	require.Equal(t, []any{1007.0, 1070.0}, calls[1].body["reconcileIssues"], "or the index may lag")

	read, err := c.Read(testContext(t), "1007")
	require.NoError(t, err)
	require.Equal(t, sync.ArchivalUnknown, read.Issue.Archived, "the issue itself does not tell")
}

func TestOnDataCenterAnArchivedIssueSaysSo(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"POST /search": always(400, jiraError("A value with ID '2' does not exist for the field 'id'.")),
		"GET /issue/1": always(200, issueBody(1, withField("archiveddate", nil))),
		"GET /issue/2": always(200, issueBody(2, withField("archiveddate", "2026-11-22T10:00:00.000+0000"))),
		"GET /issue/3": always(200, issueBody(3)), // of a release without archives
	})
	c, _ := connected(t, f, DataCenter)
	issues, err := c.Issues(testContext(t), []string{"1", "2", "3"})
	require.NoError(t, err)
	require.Equal(t, []string{"2"}, archivedIDs(issues))
	require.Equal(
		t,
		[]sync.Archival{sync.NotArchived, sync.Archived, sync.ArchivalUnknown},
		[]sync.Archival{issues[0].Archived, issues[1].Archived, issues[2].Archived},
	)
	require.Contains(t, f.received("GET", "/issue/1")[0].query["fields"][0], "archiveddate")
}

func TestFewIssuesAreAskedForAtOnceWithoutTheIndex(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"POST /issue/bulkfetch": always(200, map[string]any{"issues": []any{issueBody(1)}}),
		"POST /search/jql":      func(c seen) (int, any) { return showing(c, "1") },
	})
	c, _ := connected(t, f, Cloud)
	issues, err := c.Issues(testContext(t), []string{"1"})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, archivedIDs(issues))
	calls := f.received("POST", "/search/jql")
	require.Len(t, calls, 1)
	require.Equal(t, []any{1.0}, calls[0].body["reconcileIssues"])
}

func TestAFailedSearchSaysNothingOfArchives(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"POST /issue/bulkfetch": always(200, map[string]any{"issues": []any{issueBody(1)}}),
		"POST /search/jql":      always(503, nil),
	})
	c, _ := connected(t, f, Cloud)
	_, err := c.Issues(testContext(t), []string{"1"})
	require.Equal(t, sync.ScopeSide, asSyncError(t, err).Scope)
}
