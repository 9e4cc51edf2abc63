package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const unit = "systemd/teleport-jira-agent.service"

// directives are the values of one directive of the unit, in order.
func directives(t *testing.T, name string) (values []string) {
	t.Helper()
	text, err := os.ReadFile(unit)
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		values = append(values, match[1])
	}
	return values
}

func TestTheUnitConfiguresTheAgent(t *testing.T) {
	t.Parallel()
	credentials := t.TempDir()
	for _, credential := range directives(t, "LoadCredential") {
		name, _, _ := strings.Cut(credential, ":")
		content := "secret"
		if name == "database-url" {
			content = "postgres://agent@db.example.com/agent"
		}
		require.NoError(t, os.WriteFile(filepath.Join(credentials, name), []byte(content), 0o600))
	}
	environ := make(map[string]string)
	settings, err := os.ReadFile("systemd/agent.env")
	require.NoError(t, err)
	lines := strings.Split(string(settings), "\n")
	for _, own := range directives(t, "Environment") {
		lines = append(lines, strings.Fields(strings.ReplaceAll(own, "%d", credentials))...)
	}
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			environ[name] = value
		}
	}
	require.Equal(
		t,
		"/var/lib/teleport-jira-agent/identity",
		environ["TELEPORT_IDENTITY_FILE"],
		"where tbot-directory.yaml has it written",
	)
	environ["TELEPORT_IDENTITY_FILE"] = file(t, "identity")
	cfg := accepted(t, environ)
	require.Equal(t, "secret", cfg.Jira.APIToken.Value())
	require.Equal(t, "postgres://agent@db.example.com/agent", cfg.Database.URL.Value())
}

// TestTheUnitIsOneThatSystemdTakes needs systemd-analyze, which is in every image that runs
// systemd, and in few containers.
func TestTheUnitIsOneThatSystemdTakes(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here (Debian: apt-get install systemd)")
	}
	// The program has to be there for systemd to be content.
	text, err := os.ReadFile(unit)
	require.NoError(t, err)
	copied := filepath.Join(t.TempDir(), filepath.Base(unit))
	require.NoError(
		t,
		os.WriteFile(
			copied,
			[]byte(strings.Replace(string(text), "/usr/local/bin/teleport-jira-agent", "/bin/true", 1)),
			0o600,
		),
	)
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", copied).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), filepath.Base(unit), "%s", out)

	out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", copied).
		CombinedOutput()
	require.NoError(t, err, "%s", out)
	exposure := regexp.MustCompile(`Overall exposure level for \S+: (\S+)`).FindStringSubmatch(string(out))
	require.Len(t, exposure, 2, "%s", out)
	level, err := strconv.ParseFloat(exposure[1], 64)
	require.NoError(t, err)
	require.LessOrEqual(t, level, 1.5, "%s", out)
}

// file is a file with something in it.
func file(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, fmt.Appendln(nil, "x"), 0o600))
	return path
}
