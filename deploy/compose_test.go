package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// composed loads docker-compose.yml as Docker Compose does, with a profile if any.
func composed(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithProfiles(profiles))
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	return project
}

func TestTheComposeFileRunsTheAgentAndOpensNoPort(t *testing.T) {
	t.Parallel()
	project := composed(t, "demo")
	for name, service := range project.Services {
		require.Empty(t, service.Ports, name)
		if !strings.Contains(name, "postgres") {
			require.True(t, service.ReadOnly, name)
			require.Equal(t, []string{"ALL"}, service.CapDrop, name)
			require.Contains(t, service.SecurityOpt, "no-new-privileges:true", name)
		}
	}
	for _, name := range []string{"agent", "demo-agent"} {
		agent := project.Services[name]
		require.Equal(t, 2, *agent.Deploy.Replicas)
		require.Equal(t, types.RestartPolicyUnlessStopped, agent.Restart)
		require.Equal(t, "deploy/Dockerfile", agent.Build.Dockerfile)
	}
	postgres := project.Services["postgres"]
	require.NotNil(t, postgres.HealthCheck)
	require.Equal(t, types.ServiceConditionHealthy, project.Services["agent"].DependsOn["postgres"].Condition)
	require.Contains(t, project.Volumes, postgres.Volumes[0].Source)
	require.Equal(
		t,
		[]string{"agent", "postgres"},
		composed(t).ServiceNames(),
		"the demo is there only when it is asked for",
	)
}

func TestTheComposeFileConfiguresTheAgent(t *testing.T) {
	t.Parallel()
	agent := composed(t).Services["agent"]
	environ := map[string]string{ // agent.env, without what the compose file itself sets
		"TELEPORT_ADDR": "teleport.example.com:443",
		"JIRA_URL":      "https://example.atlassian.net",
		"JIRA_USERNAME": "bot@example.com",
		"JIRA_PROJECT":  "ACCESS",
	}
	for name, value := range agent.Environment {
		content := "x"
		if name == "DATABASE_URL_FILE" {
			content = "postgres://agent@postgres:5432/agent"
		}
		require.True(t, provided(agent, *value), "%s=%s comes from no secret and no volume", name, *value)
		environ[name] = filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(environ[name], []byte(content), 0o600))
	}
	require.Len(t, agent.Environment, 3)
	cfg := accepted(t, environ)
	require.Equal(t, "127.0.0.1:8080", cfg.Admin.ListenAddr)
	for name, secret := range composed(t).Secrets {
		require.Contains(t, secret.File, "/deploy/compose/"+name)
	}
	ignored, err := os.ReadFile("../.gitignore")
	require.NoError(t, err)
	require.Contains(t, string(ignored), "\n/deploy/compose/\n")
}

// provided reports whether a path in the container is a secret's or lies in a volume.
func provided(s types.ServiceConfig, path string) bool {
	for _, secret := range s.Secrets {
		if path == "/run/secrets/"+secret.Source {
			return true
		}
	}
	for _, volume := range s.Volumes {
		if strings.HasPrefix(path, volume.Target+"/") {
			return true
		}
	}
	return false
}

// TestTheImageRunsAsNobodyInParticular reads the Dockerfile by lines: it has one instruction on
// each.
func TestTheImageRunsAsNobodyInParticular(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	stages := strings.Split(string(text), "\nFROM ")[1:]
	for _, stage := range stages {
		base, _, _ := strings.Cut(stage, "\n")
		if !strings.HasPrefix(base, "scratch AS ") {
			continue
		}
		require.Regexp(t, `(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`, stage)
		program := regexp.MustCompile(`(?m)^ENTRYPOINT \["(/[^"]+)"\]$`).FindStringSubmatch(stage)
		require.Len(t, program, 2, base)
		require.Regexp(t, `(?m)^COPY --from=\S+ /src/bin\S+ `+program[1]+`$`, stage)
	}
	require.Contains(t, stages[len(stages)-1], "scratch AS agent", "what is built without --target")
	require.Contains(t, stages[len(stages)-1], "ca-certificates.crt")
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "ARG ") || strings.HasPrefix(line, "ENV ") {
			require.NotRegexp(t, `(?i)token|secret|password`, line)
		}
	}
	require.Contains(t, string(text), "make build TAGS=timetzdata", "built as everybody builds it")
}

// TestTheCommandsForTheDemoStartTheAgentToo: nothing depends on the agent, so that Docker Compose
// starts it only if it is named.
func TestTheCommandsForTheDemoStartTheAgentToo(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`(?m)docker compose --profile demo up --build (.*?)( +#.*)?$`)
	for _, name := range []string{"../docker-compose.yml", "GUIDE.md"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		found := command.FindAllSubmatch(text, -1)
		require.NotEmpty(t, found, name)
		for _, match := range found {
			project, err := composed(t, "demo").WithSelectedServices(strings.Fields(string(match[1])))
			require.NoError(t, err)
			require.Equal(t, []string{"demo", "demo-agent", "demo-postgres"}, project.ServiceNames(), name)
		}
	}
}
