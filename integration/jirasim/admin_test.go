package jirasim_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

const (
	textField    = "com.atlassian.jira.plugin.system.customfieldtypes:textfield"
	textSearcher = "com.atlassian.jira.plugin.system.customfieldtypes:textsearcher"
)

// administered is an example without any custom field, whose agent may administer Jira.
func administered(d jirasim.Deployment) jirasim.Config {
	cfg := jirasim.Example(d)
	cfg.Fields = nil
	cfg.Users = slices.Clone(cfg.Users)
	cfg.Users[0].Permissions = append(jirasim.AllPermissions(), jirasim.Administer)
	return cfg
}

func administeredBoth() []jirasim.Config {
	return []jirasim.Config{administered(jirasim.Cloud), administered(jirasim.DataCenter)}
}

// newField makes a searchable text field through REST and returns its id.
func (c *client) newField(name string) string {
	c.t.Helper()
	a := c.post("field", object{"name": name, "type": textField, "searcherKey": textSearcher})
	require.Equal(c.t, http.StatusCreated, a.status, a.raw)
	return at(c.t, a.body, "id").(string)
}

// offered reports whether the create metadata of a project and type show the field.
func (c *client) offered(project, typ, field string) bool {
	c.t.Helper()
	a := c.get("issue/createmeta/" + project + "/issuetypes/" + typ)
	require.Equal(c.t, http.StatusOK, a.status, a.raw)
	return strings.Contains(a.raw, `"fieldId":"`+field+`"`)
}

func TestNewFieldIsOnNoScreenUntilItIsPutThere(t *testing.T) {
	t.Parallel()
	for _, cfg := range administeredBoth() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			_, c := start(t, cfg)
			id := c.newField("Request")
			require.NotEqual(t, id, c.newField("Request"), "names may repeat")
			require.Equal(
				t,
				cfg.Deployment == jirasim.DataCenter,
				strings.Contains(c.get("field").raw, id),
				"Cloud leaves out what is on no screen",
			)
			require.False(t, c.offered("OPS", "10200", id))
			fieldRefusal(t, c.post("issue", draft(object{"customfield_10042": nil, id: "x"})), id, "cannot be set")

			require.Equal(t, http.StatusOK, c.post("screens/addToDefault/"+id, object{}).status)
			require.Contains(t, c.get("field").raw, id)
			refusal(t, c.post("screens/addToDefault/"+id, object{}), http.StatusBadRequest, "already exists on the screen")
			refusal(t, c.post("screens/addToDefault/customfield_9", object{}), http.StatusBadRequest, "does not exist")
			require.True(t, c.offered("OPS", "10200", id))
			require.Equal(t, http.StatusCreated, c.post("issue", draft(object{"customfield_10042": nil, id: "x"})).status)
		})
	}
}

func TestFieldWithoutSearcherIsUnsearchable(t *testing.T) {
	t.Parallel()
	for _, cfg := range administeredBoth() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			a := c.post("field", object{"name": "Dark", "description": "for tests", "type": textField})
			require.Equal(t, http.StatusCreated, a.status, a.raw)
			require.Equal(t, false, a.body["searchable"])
			id := a.body["id"].(string)
			search := func() reply {
				path := map[jirasim.Deployment]string{jirasim.Cloud: "search/jql", jirasim.DataCenter: "search"}[cfg.Deployment]
				return c.post(path, object{"jql": `project = OPS and "Dark" ~ "x"`})
			}
			require.Equal(t, http.StatusBadRequest, search().status)
			if cfg.Deployment == jirasim.DataCenter {
				require.Equal(
					t,
					http.StatusNotFound,
					c.do(http.MethodPut, "field/"+id, object{"searcherKey": textSearcher}).status,
					"only Cloud can change it by REST",
				)
				s.MakeSearchable(id)
			} else {
				fieldRefusal(
					t,
					c.do(http.MethodPut, "field/"+id, object{"searcherKey": textSearcher + "x"}),
					"searcherKey",
					"Invalid searcher",
				)
				require.Equal(
					t,
					http.StatusNoContent,
					c.do(http.MethodPut, "field/"+id, object{"searcherKey": textSearcher}).status,
				)
			}
			require.Equal(t, http.StatusOK, search().status, search().raw)
		})
	}
}

