package jirasim_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

func TestCreatedIssueIsThereWithAllThatWasGiven(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			cfg.SystemTimeZone = "Asia/Kolkata"
			cfg.Now = newClock().Now
			s, c := start(t, cfg)
			body := draft(
				object{
					"description": "h1. Why",
					"labels":      []string{"access"},
					"priority":    object{"name": "High"},
					"duedate":     "2026-12-01",
				},
			)
			body["properties"] = []object{{"key": "teleportAccessRequestId", "value": requestID}}
			a := c.post("issue", body)
			require.Equal(t, http.StatusCreated, a.status, a.raw)
			require.Equal(t, "OPS-1", a.body["key"])

			got := c.get("issue/OPS-1?properties=teleportAccessRequestId,other")
			require.Equal(t, a.body["id"], got.body["id"])
			require.Equal(t, object{"teleportAccessRequestId": requestID}, got.body["properties"])
			fields := at(t, got.body, "fields")
			require.Equal(t, "Access for alice", at(t, fields, "summary"))
			require.Equal(t, "h1. Why", at(t, fields, "description"))
			require.Equal(t, requestID, at(t, fields, "customfield_10042"))
			require.Equal(t, "To Do", at(t, fields, "status", "name"))
			require.Equal(t, "OPS", at(t, fields, "project", "key"))
			require.Equal(t, "2026-11-23T18:15:30.123+0530", at(t, fields, "created"))
			require.Equal(t, "Teleport Agent", at(t, fields, "creator", "displayName"))

			issue, ok := s.Issue("OPS-1")
			require.True(t, ok)
			require.Equal(t, "agent", issue.Creator)
			require.Equal(t, requestID, issue.Text("customfield_10042"))
			require.JSONEq(t, `"`+requestID+`"`, string(issue.Properties["teleportAccessRequestId"]))
		})
	}
}

func TestCreationIsRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fields         object
		field, message string
	}{
		"no project":            {object{"project": nil}, "project", "valid project is required"},
		"unknown project":       {object{"project": object{"key": "NOPE"}}, "project", "valid project is required"},
		"no type":               {object{"issuetype": nil}, "issuetype", "valid issue type"},
		"unknown type":          {object{"issuetype": object{"name": "Epic"}}, "issuetype", "valid issue type"},
		"no summary":            {object{"summary": nil}, "summary", "You must specify a summary"},
		"blank summary":         {object{"summary": "  "}, "summary", "You must specify a summary"},
		"summary of two lines":  {object{"summary": "a\nb"}, "summary", "newline"},
		"long summary":          {object{"summary": strings.Repeat("x", 256)}, "summary", "255"},
		"long summary in UTF16": {object{"summary": strings.Repeat("😀", 128)}, "summary", "255"},
		"long description":      {object{"description": strings.Repeat("x", 32768)}, "description", "32,767"},
		"document description":  {object{"description": object{"type": "doc"}}, "description", "string"},
		"unknown field": {
			object{"customfield_99999": "x"},
			"customfield_99999",
			"It is not on the appropriate screen, or unknown.",
		},
		"status": {object{"status": object{"name": "Approved"}}, "status", "cannot be set"},
		"field off the screen": {
			object{"customfield_10050": "x"},
			"customfield_10050",
			"It is not on the appropriate screen, or unknown.",
		},
		"long text field":      {object{"customfield_10042": strings.Repeat("x", 256)}, "customfield_10042", "255"},
		"number for text":      {object{"customfield_10042": 5}, "customfield_10042", "string"},
		"text for number":      {object{"customfield_10051": "5"}, "customfield_10051", "number"},
		"unknown option":       {object{"customfield_10052": object{"value": "purple"}}, "customfield_10052", "not valid"},
		"label with a space":   {object{"labels": []string{"a b"}}, "labels", "contains spaces"},
		"bad date":             {object{"duedate": "tomorrow"}, "duedate", "date"},
		"no required field":    {object{"environment": nil}, "environment", "Environment is required."},
		"empty required field": {object{"environment": ""}, "environment", "Environment is required."},
	}
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			cfg.Required = []string{"environment"}
			cfg.Fields = append(cfg.Fields,
				jirasim.Field{ID: "customfield_10050", Name: "Hidden", Type: jirasim.TextField, OffScreen: true},
				jirasim.Field{ID: "customfield_10051", Name: "Size", Type: jirasim.Number},
				jirasim.Field{ID: "customfield_10052", Name: "Colour", Type: jirasim.Select, Options: []string{"red"}})
			s, c := start(t, cfg)
			for name, test := range cases {
				fields := object{"environment": "production"}
				for id, value := range test.fields {
					fields[id] = value
				}
				a := c.post("issue", draft(fields))
				require.Equal(t, http.StatusBadRequest, a.status, name+": "+a.raw)
				require.Contains(t, at(t, a.body, "errors", test.field), test.message, name)
			}
			require.Empty(t, s.Issues())

			full := object{
				"environment": "production", "summary": strings.Repeat("x", 255), "description": strings.Repeat("x", 32767),
				"customfield_10051": 5, "customfield_10052": object{"value": "red"},
			}
			require.Equal(t, http.StatusCreated, c.post("issue", draft(full)).status, "the bounds themselves are allowed")
		})
	}
}

