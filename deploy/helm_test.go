package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"teleport-jira-agent/agent"
)

const chart = "helm/teleport-jira-agent"

var helm = built("helm")

// required are the least values with which the chart installs.
const required = `
teleport: {address: "teleport.example.com:443", identityFromSecret: identity}
jira: {url: "https://example.atlassian.net", username: bot@example.com, project: ACCESS, apiTokenFromSecret: jira}
database: {urlFromSecret: database}
`

// run runs helm with values, which may come in several files: a later one is merged over those
// before.
func run(t *testing.T, command []string, values ...string) (stdout, stderr string, err error) {
	t.Helper()
	tool, err := helm()
	require.NoError(t, err)
	args := slices.Concat(command, []string{chart})
	dir, err := os.MkdirTemp("", "values-") //nolint:usetesting // that one's name may have a comma, at which helm splits
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for n, content := range values {
		path := filepath.Join(dir, strconv.Itoa(n))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		args = append(args, "--values", path)
	}
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.Env = append(
		os.Environ(),
		"HELM_CACHE_HOME="+t.TempDir(),
		"HELM_CONFIG_HOME="+t.TempDir(),
		"HELM_DATA_HOME="+t.TempDir(),
	)
	err = cmd.Run()
	return out.String(), complaints.String(), err
}

// rendered is what the chart makes of values.
func rendered(t *testing.T, values ...string) (string, []runtime.Object) {
	t.Helper()
	out, complaints, err := run(t, []string{"template", "release", "--namespace", "teleport"}, values...)
	require.NoError(t, err, complaints)
	return out, decode(t, []byte(out))
}

// podOf is the pod of the one deployment.
func podOf(t *testing.T, objects []runtime.Object) core.PodSpec {
	t.Helper()
	return only[*apps.Deployment](t, objects).Spec.Template.Spec
}

