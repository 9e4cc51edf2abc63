package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// execute runs one command line without any environment but the given one.
func execute(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, environ, &out, &errs)
	return code, out.String(), errs.String()
}

func TestWrongCommandLineIsExit2WithOneLineOnStderr(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, want string
	}{
		{"sart", `unknown command "sart" for "teleport-jira-agent"`},
		{"check now", `unknown command "now" for "teleport-jira-agent check"`},
		{"status --verbose", "unknown flag: --verbose"},
		{"explain", "accepts 1 arg(s), received 0"},
		{"explain OPS-1 OPS-2", "accepts 1 arg(s), received 2"},
		{"queue", "queue: say what to do: list, retry or drop"},
		{"queue show", "queue: show is none of list, retry, drop"},
		{"queue drop", "accepts 1 arg(s), received 0"},
		{"queue retry OPS-1 OPS-2", "accepts at most 1 arg(s), received 2"},
		{"reconcile --dryrun", "unknown flag: --dryrun"},
		{"setup --apply=perhaps", `invalid argument "perhaps" for "--apply" flag: strconv.ParseBool: parsing "perhaps": invalid syntax`},
		{"completion bash", `unknown command "completion" for "teleport-jira-agent"`},
		{"help sart", `unknown command "sart" for "teleport-jira-agent"`},
		{"start now", `unknown command "now" for "teleport-jira-agent start"`},
		{"--verbose", "unknown flag: --verbose"},
		{"start --verbose", "unknown flag: --verbose"},
		{"start --config", "flag needs an argument: --config"},
		{"version -x", "unknown shorthand flag: 'x' in -x"},
		{"configure --format xml", `--format must be env, toml or helm, is "xml"`},
		{"configure --from=", "--from: names no file; example: --from /etc/teleport-jira.toml"},
		{"configure --from /nowhere/a.toml", "--from: cannot be read: open /nowhere/a.toml: no such file or directory; " +
			"example: --from /etc/teleport-jira.toml"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := execute(t, nil, strings.Fields(c.args)...)
			require.Equal(t, exitUsage, code)
			require.Equal(t, c.want+"\n", stderr)
			require.Empty(t, stdout)
		})
	}
}

// A script whose variable is not set must not retry all, or give up on whichever request has no
// issue yet.
func TestAnEmptyNameIsExit2(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"explain", "queue list", "queue retry", "queue drop"} {
		code, stdout, stderr := execute(t, nil, append(strings.Fields(command), "")...)
		require.Equal(t, exitUsage, code)
		require.Equal(t, "teleport-jira-agent "+command+": the name of the request is empty\n", stderr)
		require.Empty(t, stdout)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"--help", "start --help", "check --help", "setup --help", "status --help", "explain --help", "queue --help", "queue list --help", "queue retry --help",
		"queue drop --help", "reconcile --help", "configure --help", "version --help", "help start", "help queue",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := execute(t, nil, strings.Fields(args)...)
			require.Equal(t, exitOK, code)
			require.Contains(t, stdout, "Usage:")
			require.Contains(t, stdout, "--help")
			require.Empty(t, stderr)
		})
	}
	_, stdout, _ := execute(t, nil, "start", "--help")
	for _, variable := range []string{"TELEPORT_ADDR", "TELEPORT_IDENTITY_FILE", "JIRA_URL", "JIRA_API_TOKEN", "JIRA_PROJECT", "DATABASE_URL"} {
		require.Contains(t, stdout, variable)
	}
}

func TestStartNamesEveryProblemOfTheConfigurationAndIsExit2(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "agent.toml")
	require.NoError(t, os.WriteFile(file, []byte("[jira]\nproject = \"lower\"\n"), 0o600))
	code, stdout, stderr := execute(
		t,
		[]string{"JIRA_URL=http://jira.example.com", "SYNC_LOOKBACK=soon"},
		"start",
		"--config",
		file,
	)
	require.Equal(t, exitUsage, code)
	require.Empty(t, stdout)
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	var named []string
	for _, line := range lines {
		require.Contains(t, line, "; example: ")
		named = append(named, line[:strings.IndexAny(line, ": ")])
	}
	require.Equal(
		t,
		[]string{
			"TELEPORT_ADDR",
			"TELEPORT_IDENTITY_FILE",
			"JIRA_URL",
			"JIRA_API_TOKEN",
			"JIRA_PROJECT",
			"DATABASE_URL",
			"SYNC_LOOKBACK",
		},
		named,
	)
}

func TestConfigurePrintsTheSample(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := execute(t, nil, "configure", "--format", "env")
	require.Equal(t, exitOK, code)
	require.Empty(t, stderr)
	require.Contains(t, stdout, "\nJIRA_URL=\n")
	require.Contains(t, stdout, "\n#SYNC_POLL_SCHEDULE=@every 5s\n")
}

func TestConfigureConvertsAFileOfTeleportsOwnPlugin(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "teleport-jira.toml")
	require.NoError(
		t,
		os.WriteFile(file, []byte("[jira]\nproject = \"OPS\"\napi_token = \"hush\"\n[http]\ninsecure = true\n"), 0o600),
	)
	for format, line := range map[string]string{"env": "\nJIRA_PROJECT=OPS\n", "toml": "\nproject = " +
		"\"OPS\"\n", "helm": "\n  project: \"OPS\"\n"} {
		code, stdout, stderr := execute(t, nil, "configure", "--from", file, "--format", format)
		require.Equal(t, exitOK, code)
		require.Contains(t, stdout, line)
		require.Contains(t, stderr, "[http] insecure in "+file+" has no equal")
		require.NotContains(t, stdout+stderr, "hush")
	}
}

func TestVersionIsOneLine(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := execute(t, nil, "version")
	require.Equal(t, exitOK, code)
	require.Empty(t, stderr)
	require.Regexp(t, `^teleport-jira-agent v\d+\.\d+\.\d+\S* git:\w+ go1\.\S+\n$`, stdout)
}

func TestEveryOperatorsCommandNeedsARightConfiguration(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"check", "setup", "status", "explain OPS-1", "queue list", "queue retry", "queue drop OPS-1", "reconcile"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := execute(t, nil, strings.Fields(args)...)
			require.Equal(t, exitUsage, code)
			require.Empty(t, stdout)
			require.Contains(t, stderr, "TELEPORT_ADDR: is missing; example: ")
			require.Contains(t, stderr, "DATABASE_URL: is missing; example: ")
		})
	}
}

func TestAFailureIsOneLineWithoutEscapes(t *testing.T) {
	t.Parallel()
	require.Equal(
		t,
		"jira: Zugriff verweigert für [31mOPS; again",
		oneLine(errors.New("jira: Zugriff verweigert für \x1b\u009b[31mOPS\r\nagain")),
	)
}
