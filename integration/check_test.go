package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

// check, as an operator runs it: each precondition that is broken has a line of its own, with the
// remedy.

const (
	cloud      = jirasim.Cloud
	dataCenter = jirasim.DataCenter
)

// broken is one precondition that does not hold.
type broken struct {
	on  on
	env []string
	// more breaks what a system has beside its configuration, and returns further changes of the
	// environment.
	more func(t *testing.T, s *system) []string

	check     string
	condition sync.Condition
	found     string // a part of what is said to be found
	remedy    string // a part of the remedy
}

// findingsOf runs check and returns the findings by their names, and the exit code.
func (s *system) findingsOf(env []string) (found map[string]sync.Finding, code int) {
	s.t.Helper()
	r := s.commandWith(env, "check", "--json")
	require.Empty(s.t, r.errors)
	var report struct {
		OK       bool
		Findings []sync.Finding
	}
	require.NoError(s.t, json.Unmarshal([]byte(r.out), &report), r.out)
	require.Equal(s.t, r.code == 0, report.OK)
	found = make(map[string]sync.Finding)
	for _, f := range report.Findings {
		require.NotContains(s.t, found, f.Check, "two findings of one name")
		found[f.Check] = f
	}
	return found, r.code
}

func TestCheckNamesEachBrokenPreconditionAndItsRemedy(t *testing.T) {
	t.Parallel()
	for name, b := range brokenPreconditions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if b.on.deployment == "" {
				b.on.deployment = cloud
			}
			s := newSystem(t, b.on)
			env := b.env
			if b.more != nil {
				env = append(env, b.more(t, s)...)
			}
			issues := len(s.jira.Issues())
			r := s.commandWith(env, "check")
			line := lineOf(b.check, r.out)
			require.Contains(
				t,
				line,
				map[sync.Condition]string{sync.Fails: "✗", sync.Doubt: "!"}[b.condition],
				"%s in:\n%s",
				b.check,
				r.out,
			)
			found, remedy, _ := strings.Cut(line, " → ")
			require.Contains(t, found, b.found)
			require.Contains(t, remedy, b.remedy)
			want := 0
			if b.condition == sync.Fails {
				want = 1
			}
			require.Equal(t, want, r.code, r.out)
			require.Empty(t, r.errors)
			require.Len(t, s.jira.Issues(), issues, "check changes nothing")
		})
	}
}

// lineOf is the line of a check in what check prints for people. Two groups have one called "clock"
// or "version": the second counts as PostgreSQL's.
func lineOf(check, text string) string {
	group, short, named := strings.Cut(check, ".")
	if !named {
		short = check
	}
	if group == "postgresql" {
		_, text, _ = strings.Cut(text, "\nPostgreSQL\n")
	}
	for line := range strings.Lines(text) {
		if _, rest, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(
			rest,
			strings.ReplaceAll(short, "_", " ")+" ",
		) {
			return line
		}
	}
	return ""
}

func brokenPreconditions() map[string]broken {
	all := make(map[string]broken)
	for _, some := range []map[string]broken{brokenConfiguration(), brokenNetwork(), brokenJira(), brokenProject(), brokenTeleport(), brokenRights(), brokenPostgreSQL()} {
		for name, b := range some {
			all[name] = b
		}
	}
	return all
}

func brokenConfiguration() map[string]broken {
	return map[string]broken{
		"a misspelt variable": {
			env: []string{
				"JIRA_PROJEKT=OPS",
			},
			check:     "configuration",
			condition: sync.Doubt,
			found:     "JIRA_PROJEKT",
			remedy:    "teleport-jira-agent configure",
		},
		"nobody is named who may decide": {
			check:     "configuration.approvers",
			condition: sync.Doubt,
			found:     "whoever may move an issue decides",
			remedy:    "POLICY_APPROVERS",
		},
		"requesters may decide": {
			env: []string{
				"POLICY_SELF_APPROVAL=allow",
			},
			check:     "configuration.self_approval",
			condition: sync.Doubt,
			found:     "requesters may approve their own",
			remedy:    "deny",
		},
		"the webhook's certificate ends": {
			more: func(t *testing.T, _ *system) []string {
				dir := t.TempDir()
				cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
				certify(t, "ends in an hour", cert, key)
				return []string{
					"WEBHOOK_ENABLED=true",
					"WEBHOOK_TLS_CERT_FILE=" + cert,
					"WEBHOOK_TLS_KEY_FILE=" + key,
					"WEBHOOK_SECRET=0123456789abcdef0123456789abcdef",
				}
			},
			check: "webhook.certificate", condition: sync.Doubt, found: "expires at", remedy: "renew it",
		},
	}
}

