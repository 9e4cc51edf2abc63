package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// built finds a tool of .ci/deploy.mod, building it if nobody has.
func built(name string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		path, err := exec.Command("go", "tool", "-modfile=../.ci/deploy.mod", "-n", name).Output()
		return strings.TrimSpace(string(path)), err
	})
}

var kustomize = built("kustomize")

func kustomized(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	tool, err := kustomize()
	require.NoError(t, err)
	var complaints bytes.Buffer
	build := exec.CommandContext(t.Context(), tool, "build", dir)
	build.Stderr = &complaints
	out, err := build.Output()
	require.NoError(t, err, complaints.String())
	require.Empty(t, complaints.String())
	return decode(t, out)
}

func TestThePlainManifestsRunTheAgent(t *testing.T) {
	t.Parallel()
	objects := kustomized(t, "kubernetes/base")
	hangsTogether(t, objects)
	deployment := only[*apps.Deployment](t, objects)
	require.EqualValues(t, 2, *deployment.Spec.Replicas)
	pod := deployment.Spec.Template.Spec
	restricted(t, pod)
	require.False(t, *pod.AutomountServiceAccountToken)
	cfg := configured(t, objects, pod, container(t, pod, "agent"))
	require.Equal(t, ":8080", cfg.Admin.ListenAddr)
	require.False(t, cfg.Webhook.Enabled)
	require.Empty(t, all[*core.Service](objects))
	require.Empty(t, all[*core.Secret](objects))
	require.Empty(t, deployment.Namespace)
	require.Len(t, only[*networking.NetworkPolicy](t, objects).Spec.Ingress, 1)
}

func TestTheOverlayThatShowsHowToUseThemBuilds(t *testing.T) {
	t.Parallel()
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS("kubernetes")))
	for name, content := range map[string]string{"jira-api-token": "hush", "database-url": "postgres://db.example.com/agent"} {
		require.NoError(t, os.WriteFile(filepath.Join(copied, "example", name), []byte(content), 0o600))
	}
	objects := kustomized(t, filepath.Join(copied, "example"))
	hangsTogether(t, objects)
	deployment := only[*apps.Deployment](t, objects)
	pod := deployment.Spec.Template.Spec
	cfg := configured(t, objects, pod, container(t, pod, "agent"))
	require.Equal(t, "OPS", cfg.Jira.Project)
	require.Equal(t, "https://example.atlassian.net", cfg.Jira.URL)
	secret := only[*core.Secret](t, objects)
	require.Equal(t, []byte("hush"), secret.Data["jira-api-token"])
	require.Equal(t, secret.Name, pod.Volumes[1].Secret.SecretName)
	require.Equal(t, "registry.example.com/teleport-jira-agent:v0.1.0", container(t, pod, "agent").Image)
	for _, o := range []interface{ GetNamespace() string }{deployment, secret} {
		require.Equal(t, "teleport", o.GetNamespace())
	}
}