func TestCreationNeedsPermission(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	require.Equal(t, http.StatusForbidden, c.post("issue", draft(nil)).status)
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.CreateIssues} })
	fieldRefusal(t, c.post("issue", draft(nil)), "project", "valid project")
	require.Empty(t, s.Issues())
}

func TestIssueIsReadByFieldsAskedFor(t *testing.T) {
	t.Parallel()
	_, c := start(t, jirasim.Example(jirasim.DataCenter))
	id := c.create()
	a := c.get("issue/" + id + "?fields=summary,customfield_10042")
	require.Equal(t, object{"summary": "Access for alice", "customfield_10042": requestID}, a.body["fields"])
	require.NotContains(t, at(t, c.get("issue/"+id+"?fields=*navigable").body, "fields"), "comment")
	require.NotContains(t, at(t, c.get("issue/"+id+"?fields=-summary").body, "fields"), "summary")
	require.Contains(t, at(t, c.get("issue/"+id).body, "fields"), "comment")
}

func TestInvisibleIssueDoesNotExist(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			id := c.create()
			s.UpdateUser(
				"agent",
				func(u *jirasim.User) { u.Permissions = []string{jirasim.TransitionIssues, jirasim.AddComments} },
			)
			paths := []string{"", "/transitions", "/comment", "/properties/x"}
			if cfg.Deployment == jirasim.Cloud {
				paths = append(paths, "/changelog")
			}
			for _, path := range paths {
				require.Equal(t, http.StatusNotFound, c.get("issue/"+id+path).status, path)
			}
			s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = jirasim.AllPermissions() })
			require.NoError(t, s.DeleteIssue(id, "bob"))
			for _, path := range paths {
				require.Equal(t, http.StatusNotFound, c.get("issue/"+id+path).status, path)
			}
		})
	}
}

func TestEditSetsFieldsAndTellsHistory(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	body := object{"fields": object{"customfield_10042": nil}, "update": object{"summary": []object{{"set": "New"}}}}
	require.Equal(t, http.StatusNoContent, c.do(http.MethodPut, "issue/"+id, body).status)
	issue, _ := s.Issue(id)
	require.Equal(t, "New", issue.Text("summary"))
	require.Empty(t, issue.Text("customfield_10042"))
	require.Len(t, issue.History, 1)
	require.Equal(t, jirasim.ChangeItem{
		Field: "teleportAccessRequestId", FieldID: "customfield_10042", FieldType: "custom", FromString: requestID,
	}, issue.History[0].Items[0])

	fieldRefusal(
		t,
		c.do(http.MethodPut, "issue/"+id, object{"fields": object{"status": object{"id": "10302"}}}),
		"status",
		"cannot be set",
	)
	fieldRefusal(
		t,
		c.do(http.MethodPut, "issue/"+id, object{"fields": object{"summary": ""}}),
		"summary",
		"specify a summary",
	)
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	require.Equal(t, http.StatusForbidden, c.do(http.MethodPut, "issue/"+id, body).status)
}

func TestPropertiesAreKeptAndDoNotCountAsUpdate(t *testing.T) {
	t.Parallel()
	clock := newClock()
	cfg := jirasim.Example(jirasim.DataCenter)
	cfg.Now = clock.Now
	s, c := start(t, cfg)
	id := c.create()
	before, _ := s.Issue(id)
	clock.advance(time.Minute)
	path := "issue/" + id + "/properties/mark"

	require.Equal(t, http.StatusNotFound, c.get(path).status)
	require.Equal(t, http.StatusCreated, c.do(http.MethodPut, path, `{"a":1}`).status)
	require.Equal(t, http.StatusOK, c.do(http.MethodPut, path, `{"a":2}`).status)
	require.Equal(t, object{"key": "mark", "value": object{"a": 2.0}}, c.get(path).body)
	require.Equal(t, "mark", at(t, c.get("issue/"+id+"/properties").body, "keys", 0, "key"))
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodPut, path, `{"a":`).status)
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodPut, path, `"`+strings.Repeat("x", 32768)+`"`).status)
	require.Equal(
		t,
		http.StatusBadRequest,
		c.do(http.MethodPut, "issue/"+id+"/properties/"+strings.Repeat("k", 256), `1`).status,
	)
	require.Equal(t, http.StatusNoContent, c.do(http.MethodDelete, path, nil).status)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodDelete, path, nil).status)

	after, _ := s.Issue(id)
	require.Equal(t, before.Updated, after.Updated)
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	require.Equal(t, http.StatusForbidden, c.do(http.MethodPut, path, `1`).status)
}

