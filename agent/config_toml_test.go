package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// official is a file of Teleport's own plugin, with the keys that this program has beside it.
func official(t *testing.T) string {
	t.Helper()
	return write(t, "teleport-jira.toml", `
[teleport]
addr = "teleport.example.com:443"
identity = "`+write(t, "identity", "an identity")+`"
refresh_identity = true
refresh_identity_interval = "1m"

[jira]
url = "https://example.atlassian.net"
username = "bot@example.com"
api_token = "`+write(t, "token", testToken+"\n")+`"
project = "ACCESS"
issue_type = "Story"
status_pending = ["To do", "Open"]
max_rps = 5
fields = { labels = ["access"] }

[http]
listen_addr = ":8081"
public_addr = "agent.example.com"
https_key_file = "/x"
https_cert_file = "/x"
basic_auth = { user = "jira", password = "s3cret" }
tls.verify_client_cert = true

[log]
output = "2"
severity = "WARNING"

[database]
url = "postgres://agent:`+testPassword+`@db.example.com/agent"

[sync]
lookback = "20m"
concurrency = 4

[admin]
listen_addr = ""
`)
}

func TestFileOfTheOfficialPluginIsReadWithFurtherTables(t *testing.T) {
	t.Parallel()
	file := official(t)
	cfg := load(t, file, nil)
	require.Equal(t, "teleport.example.com:443", cfg.Teleport.Addr)
	require.True(t, strings.HasSuffix(cfg.Teleport.IdentityFile, "/identity"))
	require.Equal(t, "bot@example.com", cfg.Jira.Username)
	require.Equal(t, testToken, cfg.Jira.APIToken.Value(), "a token that begins with / is the name of a file")
	require.Equal(t, "Story", cfg.Jira.IssueType)
	require.Equal(t, List{"To do", "Open"}, cfg.Jira.StatusPending)
	require.InDelta(t, 5, cfg.Jira.MaxRPS, 0)
	require.Equal(t, Fields{"labels": []any{"access"}}, cfg.Jira.Fields)
	require.Equal(t, LogConfig{Output: "stderr", Severity: "warn", Format: "json"}, cfg.Log)
	require.Contains(t, cfg.Database.URL.Value(), testPassword)
	require.Equal(t, 20*time.Minute, cfg.Sync.Lookback)
	require.Equal(t, 4, cfg.Sync.Concurrency)
	require.Empty(t, cfg.Admin.ListenAddr)
	require.False(t, cfg.Webhook.Enabled)
	require.Empty(t, cmp.Diff([]string{
		"[teleport] refresh_identity_interval in " + file + " is ignored: credentials are read again as soon as their file " +
			"changes",
		"[http] in " + file + " is ignored: the webhook is off, and WEBHOOK_ENABLED=true switches it on",
	}, cfg.Warnings))
}

func TestTheHTTPTableOfTheOfficialPluginServesAWebhookThatIsOn(t *testing.T) {
	t.Parallel()
	key, crt := keyPair(t)
	file := write(t, "agent.toml", `
[http]
listen_addr = ":9443"
public_addr = "agent.example.com"
https_key_file = "`+key+`"
https_cert_file = "`+crt+`"
basic_auth = { user = "jira", password = "s3cret" }

[webhook]
secret = "s3cret"
`)
	require.False(t, load(t, file, environ(t)).Webhook.Enabled)
	cfg := load(t, file, environ(t, "WEBHOOK_ENABLED=true", "WEBHOOK_PUBLIC_ADDR=https://jira-agent.example.com"))
	require.Equal(t, ":9443", cfg.Webhook.ListenAddr)
	require.Equal(t, "https://jira-agent.example.com", cfg.Webhook.PublicAddr)
	require.Equal(t, []string{crt, key}, []string{cfg.Webhook.TLSCertFile, cfg.Webhook.TLSKeyFile})
	require.Equal(t, "s3cret", cfg.Webhook.Secret.Value())
	require.Equal(t, []string{
		"[http] basic_auth in " + file + " is ignored: webhooks always come over TLS and are known by their signature " +
			"(WEBHOOK_SECRET)",
	}, cfg.Warnings)
}

func TestSetVariableWinsOverTheFile(t *testing.T) {
	t.Parallel()
	key, crt := keyPair(t)
	cfg := load(t, official(t), []string{
		"JIRA_PROJECT=OTHER", "JIRA_API_TOKEN=t0ken", "JIRA_ISSUE_TYPE=", "SYNC_LOOKBACK=30m", "ADMIN_LISTEN_ADDR=:9000",
		"TELEPORT_CLIENT_KEY=" + key, "TELEPORT_CLIENT_CRT=" + crt, "TELEPORT_ROOT_CAS=" + crt,
	})
	require.Equal(t, "OTHER", cfg.Jira.Project)
	require.Equal(t, "t0ken", cfg.Jira.APIToken.Value())
	require.Equal(t, "Story", cfg.Jira.IssueType, "an empty variable counts as not set")
	require.Equal(t, 30*time.Minute, cfg.Sync.Lookback)
	require.Equal(t, ":9000", cfg.Admin.ListenAddr)
	require.Equal(t, key, cfg.Teleport.ClientKey)
	require.Empty(t, cfg.Teleport.IdentityFile, "the environment's key pair takes the place of the file's identity")
}

func TestIdentityOfTheEnvironmentTakesThePlaceOfTheFilesKeyPair(t *testing.T) {
	t.Parallel()
	file := write(t, "agent.toml", "[teleport]\nclient_key = \"/x\"\nclient_crt = \"/x\"\nroot_cas = \"/x\"\n")
	cfg := load(t, file, environ(t))
	require.NotEmpty(t, cfg.Teleport.IdentityFile)
	require.Empty(t, cfg.Teleport.ClientKey+cfg.Teleport.ClientCrt+cfg.Teleport.RootCAs)
}