// elsewhere is a server that is no Jira.
func elsewhere(t *testing.T, answer http.HandlerFunc, encrypted bool) (base string) {
	t.Helper()
	server := httptest.NewUnstartedServer(answer)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if encrypted {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.URL
}

func brokenNetwork() map[string]broken {
	const check = "jira.url"
	at := func(answer http.HandlerFunc, encrypted bool) func(*testing.T, *system) []string {
		return func(t *testing.T, _ *system) []string { return []string{"JIRA_URL=" + elsewhere(t, answer, encrypted)} }
	}
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>Please log in</html>")
	}
	return map[string]broken{
		"nothing listens at JIRA_URL": {
			env: []string{
				"JIRA_URL=http://127.0.0.1:1",
			},
			check:     check,
			condition: sync.Fails,
			found:     "connection refused",
			remedy:    "curl -i http://127.0.0.1:1/rest/api/2/serverInfo",
		},
		"the name in JIRA_URL does not exist": {
			env: []string{
				"JIRA_URL=https://jira.invalid",
			},
			check:     check,
			condition: sync.Fails,
			found:     "jira.invalid",
			remedy:    "getent hosts jira.invalid",
		},
		"Jira's certificate is of a private authority": {
			more:      at(page, true),
			check:     check,
			condition: sync.Fails,
			found:     "certificate signed by unknown authority",
			remedy:    "JIRA_CA_FILE",
		},
		"a login page stands before Jira": {
			more: at(page, false), check: check, condition: sync.Fails, found: "a web page in place of JSON", remedy: "curl -i",
		},
		"the context path is missing": {
			more: at(http.NotFound, false), check: check, condition: sync.Fails, found: "404", remedy: "context path",
		},
		"the proxy's address cannot be read": {
			env: []string{
				"HTTPS_PROXY=http://user:hunter2@%zz",
				"JIRA_URL=https://jira.invalid",
			},
			check:     "jira.proxy",
			condition: sync.Fails,
			found:     "is none",
			remedy:    "HTTPS_PROXY",
		},
		"JIRA_DEPLOYMENT says otherwise": {
			env: []string{
				"JIRA_DEPLOYMENT=datacenter",
			},
			check:     check,
			condition: sync.Fails,
			found:     "JIRA_DEPLOYMENT says datacenter",
			remedy:    "JIRA_DEPLOYMENT=auto",
		},
	}
}

// changedJira is a Jira that differs from the example.
func changedJira(d jirasim.Deployment, change func(*jirasim.Config)) on {
	return on{deployment: d, jira: change}
}

// may gives the agent's account these permissions only.
func may(permissions ...string) func(*jirasim.Config) {
	return func(c *jirasim.Config) { c.Users[0].Permissions = permissions }
}

