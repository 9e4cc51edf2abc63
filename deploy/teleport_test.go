package deploy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// tbotConfig are the keys of tbot's configuration, version v2, that the files use. Another key fails the test, so that it is looked up:
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