func TestTheChartInstallsTheAgent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values string
		check  func(t *testing.T, objects []runtime.Object, cfg *agent.Config)
	}{
		"the least": {"", func(t *testing.T, objects []runtime.Object, cfg *agent.Config) {
			require.EqualValues(t, 2, *only[*apps.Deployment](t, objects).Spec.Replicas)
			require.False(t, cfg.Webhook.Enabled)
			require.Equal(t, ":8080", cfg.Admin.ListenAddr)
			require.Len(t, only[*networking.NetworkPolicy](t, objects).Spec.Ingress[0].Ports, 1)
			require.Empty(t, all[*core.Secret](objects))
			require.Equal(t, "release-teleport-jira-agent", podOf(t, objects).ServiceAccountName)
		}},
		"in review mode, with approvers": {`
teleport: {decisionMode: review}
policy: {approvers: [alice@example.com, "712020:bob"], approverGroups: [on call], selfApproval: strict}
`, func(t *testing.T, _ []runtime.Object, cfg *agent.Config) {
			require.Equal(t, "review", cfg.Teleport.DecisionMode)
			require.Equal(t, agent.List{"alice@example.com", "712020:bob"}, cfg.Policy.Approvers)
			require.Equal(t, agent.List{"on call"}, cfg.Policy.ApproverGroups)
			require.Equal(t, "strict", cfg.Policy.SelfApproval)
		}},
		"with a webhook": {`
webhook: {enabled: true, secretFromSecret: hook}
http: {publicAddress: "https://hooks.example.com", tlsFromSecret: tls}
serviceType: ClusterIP
`, func(t *testing.T, objects []runtime.Object, cfg *agent.Config) {
			require.True(t, cfg.Webhook.Enabled)
			service := only[*core.Service](t, objects)
			require.Equal(t, core.ServiceTypeClusterIP, service.Spec.Type)
			require.Equal(t, "webhook", service.Spec.Ports[0].TargetPort.StrVal)
			require.Len(t, only[*networking.NetworkPolicy](t, objects).Spec.Ingress[0].Ports, 2)
		}},
		"with a private CA": {`jira: {caFromConfigMap: ca}`, func(t *testing.T, _ []runtime.Object, cfg *agent.Config) {
			require.NotEmpty(t, cfg.Jira.CAFile)
		}},
		"with a private CA in a secret": {`jira: {caFromSecret: ca, caPath: bundle.pem}`, func(t *testing.T, _ []runtime.Object, cfg *agent.Config) {
			require.NotEmpty(t, cfg.Jira.CAFile)
		}},
		"with further variables, arguments and volumes": {`
extraEnv: [{name: SYNC_POLL_SCHEDULE, value: "@every 10s"}, {name: LOG_SEVERITY, value: debug}]
extraArgs: [--config, /etc/agent/agent.toml]
volumes: [{name: config, configMap: {name: agent}}]
volumeMounts: [{name: config, mountPath: /etc/agent}]
`, func(t *testing.T, objects []runtime.Object, cfg *agent.Config) {
			require.Equal(t, "@every 10s", cfg.Sync.PollSchedule.String())
			require.Equal(t, "debug", cfg.Log.Severity)
			require.Equal(t, []string{"start", "--config", "/etc/agent/agent.toml"}, podOf(t, objects).Containers[0].Args)
		}},
		"with tbot beside it": {`
teleport: {identityFromSecret: ""}
tbot: {enabled: true, clusterName: example.teleport.sh, resources: {limits: {memory: 128Mi}}}
`, func(t *testing.T, objects []runtime.Object, _ *agent.Config) {
			tbot := podOf(t, objects).InitContainers[0]
			require.Equal(t, core.ContainerRestartPolicyAlways, *tbot.RestartPolicy)
			config := only[*core.ConfigMap](t, objects).Data["tbot.yaml"]
			require.Contains(t, config, `proxy_server: "teleport.example.com:443"`)
			require.Contains(t, config, "path: /run/identity\n")
			for _, v := range podOf(t, objects).Volumes {
				if v.Name == "join-sa-token" {
					require.Equal(t, "example.teleport.sh", v.Projected.Sources[0].ServiceAccountToken.Audience)
				}
			}
		}},
		"with all that watches it": {`
serviceMonitor: {enabled: true, labels: {team: access}}
prometheusRule: {enabled: true, labels: {team: access}}
dashboard: {enabled: true}
`, func(t *testing.T, objects []runtime.Object, _ *agent.Config) {
			monitor := only[*monitoring.ServiceMonitor](t, objects)
			service := only[*core.Service](t, objects)
			require.Equal(t, core.ClusterIPNone, service.Spec.ClusterIP)
			require.Equal(t, service.Spec.Ports[0].Name, monitor.Spec.Endpoints[0].Port)
			for key, value := range monitor.Spec.Selector.MatchLabels {
				require.Equal(t, value, service.Labels[key])
			}
			require.Equal(t, "access", monitor.Labels["team"])
			require.NotEmpty(t, only[*monitoring.PrometheusRule](t, objects).Spec.Groups[0].Rules)
			require.True(t, json.Valid([]byte(only[*core.ConfigMap](t, objects).Data["teleport-jira-agent.json"])))
		}},
		"placed and named as somebody likes": {`
replicaCount: 3
fullnameOverride: access
image: {repository: registry.example.com/agent, tag: v9}
imagePullSecrets: [{name: pull}]
annotations: {deployment: {a: b}, pod: {c: d}, secret: {e: f}}
podLabels: {team: access}
serviceAccount: {create: false, name: mine}
nodeSelector: {disk: ssd}
tolerations: [{key: gpu, operator: Exists}]
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app.kubernetes.io/instance: release}}}]
priorityClassName: high
podDisruptionBudget: {maxUnavailable: "50%"}
networkPolicy: {egressPorts: [443, 6432], extraEgress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}
`, func(t *testing.T, objects []runtime.Object, _ *agent.Config) {
			deployment := only[*apps.Deployment](t, objects)
			require.Equal(t, "access", deployment.Name)
			require.Equal(t, "b", deployment.Annotations["a"])
			require.Equal(t, "d", deployment.Spec.Template.Annotations["c"])
			pod := podOf(t, objects)
			require.Equal(t, "registry.example.com/agent:v9", pod.Containers[0].Image)
			require.Equal(t, "mine", pod.ServiceAccountName)
			require.Equal(t, "high", pod.PriorityClassName)
			require.Equal(t, "zone", pod.TopologySpreadConstraints[0].TopologyKey)
			require.Empty(t, all[*core.ServiceAccount](objects))
			require.Len(t, only[*networking.NetworkPolicy](t, objects).Spec.Egress, 3)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, objects := rendered(t, required, c.values)
			hangsTogether(t, objects)
			pod := podOf(t, objects)
			restricted(t, pod)
			require.False(t, *pod.AutomountServiceAccountToken)
			cfg := configured(t, objects, pod, container(t, pod, "agent"))
			if !cfg.Webhook.Enabled && len(all[*monitoring.ServiceMonitor](objects)) == 0 {
				require.Empty(t, all[*core.Service](objects))
			}
			for _, o := range objects {
				require.Equal(t, "teleport", o.(interface{ GetNamespace() string }).GetNamespace())
			}
			c.check(t, objects, cfg)
		})
	}
}

