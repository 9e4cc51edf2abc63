package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// command runs one command line of the agent to its end, with nothing but this environment.
func command(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append([]string{}, env...) // nil would be the environment of the test
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// named are the variables that the problems on standard error name, one per line and each with an
// example of a right value.
func named(t *testing.T, stderr string) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(stderr) {
		match := regexp.MustCompile(`^([A-Z][A-Z0-9_]*)(?: \([^)]*\))?: .+; example: .+\n$`).FindStringSubmatch(line)
		require.NotNil(t, match, line)
		names = append(names, match[1])
	}
	return names
}

// sample is what the command configure prints: the variables in its order, and the value that each
// line gives.
func sample(t *testing.T) (variables []string, values map[string]string) {
	t.Helper()
	code, stdout, stderr := command(t, nil, "configure")
	require.Zero(t, code)
	require.Empty(t, stderr)
	values = make(map[string]string)
	for _, match := range regexp.MustCompile(`(?m)^#?([A-Z][A-Z0-9_]*)=(.*)$`).FindAllStringSubmatch(stdout, -1) {
		variables = append(variables, match[1])
		values[match[1]] = match[2]
	}
	return variables, values
}

func TestEveryMissingVariableIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t, nil, "start")
	require.Equal(t, 2, code)
	require.Empty(t, stdout)
	require.Equal(
		t,
		[]string{"TELEPORT_ADDR", "TELEPORT_IDENTITY_FILE", "JIRA_URL", "JIRA_API_TOKEN", "JIRA_PROJECT", "DATABASE_URL"},
		named(t, stderr),
	)
}

func TestEveryMalformedVariableIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	malformed := map[string]string{
		"TELEPORT_ADDR":                "https://teleport.example.com",
		"TELEPORT_IDENTITY_FILE":       "/nonexistent/identity",
		"TELEPORT_CLIENT_KEY":          "/nonexistent/auth.key",
		"TELEPORT_CLIENT_CRT":          "/nonexistent/auth.crt",
		"TELEPORT_ROOT_CAS":            "/nonexistent/auth.cas",
		"TELEPORT_REFRESH_IDENTITY":    "maybe",
		"TELEPORT_DECISION_MODE":       "vote",
		"TELEPORT_USER_TRAIT":          "jira id",
		"TELEPORT_USER_EMAIL_FALLBACK": "maybe",
		"JIRA_URL":                     "http://jira.example.com",
		"JIRA_USERNAME":                "bot:secret",
		"JIRA_API_TOKEN":               "hunter1 hunter2",
		"JIRA_BROWSE_URL":              "ftp://jira.example.com",
		"JIRA_CA_FILE":                 "/nonexistent/ca.pem",
		"JIRA_PROJECT":                 "ops",
		"JIRA_DEPLOYMENT":              "moon",
		"JIRA_REQUEST_ID_FIELD":        "customfield_x",
		"JIRA_STATUS_PENDING":          ",",
		"JIRA_STATUS_APPROVED":         ",",
		"JIRA_STATUS_DENIED":           ",",
		"JIRA_STATUS_EXPIRED":          ",",
		"JIRA_STATUS_PROMOTED":         ",",
		"JIRA_FIELDS":                  "[]",
		"JIRA_MAX_RPS":                 "fast",
		"DATABASE_URL":                 "mysql://agent:hunter2@db.example.com/agent",
		"SYNC_POLL_SCHEDULE":           "often",
		"SYNC_IDLE_SCHEDULE":           "@every 1ms",
		"SYNC_SWEEP_SCHEDULE":          "0 0 30 2 *",
		"SYNC_LOOKBACK":                "15",
		"SYNC_DRY_RUN":                 "maybe",
		"SYNC_CONCURRENCY":             "0",
		"SYNC_RETENTION":               "-1h",
		"POLICY_APPROVERS":             ",",
		"POLICY_APPROVER_GROUPS":       " , ",
		"POLICY_SELF_APPROVAL":         "perhaps",
		"LEADER_LEASE":                 "10ms",
		"ADMIN_LISTEN_ADDR":            "8080",
		"WEBHOOK_ENABLED":              "maybe",
		"WEBHOOK_LISTEN_ADDR":          "8081",
		"WEBHOOK_PUBLIC_ADDR":          "http://agent.example.com",
		"WEBHOOK_TLS_CERT_FILE":        "/nonexistent/tls.crt",
		"WEBHOOK_TLS_KEY_FILE":         "/nonexistent/tls.key",
		"LOG_OUTPUT":                   "/nonexistent/agent.log",
		"LOG_SEVERITY":                 "loud",
		"LOG_FORMAT":                   "xml",
	}
	var env []string
	for name, value := range malformed {
		env = append(env, name+"="+value)
	}
	variables, _ := sample(t)
	code, stdout, stderr := command(t, env, "start")
	require.Equal(t, 2, code)
	require.Empty(t, stdout)
	// Every text is right for an issue type, which Jira alone knows, and for a webhook's secret.
	right := []string{"JIRA_ISSUE_TYPE", "WEBHOOK_SECRET"}
	require.Equal(
		t,
		slices.DeleteFunc(variables, func(name string) bool { return slices.Contains(right, name) }),
		named(t, stderr),
	)
	require.NotContains(t, stderr, "hunter")
}

