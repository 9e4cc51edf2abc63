package jirasim_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// move posts a transition.
func (c *client) move(issue, transition string, more object) reply {
	c.t.Helper()
	body := object{"transition": object{"id": transition}}
	for key, value := range more {
		body[key] = value
	}
	return c.post("issue/"+issue+"/transitions", body)
}

func TestOnlyTransitionsFromThePresentStatusAreOffered(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			cfg.Transitions = []jirasim.Transition{
				{ID: "11", Name: "Queue", From: []string{"To Do"}, To: "Pending"},
				{ID: "21", Name: "Go ahead", From: []string{"Pending"}, To: "Approved"},
				{ID: "91", Name: "Drop", To: "Expired"},
			}
			s, c := start(t, cfg)
			id := c.create()
			a := c.get("issue/" + id + "/transitions?expand=transitions.fields")
			require.Len(t, a.body["transitions"], 2)
			require.Equal(t, "Queue", at(t, a.body, "transitions", 0, "name"))
			require.Equal(t, "Pending", at(t, a.body, "transitions", 0, "to", "name"))
			require.Equal(t, "91", at(t, a.body, "transitions", 1, "id"), "a global transition is always offered")

			refusal(t, c.move(id, "21", nil), http.StatusBadRequest, "Transition id '21' is not valid for this issue.")
			refusal(t, c.move(id, "", nil), http.StatusBadRequest, "transition")
			require.Equal(t, http.StatusNoContent, c.move(id, "11", object{"fields": object{}, "update": object{}}).status)
			issue, _ := s.Issue(id)
			require.Equal(t, "Pending", issue.Status.Name)
			require.Empty(t, c.get("issue/" + id + "/transitions?transitionId=11").body["transitions"])
		})
	}
}

func TestWithoutPermissionNoTransitionIsOffered(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	a := c.get("issue/" + id + "/transitions")
	require.Equal(t, http.StatusOK, a.status)
	require.Empty(t, a.body["transitions"])
	refusal(t, c.move(id, "11", nil), http.StatusBadRequest, "Transition id '11' is not valid for this issue.")
}

func TestGlobalTransitionIntoTheSameStatusIsLogged(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Transitions = []jirasim.Transition{{ID: "1", Name: "Go", To: "Approved"}}
	s, c := start(t, cfg)
	id := c.create()
	for range 2 {
		require.Equal(t, http.StatusNoContent, c.move(id, "1", nil).status)
	}
	issue, _ := s.Issue(id)
	require.Len(t, issue.History, 2)
}

func TestTransitionFieldsNeedAScreen(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Transitions = []jirasim.Transition{
		{ID: "1", Name: "Plain", From: []string{"To Do"}, To: "Approved"},
		{
			ID:       "2",
			Name:     "Screened",
			From:     []string{"To Do"},
			To:       "Denied",
			Screen:   []string{"environment", "description"},
			Required: []string{"environment"},
		},
	}
	s, c := start(t, cfg)
	id := c.create()
	comment := object{"comment": []object{{"add": object{"body": "because"}}}}

	fieldRefusal(t, c.move(id, "1", object{"fields": object{"environment": "x"}}), "environment", "cannot be set")
	fieldRefusal(t, c.move(id, "1", object{"update": comment}), "comment", "cannot be set")
	fieldRefusal(t, c.move(id, "2", nil), "environment", "Environment is required.")
	fieldRefusal(
		t,
		c.move(id, "2", object{"fields": object{"environment": "x", "labels": []string{"a"}}}),
		"labels",
		"cannot be set",
	)
	issue, _ := s.Issue(id)
	require.Equal(t, "To Do", issue.Status.Name)

	required := at(
		t,
		c.get("issue/"+id+"/transitions?expand=transitions.fields").body,
		"transitions",
		1,
		"fields",
		"environment",
		"required",
	)
	require.Equal(t, true, required)
	require.Error(t, s.Move(id, "bob", "Denied"))
	require.Equal(
		t,
		http.StatusNoContent,
		c.move(id, "2", object{"fields": object{"environment": "x"}, "update": comment}).status,
	)
	issue, _ = s.Issue(id)
	require.Equal(t, "Denied", issue.Status.Name)
	require.Equal(t, "x", issue.Text("environment"))
	require.Equal(t, "because", issue.Comments[0].Body)
}

func TestHistoryTellsWhoMovedTheIssue(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			cfg.Now = clock.Now
			s, c := start(t, cfg)
			id := c.create()
			require.NoError(t, s.Move(id, "bob", "Pending"))
			clock.advance(time.Minute)
			require.NoError(t, s.ForceStatus(id, "automation", "Denied"))
			clock.advance(time.Minute)
			require.NoError(t, s.ForceStatus(id, "", "Approved"))

			a := c.get("issue/" + id + "?expand=changelog&fields=status")
			require.EqualValues(t, 3, at(t, a.body, "changelog", "total"))
			first, last := 0, 2
			if cfg.Deployment == jirasim.Cloud { // newest first
				first, last = 2, 0
			}
			bob := at(t, a.body, "changelog", "histories", first)
			require.Equal(t, "Bob Cratchit", at(t, bob, "author", "displayName"))
			item := at(t, bob, "items", 0)
			require.Equal(t, []any{"10300", "To Do", "10301", "Pending"},
				[]any{at(t, item, "from"), at(t, item, "fromString"), at(t, item, "to"), at(t, item, "toString")})
			require.NotContains(t, at(t, a.body, "changelog", "histories", last), "author")
			if cfg.Deployment == jirasim.Cloud {
				require.Equal(t, "app", at(t, a.body, "changelog", "histories", 1, "author", "accountType"))
				require.Equal(t, "status", at(t, item, "fieldId"))
			} else {
				require.NotContains(t, item, "fieldId")
			}
		})
	}
}

