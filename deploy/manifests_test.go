// Package deploy tests what runs the agent: that each manifest is one that its platform takes, and
// that it configures the agent with variables that the agent has, to values that it takes.
package deploy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"

	"teleport-jira-agent/agent"
)

// decode reads manifests into the types of Kubernetes and of the Prometheus operator. A field that
// they do not have, or have twice, fails the test.
func decode(t *testing.T, manifests []byte) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, apps.AddToScheme, networking.AddToScheme, policy.AddToScheme, rbac.AddToScheme,
		monitoring.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []runtime.Object
	for reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		object, _, err := strict.Decode(document, nil, nil)
		require.NoError(t, err, "%s", document)
		objects = append(objects, object)
	}
}

// accepted loads a configuration as the agent does at its start, and fails the test where the agent
// would refuse it or would warn of a variable that it does not have. Files that the variables name
// must exist.
func accepted(t *testing.T, environ map[string]string) *agent.Config {
	t.Helper()
	lines := make([]string, 0, len(environ))
	for name, value := range environ {
		lines = append(lines, name+"="+value)
	}
	slices.Sort(lines)
	cfg, err := agent.Load("", lines)
	require.NoError(t, err, "%q", lines)
	require.Empty(t, cfg.Warnings)
	return cfg
}