func TestFieldDefinitionIsChecked(t *testing.T) {
	t.Parallel()
	for _, cfg := range administeredBoth() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			_, c := start(t, cfg)
			fieldRefusal(t, c.post("field", object{"name": " ", "type": textField}), "name", "must specify a name")
			fieldRefusal(t, c.post("field", object{"name": "a", "type": "textfield"}), "type", "Invalid custom field type")
			fieldRefusal(
				t,
				c.post("field", object{"name": "a", "type": textField, "searcherKey": "textsearcher"}),
				"searcherKey",
				"Invalid searcher",
			)
			limited := c.post(
				"field",
				object{"name": "a", "type": textField, "projectIds": []int{10101}, "issueTypeIds": []string{"10201"}},
			)
			if cfg.Deployment == jirasim.Cloud {
				require.Equal(t, http.StatusBadRequest, limited.status, "Cloud limits fields by their contexts")
				return
			}
			id := limited.body["id"].(string)
			c.post("screens/addToDefault/"+id, object{})
			require.False(t, c.offered("OPS", "10201", id))
			require.False(t, c.offered("OLD", "10200", id))
			require.True(t, c.offered("OLD", "10201", id))
			require.Contains(t, c.get("customFields?search=A").raw, `"isAllProjects":false`)
		})
	}
}

func TestContextsSayWhereAFieldIs(t *testing.T) {
	t.Parallel()
	cfg := administered(jirasim.Cloud)
	cfg.Fields = []jirasim.Field{
		{ID: "customfield_10042", Name: "Limited", Type: jirasim.TextField, Projects: []string{"OLD"}},
		{ID: "customfield_10043", Name: "Nowhere", Type: jirasim.TextField, Projects: []string{}},
		{ID: "customfield_10044", Name: "Everywhere", Type: jirasim.TextField},
	}
	_, c := start(t, cfg)
	require.False(t, c.offered("OPS", "10200", "customfield_10042"))
	require.True(t, c.offered("OLD", "10200", "customfield_10042"))
	fieldRefusal(t, c.post("issue", draft(nil)), "customfield_10042", "cannot be set")
	require.NotContains(t, c.get("field").raw, "customfield_10043", "a field without a context is hidden")
	require.Contains(
		t,
		c.get("field/search?type=custom&query=nowh").raw,
		"customfield_10043",
		"administrators find it all the same",
	)

	id := at(t, c.get("field/customfield_10042/context").body, "values", 0, "id").(string)
	mapping := c.get("field/customfield_10042/context/projectmapping?contextId=" + id)
	require.Equal(t, "10101", at(t, mapping.body, "values", 0, "projectId"))
	refusal(
		t,
		c.do(http.MethodPut, "field/customfield_10042/context/"+id+"/project", object{"projectIds": []string{"10101"}}),
		http.StatusBadRequest,
		"already associated",
	)
	refusal(
		t,
		c.do(http.MethodPut, "field/customfield_10042/context/1/project", object{"projectIds": []string{"10100"}}),
		http.StatusNotFound,
		"context was not found",
	)
	require.Equal(
		t,
		http.StatusNoContent,
		c.do(
			http.MethodPut,
			"field/customfield_10042/context/"+id+"/project",
			object{"projectIds": []string{"10100"}},
		).status,
	)
	require.True(t, c.offered("OPS", "10200", "customfield_10042"))

	made := c.post(
		"field/customfield_10043/context",
		object{"name": "Ops", "projectIds": []string{"10100"}, "issueTypeIds": []string{"10201"}},
	)
	require.Equal(t, http.StatusCreated, made.status, made.raw)
	require.True(t, c.offered("OPS", "10201", "customfield_10043"))
	require.False(t, c.offered("OPS", "10200", "customfield_10043"))

	bugs := at(t, made.body, "id").(string)
	require.Contains(t, c.get("field/customfield_10043/context/issuetypemapping").raw, `"issueTypeId":"10201"`)
	types := "field/customfield_10043/context/" + bugs + "/issuetype"
	require.Equal(
		t,
		http.StatusBadRequest,
		c.do(http.MethodPut, types, object{"issueTypeIds": []string{"10201"}}).status,
		"it is there",
	)
	require.Equal(t, http.StatusNoContent, c.do(http.MethodPut, types, object{"issueTypeIds": []string{"10200"}}).status)
	require.True(t, c.offered("OPS", "10200", "customfield_10043"))

	global := at(t, c.get("field/customfield_10044/context/projectmapping").body, "values", 0).(object)
	require.Equal(t, true, global["isGlobalContext"])
	refusal(
		t,
		c.do(
			http.MethodPut,
			"field/customfield_10044/context/"+global["contextId"].(string)+"/project",
			object{"projectIds": []string{"10100"}},
		),
		http.StatusBadRequest,
		"global context",
	)
	require.True(t, c.offered("OPS", "10200", "customfield_10044"))
	require.Equal(
		t,
		http.StatusCreated,
		c.post(
			"field/customfield_10044/context",
			object{"name": "Ops", "projectIds": []string{"10100"}, "issueTypeIds": []string{"10201"}},
		).status,
	)
	require.False(t, c.offered("OPS", "10200", "customfield_10044"), "the project's own context overrides the global one")
	refusal(
		t,
		c.post("field/customfield_10044/context", object{"name": "Second"}),
		http.StatusBadRequest,
		"already has a global context",
	)
}

