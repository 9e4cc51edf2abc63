package jira

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"teleport-jira-agent/sync"
)

// sound answers a preflight of Cloud as it should be.
func sound(change routes) routes {
	all := routes{
		"GET /serverInfo": always(
			200,
			map[string]any{"deploymentType": "Cloud", "serverTime": "2026-11-22T10:00:00.000+0100"},
		),
		"GET /myself": always(200, map[string]any{"accountId": ownID, "displayName": "Agent", "active": true}),
		"GET /project/ACC": always(
			200,
			map[string]any{"id": "100", "key": "ACC", "issueTypes": []any{map[string]any{"id": "3", "name": "Task"}}},
		),
		"GET /field":         always(200, []any{textField(fieldID, "teleportAccessRequestId")}),
		"GET /mypermissions": always(200, permissions(needed...)),
		"GET /project/ACC/statuses": always(200, []any{
			map[string]any{"id": "3", "name": "Task", "statuses": []any{status("1", "Pending"), status("2", "Approved")}},
			map[string]any{"id": "4", "name": "Bug", "statuses": []any{status("9", "Denied")}},
		}),
	}
	maps.Copy(all, change)
	return all
}

func status(id, name string) map[string]any { return map[string]any{"id": id, "name": name} }

func textField(id, name string, change ...func(map[string]any)) map[string]any {
	f := map[string]any{
		"id":         id,
		"name":       name,
		"custom":     true,
		"searchable": true,
		"schema":     map[string]any{"type": "string"},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

func permissions(have ...string) map[string]any {
	all := map[string]any{"ADMINISTER": map[string]any{"havePermission": false}}
	for _, p := range have {
		all[p] = map[string]any{"havePermission": true}
	}
	return map[string]any{"permissions": all}
}

func TestConnectLearnsWhatItNeeds(t *testing.T) {
	t.Parallel()
	f := newFake(t, sound(nil))
	cfg := testConfig(f.URL)
	cfg.Statuses = []string{"pending", "2"}
	core, logs := observer.New(zapcore.WarnLevel)
	c, err := Connect(testContext(t), cfg, zap.New(core))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	require.Equal(t, Cloud, c.Deployment())
	require.Equal(t, sync.Person{AccountID: ownID, DisplayName: "Agent", Active: true, Agent: true}, c.Self())
	require.Equal(t, requestIDField{id: fieldID, number: "10042", name: "teleportAccessRequestId"}, c.field)
	require.Equal(t, f.URL+"/browse/ACC-1", c.cfg.IssueURL("ACC-1"))
	require.Empty(t, logs.All())
	asked := f.received("GET", "/mypermissions")
	require.Len(t, asked, 1)
	require.Equal(t, []string{"ACC"}, asked[0].query["projectKey"])
	require.Equal(
		t,
		[]string{"BROWSE_PROJECTS,CREATE_ISSUES,TRANSITION_ISSUES,ADD_COMMENTS"},
		asked[0].query["permissions"],
	)
}

func TestDeploymentIsWhatJiraSaysUnlessForced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		says       any
		configured Deployment
		want       Deployment
		warned     int
	}{
		{"Cloud", Auto, Cloud, 0},
		{"Server", Auto, DataCenter, 0},
		{nil, "", DataCenter, 0},
		{"Cloud", DataCenter, DataCenter, 1},
		{"Server", Cloud, Cloud, 1},
	} {
		f := newFake(t, sound(routes{"GET /serverInfo": always(200, map[string]any{"deploymentType": tt.says})}))
		cfg := testConfig(f.URL)
		cfg.Deployment = tt.configured
		core, logs := observer.New(zapcore.WarnLevel)
		c, err := Connect(testContext(t), cfg, zap.New(core))
		require.NoError(t, err)
		c.Close()
		require.Equal(t, tt.want, c.Deployment())
		require.Len(t, logs.All(), tt.warned)
	}
}