func TestAWebhookWithoutWhatItNeedsIsExit2(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	code, stdout, stderr := command(t, s.environ("WEBHOOK_ENABLED=true", "WEBHOOK_TLS_KEY_FILE="+s.identity), "start")
	require.Equal(t, 2, code)
	require.Empty(t, stdout)
	require.Equal(t, []string{"WEBHOOK_TLS_CERT_FILE", "WEBHOOK_SECRET"}, named(t, stderr))
	require.Empty(t, s.jira.Calls())
}

func TestAWrongCommandLineIsExit2WithOneLine(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	for line, want := range map[string]string{
		"run":              `"run"`,
		"start --dry-run":  "--dry-run",
		"start OPS":        `"OPS"`,
		"version --short":  "--short",
		"configure --toml": "--toml",
		"--loud":           "--loud",
	} {
		code, stdout, stderr := command(t, s.environ(), strings.Fields(line)...)
		require.Equal(t, 2, code, line)
		require.Empty(t, stdout, line)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		require.Contains(t, stderr, want)
	}
}

func TestVersionIsOneLineWithTagCommitAndGoVersion(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t, nil, "version")
	require.Zero(t, code)
	require.Empty(t, stderr)
	require.Regexp(t, `^teleport-jira-agent v\d+\.\d+\.\d+\S* git:\S+ go\d+\.\d+\S*\n$`, stdout)
}

func TestTheSampleConfigurationWithItsGapsFilledStartsTheAgent(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.env["LEADER_LEASE"] = "10s" // however slow the machine, the first term goes on
	variables, values := sample(t)
	var defaults []string
	for _, name := range variables {
		if _, ours := s.env[name]; !ours {
			defaults = append(defaults, name+"="+values[name])
		}
	}
	require.Contains(t, defaults, "JIRA_ISSUE_TYPE=Task")
	require.Subset(
		t,
		variables,
		slices.DeleteFunc(
			slices.Collect(maps.Keys(s.env)),
			func(name string) bool { return name == "HOME" || name == "PATH" },
		),
	)
	a := s.start("a", defaults...)
	require.Equal(t, readyz{Code: 200, Role: "leader", Ready: true, Epoch: 1}, s.ready(a))
	require.NotContains(t, a.Log(), `"level":"warn"`)
}

// officialFile is a configuration of Teleport's own Jira plugin, as `teleport-jira configure`
// writes it and its operators complete it:
// https://goteleport.com/docs/identity-governance/access-request-plugins/ssh-approval-jira/
func (s *system) officialFile() string {
	s.t.Helper()
	return s.file("teleport-jira.toml", fmt.Sprintf(`
# Example Jira plugin configuration TOML file
[teleport]
addr = %q
identity = %q
refresh_identity = true

[jira]
url = %q
username = %q
api_token = %q
project = "NOPE"
issue_type = "Bug"

[http]
public_addr = "jira-plugin.example.com"
listen_addr = "127.0.0.1:8081"
https_key_file = "/nonexistent/server.key"
https_cert_file = "/nonexistent/server.crt"

[http.basic_auth]
user = "jira"
password = "hunter2"

[log]
output = "stderr" # Logger output. Could be "stdout", "stderr" or "/var/lib/teleport/jira.log"
severity = "INFO" # Logger severity. Could be "INFO", "ERROR", "DEBUG" or "WARN".
`, s.teleport.Addr(), s.identity, s.jiraURL, jirasim.AgentUsername, jirasim.AgentToken))
}

// file writes a file of this test and returns its path.
func (s *system) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestAFileOfTeleportsOwnPluginWorksAndTheEnvironmentWinsOverIt(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		inFile := []string{
			"TELEPORT_ADDR",
			"TELEPORT_IDENTITY_FILE",
			"JIRA_URL",
			"JIRA_USERNAME",
			"JIRA_API_TOKEN",
			"LOG_SEVERITY",
		}
		a := s.run("a", s.environ(append(inFile, "JIRA_PROJECT=OPS")...), "start", "--config", s.officialFile())
		s.leads(a)
		id := s.request()
		issue := s.issueIn(id, "Pending")
		require.Equal(t, "OPS", issue.Project, "the variable wins over the file")
		require.Equal(t, "Bug", issue.Type, "the file wins over the default")
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.stateIs(id, types.RequestState_APPROVED)
		s.settled(id, "approved")
		require.NotContains(t, a.Log(), "hunter2")
		require.Contains(t, a.Log(), "is ignored: the webhook is off")
		admin, err := a.AdminURL(s.ctx)
		require.NoError(t, err)
		require.Equal(
			t,
			[]string{strings.TrimPrefix(admin, "http://")},
			listening(t, a.PID()),
			"[http] alone opens no webhook",
		)
	})
}

