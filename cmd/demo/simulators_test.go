package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
)

// TestTheDemoProfileOfTheComposeFile runs what the profile runs, without containers: the
// simulators, and an agent with the environment that the file gives it, but for the addresses and
// the directory, of which the containers have their own.
func TestTheDemoProfileOfTheComposeFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docker-compose.yml")
	require.NoError(t, err)
	var file struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	require.Equal(t, []string{"simulators", "/run/demo"}, file.Services["demo"].Command)
	environ := maps.Clone(file.Services["demo-agent"].Environment)
	require.Equal(t, teleportAddr, environ["TELEPORT_ADDR"])
	require.Equal(t, "http://"+jiraAddr, environ["JIRA_URL"])

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	started := make(chan struct{})
	out := &output{text: "asks for db-admin", seen: func() { close(started) }}
	w := &world{screen: newScreen(out, false), dir: t.TempDir()}
	out.text, out.seen = "asks for db-admin", func() { close(started) }
	ended := make(chan error, 1)
	go func() { ended <- simulate(ctx, w, 0) }()
	<-started

	environ["TELEPORT_ADDR"], environ["JIRA_URL"], environ["DATABASE_URL"] = w.teleport.Addr(), w.jiraURL, pgtest.URL(t)
	var list []string
	for name, value := range environ {
		list = append(list, name+"="+strings.ReplaceAll(value, "/run/demo", w.dir))
	}
	slices.Sort(list)
	binary, err := replica.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	agent, err := replica.Start("agent", binary, list, nil)
	require.NoError(t, err)
	defer agent.Kill()
	_, err = agent.WaitLog(t.Context(), "decided in Teleport", "delegator", "jira:bob@example.com")
	require.NoError(t, err, agent.Log())
	require.NotContains(t, agent.Log(), "admin listener")
	interrupt()
	require.NoError(t, <-ended)
	require.Contains(t, strings.Join(strings.Fields(out.String()), " "), "bob moves OPS-1 from Pending to Approved")
}
