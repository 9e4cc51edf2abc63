package jirasim_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

func TestAnArchivedIssueIsReadAndNeitherFoundNorChanged(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			id, other := c.create(), c.create()
			before := c.get("issue/" + id)
			require.NoError(t, s.Archive(id, "bob"))

			read := c.get("issue/" + id)
			require.Equal(t, http.StatusOK, read.status)
			require.Equal(t, at(t, before.body, "fields", "updated"), at(t, read.body, "fields", "updated"))
			require.Empty(t, c.get("issue/" + id + "/transitions").body["transitions"])
			found, _ := c.find(cfg.Deployment, "project = OPS")
			require.Equal(t, []string{"OPS-2"}, found)
			_, byID := c.find(cfg.Deployment, "id in ("+id+", "+other+")")
			fields := at(t, read.body, "fields").(object)
			if cfg.Deployment == jirasim.Cloud {
				require.Len(t, byID.body["issues"], 1)
				a := c.post(
					"search/jql",
					object{"jql": "project = OPS", "fields": []string{"status"}, "reconcileIssues": []json.Number{json.Number(id)}},
				)
				require.Len(t, a.body["issues"], 1, "it does not satisfy any JQL")
				require.Len(t, c.post("issue/bulkfetch", object{"issueIdsOrKeys": []string{id}}).body["issues"], 1)
				require.NotContains(t, fields, "archiveddate")
			} else {
				refusal(t, byID, http.StatusBadRequest, "does not exist for")
				require.Equal(t, "bob", at(t, fields, "archivedby", "name"))
				require.NotNil(t, fields["archiveddate"])
			}

			const told = "is archived, and cannot be changed"
			refusal(t, c.post("issue/"+id+"/comment", object{"body": "x"}), http.StatusBadRequest, told)
			refusal(t, c.move(id, "21", nil), http.StatusBadRequest, told)
			refusal(t, c.do(http.MethodPut, "issue/"+id, object{"fields": object{"summary": "x"}}), http.StatusBadRequest, told)
			refusal(t, c.do(http.MethodPut, "issue/"+id+"/properties/p", 1), http.StatusBadRequest, told)
			refusal(t, c.do(http.MethodDelete, "issue/"+id+"/properties/p", nil), http.StatusBadRequest, told)
			for _, err := range []error{
				s.Move(id, "bob", "Approved"), s.SetField(id, "bob", "summary", "x"), s.DeleteIssue(id, "bob"),
				s.MoveToProject(id, "bob", "OLD"),
				s.ChangeType(id, "bob", "Bug", ""), s.Archive(id, "bob"), s.ForceStatus(id, "automation", "Approved"),
			} {
				require.Error(t, err)
			}

			require.NoError(t, s.Restore(id, "bob"))
			require.Error(t, s.Restore(id, "bob"))
			found, _ = c.find(cfg.Deployment, "project = OPS")
			require.ElementsMatch(t, []string{"OPS-1", "OPS-2"}, found)
			require.Equal(t, http.StatusCreated, c.post("issue/"+id+"/comment", object{"body": "x"}).status)
		})
	}
}

func TestATypeCanHaveAWorkflowOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			cfg.IssueTypes[1].Statuses = []string{"To Do", "Approved"}
			s, c := start(t, cfg)
			id := c.create()
			require.NoError(t, s.Move(id, "bob", "Pending"))
			var refused *jirasim.Refusal
			require.ErrorAs(t, s.ChangeType(id, "bob", "Bug", ""), &refused, "its workflow has no such status")
			require.ErrorAs(t, s.ChangeType(id, "bob", "Epic", "To Do"), &refused)
			require.NoError(t, s.ChangeType(id, "bob", "Bug", "To Do"))

			read := c.get("issue/" + id + "?expand=changelog")
			require.Equal(t, "Bug", at(t, read.body, "fields", "issuetype", "name"))
			issue, _ := s.Issue(id)
			last := issue.History[len(issue.History)-1]
			require.Equal(t, "bob", last.Author)
			require.Len(t, last.Items, 2, "type and status in one entry")
			offered := c.get("issue/" + id + "/transitions").body["transitions"].([]any)
			require.Len(t, offered, 1)
			require.Equal(t, "Approved", at(t, offered[0], "to", "name"))
			require.Error(t, s.Move(id, "bob", "Denied"))
			require.NoError(t, s.ChangeType(id, "bob", "Task", ""))
			require.NoError(t, s.Move(id, "bob", "Denied"))

			statuses := c.get("project/OPS/statuses").raw
			require.Contains(t, statuses, `"name":"Denied"`)
		})
	}
}