func TestProjectsLeadToTheirScreens(t *testing.T) {
	t.Parallel()
	cfg := administered(jirasim.Cloud)
	cfg.Screens = []jirasim.Screen{
		{Name: "OPS: Create", Fields: []string{"summary"}},
		{Name: "OPS: Bugs", Fields: []string{"summary"}},
	}
	cfg.Projects[0].Screens = jirasim.ScreenScheme{Create: "OPS: Create"}
	cfg.Projects[0].TypeScreens = map[string]jirasim.ScreenScheme{"Bug": {Create: "OPS: Bugs"}}
	cfg.Projects = append(cfg.Projects, jirasim.Project{ID: "10103", Key: "TEAM", Name: "Team", TeamManaged: true})
	s, c := start(t, cfg)
	id := c.newField("Request")

	scheme := at(t, c.get("issuetypescreenscheme/project?projectId=10100").body, "values", 0, "issueTypeScreenScheme",
		"id").(string)
	mapping := c.get("issuetypescreenscheme/mapping?issueTypeScreenSchemeId=" + scheme)
	require.Equal(t, "default", at(t, mapping.body, "values", 0, "issueTypeId"))
	require.Equal(t, "10201", at(t, mapping.body, "values", 1, "issueTypeId"))
	screens := at(t, c.get("screenscheme?id="+at(t, mapping.body, "values", 1, "screenSchemeId").(string)).body,
		"values", 0, "screens").(object)
	require.Len(t, screens, 2, "create and default")
	screen := jsonNumber(screens["create"])
	tab := jsonNumber(at(t, decodeList(t, c.get("screens/"+screen+"/tabs").raw), 0, "id"))
	path := "screens/" + screen + "/tabs/" + tab + "/fields"
	require.NotContains(t, c.get(path).raw, id)
	require.Equal(t, http.StatusNotFound, c.get("screens/"+screen+"/tabs/1/fields").status)
	require.Equal(t, http.StatusOK, c.post(path, object{"fieldId": id}).status)
	require.Contains(t, c.get(path).raw, id)
	require.True(t, c.offered("OPS", "10201", id))
	require.False(t, c.offered("OPS", "10200", id), "tasks have another screen")
	s.AddFieldToScreen(id, "OPS: Create")
	require.True(t, c.offered("OPS", "10200", id))
	s.RemoveFieldFromScreen(id, "OPS: Create")
	require.False(t, c.offered("OPS", "10200", id))

	require.Empty(
		t,
		at(t, c.get("issuetypescreenscheme/project?projectId=10103").body, "values"),
		"a team-managed project has no screens",
	)
	require.Equal(t, http.StatusBadRequest, c.get("issuetypescreenscheme/project").status)
}

