package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// theirs are files of Teleport's own Jira plugin, whose secrets are "hush" with a number. FILE
// stands for a file that exists.
var theirs = map[string]string{
	"as its configure prints it": `
[teleport]
addr = "example.com:3025"
identity = "IDENTITY"
[jira]
url = "https://example.atlassian.net"
username = "jira-bot@example.com"
api_token = "hush1"
project = "MYPROJ"
issue_type = "Service Request"
[http]
public_addr = "example.com"
# listen_addr = ":8081"
https_key_file = "/var/lib/teleport/plugins/jira/server.key"
https_cert_file = "/var/lib/teleport/plugins/jira/server.crt"
[log]
output = "stderr"
severity = "INFO"
`,
	"a token in a file, words of its log and its alias": `
[teleport]
auth_server = "auth.example.com:3025"
identity = "IDENTITY"
refresh_identity = false
refresh_identity_interval = "1m"
[jira]
url = "https://jira.example.com/"
api_token = "TOKEN"
project = "OPS"
[log]
output = "out"
severity = "err"
format = "text"
`,
	"all of its [http]": `
[teleport]
addr = "example.com:3025"
identity = "IDENTITY"
[jira]
url = "https://example.atlassian.net"
api_token = "hush1"
project = "OPS"
[http]
listen_addr = ":9000"
public_addr = "https://hooks.example.com"
insecure = true
[http.tls]
verify_client_cert = true
[http.basic_auth]
user = "jira"
password = "hush2"
`,
	"values that the formats write in other words": `
[teleport]
addr = " example.com:3025 "
identity = "IDENTITY"
refresh_identity = "TRUE"
[jira]
url = "https://example.atlassian.net"
api_token = "hush1"
project = "OPS"
max_rps = ".5"
[http]
listen_addr = 2026-01-01
[webhook]
enabled = "F"
`,
	"with tables of this program": `
[teleport]
addr = "example.com:3025"
identity = "IDENTITY"
decision_mode = "review"
[jira]
url = "https://example.atlassian.net"
api_token = "hush1"
project = "OPS"
status_denied = ["Denied", "Rejected"]
max_rps = 2.5
fields = {labels = ["access"], text = 'a \ "b"'}
[database]
url = "postgres://agent:hush3@db.example.com/agent"
[sync]
poll_schedule = "@every 10s"
dry_run = true
concurrency = 4
[policy]
approver_groups = ["on call", "leads"]
[admin]
listen_addr = "127.0.0.1:9999"
[webhook]
secret = "hush4"
`,
}

// theirFile writes one of them.
func theirFile(t *testing.T, text string) string {
	t.Helper()
	text = strings.NewReplacer("IDENTITY", write(t, "identity", "x"), "TOKEN", write(t, "token", "hush5\n")).Replace(text)
	return write(t, "teleport-jira.toml", text)
}

// beside is what an operator adds to a converted file: the secrets, which were not printed, and the
// database.
func beside(file string) []string {
	text, _ := os.ReadFile(file)
	added := []string{"DATABASE_URL=postgres://agent:hush3@db.example.com/agent", "WEBHOOK_SECRET=hush4"}
	if strings.Contains(string(text), "hush1") {
		added = append(added, "JIRA_API_TOKEN=hush1")
	}
	return added
}

// values are what a configuration says, with its secrets in plain text and without where each came
// from.
func values(cfg *Config) map[string]any {
	all := make(map[string]any)
	for _, s := range settings(cfg) {
		all[s.name] = s.field.Interface()
		if secret, ok := s.field.Interface().(Secret); ok {
			all[s.name] = secret.Value()
		}
		if schedule, ok := s.field.Interface().(Schedule); ok {
			all[s.name] = schedule.String()
		}
	}
	return all
}

func TestWhatIsConvertedMeansTheSame(t *testing.T) {
	t.Parallel()
	for name, text := range theirs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := theirFile(t, text)
			want := values(load(t, file, beside(file)))

			env, warnings, err := Convert(file, FormatEnv)
			require.NoError(t, err)
			set := slices.DeleteFunc(
				strings.Split(env, "\n"),
				func(line string) bool { return line == "" || strings.HasPrefix(line, "#") },
			)
			require.Empty(t, cmp.Diff(want, values(load(t, "", append(set, beside(file)...)))))

			inTOML, _, err := Convert(file, FormatTOML)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(want, values(load(t, write(t, "agent.toml", inTOML), beside(file)))))

			inHelm, _, err := Convert(file, FormatHelm)
			require.NoError(t, err)
			for _, printed := range []string{env, inTOML, inHelm, strings.Join(warnings, "\n")} {
				require.NotContains(t, printed, "hush")
			}
		})
	}
}