func TestSecretsAmongTheValuesGoIntoASecretAndNowhereElse(t *testing.T) {
	t.Parallel()
	text, objects := rendered(t, required, `
jira: {apiToken: hush1, apiTokenFromSecret: ""}
database: {url: "postgres://agent:hush2@db/agent", urlFromSecret: ""}
webhook: {enabled: true, secret: hush3}
http: {tlsFromSecret: tls}
annotations: {secret: {e: f}}
`)
	secret := only[*core.Secret](t, objects)
	require.Equal(
		t,
		map[string]string{
			"jira-api-token": "hush1",
			"database-url":   "postgres://agent:hush2@db/agent",
			"webhook-secret": "hush3",
		},
		secret.StringData,
	)
	require.Equal(t, "f", secret.Annotations["e"])
	require.Equal(t, 3, strings.Count(text, "hush"))
	for _, source := range podOf(t, objects).Volumes[1].Projected.Sources {
		require.Equal(t, secret.Name, source.Secret.Name)
		require.Equal(t, source.Secret.Items[0].Key, source.Secret.Items[0].Path)
		require.Contains(t, secret.StringData, source.Secret.Items[0].Key)
	}
}

func TestSecretsThatAreThereAreMountedByTheirOwnNames(t *testing.T) {
	t.Parallel()
	_, objects := rendered(t, required, `jira: {apiTokenSecretPath: token}`)
	sources := podOf(t, objects).Volumes[1].Projected.Sources
	require.Equal(t, "jira", sources[0].Secret.Name)
	require.Equal(t, core.KeyToPath{Key: "token", Path: "jira-api-token"}, sources[0].Secret.Items[0])
	require.Equal(t, "database", sources[1].Secret.Name)
	require.Equal(t, core.KeyToPath{Key: "url", Path: "database-url"}, sources[1].Secret.Items[0])
}

