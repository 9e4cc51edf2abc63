package jirasim_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

func TestATokenMayDoWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Credentials[0].Scopes = []string{jirasim.ReadWork}
	_, c := start(t, cfg)
	require.Equal(t, http.StatusOK, c.get("field").status)
	require.Equal(t, http.StatusOK, c.post("search/jql", object{"jql": "project = OPS"}).status)
	for _, refused := range []reply{c.get("myself"), c.post("issue", draft(nil)), c.get("screens"), c.get("field/search?type=custom")} {
		require.Equal(t, http.StatusUnauthorized, refused.status)
		require.JSONEq(t, `{"code":401,"message":"Unauthorized; scope does not match"}`, refused.raw)
	}
}

func TestGroupsArePickedByCaseAndCapped(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		for range 30 {
			cfg.Groups = append(cfg.Groups, jirasim.Group{Name: "Team " + string(rune('A'+len(cfg.Groups)))})
		}
		_, c := start(t, cfg)
		picked := func(query string) (shown, total any) {
			body := c.get("groups/picker?maxResults=50&query=" + query).body
			groups, _ := at(t, body, "groups").([]any)
			return len(groups), at(t, body, "total")
		}
		shown, total := picked("Team")
		require.Equal(t, 20, shown)
		require.InDelta(t, 30, total, 0)
		shown, _ = picked("team")
		require.Equal(t, map[jirasim.Deployment]any{jirasim.Cloud: 0, jirasim.DataCenter: 20}[cfg.Deployment], shown)
		shown, _ = picked("team&caseInsensitive=true")
		require.Equal(t, 20, shown)
	}
}

func TestTextsThatJiraDoesNotStore(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.MaxText, cfg.Unstorable = 1000, "😀"
	s, c := start(t, cfg)
	long := string(make([]byte, 1001))
	id := c.create()
	fieldRefusal(t, c.post("issue", draft(object{"description": "x" + long})), "description", "1,000")
	fieldRefusal(t, c.post("issue/"+id+"/comment", object{"body": "x" + long}), "comment", "1,000")
	require.Equal(t, http.StatusInternalServerError, c.post("issue", draft(object{"description": "😀"})).status)
	require.Equal(t, http.StatusInternalServerError, c.post("issue/"+id+"/comment", object{"body": "😀"}).status)
	require.Len(t, s.Issues(), 1)
}