func TestWhatHasNoEqualIsSaid(t *testing.T) {
	t.Parallel()
	said := func(name string) (lines []string) {
		file := theirFile(t, theirs[name])
		text, warnings, err := Convert(file, FormatEnv)
		require.NoError(t, err)
		for _, warning := range warnings {
			require.Contains(t, text, "# "+warning+".\n")
			lines = append(lines, strings.ReplaceAll(warning, file, "FILE"))
		}
		return lines
	}
	require.Equal(t, []string{
		"[http] basic_auth in FILE has no equal: webhooks always come over TLS, and are known by Jira's signature " +
			"(WEBHOOK_SECRET)",
		"[http] insecure in FILE has no equal: webhooks always come over TLS, and are known by Jira's signature " +
			"(WEBHOOK_SECRET)",
		"[http] tls in FILE has no equal: webhooks always come over TLS, and are known by Jira's signature (WEBHOOK_SECRET)",
		"[http] is kept and means nothing while WEBHOOK_ENABLED is false: polls need no webhook. To have one all the same, " +
			"switch it on, and give it and Jira's webhook one secret (WEBHOOK_SECRET)",
	}, said("all of its [http]"))
	require.Equal(
		t,
		[]string{
			"[teleport] refresh_identity_interval in FILE is ignored: credentials are read again as soon as their file changes",
		},
		said("a token in a file, words of its log and its alias"),
	)
}

func TestAConvertedFileSaysWhereSecretsGo(t *testing.T) {
	t.Parallel()
	file := theirFile(t, theirs["as its configure prints it"])
	env, _, err := Convert(file, FormatEnv)
	require.NoError(t, err)
	require.Contains(t, env, "It stands in [jira] api_token in "+file+", and is not printed here.")
	require.Contains(t, env, "\n#JIRA_API_TOKEN_FILE=/run/secrets/jira-api-token\n")
	require.Contains(t, env, "Required, and not in the file; example: postgres://")
	require.Contains(t, env, "\nDATABASE_URL=\n")
	require.Contains(t, env, "\nWEBHOOK_PUBLIC_ADDR=example.com\n")

	inHelm, _, err := Convert(file, FormatHelm)
	require.NoError(t, err)
	require.Contains(
		t,
		inHelm,
		"The name of the Kubernetes secret that has it as jiraApiToken.\n  apiTokenFromSecret: \"\"\n",
	)
	require.Contains(t, inHelm, "\nhttp:\n")
	require.Contains(t, Sample(FormatHelm), "\n#http:\n")
}

func TestAFileThatStartRefusesIsNotConverted(t *testing.T) {
	t.Parallel()
	file := theirFile(t, `
[teleport]
addr = "example.com"
identity = "IDENTITY"
client_key = "IDENTITY"
[jira]
url = "http://jira.example.com"
project = "lower"
api_token = "hush 1"
[sync]
concurrency = 0
[log]
severity = "loud"
`)
	want := problems(t, file, []string{"DATABASE_URL=postgres://agent@db.example.com/agent"})
	require.Len(t, want, 7)
	for _, f := range []Format{FormatEnv, FormatTOML, FormatHelm} {
		text, _, err := Convert(file, f)
		require.Empty(t, text)
		require.EqualError(t, err, strings.Join(want, "\n"), f)
	}
}

func TestWhatIsRequiredBesideAnotherSettingIsAskedFor(t *testing.T) {
	t.Parallel()
	file := write(
		t,
		"their.toml",
		"[teleport]\nclient_key = \"/elsewhere/key\"\n[webhook]\nenabled = true\nsecret_file = \"/elsewhere/secret\"\n",
	)
	env, _, err := Convert(file, FormatEnv)
	require.NoError(t, err)
	for _, line := range []string{"TELEPORT_CLIENT_CRT=", "TELEPORT_ROOT_CAS=", "WEBHOOK_SECRET_FILE=/elsewhere/secret", "WEBHOOK_TLS_CERT_FILE=", "WEBHOOK_TLS_KEY_FILE="} {
		require.Contains(t, env, "\n"+line+"\n")
	}
	require.NotContains(t, env, "\nTELEPORT_IDENTITY_FILE=")
}

func TestAConversionLooksAtNoFileThatIsNamed(t *testing.T) {
	t.Parallel()
	output := filepath.Join(t.TempDir(), "agent.log")
	file := write(
		t,
		"their.toml",
		"[teleport]\nidentity = \"/elsewhere\"\n[jira]\nca_file = \"/elsewhere\"\napi_token = "+
			"\"/elsewhere\"\n[log]\noutput = \""+output+"\"\n",
	)
	_, _, err := Convert(file, FormatEnv)
	require.NoError(t, err)
	require.NoFileExists(t, output)
}