func TestChangelogPagesAreOldestFirstAndExpansionsAreCut(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Caps.IssueChangelog = 2
	s, c := start(t, cfg)
	id := c.create()
	for _, status := range []string{"Pending", "Approved", "Denied"} {
		require.NoError(t, s.Move(id, "bob", status))
	}
	inline := at(t, c.get("issue/"+id+"?expand=changelog").body, "changelog")
	require.Len(t, at(t, inline, "histories"), 2)
	require.Equal(
		t,
		"Denied",
		at(t, inline, "histories", 0, "items", 0, "toString"),
		"the oldest entry is the one dropped",
	)
	require.EqualValues(t, 3, at(t, inline, "total"))

	first := c.get("issue/" + id + "/changelog?maxResults=2")
	require.Equal(t, "Pending", at(t, first.body, "values", 0, "items", 0, "toString"))
	require.Equal(t, false, first.body["isLast"])
	second := c.get("issue/" + id + "/changelog?maxResults=2&startAt=2")
	require.Len(t, second.body["values"], 1)
	require.Equal(t, true, second.body["isLast"])
}

func TestPeopleFollowWorkflowAndPermissions(t *testing.T) {
	t.Parallel()
	s := jirasim.New(jirasim.Example(jirasim.Cloud))
	issue, err := s.CreateIssue(
		"mallory",
		map[string]any{"summary": "forged", "customfield_10042": requestID},
		map[string]any{"teleportAccessRequestId": requestID},
	)
	require.NoError(t, err)
	require.Equal(t, "mallory", issue.Creator)

	var refused *jirasim.Refusal
	require.ErrorAs(t, s.Move(issue.Key, "bob", "To Do"), &refused, "no transition leads there")
	require.NoError(t, s.Move(issue.ID, "bob", "Approved"))
	s.UpdateUser("bob", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	require.ErrorAs(t, s.Move(issue.ID, "bob", "Pending"), &refused)
	require.ErrorAs(t, s.SetField(issue.ID, "bob", "summary", "x"), &refused)
	require.ErrorAs(t, s.SetProperty(issue.ID, "bob", "x", 1), &refused)
	require.ErrorAs(t, s.DeleteIssue(issue.ID, "bob"), &refused)
	_, err = s.Comment(issue.ID, "bob", "x")
	require.ErrorAs(t, err, &refused)
	s.UpdateUser("mallory", func(u *jirasim.User) { u.Inactive = true })
	require.ErrorAs(t, s.Move(issue.ID, "mallory", "Pending"), &refused)

	require.NoError(t, s.SetProperty(issue.ID, "alice", "mark", 1))
	require.NoError(t, s.SetField(issue.ID, "alice", "customfield_10042", nil))

	now, _ := s.Issue(issue.ID)
	require.Equal(t, "Approved", now.Status.Name)
	require.JSONEq(t, "1", string(now.Properties["mark"]))
	require.Empty(t, now.Text("customfield_10042"))
	require.Len(t, now.History, 2)
	require.ErrorContains(t, refused, "not active")
}

func TestCommentsCanBeEditedByOthers(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	comment, err := s.Comment(id, "bob", "Reason: fine")
	require.NoError(t, err)
	before, _ := s.Issue(id)
	require.NoError(t, s.EditComment(id, "mallory", comment, "Reason: forged"))
	require.Error(t, s.EditComment(id, "mallory", "1", "x"))
	got := at(t, c.get("issue/"+id+"/comment").body, "comments", 0)
	require.Equal(t, "Reason: forged", at(t, got, "body"))
	require.Equal(t, "Bob Cratchit", at(t, got, "author", "displayName"))
	require.Equal(t, "Mallory Archer", at(t, got, "updateAuthor", "displayName"))
	require.Equal(t, "Reason: fine", before.Comments[0].Body, "a snapshot does not change")
}

func TestIssueMovedToAnotherProjectKeepsIDAndFormerKey(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	require.NoError(t, s.MoveToProject("OPS-1", "bob", "OLD"))
	for _, name := range []string{id, "OPS-1", "OLD-1"} {
		a := c.get("issue/" + name + "?fields=project")
		require.Equal(t, "OLD-1", a.body["key"], name)
		require.Equal(t, id, a.body["id"])
		require.Equal(t, "OLD", at(t, a.body, "fields", "project", "key"))
	}
}