func brokenJira() map[string]broken {
	return map[string]broken{
		"the token is wrong": {
			env: []string{
				"JIRA_API_TOKEN=wrong",
			},
			check:     "jira.account",
			condition: sync.Fails,
			found:     "401",
			remedy:    "id.atlassian.com/manage-profile/security/api-tokens",
		},
		"a personal access token is used with a user name": {
			on: on{
				deployment: dataCenter,
			},
			env:       []string{"JIRA_USERNAME", "JIRA_API_TOKEN=wrong"},
			check:     "jira.account",
			condition: sync.Fails,
			found:     "401",
			remedy:    "Personal Access Tokens",
		},
		"the personal access token ends soon": {
			on: changedJira(dataCenter, func(c *jirasim.Config) { c.Credentials[1].Expires = time.Now().Add(48 * time.Hour) }),
			env: []string{
				"JIRA_USERNAME",
			},
			check:     "jira.token",
			condition: sync.Doubt,
			found:     "ends at",
			remedy:    "JIRA_API_TOKEN_FILE",
		},
		"there is no such project": {
			env: []string{
				"JIRA_PROJECT=NOWHERE",
			},
			check:     "jira.project",
			condition: sync.Fails,
			found:     "NOWHERE",
			remedy:    "JIRA_PROJECT",
		},
		"the account may not move issues": {
			on: changedJira(cloud, may(jirasim.BrowseProjects, jirasim.CreateIssues, jirasim.EditIssues,
				jirasim.AddComments)),
			check:     "jira.permissions",
			condition: sync.Fails,
			found:     "TRANSITION_ISSUES",
			remedy:    "Project settings → Permissions",
		},
		"the account may not edit issues": {
			on: changedJira(
				cloud,
				may(jirasim.BrowseProjects, jirasim.CreateIssues, jirasim.TransitionIssues, jirasim.AddComments),
			),
			check:     "jira.permissions",
			condition: sync.Doubt,
			found:     "without EDIT_ISSUES",
			remedy:    "grant EDIT_ISSUES",
		},
		"the account may not see groups": {
			on: changedJira(
				cloud,
				may(
					jirasim.BrowseProjects,
					jirasim.CreateIssues,
					jirasim.EditIssues,
					jirasim.TransitionIssues,
					jirasim.AddComments,
				),
			),
			env: []string{
				"POLICY_APPROVER_GROUPS=approvers",
			},
			check:     "jira.groups",
			condition: sync.Fails,
			found:     "nobody can decide by them",
			remedy:    "Browse users and groups",
		},
		"a group of approvers does not exist": {
			env: []string{
				"POLICY_APPROVER_GROUPS=approvers,aprovers",
			},
			check:     "jira.groups",
			condition: sync.Fails,
			found:     `"aprovers"`,
			remedy:    "POLICY_APPROVER_GROUPS",
		},
		"Jira's clock is wrong": {
			on: changedJira(
				cloud,
				func(c *jirasim.Config) { c.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) } },
			),
			check:     "jira.clock",
			condition: sync.Doubt,
			found:     "-10m0s",
			remedy:    "NTP",
		},
		"Jira allows fewer calls than JIRA_MAX_RPS": {
			on: changedJira(dataCenter, func(c *jirasim.Config) {
				c.RateLimit = jirasim.RateLimit{
					PerSecond: 5,
					Burst:     100,
				}
			}),
			check:     "jira.rate_limit",
			condition: sync.Doubt,
			found:     "JIRA_MAX_RPS is 90",
			remedy:    "JIRA_MAX_RPS to 5",
		},
	}
}