func TestCommentsArePagedOrderedAndMarked(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			cfg.Now = clock.Now
			s, c := start(t, cfg)
			id := c.create()
			for _, body := range []string{"one", "two"} {
				clock.advance(time.Minute)
				_, err := s.Comment(id, "bob", body)
				require.NoError(t, err)
			}
			clock.advance(time.Minute)
			a := c.post(
				"issue/"+id+"/comment",
				object{"body": "three", "properties": []object{{"key": "agent", "value": "resolution"}}},
			)
			require.Equal(t, http.StatusCreated, a.status, a.raw)

			list := c.get("issue/" + id + "/comment?orderBy=-created&maxResults=2&expand=properties")
			require.EqualValues(t, 3, list.body["total"])
			require.EqualValues(t, 2, list.body["maxResults"])
			require.Len(t, list.body["comments"], 2)
			require.Equal(t, "three", at(t, list.body, "comments", 0, "body"))
			require.Equal(t, []any{object{"key": "agent", "value": "resolution"}}, at(t, list.body, "comments", 0, "properties"))
			require.Equal(t, "Bob Cratchit", at(t, list.body, "comments", 1, "author", "displayName"))
			require.Equal(
				t,
				"two",
				at(t, c.get("issue/"+id+"/comment?startAt=1").body, "comments", 0, "body"),
				"oldest first by default",
			)
			require.NotContains(t, at(t, c.get("issue/"+id+"/comment").body, "comments", 2), "properties", "only when expanded")
			require.Equal(t, http.StatusBadRequest, c.get("issue/"+id+"/comment?orderBy=body").status)
			require.Equal(t, "three", c.get("issue/" + id + "/comment/" + a.body["id"].(string)).body["body"])

			issue, _ := s.Issue(id)
			require.Equal(t, clock.Now().Truncate(time.Millisecond), issue.Updated, "a comment counts as update")
			require.JSONEq(t, `"resolution"`, string(issue.Comments[2].Properties["agent"]))
			require.Empty(t, issue.History, "comments are not in the history")
		})
	}
}

func TestCommentIsRefused(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	path := "issue/" + id + "/comment"
	fieldRefusal(t, c.post(path, object{"body": strings.Repeat("x", 32768)}), "comment", "32,767")
	fieldRefusal(t, c.post(path, object{"body": " "}), "comment", "empty")
	fieldRefusal(t, c.post(path, object{}), "comment", "empty")
	require.Equal(t, http.StatusNotFound, c.post("issue/1/comment", object{"body": "x"}).status)
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	fieldRefusal(t, c.post(path, object{"body": "x"}), "comment", "permission")
	issue, _ := s.Issue(id)
	require.Empty(t, issue.Comments)
}

func TestCommentsInsideAnIssueAreTruncatedOnCloudOnly(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			id := c.create()
			for range 25 {
				_, err := s.Comment(id, "bob", "x")
				require.NoError(t, err)
			}
			shown := 25
			if cfg.Deployment == jirasim.Cloud {
				shown = 20
			}
			inline := at(t, c.get("issue/"+id+"?fields=comment").body, "fields", "comment")
			require.Len(t, at(t, inline, "comments"), shown)
			require.EqualValues(t, 25, at(t, inline, "total"))
			require.Len(t, c.get("issue/" + id + "/comment").body["comments"], 25)
		})
	}
}

func TestHiddenEmailIsOmittedOnCloud(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			id := c.create()
			for _, user := range []string{"alice", "bob"} {
				_, err := s.Comment(id, user, "x")
				require.NoError(t, err)
			}
			list := c.get("issue/" + id + "/comment")
			alice, bob := at(t, list.body, "comments", 0, "author"), at(t, list.body, "comments", 1, "author")
			require.Equal(t, "bob@example.com", at(t, bob, "emailAddress"))
			if cfg.Deployment == jirasim.Cloud {
				require.NotContains(t, alice, "emailAddress")
				require.Equal(t, "712020:alice", at(t, alice, "accountId"))
			} else {
				require.Equal(t, "alice", at(t, alice, "name"))
				require.Equal(t, "alice@example.com", at(t, alice, "emailAddress"))
			}
		})
	}
}
