package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// tbotConfig are the keys of tbot's configuration, version v2, that the files use. Another key
// fails the test, so that it is looked up:
// https://goteleport.com/docs/reference/machine-workload-identity/configuration/
type tbotConfig struct {
	Version         string         `json:"version"`
	ProxyServer     string         `json:"proxy_server"`
	Onboarding      map[string]any `json:"onboarding"`
	Storage         map[string]any `json:"storage"`
	CredentialTTL   string         `json:"credential_ttl"`
	RenewalInterval string         `json:"renewal_interval"`
	Outputs         []struct {
		Type        string `json:"type"`
		Destination struct {
			Type, Path, Name string
			Readers          []struct{ User, Group string }
			ACLs             string `json:"acls"`
		} `json:"destination"`
	} `json:"outputs"`
}

func tbot(t *testing.T, name string) (c tbotConfig) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("teleport", name))
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(text, &c))
	require.Equal(t, "v2", c.Version)
	require.Len(t, c.Outputs, 1)
	require.Equal(t, "identity", c.Outputs[0].Type)
	return c
}

// tbot writes files of mode 0600: without the reader the unit's user could not open the identity.
func TestTbotLetsTheUnitReadTheIdentity(t *testing.T) {
	t.Parallel()
	destination := tbot(t, "tbot-directory.yaml").Outputs[0].Destination
	require.Equal(t, "directory", destination.Type)
	require.Len(t, destination.Readers, 1)
	require.Equal(t, []string{destination.Readers[0].Group}, directives(t, "SupplementaryGroups"))
	require.Equal(t, "required", destination.ACLs)
	settings, err := os.ReadFile("systemd/agent.env")
	require.NoError(t, err)
	require.Contains(t, string(settings), "\nTELEPORT_IDENTITY_FILE="+destination.Path+"/identity\n")
}

// documents decodes the documents of a file of Teleport resources into the types given, in order. A
// field that they do not have fails the test.
func documents(t *testing.T, name string, into ...any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("teleport", name))
	require.NoError(t, err)
	found := bytes.Split(text, []byte("\n---\n"))
	require.Len(t, found, len(into))
	for n, document := range found {
		asJSON, err := yaml.YAMLToJSONStrict(document)
		require.NoError(t, err)
		strict := json.NewDecoder(bytes.NewReader(asJSON))
		strict.DisallowUnknownFields()
		require.NoError(t, strict.Decode(into[n]), "%s", document)
	}
}

func TestTheUserToSignAnIdentityForHoldsTheRole(t *testing.T) {
	t.Parallel()
	var user types.UserV2
	var impersonator types.RoleV6
	documents(t, "user.yaml", &user, &impersonator)
	require.NoError(t, user.CheckAndSetDefaults())
	require.NoError(t, impersonator.CheckAndSetDefaults())
	impersonate := impersonator.GetImpersonateConditions(types.Allow)
	require.Equal(t, []string{user.GetName()}, impersonate.Users)
	require.Equal(t, user.GetRoles(), impersonate.Roles)
	for _, mode := range []string{"state", "review", "notify"} {
		role, err := os.ReadFile("teleport/role-" + mode + ".yaml")
		require.NoError(t, err)
		require.Contains(t, string(role), "\n  name: "+user.GetRoles()[0]+"\n")
	}
}

func TestTbotInAClusterWritesTheSecretThatTheManifestsMount(t *testing.T) {
	t.Parallel()
	config := tbot(t, "tbot-kubernetes.yaml")
	destination := config.Outputs[0].Destination
	require.Equal(t, "kubernetes_secret", destination.Type)
	pod := only[*apps.Deployment](t, kustomized(t, "kubernetes/base")).Spec.Template.Spec
	require.Equal(t, "identity", pod.Volumes[0].Name)
	require.Equal(t, destination.Name, pod.Volumes[0].Secret.SecretName)

	var bot map[string]any // the client module has the resource in another form
	var token types.ProvisionTokenV2
	documents(t, "bot.yaml", &bot, &token)
	require.NoError(t, token.CheckAndSetDefaults())
	require.Equal(t, config.Onboarding["token"], token.GetName())
	require.EqualValues(t, config.Onboarding["join_method"], token.GetJoinMethod())
	require.Equal(t, bot["metadata"].(map[string]any)["name"], token.GetBotName())
}