func brokenProject() map[string]broken {
	field := func(change func(*jirasim.Field)) func(*jirasim.Config) {
		return func(c *jirasim.Config) { change(&c.Fields[0]) }
	}
	return map[string]broken{
		"the field is missing": {
			on:    changedJira(cloud, func(c *jirasim.Config) { c.Fields = nil }),
			check: "jira.field", condition: sync.Fails, found: `no custom field "teleportAccessRequestId"`, remedy: "Create",
		},
		"two fields have its name": {
			on: changedJira(cloud, func(c *jirasim.Config) {
				c.Fields = append(
					c.Fields,
					jirasim.Field{ID: "customfield_10043", Name: "teleportAccessRequestId", Type: jirasim.TextField},
				)
			}),
			check: "jira.field", condition: sync.Fails, found: "customfield_10043", remedy: "JIRA_REQUEST_ID_FIELD",
		},
		"the field is none of text": {
			on:    changedJira(dataCenter, field(func(f *jirasim.Field) { f.Type = jirasim.Number })),
			check: "jira.field", condition: sync.Fails, found: "number", remedy: "JIRA_REQUEST_ID_FIELD",
		},
		"the field has no searcher": {
			on:    changedJira(dataCenter, field(func(f *jirasim.Field) { f.Unsearchable = true })),
			check: "jira.field.searchable", condition: sync.Fails, found: "no searcher", remedy: "earch",
		},
		"the field is not on the create screen": {
			on:    changedJira(cloud, field(func(f *jirasim.Field) { f.OffScreen = true })),
			check: "jira.field.screen", condition: sync.Fails, found: "not offered", remedy: "Screens",
		},
		"the project has no such issue type": {
			env: []string{
				"JIRA_ISSUE_TYPE=Access",
			},
			check:     "jira.statuses",
			condition: sync.Fails,
			found:     `no issue type "Access"; it has Task, Bug`,
			remedy:    "JIRA_ISSUE_TYPE",
		},
		"the workflow lacks statuses": {
			env: []string{
				"JIRA_STATUS_DENIED=Rejected",
			},
			check:     "jira.statuses",
			condition: sync.Fails,
			found:     `lacks "Rejected"`,
			remedy:    "Workflow",
		},
		"the workflow does not lead from Pending to Denied": {
			on: changedJira(cloud, func(c *jirasim.Config) { c.Transitions[2].From = []string{"To Do"} }),
			more: func(t *testing.T, s *system) []string {
				issue, err := s.jira.CreateIssue("bob", map[string]any{"summary": "an example"}, nil)
				require.NoError(t, err)
				require.NoError(t, s.jira.Move(issue.Key, "bob", "Pending"))
				return nil
			},
			check: "jira.transitions", condition: sync.Fails, found: `"Pending" to "Denied"`, remedy: "Transition",
		},
		"a transition asks for a field": {
			on: changedJira(cloud, func(c *jirasim.Config) {
				c.Fields = append(c.Fields, jirasim.Field{ID: "customfield_10077", Name: "Cost centre", Type: jirasim.TextField})
				c.Transitions[2].Screen, c.Transitions[2].Required = []string{"customfield_10077"}, []string{"customfield_10077"}
			}),
			more: func(t *testing.T, s *system) []string {
				issue, err := s.jira.CreateIssue("bob", map[string]any{"summary": "an example"}, nil)
				require.NoError(t, err)
				require.NoError(t, s.jira.Move(issue.Key, "bob", "Pending"))
				return nil
			},
			check: "jira.transitions", condition: sync.Fails, found: `"Pending" to "Denied" (Cost centre)`, remedy: "no screen",
		},
		"it is not known where the workflow leads": {
			check:     "jira.transitions",
			condition: sync.Doubt,
			found:     "no issue is there to ask",
			remedy:    "see that the workflow has them",
		},
		"a required field is not set": {
			on: changedJira(dataCenter, func(c *jirasim.Config) {
				c.Fields = append(c.Fields, jirasim.Field{ID: "customfield_10077", Name: "Cost centre", Type: jirasim.TextField})
				c.Required = []string{"customfield_10077"}
			}),
			check:     "jira.create",
			condition: sync.Fails,
			found:     "Cost centre is required",
			remedy:    `JIRA_FIELDS={"customfield_10077"`,
		},
		"JIRA_FIELDS names a field that Jira has not": {
			env: []string{`JIRA_FIELDS={"customfield_99999":"x"}`},
			more: func(_ *testing.T, s *system) []string {
				// Jira answers so before it looks at any value, and so says nothing of the summary.
				s.jira.Inject(
					jirasim.Fault{Method: http.MethodPost, Endpoint: "issue", Effect: jirasim.Respond(
						http.StatusBadRequest,
						`{"errorMessages":[],"errors":{"customfield_99999":"Field 'customfield_99999' cannot be set. It is not on the appropriate screen, or unknown."}}`,
					)},
				)
				return nil
			},
			check:     "jira.create",
			condition: sync.Fails,
			found:     "Jira would refuse to create issues: customfield_99999",
			remedy:    "correct customfield_99999 in JIRA_FIELDS, or take it out",
		},
		"names are configured by id": {
			on:        changedJira(cloud, field(func(f *jirasim.Field) { f.OffScreen = true })),
			env:       []string{"JIRA_ISSUE_TYPE=10200", "JIRA_REQUEST_ID_FIELD=customfield_10042"},
			check:     "jira.field.screen",
			condition: sync.Fails,
			found:     "not offered",
			remedy:    `Create Issue of Task → Select Field: "teleportAccessRequestId"`,
		},
		"JIRA_FIELDS sets what Jira does not take": {
			env: []string{
				`JIRA_FIELDS={"priority":{"name":"Nuclear"}}`,
			},
			check:     "jira.create",
			condition: sync.Fails,
			found:     "priority",
			remedy:    "JIRA_FIELDS",
		},
	}
}

