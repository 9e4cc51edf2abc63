package deploy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"teleport-jira-agent/agent"
)

// only finds the one object of a kind.
func only[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	found := all[T](objects)
	require.Len(t, found, 1)
	return found[0]
}

func all[T runtime.Object](objects []runtime.Object) (found []T) {
	for _, o := range objects {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// container finds a container of a pod by its name.
func container(t *testing.T, pod core.PodSpec, name string) core.Container {
	t.Helper()
	at := slices.IndexFunc(pod.Containers, func(c core.Container) bool { return c.Name == name })
	require.GreaterOrEqual(t, at, 0, "container %s", name)
	return pod.Containers[at]
}

// configured is what the agent's container configures it to, with each file that a variable names
// in its volumes put in place.
func configured(t *testing.T, objects []runtime.Object, pod core.PodSpec, c core.Container) *agent.Config {
	t.Helper()
	environ := make(map[string]string)
	for _, from := range c.EnvFrom {
		require.Nil(t, from.SecretRef, "a secret would be in the environment, and not be read again")
		for _, m := range all[*core.ConfigMap](objects) {
			if m.Name == from.ConfigMapRef.Name {
				for name, value := range m.Data {
					environ[name] = value
				}
			}
		}
	}
	for _, e := range c.Env {
		require.Nil(t, e.ValueFrom, "%s: a secret would be in the environment, and not be read again", e.Name)
		environ[e.Name] = e.Value
	}
	for name, value := range environ {
		if strings.HasPrefix(value, "/") {
			environ[name] = inPlace(t, pod, c, name, value)
		}
	}
	return accepted(t, environ)
}

// inPlace makes the file that a variable names, if a volume that is there is mounted where it is to
// be.
func inPlace(t *testing.T, pod core.PodSpec, c core.Container, variable, path string) string {
	t.Helper()
	at := slices.IndexFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == filepath.Dir(path) })
	require.GreaterOrEqual(t, at, 0, "%s=%s lies in no volume", variable, path)
	mount := c.VolumeMounts[at]
	require.Empty(t, mount.SubPath, "a changed secret would not reach the pod")
	require.True(
		t,
		slices.ContainsFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == mount.Name }),
		"no volume %s",
		mount.Name,
	)
	certificate, key := pair(t)
	contents := map[string]string{
		"DATABASE_URL_FILE": "postgres://agent@db.example.com/agent", "JIRA_CA_FILE": certificate,
		"WEBHOOK_TLS_CERT_FILE": certificate, "WEBHOOK_TLS_KEY_FILE": key,
	}
	content, ok := contents[variable]
	if !ok {
		content = "x"
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// pairOnce is made once: all tests may have the same.
var pairOnce = func() func() (certificate, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return func() (string, string, error) { return "", "", err }
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return func() (string, string, error) { return "", "", err }
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	return func() (string, string, error) {
		return string(
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), err
	}
}()

// pair is a certificate and its key.
func pair(t *testing.T) (certificate, key string) {
	t.Helper()
	certificate, key, err := pairOnce()
	require.NoError(t, err)
	return certificate, key
}

// restricted holds a pod to the restricted profile and a little more:
// https://kubernetes.io/docs/concepts/security/pod-security-standards/
func restricted(t *testing.T, pod core.PodSpec) {
	t.Helper()
	require.True(t, *pod.SecurityContext.RunAsNonRoot)
	require.NotZero(t, *pod.SecurityContext.RunAsUser)
	require.Equal(t, core.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
	require.False(t, pod.HostNetwork || pod.HostPID || pod.HostIPC)
	require.False(t, *pod.EnableServiceLinks)
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, c.Name)
		require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, c.Name)
		require.Equal(t, []core.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, c.Name)
		require.Empty(t, c.SecurityContext.Capabilities.Add, c.Name)
		for _, m := range c.VolumeMounts {
			require.True(
				t,
				slices.ContainsFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == m.Name }),
				"%s mounts no volume %s",
				c.Name,
				m.Name,
			)
		}
	}
	for _, v := range pod.Volumes {
		require.Nil(t, v.HostPath)
	}
}

// hangsTogether holds selectors to labels, and ports to those of the container.
func hangsTogether(t *testing.T, objects []runtime.Object) {
	t.Helper()
	deployment := only[*apps.Deployment](t, objects)
	podLabels := labels.Set(deployment.Spec.Template.Labels)
	selects := func(what string, s *meta.LabelSelector) {
		t.Helper()
		selector, err := meta.LabelSelectorAsSelector(s)
		require.NoError(t, err)
		require.False(t, selector.Empty(), "%s selects everything", what)
		require.True(t, selector.Matches(podLabels), "%s does not select the pods", what)
	}
	selects("the deployment", deployment.Spec.Selector)
	for _, p := range all[*policy.PodDisruptionBudget](objects) {
		selects("the disruption budget", p.Spec.Selector)
	}
	for _, p := range all[*networking.NetworkPolicy](objects) {
		selects("the network policy", &p.Spec.PodSelector)
		require.ElementsMatch(
			t,
			[]networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress},
			p.Spec.PolicyTypes,
		)
	}
	for _, c := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
		selects("the spread", c.LabelSelector)
	}
	for _, s := range all[*core.Service](objects) {
		require.True(
			t,
			labels.SelectorFromSet(s.Spec.Selector).Matches(podLabels),
			"service %s does not select the pods",
			s.Name,
		)
	}
}
