package jirasim_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"teleport-jira-agent/integration/jirasim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerInfoNeedsNoAuthentication(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			_, c := start(t, cfg)
			a := c.as("", "").get("serverInfo")
			require.Equal(t, http.StatusOK, a.status)
			require.Equal(t, string(cfg.Deployment), a.body["deploymentType"])
			require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$`, a.body["serverTime"])
		})
	}
}

func TestWrongCredentialsAreRefusedEverywhereElse(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			_, c := start(t, cfg)
			for _, path := range []string{"myself", "field", "project/OPS", "issue/10001", "mypermissions?permissions=BROWSE_PROJECTS"} {
				for _, who := range []*client{c.as("", ""), c.as(jirasim.AgentUsername, "wrong"), c.as("", "wrong")} {
					refusal(t, who.get(path), http.StatusUnauthorized, "authenticated")
				}
			}
		})
	}
}

func TestBearerTokenIsTakenOnDataCenterOnlyByDefault(t *testing.T) {
	t.Parallel()
	_, dataCenter := start(t, jirasim.Example(jirasim.DataCenter))
	require.Equal(t, http.StatusOK, dataCenter.as("", jirasim.AgentToken).get("myself").status)
	require.Equal(t, http.StatusOK, dataCenter.get("myself").status)

	s, cloud := start(t, jirasim.Example(jirasim.Cloud))
	require.Equal(t, http.StatusUnauthorized, cloud.as("", jirasim.AgentToken).get("myself").status)
	s.SetCredentials(jirasim.Credential{User: "agent", Token: "service"})
	require.Equal(t, http.StatusOK, cloud.as("", "service").get("myself").status)
	require.Equal(t, http.StatusUnauthorized, cloud.get("myself").status, "the old credential is gone")
}

func TestInactiveAccountCannotLogIn(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.UpdateUser("agent", func(u *jirasim.User) { u.Inactive = true })
	require.Equal(t, http.StatusUnauthorized, c.get("myself").status)
}

func TestMyselfTellsTheZoneInWhichDatesAreRead(t *testing.T) {
	t.Parallel()
	_, c := start(t, jirasim.Example(jirasim.Cloud))
	a := c.get("myself")
	require.Equal(t, "America/St_Johns", a.body["timeZone"])
	require.Equal(t, "712020:agent", a.body["accountId"])
	require.NotContains(t, a.body, "name")

	_, c = start(t, jirasim.Example(jirasim.DataCenter))
	a = c.get("myself")
	require.Equal(t, "agent", a.body["name"])
	require.Equal(t, "JIRAUSER10100", a.body["key"])
	require.NotContains(t, a.body, "accountId")
}

func TestMyPermissions(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			s.UpdateUser("agent", func(u *jirasim.User) {
				u.Permissions = []string{jirasim.BrowseProjects, jirasim.CreateIssues}
			})
			a := c.get("mypermissions?projectKey=OPS&permissions=CREATE_ISSUES,ADD_COMMENTS")
			require.Equal(t, true, at(t, a.body, "permissions", "CREATE_ISSUES", "havePermission"))
			require.Equal(t, false, at(t, a.body, "permissions", "ADD_COMMENTS", "havePermission"))
			refusal(t, c.get("mypermissions?permissions=FLY"), http.StatusBadRequest, "FLY")
			require.Equal(t, http.StatusNotFound, c.get("mypermissions?projectKey=NOPE&permissions=CREATE_ISSUES").status)

			without := c.get("mypermissions")
			if cfg.Deployment == jirasim.Cloud {
				refusal(t, without, http.StatusBadRequest, "permissions")
			} else {
				require.Equal(t, true, at(t, without.body, "permissions", "BROWSE_PROJECTS", "havePermission"))
			}
		})
	}
}

func TestProjectAndItsStatuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			require.Equal(t, "Operations", c.get("project/OPS").body["name"])
			refusal(t, c.get("project/NOPE"), http.StatusNotFound, "No project could be found with key 'NOPE'.")
			require.Contains(t, c.get("project/OPS/statuses").raw, `"name":"Approved"`)
			s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{} })
			require.Equal(t, http.StatusNotFound, c.get("project/OPS").status)
			require.Equal(t, http.StatusNotFound, c.get("project/OPS/statuses").status)
			require.NotContains(t, c.get("field").raw, "customfield_10042", "fields of invisible projects are hidden")
		})
	}
}

func TestFieldsShowNameIDAndSearcher(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Fields = append(
		cfg.Fields,
		jirasim.Field{ID: "customfield_10043", Name: "Dark", Type: jirasim.TextField, Unsearchable: true},
	)
	_, c := start(t, cfg)
	raw := c.get("field").raw
	require.Contains(
		t,
		raw,
		`"clauseNames":["cf[10042]","teleportAccessRequestId"],"custom":true,"id":"customfield_10042"`,
	)
	require.Regexp(
		t,
		`"id":"customfield_10043"[^{]*"schema":\{"custom":"com.atlassian.jira.plugin.system.customfieldtypes:textfield","customId":10043,"type":"string"\},"searchable":false`,
		raw,
	)
}

func TestCreateMetadata(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			cfg.Required = []string{"duedate"}
			cfg.Fields = append(
				cfg.Fields,
				jirasim.Field{ID: "customfield_10050", Name: "Hidden", Type: jirasim.TextField, OffScreen: true},
			)
			_, c := start(t, cfg)
			types, fields := "issueTypes", "fields"
			if cfg.Deployment == jirasim.DataCenter {
				types, fields = "values", "values"
			}
			require.Equal(t, "Task", at(t, c.get("issue/createmeta/OPS/issuetypes").body, types, 0, "name"))
			a := c.get("issue/createmeta/OPS/issuetypes/10200")
			required := map[any]any{}
			for _, f := range at(t, a.body, fields).([]any) {
				required[at(t, f, "fieldId")] = at(t, f, "required")
			}
			require.Equal(t, true, required["duedate"])
			require.Equal(t, false, required["customfield_10042"])
			require.NotContains(t, required, "customfield_10050")
			require.Equal(t, http.StatusNotFound, c.get("issue/createmeta/OPS/issuetypes/1").status)
			require.Equal(t, http.StatusNotFound, c.get("issue/createmeta").status, "the old form was removed")
		})
	}
}

func TestUnknownEndpoints(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			_, c := start(t, cfg)
			require.Equal(t, http.StatusNotFound, c.get("nothing/here").status)
			require.Equal(t, http.StatusMethodNotAllowed, c.do(http.MethodDelete, "field", nil).status)
		})
	}
	t.Run("of Cloud on Data Center", func(t *testing.T) {
		t.Parallel()
		_, c := start(t, jirasim.Example(jirasim.DataCenter))
		id := c.create()
		require.Equal(t, http.StatusNotFound, c.post("search/jql", object{"jql": "project = OPS"}).status)
		require.Equal(t, http.StatusNotFound, c.get("issue/"+id+"/changelog").status)
		require.Equal(
			t,
			http.StatusMethodNotAllowed,
			c.post("issue/bulkfetch", object{"issueIdsOrKeys": []string{id}}).status,
		)
	})
	t.Run("the old search on Cloud", func(t *testing.T) {
		t.Parallel()
		_, c := start(t, jirasim.Example(jirasim.Cloud))
		refusal(t, c.get("search?jql=project=OPS"), http.StatusGone, "The requested API has been removed")
		refusal(t, c.post("search", object{"jql": "project = OPS"}), http.StatusGone, "CHANGE-2046")
	})
}

func TestBasePath(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.BasePath = "/ex/jira/1-2-3"
	s, c := start(t, cfg)
	id := c.create()
	a := c.get("issue/" + id)
	require.Equal(t, c.base+"/rest/api/2/issue/"+id, a.body["self"])
	require.Equal(t, 1, s.CallCount("GET issue/{issue}"))
	c.base = c.base[:len(c.base)-len(cfg.BasePath)]
	require.Equal(t, http.StatusNotFound, c.get("issue/"+id).status)
}

func TestBodiesMustBeJSONThatTheOperationKnows(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			for _, body := range []string{"", "{", `{"fields":{}} {}`, `{"field":{}}`} {
				require.Equal(t, http.StatusBadRequest, c.post("issue", body).status, body)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/rest/api/2/issue", http.NoBody)
			require.NoError(t, err)
			r.SetBasicAuth(c.username, c.token)
			response, err := c.http.Do(r)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, http.StatusUnsupportedMediaType, response.StatusCode)
			require.Empty(t, s.Issues())
		})
	}
}

func TestConfigThatContradictsItselfPanics(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*jirasim.Config){
		"deployment":     func(c *jirasim.Config) { c.Deployment = "Moon" },
		"initial status": func(c *jirasim.Config) { c.Initial = "Nowhere" },
		"transition":     func(c *jirasim.Config) { c.Transitions[0].To = "Nowhere" },
		"field id":       func(c *jirasim.Config) { c.Fields[0].ID = "10042" },
		"credential":     func(c *jirasim.Config) { c.Credentials[0].User = "nobody" },
		"endpoint":       func(c *jirasim.Config) { c.EndpointLimits = map[string]jirasim.RateLimit{"GET nothing": {}} },
		"time zone":      func(c *jirasim.Config) { c.Users[0].TimeZone = "Moon/Crater" },
	} {
		cfg := jirasim.Example(jirasim.Cloud)
		spoil(&cfg)
		require.Panics(t, func() { jirasim.New(cfg) }, name)
	}
}