func brokenTeleport() map[string]broken {
	identity := func(write func(t *testing.T, s *system, path string)) func(*testing.T, *system) []string {
		return func(t *testing.T, s *system) []string {
			path := filepath.Join(t.TempDir(), "identity")
			write(t, s, path)
			return []string{"TELEPORT_IDENTITY_FILE=" + path}
		}
	}
	living := func(d time.Duration) func(*testing.T, *system) []string {
		return identity(func(t *testing.T, s *system, path string) {
			require.NoError(t, s.teleport.WriteIdentity(path, teleportsim.IdentityOptions{Lifetime: d}))
		})
	}
	version := func(v string) on { return on{teleport: teleportsim.Config{ServerVersion: v}} }
	return map[string]broken{
		"the identity file cannot be read as one": {
			more: identity(func(t *testing.T, _ *system, path string) {
				require.NoError(t, os.WriteFile(path, []byte("nothing"), 0o600))
			}),
			check: "teleport.identity", condition: sync.Fails, found: "identity", remedy: "tctl auth sign",
		},
		"the identity has expired": {
			more: living(-time.Minute), check: "teleport.identity", condition: sync.Fails, found: "expired at", remedy: "tbot",
		},
		"the identity expires soon": {
			more:      living(5 * time.Minute),
			check:     "teleport.identity",
			condition: sync.Doubt,
			found:     "expires soon",
			remedy:    "tbot",
		},
		"nothing listens at TELEPORT_ADDR": {
			env: []string{
				"TELEPORT_ADDR=127.0.0.1:1",
			},
			check:     "teleport.address",
			condition: sync.Fails,
			found:     "connect to 127.0.0.1:1",
			remedy:    "curl https://127.0.0.1:1/webapi/ping",
		},
		"the identity is of another cluster": {
			more: identity(func(t *testing.T, _ *system, path string) {
				other, err := teleportsim.New(teleportsim.Config{ClusterName: "other.example.com"})
				require.NoError(t, err)
				require.NoError(t, other.WriteIdentity(path, teleportsim.IdentityOptions{}))
			}),
			check: "teleport.address", condition: sync.Fails, found: "certificate", remedy: "another cluster",
		},
		"the user CA was rotated": {
			more: func(t *testing.T, s *system) []string {
				require.NoError(t, s.teleport.RotateUserCA())
				return nil
			},
			check: "teleport.address", condition: sync.Fails, found: "connect to", remedy: "rotated",
		},
		"the agent's user is gone": {
			more:  teleport(func(s *teleportsim.Server) { s.DeleteUser("jira-agent") }),
			check: "teleport.address", condition: sync.Fails,
			found: `access denied user "jira-agent" not found`, remedy: "tctl create -f user.yaml",
		},
		"the agent's role is gone": {
			more:  teleport(func(s *teleportsim.Server) { s.RemoveRole("jira-agent") }),
			check: "teleport.address", condition: sync.Fails,
			found: "access denied role jira-agent is not found", remedy: "tctl create -f role.yaml",
		},
		"the agent is locked": {
			more:  teleport(func(s *teleportsim.Server) { s.Lock("jira-agent") }),
			check: "teleport.address", condition: sync.Fails, found: "access denied", remedy: "tctl get locks",
		},
		"Teleport is too new": {
			on:        version("20.0.0"),
			check:     "teleport.address",
			condition: sync.Fails,
			found:     "client version is unsupported",
			remedy:    "newer release",
		},
		"Teleport is old": {
			on:        version("15.4.0"),
			check:     "teleport.version",
			condition: sync.Doubt,
			found:     "15.4.0 is older",
			remedy:    "upgrade Teleport",
		},
		"Teleport takes no reviews on behalf of users": {
			on:        version("18.2.0"),
			env:       []string{"TELEPORT_DECISION_MODE=review"},
			more:      role(teleportsim.PluginRoleWithReview()),
			check:     "teleport.review",
			condition: sync.Fails,
			found:     "no reviews on behalf",
			remedy:    "18.11.0",
		},
		"no user has the trait": {
			on:        version("18.11.0"),
			env:       []string{"TELEPORT_DECISION_MODE=review"},
			more:      role(teleportsim.PluginRoleWithReview()),
			check:     "teleport.review",
			condition: sync.Doubt,
			found:     "jira_account_id",
			remedy:    "tctl edit user",
		},
	}
}