func TestConnectRefusesAndSaysWhy(t *testing.T) {
	t.Parallel()
	page := func(code int) func(seen) (int, any) {
		return always(0, func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			send(w, code, "<html>Log in</html>")
		})
	}
	const passing, lasting = false, true
	for name, tt := range map[string]struct {
		answers   routes
		permanent bool
		says      []string
	}{
		"no server":           {routes{"GET /serverInfo": page(502)}, passing, []string{"502"}},
		"starting":            {routes{"GET /serverInfo": always(503, nil)}, passing, []string{"503"}},
		"limited":             {routes{"GET /myself": always(429, nil)}, passing, []string{"429"}},
		"redirect":            {routes{"GET /serverInfo": always(302, nil)}, passing, []string{"JIRA_URL"}},
		"401":                 {routes{"GET /myself": always(401, jiraError("no"))}, lasting, []string{"JIRA_API_TOKEN", "JIRA_USERNAME"}},
		"403":                 {routes{"GET /myself": always(403, jiraError("no"))}, lasting, []string{"403"}},
		"login page":          {routes{"GET /myself": page(200)}, lasting, []string{"login page"}},
		"anonymous":           {routes{"GET /myself": always(200, map[string]any{})}, lasting, []string{"anonymous"}},
		"project unseen":      {routes{"GET /project/ACC": always(404, jiraError("No project"))}, lasting, []string{"JIRA_PROJECT", "No project"}},
		"project renamed":     {routes{"GET /project/ACC": always(200, map[string]any{"id": "100", "key": "NEW"})}, lasting, []string{"JIRA_PROJECT", `"NEW"`}},
		"field absent":        {routes{"GET /field": always(200, []any{textField("customfield_1", "Other")})}, lasting, []string{"JIRA_REQUEST_ID_FIELD", "create a text field"}},
		"field of the system": {routes{"GET /field": always(200, []any{textField("summary", "teleportAccessRequestId")})}, lasting, []string{"JIRA_REQUEST_ID_FIELD"}},
		"field ambiguous": {
			routes{"GET /field": always(200, []any{
				textField("customfield_2", "teleportAccessRequestId"),
				textField("customfield_1", "teleportAccessRequestId"),
			})},
			lasting,
			[]string{"JIRA_REQUEST_ID_FIELD", "customfield_1, customfield_2"},
		},
		"field is no text": {
			routes{"GET /field": always(200, []any{textField(fieldID, "teleportAccessRequestId", with("schema",
				map[string]any{"type": "option"}))})},
			lasting,
			[]string{"JIRA_REQUEST_ID_FIELD", "option"},
		},
		"field not searchable": {
			routes{"GET /field": always(200, []any{textField(fieldID, "teleportAccessRequestId", with("searchable", false))})},
			lasting,
			[]string{"JIRA_REQUEST_ID_FIELD", "searcher"},
		},
		"permissions": {
			routes{"GET /mypermissions": always(200, permissions("BROWSE_PROJECTS", "ADD_COMMENTS"))},
			lasting,
			[]string{"CREATE_ISSUES, TRANSITION_ISSUES", ownID},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, sound(tt.answers))
			_, err := Connect(testContext(t), testConfig(f.URL), zap.NewNop())
			e := asSyncError(t, err)
			require.Equal(t, sync.ScopeSide, e.Scope)
			require.Equal(t, tt.permanent, e.Permanent, err)
			for _, s := range tt.says {
				require.ErrorContains(t, err, s)
			}
			requireNoSecret(t, err.Error())
		})
	}
}

