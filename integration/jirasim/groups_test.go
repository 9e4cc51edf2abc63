package jirasim_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// listed is an answer that is a list.
func listed(t *testing.T, a reply) []object {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.raw)
	var items []object
	require.NoError(t, json.Unmarshal([]byte(a.raw), &items))
	return items
}

func TestGroupsOfAUserOnCloud(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Groups = append(cfg.Groups, jirasim.Group{Name: "auditors", ID: "276f955c"})
	s, c := start(t, cfg)
	const path = "user/groups?accountId=712020:bob"
	groups := listed(t, c.get(path))
	require.Len(t, groups, 2)
	require.Equal(t, "approvers", groups[0]["name"])
	require.NotEmpty(t, groups[0]["groupId"])
	require.NotEqual(t, groups[0]["groupId"], groups[1]["groupId"])
	require.Equal(
		t,
		groups[0]["groupId"],
		listed(t, c.get("user/groups?accountId=712020:alice"))[0]["groupId"],
		"a group has one id",
	)
	require.Empty(t, listed(t, c.get("user/groups?accountId=712020:agent")))

	s.UpdateUser("bob", func(u *jirasim.User) { u.Groups, u.Inactive = []string{"auditors"}, true })
	groups = listed(t, c.get(path))
	require.Len(t, groups, 1)
	require.Equal(t, "276f955c", groups[0]["groupId"])

	refusal(t, c.get("user/groups?accountId=nobody"), http.StatusNotFound, "does not exist")
	refusal(t, c.get("user/groups"), http.StatusBadRequest, "accountId")
	require.Equal(t, http.StatusNotFound, c.get("user?accountId=712020:bob").status, "not simulated")
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	refusal(t, c.get(path), http.StatusForbidden, "browse users and groups")
	refusal(t, c.get("user/groups?accountId=nobody"), http.StatusForbidden, "browse users and groups")
}

func TestGroupsOfAUserOnDataCenter(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.DataCenter))
	for _, path := range []string{"user?username=bob&expand=groups", "user?key=JIRAUSER10102&expand=groups", "user?key=JIRAUSER10102&username=alice&expand=groups"} {
		a := c.get(path)
		require.Equal(t, "JIRAUSER10102", at(t, a.body, "key"), path)
		require.Equal(t, true, at(t, a.body, "active"))
		require.EqualValues(t, 2, at(t, a.body, "groups", "size"))
		require.Equal(t, "approvers", at(t, a.body, "groups", "items", 0, "name"))
		require.NotContains(t, at(t, a.body, "groups", "items", 0), "groupId")
		require.Len(t, at(t, a.body, "groups", "items"), 2)
	}
	bare := c.get("user?username=bob")
	require.EqualValues(t, 2, at(t, bare.body, "groups", "size"), "their number shows always")
	require.Empty(t, at(t, bare.body, "groups", "items"))

	s.UpdateUser("bob", func(u *jirasim.User) { u.Inactive = true })
	require.Equal(t, false, at(t, c.get("user?username=bob").body, "active"))
	refusal(t, c.get("user?username=nobody"), http.StatusNotFound, "The user named 'nobody' does not exist")
	refusal(t, c.get("user?key=nobody"), http.StatusNotFound, "The user with the key 'nobody' does not exist")
	refusal(t, c.get("user"), http.StatusBadRequest, "username")
	require.Equal(t, http.StatusNotFound, c.get("user/groups?username=bob").status, "Cloud only")
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
	refusal(t, c.get("user?username=bob"), http.StatusForbidden, "browse users and groups")
}

func TestGroupsMustBeConfigured(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Users[1].Groups = []string{"nobodies"}
	require.PanicsWithValue(
		t,
		`jirasim: bad Config: user alice is in unknown group "nobodies"`,
		func() { jirasim.New(cfg) },
	)
	s := jirasim.New(jirasim.Example(jirasim.Cloud))
	require.Panics(t, func() { s.UpdateUser("bob", func(u *jirasim.User) { u.Groups = []string{"nobodies"} }) })
}

func TestBrowsingUsersIsAGlobalPermission(t *testing.T) {
	t.Parallel()
	_, c := start(t, jirasim.Example(jirasim.Cloud))
	a := c.get("mypermissions?permissions=USER_PICKER,BROWSE_PROJECTS")
	require.Equal(t, true, at(t, a.body, "permissions", "USER_PICKER", "havePermission"))
	require.Equal(t, "GLOBAL", at(t, a.body, "permissions", "USER_PICKER", "type"))
	require.Equal(t, "PROJECT", at(t, a.body, "permissions", "BROWSE_PROJECTS", "type"))
}

func TestCommentsArePublicUnlessMadeInternal(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			require.Equal(t, "service_desk", at(t, c.get("project/HELP").body, "projectTypeKey"))
			require.Equal(t, "software", at(t, c.get("project/OPS").body, "projectTypeKey"))
			a := c.post("issue", draft(object{"project": object{"key": "HELP"}}))
			require.Equal(t, http.StatusCreated, a.status, a.raw)
			id := at(t, a.body, "id").(string)
			for _, value := range []any{nil, object{"internal": true}, object{"internal": false}, object{}, "true", object{"internal": "true"}} {
				body := object{"body": "x"}
				if value != nil {
					body["properties"] = []object{{"key": "sd.public.comment", "value": value}}
				}
				require.Equal(t, http.StatusCreated, c.post("issue/"+id+"/comment", body).status)
			}
			_, err := s.Comment(id, "bob", "hello")
			require.NoError(t, err)

			issue, _ := s.Issue(id)
			shown := at(t, c.get("issue/"+id+"/comment").body, "comments")
			for i, public := range []bool{true, false, true, true, true, true, true} {
				require.Equal(t, public, issue.Comments[i].JSDPublic, "comment %d", i)
				if cfg.Deployment == jirasim.Cloud {
					require.Equal(t, public, at(t, shown, i, "jsdPublic"))
				} else {
					require.NotContains(t, at(t, shown, i), "jsdPublic")
				}
			}
		})
	}
}