func TestTeamManagedProjectHasItsOwnFieldsAlone(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Projects = append(cfg.Projects, jirasim.Project{ID: "10103", Key: "TEAM", Name: "Team", TeamManaged: true})
	cfg.Fields = append(
		cfg.Fields,
		jirasim.Field{
			ID:        "customfield_10090",
			Name:      "teleportAccessRequestId",
			Type:      jirasim.TextField,
			Project:   "TEAM",
			OffScreen: true,
		},
	)
	s, c := start(t, cfg)
	project := c.get("project/TEAM").body
	require.Equal(t, "next-gen", project["style"])
	require.Equal(t, true, project["simplified"])
	require.Equal(t, "classic", c.get("project/OPS").body["style"])
	require.Contains(t, c.get("field").raw, `"scope":{"project":{"id":"10103"},"type":"PROJECT"}`)
	require.False(t, c.offered("TEAM", "10200", "customfield_10042"))
	require.False(t, c.offered("TEAM", "10200", "customfield_10090"))
	require.False(t, c.offered("OPS", "10200", "customfield_10090"))
	s.AddFieldToScreen("customfield_10090", "")
	require.True(t, c.offered("TEAM", "10200", "customfield_10090"))
}

func TestOnlyAdministratorsAdminister(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			type call struct {
				method, path string
				cloud        bool
			}
			calls := []call{
				{"POST", "field", false},
				{"GET", "screens", false},
				{"GET", "screens/1/tabs", false},
				{"GET", "screens/1/tabs/10/fields", false},
				{"POST", "screens/1/tabs/10/fields", false},
				{"POST", "screens/addToDefault/customfield_10042", false},
				{"PUT", "field/customfield_10042", true},
				{"GET", "field/customfield_10042/context", true},
				{"POST", "field/customfield_10042/context", true},
				{"GET", "field/customfield_10042/context/projectmapping", true},
				{"PUT", "field/customfield_10042/context/1/project", true},
				{"GET", "issuetypescreenscheme/project?projectId=10100", true},
				{"GET", "issuetypescreenscheme/mapping", true},
				{"GET", "screenscheme", true},
			}
			for _, call := range calls {
				want := http.StatusForbidden
				if call.cloud && cfg.Deployment == jirasim.DataCenter {
					want = http.StatusNotFound
				}
				got := c.do(call.method, call.path, object{}).status
				require.True(
					t,
					got == want || want == http.StatusNotFound && got == http.StatusMethodNotAllowed,
					"%s %s: %d",
					call.method,
					call.path,
					got,
				)
			}
			s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = append(u.Permissions, jirasim.AdministerProjects) })
			require.Equal(t, http.StatusOK, c.get("screens/1/tabs?projectKey=OPS").status, "a project's administrators may look")
			require.Equal(t, http.StatusForbidden, c.get("screens/1/tabs").status)
			may := c.get("mypermissions?projectKey=OPS&permissions=ADMINISTER,ADMINISTER_PROJECTS")
			require.Equal(t, false, at(t, may.body, "permissions", "ADMINISTER", "havePermission"))
			require.Equal(t, true, at(t, may.body, "permissions", "ADMINISTER_PROJECTS", "havePermission"))
		})
	}
}