func TestAFileThatCannotBeReadIsExit2(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	for name, c := range map[string]struct{ path, want string }{
		"no TOML":       {s.file("broken.toml", "[jira]\nproject = \"OPS\"\napi_token = hunter2\n"), "line 3"},
		"unknown key":   {s.file("key.toml", "[jira]\nprojct = \"OPS\"\n"), "projct"},
		"unknown table": {s.file("table.toml", "[slack]\ntoken = \"hunter2\"\n"), "[slack]"},
		"bad value":     {s.file("value.toml", "[sync]\nlookback = \"soon\"\n"), "SYNC_LOOKBACK ([sync] lookback in "},
		"absent":        {"/nonexistent/agent.toml", "/nonexistent/agent.toml"},
	} {
		code, stdout, stderr := command(t, s.environ(), "start", "--config", c.path)
		require.Equal(t, 2, code, name)
		require.Empty(t, stdout, name)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		require.Contains(t, stderr, c.want)
		require.Contains(t, stderr, "; example: ")
		require.NotContains(t, stderr, "hunter2")
	}
}

// run is launch with a command line and an environment of the caller's.
func (s *system) run(name string, env []string, args ...string) *replica.Replica {
	s.t.Helper()
	r, err := replica.Run(name, binary, env, nil, args...)
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		r.Kill()
		if s.t.Failed() {
			s.t.Logf("---- log of %s\n%s", name, tail(r.Log(), 200))
		}
		require.NotContains(s.t, r.Log(), "DATA RACE")
	})
	return r
}

func TestWhatOnlyAnOperatorCanMendEndsTheStartAndNamesTheRemedy(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, c := range map[string]struct {
			jira   func(*jirasim.Config)
			change string
			want   []string // in the error
		}{
			"wrong token":    {change: "JIRA_API_TOKEN=wrong", want: []string{"401", "check JIRA_USERNAME", "JIRA_API_TOKEN"}},
			"wrong username": {change: "JIRA_USERNAME=nobody@example.com", want: []string{"401", "check JIRA_USERNAME", "JIRA_API_TOKEN"}},
			"absent field": {
				jira: func(c *jirasim.Config) { c.Fields = nil },
				want: []string{"JIRA_REQUEST_ID_FIELD", `"teleportAccessRequestId"`, "create a text field"},
			},
			"ambiguous field": {
				jira: func(c *jirasim.Config) {
					c.Fields = append(c.Fields, jirasim.Field{
						ID: "customfield_10043", Name: "teleportAccessRequestId",
						Type: jirasim.TextField,
					})
				},
				want: []string{"JIRA_REQUEST_ID_FIELD", "customfield_10042, customfield_10043", "set it to the id"},
			},
			"field that cannot be searched": {
				jira: func(c *jirasim.Config) { c.Fields[0].Unsearchable = true },
				want: []string{"JIRA_REQUEST_ID_FIELD", "customfield_10042", "searcher"},
			},
			"missing project": {change: "JIRA_PROJECT=NOPE", want: []string{"404", "check JIRA_PROJECT"}},
			"missing permission": {
				jira: func(c *jirasim.Config) {
					c.Users[0].Permissions = []string{jirasim.BrowseProjects, jirasim.CreateIssues}
				},
				want: []string{"TRANSITION_ISSUES, ADD_COMMENTS", "grant", "OPS"},
			},
			"admin address in use": {change: "ADMIN_LISTEN_ADDR=JIRA", want: []string{"ADMIN_LISTEN_ADDR", "address already " +
				"in use"}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newSystem(t, on{deployment: d, jira: c.jira})
				a := s.launch("a", strings.Replace(c.change, "=JIRA", "="+strings.TrimPrefix(s.jiraURL, "http://"), 1))
				code, err := a.Wait(s.ctx)
				require.NoError(t, err)
				require.Equal(t, 1, code)
				lines := a.Lines()
				last := lines[len(lines)-1]
				require.True(t, last.Is("agent failed", "level", "error"), last.Text)
				for _, want := range c.want {
					require.Contains(t, last.Fields["error"], want)
				}
				require.Empty(t, s.jira.Issues())
			})
		}
	})
}

func TestWithoutTheRightToReadRequestsAReplicaIsNotReadyUntilItIsGranted(t *testing.T) {
	t.Parallel()
	s := newSystem(
		t,
		on{deployment: jirasim.Cloud, teleport: teleportsim.Config{AgentUser: "bot-jira", AgentRole: &teleportsim.Role{}}},
	)
	a := s.launch("a")
	line, err := a.WaitLog(s.ctx, "failing; trying again until it works", "loop", "teleport watch")
	require.NoError(t, err)
	require.Contains(t, line.Fields["error"], "access denied")
	answer := s.ready(a)
	require.Equal(t, 503, answer.Code)
	require.Contains(t, strings.Join(answer.Reasons, "\n"), "teleport watch: ")
	s.teleport.SetRole("bot-jira", teleportsim.PluginRole())
	s.leads(a)
	s.issueIn(s.request(), "Pending")
	require.Equal(t, 200, s.ready(a).Code)
}