// teleport changes the cluster.
func teleport(change func(*teleportsim.Server)) func(*testing.T, *system) []string {
	return func(_ *testing.T, s *system) []string {
		change(s.teleport)
		return nil
	}
}

// role gives the agent's user another role.
func role(r teleportsim.Role) func(*testing.T, *system) []string {
	return func(_ *testing.T, s *system) []string {
		s.teleport.SetRole("jira-agent", r)
		return nil
	}
}

func brokenRights() map[string]broken {
	without := func(kind string, verbs ...string) func(*testing.T, *system) []string {
		r := teleportsim.PluginRoleWithReview()
		r.Rules[kind] = verbs
		return role(r)
	}
	review := on{teleport: teleportsim.Config{ServerVersion: "18.11.0"}}
	reviewer := &teleportsim.Role{ReviewRoles: []string{"*"}}
	requester := &teleportsim.Role{}
	mapped := func(of *teleportsim.Role, submitFor ...string) func(*testing.T, *system) []string {
		return func(t *testing.T, s *system) []string {
			r := teleportsim.PluginRoleWithReview()
			r.SubmitForUsers = submitFor
			s.teleport.SetRole("jira-agent", r)
			for _, name := range []string{"bob", "carol"} {
				require.NoError(
					t,
					s.teleport.SetUser(
						teleportsim.User{Name: name, Traits: map[string][]string{"jira_account_id": {"712020:" + name}}, Role: of},
					),
				)
			}
			return nil
		}
	}
	return map[string]broken{
		"requests may not be read": {
			more:      without("access_request", "list"),
			check:     "teleport.watch",
			condition: sync.Fails,
			found:     "access denied",
			remedy:    "access_request: [list, read]",
		},
		"requests may not be listed": {
			more:      without("access_request", "read", "update"),
			check:     "teleport.plugin_data",
			condition: sync.Fails,
			found:     "access denied",
			remedy:    "access_request: [list, read]",
		},
		"a list would be empty": {
			more:  without("access_request", "read", "update"),
			check: "teleport.list", condition: sync.Fails, found: "may not list", remedy: "access_request: [list, read]",
		},
		"listing is denied": {
			more: role(teleportsim.Role{
				Rules: teleportsim.PluginRole().Rules, Deny: map[string][]string{"*": {"list"}},
			}),
			check: "teleport.list", condition: sync.Fails, found: "may not list", remedy: "deny.rules",
		},
		"whether all is listed is not known": {
			on:    on{teleport: teleportsim.Config{NoUserRoles: true}},
			check: "teleport.list", condition: sync.Doubt, found: "0 access requests", remedy: "access_request: [list, read]",
		},
		"plugin data may not be written": {
			env:   []string{"TELEPORT_DECISION_MODE=notify"},
			more:  role(teleportsim.Role{Rules: map[string][]string{"access_request": {"list", "read"}}}),
			check: "teleport.plugin_data", condition: sync.Fails, found: "access denied", remedy: "access_plugin_data: [update]",
		},
		"requests may not be decided": {
			more:      without("access_request", "list", "read"),
			check:     "teleport.decide",
			condition: sync.Fails,
			found:     "access denied",
			remedy:    "access_request: [update]",
		},
		"users may not be read": {
			more:      without("user"),
			check:     "teleport.users",
			condition: sync.Doubt,
			found:     "users cannot be read",
			remedy:    "user: [read]",
		},
		"the agent may review for nobody": {
			on:        review,
			env:       []string{"TELEPORT_DECISION_MODE=review"},
			more:      mapped(reviewer),
			check:     "teleport.review",
			condition: sync.Fails,
			found:     "for none",
			remedy:    "submit_for_users: [bob, carol]",
		},
		"those with the trait may not review": {
			on:        review,
			env:       []string{"TELEPORT_DECISION_MODE=review"},
			more:      mapped(requester, "*"),
			check:     "teleport.review",
			condition: sync.Doubt,
			found:     "none of the users",
			remedy:    "allow.review_requests",
		},
		"the agent may not review for all": {
			on:        review,
			env:       []string{"TELEPORT_DECISION_MODE=review"},
			more:      mapped(reviewer, "bob"),
			check:     "teleport.review",
			condition: sync.Doubt,
			found:     "not review for carol",
			remedy:    "submit_for_users: [carol]",
		},
	}
}