func TestEditsAskTheEditScreen(t *testing.T) {
	t.Parallel()
	for _, cfg := range administeredBoth() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			field := s.AddField(jirasim.Field{Name: "Request", Type: jirasim.TextField, NoScreen: true})
			id := at(t, c.post("issue", draft(object{"customfield_10042": nil})).body, "id").(string)
			edit := func() reply { return c.do(http.MethodPut, "issue/"+id, object{"fields": object{field: "x"}}) }
			fieldRefusal(t, edit(), field, "cannot be set")
			s.AddFieldToScreen(field, jirasim.DefaultScreen)
			require.Equal(t, http.StatusNoContent, edit().status)
			s.RemoveField(field)
			fieldRefusal(t, edit(), field, "unknown")
			require.NotContains(t, c.get("issue/"+id).raw, field)
		})
	}
}

func TestAdministratorsBringAProjectToWork(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.DataCenter)
	cfg.Fields, cfg.Transitions, cfg.Statuses = nil, nil, cfg.Statuses[:1]
	cfg.IssueTypes = []jirasim.IssueType{{ID: "10200", Name: "Task", Statuses: []string{"To Do"}}}
	s, c := start(t, cfg)
	field := s.AddField(jirasim.Field{Name: "Request", Type: jirasim.TextField, Projects: []string{"OLD"}})
	require.False(t, c.offered("OPS", "10200", field))
	s.SetFieldProjects(field)
	require.True(t, c.offered("OPS", "10200", field))
	s.SetRequired(field)
	fieldRefusal(t, c.post("issue", draft(object{"customfield_10042": nil})), field, "Request is required.")
	s.SetRequired()
	s.AddStatus(jirasim.Status{ID: "10301", Name: "Pending", Category: "indeterminate"})
	require.Contains(t, c.get("project/OPS/statuses").raw, "Pending")
	id := at(t, c.post("issue", draft(object{"customfield_10042": nil, field: "x"})).body, "id").(string)
	require.Error(t, s.Move(id, "alice", "Pending"))
	s.AddTransition(jirasim.Transition{ID: "1", Name: "Queue", To: "Pending"})
	require.NoError(t, s.Move(id, "alice", "Pending"))
	s.RemoveTransition("1")
	require.Error(t, s.Move(id, "alice", "Pending"))
	s.AddIssueType(jirasim.IssueType{ID: "10209", Name: "Access"})
	require.Contains(t, c.get("issue/createmeta/OPS/issuetypes").raw, "Access")
	require.Panics(t, func() { s.AddTransition(jirasim.Transition{ID: "2", To: "Nowhere"}) })
}

func TestPersonalAccessTokensEnd(t *testing.T) {
	t.Parallel()
	clock := newClock()
	cfg := jirasim.Example(jirasim.DataCenter)
	cfg.Now = clock.Now
	cfg.Credentials = append(
		cfg.Credentials,
		jirasim.Credential{User: "agent", Token: "short", Expires: clock.Now().Add(time.Hour)},
	)
	s := jirasim.New(cfg)
	base, stop := s.Start()
	t.Cleanup(stop)
	c := connect(t, base).as("", "short")
	list := func() *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/rest/pat/latest/tokens", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer short")
		response, err := c.http.Do(r)
		require.NoError(t, err)
		return response
	}
	response := list()
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, 1, s.CallCount("GET /rest/pat/latest/tokens"))
	require.Equal(t, http.StatusOK, c.get("myself").status)
	clock.advance(time.Hour)
	require.Equal(t, http.StatusUnauthorized, c.get("myself").status)
	late := list()
	defer late.Body.Close()
	require.Equal(t, http.StatusUnauthorized, late.StatusCode)
}

func TestDefaultFillsARequiredField(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Fields = append(
		cfg.Fields,
		jirasim.Field{ID: "customfield_10050", Name: "Team", Type: jirasim.TextField, Default: "IT"},
	)
	cfg.Required = []string{"customfield_10050"}
	s, c := start(t, cfg)
	id := c.create()
	issue, _ := s.Issue(id)
	require.Equal(t, "IT", issue.Text("customfield_10050"))
	require.Contains(t, c.get("issue/createmeta/OPS/issuetypes/10200").raw, `"defaultValue":"IT"`)
}