func TestConnectToleratesWhatItCanDoWithout(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answers routes
		warns   string
	}{
		"no statuses":            {routes{"GET /project/ACC/statuses": always(403, jiraError("no"))}, "statuses not checked"},
		"no permission endpoint": {routes{"GET /mypermissions": always(404, nil)}, "permissions not checked"},
		"a status lacks":         {nil, "a configured status is not in the project's workflow"},
		"the issue type lacks": {
			routes{"GET /project/ACC": always(200, map[string]any{"id": "100", "key": "ACC", "issueTypes": []any{status("5", "Story")}})},
			"the project does not list the issue type of JIRA_ISSUE_TYPE; creating issues may fail",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, sound(tt.answers))
			cfg := testConfig(f.URL)
			cfg.Statuses = []string{"Pending", "Denied"} // Denied is a status of another issue type
			core, logs := observer.New(zapcore.WarnLevel)
			c, err := Connect(testContext(t), cfg, zap.New(core))
			require.NoError(t, err)
			c.Close()
			require.Len(t, logs.FilterMessage(tt.warns).All(), 1)
		})
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(empty, []byte("nothing"), 0o600))
	for name, tt := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no URL":           {func(c *Config) { c.URL = "" }, "JIRA_URL"},
		"no scheme":        {func(c *Config) { c.URL = "jira.example.com" }, "JIRA_URL"},
		"with credentials": {func(c *Config) { c.URL = "https://u:" + secret + "@jira.example.com" }, "JIRA_URL"},
		"broken":           {func(c *Config) { c.URL = "https://u:" + secret + "@jira.example.com:x" }, "JIRA_URL"},
		"no token":         {func(c *Config) { c.Token = nil }, "JIRA_API_TOKEN"},
		"no project":       {func(c *Config) { c.Project = `A" OR "B` }, "JIRA_PROJECT"},
		"no CA file":       {func(c *Config) { c.CAFile = empty + "x" }, "JIRA_CA_FILE"},
		"empty CA file":    {func(c *Config) { c.CAFile = empty }, "JIRA_CA_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig("https://jira.invalid")
			tt.change(&cfg)
			_, err := Connect(testContext(t), cfg, zap.NewNop())
			require.True(t, asSyncError(t, err).Permanent)
			require.ErrorContains(t, err, tt.says)
			requireNoSecret(t, err.Error())
		})
	}
}

func TestFieldIsChosenWithinTheProject(t *testing.T) {
	t.Parallel()
	elsewhere := with("scope", map[string]any{"type": "PROJECT", "project": map[string]any{"id": "999"}})
	here := with("scope", map[string]any{"type": "PROJECT", "project": map[string]any{"id": "100"}})
	for name, tt := range map[string]struct {
		fields []any
		asked  string
		want   string
	}{
		"by id although the name is ambiguous": {[]any{textField("customfield_1", "f"), textField("customfield_2", "f")}, "customfield_2", "2"},
		"not that of another project":          {[]any{textField("customfield_1", "f", elsewhere), textField("customfield_2", "f", here)}, "f", "2"},
		"number as the schema says": {
			[]any{textField("customfield_1", "f", with("schema", map[string]any{"type": "string", "customId": 77}))}, "f", "77",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, sound(routes{"GET /field": always(200, tt.fields)}))
			cfg := testConfig(f.URL)
			cfg.RequestIDField = tt.asked
			c, err := Connect(testContext(t), cfg, zap.NewNop())
			require.NoError(t, err)
			c.Close()
			require.Equal(t, tt.want, c.field.number)
		})
	}
}

func TestNowIsJirasClock(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body map[string]any
		want time.Time
	}{
		"as it says":             {map[string]any{"serverTime": "2026-11-22T10:00:00.500+0100"}, time.Date(2026, 11, 22, 9, 0, 0, 5e8, time.UTC)},
		"as the Date header has": {map[string]any{}, time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, routes{"GET /serverInfo": always(0, func(w http.ResponseWriter) {
				w.Header().Set("Date", "Sun, 22 Nov 2026 08:00:00 GMT")
				send(w, 200, tt.body)
			})})
			c, _ := connected(t, f, Cloud)
			now, err := c.Now(testContext(t))
			require.NoError(t, err)
			require.Equal(t, tt.want, now)
		})
	}
}

func TestPrivateCAIsTrusted(t *testing.T) {
	t.Parallel()
	f := httptest.NewTLSServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { send(w, 200, map[string]any{}) }),
	)
	t.Cleanup(f.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(
		t,
		os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600),
	)
	pool := x509.NewCertPool()
	pool.AddCert(f.Certificate())
	for name, trust := range map[string]func(*Config){
		"by file": func(c *Config) { c.CAFile = file },
		"by pool": func(c *Config) { c.RootCAs = pool },
	} {
		cfg := testConfig(f.URL)
		trust(&cfg)
		c, err := newClient(cfg, zap.NewNop())
		require.NoError(t, err, name)
		require.NoError(t, c.get(testContext(t), "serverInfo"), name)
		c.Close()
	}
}