func TestEveryVariableHasItsKeyInTheFile(t *testing.T) {
	t.Parallel()
	for _, s := range settings(new(Config)) {
		keys := []string{s.key()}
		if s.secret() {
			keys = append(keys, s.key()+"_file")
		}
		for _, key := range keys {
			file := write(t, "agent.toml", "["+s.group+"]\n"+key+" = \"?\"\n")
			l := newLoader(new(Config))
			require.NoError(t, l.readTOML(file))
			require.Empty(t, l.problems)
			require.Contains(t, l.toml, strings.ToUpper(s.group+"_"+key))
		}
	}
}

func TestProblemsOfTheFileNameTheKeyAndTheVariable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, toml string
		want       []string
	}{
		{"wrong value", "[jira]\nmax_rps = -1", []string{"JIRA_MAX_RPS ([jira] max_rps in FILE): must be greater than 0, " +
			"is -1; example: 10"}},
		{"wrong type", "[jira]\nproject = 2026-01-01", []string{"JIRA_PROJECT ([jira] project in FILE): must be a string, " +
			"is a toml.LocalDate; example: ACCESS"}},
		{"list with a comma", "[jira]\nstatus_denied = [\"No, thanks\"]", []string{"JIRA_STATUS_DENIED ([jira] " +
			"status_denied in FILE): must be a list of strings without a comma; example: Denied"}},
		{"absent token file", "[jira]\napi_token = \"/nowhere/token\"", []string{"JIRA_API_TOKEN_FILE ([jira] api_token in " +
			"FILE): cannot be read: stat /nowhere/token: no such file or directory; example: " +
			"JIRA_API_TOKEN_FILE=/run/secrets/jira-api-token"}},
		{"key given twice", "[teleport]\nauth_server = \"b:1\"\naddr = \"a:1\"", []string{"TELEPORT_ADDR ([teleport] " +
			"auth_server in FILE): is given before by [teleport] addr in FILE; example: teleport.example.com:443"}},
		{"token and its file", "[jira]\napi_token = \"s3cret\"\napi_token_file = \"/nowhere\"", []string{"JIRA_API_TOKEN " +
			"([jira] api_token in FILE): is set, and so is JIRA_API_TOKEN_FILE: set one of the two; example: " +
			"JIRA_API_TOKEN_FILE=/run/secrets/jira-api-token"}},
		{"webhook without what it needs", "[webhook]\nenabled = true\nlisten_addr = \"8081\"\n[http]\nhttps_cert_file = " +
			"\"/nowhere/tls.crt\"", []string{
			"WEBHOOK_LISTEN_ADDR ([webhook] listen_addr in FILE): must be host:port or :port, is \"8081\"; example: :8081",
			"WEBHOOK_TLS_CERT_FILE ([http] https_cert_file in FILE): cannot be read: open /nowhere/tls.crt: no such file or " +
				"directory; example: /etc/teleport-jira-agent/tls.crt",
			"WEBHOOK_TLS_KEY_FILE: is missing, and WEBHOOK_ENABLED is true; example: /etc/teleport-jira-agent/tls.key",
			"WEBHOOK_SECRET: is missing, and WEBHOOK_ENABLED is true; example: WEBHOOK_SECRET_FILE=/run/secrets/jira-webhook",
		}},
		{"unknown key", "[leader]\nlaese = \"1m\"", []string{"[leader] laese in FILE: is no key of this program; example: " +
			"one of lease"}},
		{"unknown table and lone key", "a = 1\n[lader]\nlease = \"1m\"", []string{"a in FILE: is outside of any table; " +
			"example: [jira]", "[lader] in FILE: is no table of this program; example: [jira]"}},
		{"unknown key of [http]", "[http]\nlisten = \":1\"", []string{"[http] listen in FILE: is no key of this program; " +
			"example: one of listen_addr, public_addr, https_key_file, https_cert_file, basic_auth, tls, insecure"}},
		{"key and value wrong", "[sync]\npoll = 1\nconcurrency = 0", []string{"SYNC_CONCURRENCY ([sync] concurrency in " +
			"FILE): must be from 1 to 1000, is 0; example: 16", "[sync] poll in FILE: is no key of this program; example: one " +
			"of poll_schedule, idle_schedule, sweep_schedule, lookback, dry_run, concurrency, retention"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, "agent.toml", c.toml)
			table, key, _ := strings.Cut(c.toml, "\n")
			env := environ(t)
			if table == "[jira]" || table == "[teleport]" {
				// What the row is about must not be hidden by the environment.
				name := strings.ToUpper(strings.Trim(table, "[]") + "_" + strings.Fields(key)[0])
				env = environ(t, strings.TrimSuffix(strings.Replace(name, "AUTH_SERVER", "ADDR", 1), "_FILE"))
			}
			got := problems(t, file, env)
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], file, "FILE")
			}
			require.Empty(t, cmp.Diff(c.want, got))
		})
	}
}

func TestUnreadableFileIsTheOnlyProblem(t *testing.T) {
	t.Parallel()
	file := write(t, "agent.toml", "[jira]\napi_token = \"s3cret\n")
	require.Equal(
		t,
		[]string{
			"--config: " + file + " is not valid TOML at line 2, column 20; example: --config /etc/teleport-jira-agent.toml",
		},
		problems(t, file, nil),
	)
	require.Equal(
		t,
		[]string{
			"--config: cannot be read: open /nowhere.toml: no such file or directory; example: --config " +
				"/etc/teleport-jira-agent.toml",
		},
		problems(t, "/nowhere.toml", environ(t)),
	)
}
