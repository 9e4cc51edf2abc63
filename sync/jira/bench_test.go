package jira

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// The parts of a call that are neither the network's nor Jira's. The answers have what Jira sends
// with each field, wanted or not.

// wholeIssue is an issue as Jira sends it for searchFields, with the avatars, links and categories
// that nobody asked for.
func wholeIssue(d Deployment, id int) map[string]any {
	avatars := map[string]any{}
	for _, size := range []string{"16x16", "24x24", "32x32", "48x48"} {
		avatars[size] = "https://example.atlassian.net/rest/api/2/universal_avatar/view/type/project/avatar/10400?size=" + size
	}
	creator := map[string]any{
		"self":        "https://example.atlassian.net/rest/api/2/user?accountId=" + ownID,
		"accountId":   ownID,
		"accountType": "atlassian",
		"displayName": "Teleport Agent",
		"active":      true,
		"timeZone":    "Europe/Berlin",
		"avatarUrls":  avatars,
	}
	if d == DataCenter {
		creator = map[string]any{
			"self":         "https://jira.example.com/rest/api/2/user?username=agent",
			"name":         "agent",
			"key":          "JIRAUSER1",
			"emailAddress": "agent@example.com",
			"displayName":  "Teleport Agent",
			"active":       true,
			"timeZone":     "Europe/Berlin",
			"avatarUrls":   avatars,
		}
	}
	issue := issueBody(id,
		with("self", fmt.Sprintf("https://example.atlassian.net/rest/api/2/issue/%d", id)),
		with("expand", "operations,versionedRepresentations,editmeta,changelog,renderedFields"),
		withField("creator", creator),
		withField("status", map[string]any{
			"self":           "https://example.atlassian.net/rest/api/2/status/1",
			"id":             "1",
			"name":           "Pending",
			"description":    "",
			"iconUrl":        "https://example.atlassian.net/",
			"statusCategory": map[string]any{"id": 4, "key": "indeterminate", "colorName": "yellow", "name": "In Progress"},
		}),
		withField("project", map[string]any{
			"self": "https://example.atlassian.net/rest/api/2/project/10100", "id": "10100", "key": "ACC", "name": "Access",
			"projectTypeKey": "software", "simplified": false, "avatarUrls": avatars,
		}),
		withField("issuetype", map[string]any{
			"self":           "https://example.atlassian.net/rest/api/2/issuetype/10200",
			"id":             "10200",
			"name":           "Task",
			"subtask":        false,
			"hierarchyLevel": 0,
		}))
	if d == DataCenter {
		withField(archivedField, nil)(issue)
	}
	return issue
}

// answering is a client of which each call is answered with the body, without a network.
func answering(b *testing.B, d Deployment, body map[string]any) *Client {
	b.Helper()
	raw, err := json.Marshal(body)
	require.NoError(b, err)
	cfg := testConfig("https://jira.example.com")
	cfg.MaxRPS = 1e12
	c, err := newClient(cfg, zap.NewNop())
	require.NoError(b, err)
	c.transport.send = wire(func(*http.Request) (*http.Response, error) { return answer(200, string(raw)), nil })
	c.deployment, c.field = d, requestIDField{id: fieldID, number: "10042"}
	c.self = sync.Person{AccountID: ownID, Agent: true}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	return c
}

// BenchmarkSearchPage is a page of 100 issues, from the call to what the engine gets.
func BenchmarkSearchPage(b *testing.B) {
	for _, d := range []Deployment{Cloud, DataCenter} {
		b.Run(string(d), func(b *testing.B) {
			var issues []any
			for n := range 100 {
				issues = append(issues, wholeIssue(d, 1000+n))
			}
			c := answering(b, d, map[string]any{"issues": issues, "isLast": true, "startAt": 0, "maxResults": 100, "total": 100})
			for b.Loop() {
				err := c.Search(b.Context(), sync.Query{}, func(page []sync.Issue) error {
					require.Len(b, page, 100)
					return nil
				})
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkRead is an issue with 20 entries of history, two of them moves, and 5 comments.
func BenchmarkRead(b *testing.B) {
	person := func(id string) map[string]any {
		return map[string]any{"accountId": id, "accountType": "atlassian", "displayName": "Alice Liddell", "active": true}
	}
	var histories, comments []any
	for n := range 20 {
		field := "labels"
		if n%10 == 0 {
			field = "status"
		}
		histories = append(histories, map[string]any{
			"id":      fmt.Sprint(100 + n),
			"author":  person("acc-alice"),
			"created": fmt.Sprintf("2026-11-22T10:00:%02d.000+0000", n),
			"items": []any{
				map[string]any{
					"field":      field,
					"fieldId":    field,
					"fieldtype":  "jira",
					"from":       "1",
					"fromString": "Pending",
					"to":         "2",
					"toString":   "Approved",
				},
			},
		})
	}
	for n := range 5 {
		comments = append(comments, map[string]any{
			"id":           fmt.Sprint(n),
			"author":       person("acc-alice"),
			"updateAuthor": person("acc-alice"),
			"body":         strings.Repeat("words ", 50),
			"created":      "2026-11-22T10:00:00.000+0000",
			"updated":      "2026-11-22T10:00:00.000+0000",
		})
	}
	body := wholeIssue(Cloud, 1000)
	withField("comment", map[string]any{"comments": comments, "total": 5})(body)
	with("changelog", map[string]any{"startAt": 0, "total": 20, "histories": histories})(body)
	c := answering(b, Cloud, body)
	for b.Loop() {
		detail, err := c.Read(b.Context(), "1000")
		require.NoError(b, err)
		require.Len(b, detail.Moves, 2)
		require.Len(b, detail.Comments, 5)
	}
}

// BenchmarkSearchRequest is the building of a search and all else that is not the decoding of a
// page.
func BenchmarkSearchRequest(b *testing.B) {
	c := answering(b, Cloud, map[string]any{"issues": []any{}, "isLast": true})
	q := sync.Query{Since: since, Reconcile: manyIDs(50)}
	for b.Loop() {
		require.NoError(b, c.Search(b.Context(), q, func([]sync.Issue) error { return nil }))
	}
}