func TestWrongValuesAreRefusedByName(t *testing.T) {
	t.Parallel()
	for values, complaint := range map[string]string{
		`{teleport: {host: "t:443"}}`:                                   `host`,
		`{replicas: 3}`:                                                 `replicas`,
		`{replicaCount: many}`:                                          `/replicaCount`,
		`{teleport: {address: ""}}`:                                     `/teleport/address`,
		`{teleport: {address: "https://t.example.com"}}`:                `/teleport/address`,
		`{teleport: {decisionMode: vote}}`:                              `/teleport/decisionMode`,
		`{teleport: {identityFromSecret: ""}}`:                          `teleport.identityFromSecret is not set`,
		`{jira: {url: "http://jira.example.com"}}`:                      `/jira/url`,
		`{jira: {project: ops}}`:                                        `/jira/project`,
		`{jira: {apiToken: hush}}`:                                      `jira.apiToken and jira.apiTokenFromSecret are both set`,
		`{jira: {apiTokenFromSecret: ""}}`:                              `jira.apiToken is not set`,
		`{jira: {caFromSecret: a, caFromConfigMap: b}}`:                 `jira.caFromConfigMap and jira.caFromSecret are both set`,
		`{database: {urlFromSecret: "", url: "mysql://db"}}`:            `/database/url`,
		`{database: {urlFromSecret: ""}}`:                               `database.url is not set`,
		`{policy: {selfApproval: perhaps}}`:                             `/policy/selfApproval`,
		`{policy: {approvers: "alice,bob"}}`:                            `/policy/approvers`,
		`{webhook: {enabled: true}}`:                                    `set webhook.secretFromSecret`,
		`{webhook: {enabled: true, secretFromSecret: s}}`:               `set http.tlsFromSecret`,
		`{webhook: {enabled: true, secretFromSecret: s, secret: hush}}`: `webhook.secret and webhook.secretFromSecret are both set`,
		`{tbot: {enabled: true, clusterName: c}}`:                       `tbot.enabled and teleport.identityFromSecret are both set`,
		`{tbot: {enabled: true}, teleport: {identityFromSecret: ""}}`:   `/tbot/clusterName`,
		`{serviceType: ExternalName}`:                                   `/serviceType`,
		`{log: {severity: loud}}`:                                       `/log/severity`,
		`{extraEnv: [{value: x}]}`:                                      `/extraEnv/0`,
		`{networkPolicy: {egressPorts: [https]}}`:                       `/networkPolicy/egressPorts/0`,
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			_, complaints, err := run(t, []string{"template", "release"}, required, values)
			require.Error(t, err)
			require.Contains(t, complaints, complaint)
			require.NotContains(t, complaints, "hush")
		})
	}
}

func TestTheChartPassesHelmsOwnCheck(t *testing.T) {
	t.Parallel()
	out, complaints, err := run(t, []string{"lint", "--strict"}, required)
	require.NoError(t, err, out+complaints)
}

// TestWhatConfigurePrintsAreValuesOfTheChart installs the chart with what the agent makes of a file
// of Teleport's own plugin, and what it leaves to fill in.
func TestWhatConfigurePrintsAreValuesOfTheChart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "teleport-jira.toml")
	require.NoError(t, os.WriteFile(file, []byte(`
[teleport]
addr = "teleport.example.com:443"
identity = "/var/lib/teleport/plugins/jira/identity"
refresh_identity = true
[jira]
url = "https://example.atlassian.net"
username = "bot@example.com"
api_token = "hush"
project = "OPS"
issue_type = "Task"
[http]
public_addr = "hooks.example.com"
[log]
severity = "INFO"
`), 0o600))
	converted, _, err := agent.Convert(file, agent.FormatHelm)
	require.NoError(t, err)
	_, objects := rendered(
		t,
		converted,
		`{teleport: {identityFromSecret: i}, jira: {apiTokenFromSecret: j}, database: {urlFromSecret: d}}`,
	)
	pod := podOf(t, objects)
	cfg := configured(t, objects, pod, container(t, pod, "agent"))
	require.Equal(t, "OPS", cfg.Jira.Project)
	require.True(t, cfg.Teleport.RefreshIdentity)

	_, objects = rendered(t, agent.Sample(agent.FormatHelm), required)
	pod = podOf(t, objects)
	configured(t, objects, pod, container(t, pod, "agent"))
	_, _, err = run(t, []string{"template", "release"}, agent.Sample(agent.FormatHelm))
	require.Error(t, err, "what is required is not filled in")
	whole := regexp.MustCompile(`(?m)^( *)#(\w+:|- \{)`).ReplaceAllString(agent.Sample(agent.FormatHelm), "$1$2")
	_, objects = rendered(t, whole, required, `{webhook: {secretFromSecret: s}, http: {tlsFromSecret: t}}`)
	pod = podOf(t, objects)
	configured(t, objects, pod, container(t, pod, "agent"))
}