func TestChartValuesSayWhatTheChartTakesInPlaceOfAFilesSetting(t *testing.T) {
	t.Parallel()
	file := write(t, "their.toml", `
[teleport]
client_key = "/k"
client_crt = "/c"
root_cas = "/r"
decision_mode = "review"
[jira]
ca_file = "/ca"
[http]
listen_addr = ":9000"
https_cert_file = "/crt"
https_key_file = "/key"
[policy]
approvers = ["a@example.com", "b@example.com"]
`)
	values, warnings, err := Convert(file, FormatHelm)
	require.NoError(t, err)
	for i := range warnings {
		require.Contains(t, values, "# "+warnings[i]+".\n")
		warnings[i] = strings.ReplaceAll(warnings[i], file, "FILE")
	}
	require.Empty(t, cmp.Diff([]string{
		"[teleport] client_key in FILE is left out: the chart takes an identity file, from tbot or tctl auth sign, in " +
			"place of the key pair",
		"[teleport] client_crt in FILE is left out: the chart takes an identity file, from tbot or tctl auth sign, in " +
			"place of the key pair",
		"[teleport] root_cas in FILE is left out: the chart takes an identity file, from tbot or tctl auth sign, in place " +
			"of the key pair",
		"[jira] ca_file in FILE is left out: put it into a ConfigMap, and name that in jira.caFromConfigMap",
		"[http] listen_addr in FILE is left out: the chart sets it, for its Service",
		"[http] is kept and means nothing while WEBHOOK_ENABLED is false: polls need no webhook. To have one all the same, " +
			"switch it on, and give it and Jira's webhook one secret (WEBHOOK_SECRET)",
	}, warnings))
	for _, line := range []string{`  identityFromSecret: ""`, `  decisionMode: "review"`, `  approvers: ["a@example.com", "b@example.com"]`} {
		require.Contains(t, values, "\n"+line+"\n")
	}
}

func TestARemarkIsOneLineWhateverItQuotes(t *testing.T) {
	t.Parallel()
	file := write(
		t,
		"their\nowned: 1.toml",
		"[teleport]\nidentity = \"/a\\nowned: 2\"\nrefresh_identity_interval = \"1m\"\n[jira]\napi_token = \"hush\"\n",
	)
	for _, f := range []Format{FormatEnv, FormatTOML, FormatHelm} {
		text, warnings, err := Convert(file, f)
		if f == FormatEnv {
			require.ErrorContains(t, err, "has several lines")
			continue
		}
		require.NoError(t, err)
		require.NotContains(t, text+strings.Join(warnings, ""), "\nowned")
	}
}

func TestAFileThatCannotBeConvertedIsExplained(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"no TOML": {"[jira\napi_token = \"hush\"", "--from: FILE is not valid TOML at line 1, column 6; example: " +
			"--from /etc/teleport-jira.toml"},
		"unknown key": {"[jira]\nprojekt = \"OPS\"", "[jira] projekt in FILE: is no key of this program"},
		"wrong type":  {"[jira]\nmax_rps = \"fast\"", "JIRA_MAX_RPS ([jira] max_rps in FILE): "},
		"two problems": {"[teleport]\nrefresh_identity = \"perhaps\"\n[jira]\nproject = 5.5.5", "--from: FILE is not " +
			"valid TOML"},
		"many lines": {"[jira]\nissue_type = \"a\\nb\"", "JIRA_ISSUE_TYPE ([jira] issue_type in FILE): has several lines"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, "their.toml", c.text)
			_, _, err := Convert(file, FormatEnv)
			require.Error(t, err)
			require.True(t, strings.HasPrefix(strings.ReplaceAll(err.Error(), file, "FILE"), c.want), err.Error())
			require.NotContains(t, err.Error(), "hush")
		})
	}
	_, _, err := Convert(filepath.Join(t.TempDir(), "absent.toml"), FormatEnv)
	require.ErrorContains(t, err, "no such file")
}

func TestEachSampleHasEverySettingOnce(t *testing.T) {
	t.Parallel()
	inTOML, inHelm := Sample(FormatTOML), Sample(FormatHelm)
	for _, s := range settings(new(Config)) {
		require.Len(t, regexp.MustCompile(`(?m)^#?`+s.key()+` = `).FindAllString(section(inTOML, s.group), -1), 1, s.name)
		named := len(regexp.MustCompile(`\{name: `+s.name+`,`).FindAllString(inHelm, -1))
		value, inChart := chartValues[s.name]
		_, key, _ := strings.Cut(value.path, ".")
		_, chartsOwn := chartsOwn[s.name]
		switch {
		case chartsOwn:
			require.Zero(t, named, s.name)
		case inChart:
			require.Zero(t, named, s.name)
			require.Len(t, regexp.MustCompile(`(?m)^  #?`+key+`: `).FindAllString(inHelm, -1), 1, s.name)
		default:
			require.Equal(t, 1, named, s.name)
		}
	}
}

// section is the table of a group.
func section(inTOML, group string) string {
	_, rest, _ := strings.Cut(inTOML, "\n["+group+"]\n")
	text, _, _ := strings.Cut(rest, "\n[")
	return text
}

func TestTheTOMLSampleLoadsWithItsRequiredValuesOrAllOfThem(t *testing.T) {
	t.Parallel()
	sample := Sample(FormatTOML)
	want := values(load(t, "", environ(t)))
	for name, text := range map[string]string{"as it is": sample, "with what is commented out": regexp.MustCompile(`(?m)^#(\w+ = )`).ReplaceAllString(sample, "$1")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(
				t,
				cmp.Diff(want, values(load(t, write(t, "agent.toml", text), environ(t))), cmp.FilterPath(func(p cmp.Path) bool {
					return strings.Contains(p.GoString(), "IDENTITY")
				}, cmp.Ignore())),
			)
		})
	}
}