// statement runs one in the system's database.
func statement(sql string) func(*testing.T, *system) []string {
	return func(t *testing.T, s *system) []string {
		ctx := context.WithoutCancel(s.ctx) // to clean up with, too
		conn, err := pgx.Connect(ctx, s.database)
		require.NoError(t, err)
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, sql)
		require.NoError(t, err)
		return nil
	}
}

func brokenPostgreSQL() map[string]broken {
	return map[string]broken{
		"nothing listens at DATABASE_URL": {
			env: []string{
				"DATABASE_URL=postgres://agent@127.0.0.1:1/agent",
			},
			check:     "postgresql.connect",
			condition: sync.Fails,
			found:     "connect",
			remedy:    "pg_isready",
		},
		"there is no such database": {
			more: func(t *testing.T, s *system) []string {
				u, err := pgx.ParseConfig(s.database)
				require.NoError(t, err)
				return []string{"DATABASE_URL=" + strings.Replace(s.database, u.Database, "nowhere", 1)}
			},
			check: "postgresql.connect", condition: sync.Fails, found: "nowhere", remedy: "createdb",
		},
		"the user may create no tables": {
			more: func(t *testing.T, s *system) []string {
				u, err := url.Parse(s.database)
				require.NoError(t, err)
				poor := "poor_" + strings.TrimPrefix(u.Path, "/") // roles are the whole server's
				statement(`CREATE ROLE `+poor+` LOGIN PASSWORD 'poor'; REVOKE CREATE ON SCHEMA public FROM PUBLIC`)(t, s)
				t.Cleanup(func() { statement(`DROP OWNED BY `+poor+`; DROP ROLE `+poor)(t, s) })
				u.User = url.UserPassword(poor, "poor")
				return []string{"DATABASE_URL=" + u.String()}
			},
			check:     "postgresql.rights",
			condition: sync.Fails,
			found:     "may create no tables",
			remedy:    "GRANT USAGE, CREATE ON SCHEMA public",
		},
		"the tables are of a later release": {
			more: statement(
				`CREATE TABLE agent_schema_version (version int); INSERT INTO agent_schema_version VALUES (1000)`,
			),
			check:     "postgresql.schema",
			condition: sync.Fails,
			found:     "1000 is newer",
			remedy:    "later",
		},
		"somebody else's tables have the names": {
			more: statement(
				`CREATE TABLE links (url text)`,
			),
			check:     "postgresql.schema",
			condition: sync.Fails,
			found:     "links",
			remedy:    "of the agent's own",
		},
		"the server takes no writes": {
			more: func(t *testing.T, s *system) []string {
				u, err := pgx.ParseConfig(s.database)
				require.NoError(t, err)
				return statement(`ALTER DATABASE `+u.Database+` SET default_transaction_read_only = on`)(t, s)
			},
			check:     "postgresql.replication",
			condition: sync.Fails,
			found:     "read-only",
			remedy:    "RESET default_transaction_read_only",
		},
	}
}

func TestCheckHoldsWhereAllIsWell(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d, teleport: teleportsim.Config{ServerVersion: "18.11.0"}})
		s.teleport.SetRole("jira-agent", shippedRole(t, "state"))
		s.env["POLICY_APPROVER_GROUPS"] = "approvers"
		s.env["SYNC_POLL_SCHEDULE"] = "@every 1s"
		s.start("leader")
		id := s.request()
		for _, status := range []string{"Approved", "Denied", "Expired", "Pending"} { // one issue in each status, to ask for its transitions
			issue, err := s.jira.CreateIssue("bob", map[string]any{"summary": "an example"}, nil)
			require.NoError(t, err)
			require.NoError(t, s.jira.Move(issue.Key, "bob", status))
		}
		s.issueIn(id, "Pending")
		before := s.jira.Issues()
		found, code := s.findingsOf(nil)
		for _, f := range found {
			require.Equal(t, sync.Holds, f.Condition, "%+v", f)
			require.Empty(t, f.Remedy)
		}
		require.Zero(t, code)
		require.Greater(t, len(found), 30)
		require.Len(t, s.jira.Issues(), len(before))
		require.Contains(t, s.succeeds("check"), fmt.Sprintf("\n%d hold.\n", len(found)))
	})
}
