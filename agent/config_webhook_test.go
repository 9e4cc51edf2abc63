package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// webhookOn is a webhook that is right, for environ.
func webhookOn(t *testing.T, changes ...string) []string {
	t.Helper()
	key, crt := keyPair(t)
	on := []string{
		"WEBHOOK_ENABLED=true",
		"WEBHOOK_TLS_CERT_FILE=" + crt,
		"WEBHOOK_TLS_KEY_FILE=" + key,
		"WEBHOOK_SECRET=s3cret",
	}
	return environ(t, append(on, changes...)...)
}

func TestAWebhookThatIsOnNeedsWhatItNeeds(t *testing.T) {
	t.Parallel()
	key, crt := keyPair(t)
	_, otherCrt := keyPair(t)
	for _, c := range []struct {
		name    string
		changes []string
		want    []string // how each line begins
	}{
		{"nothing else set", []string{"WEBHOOK_TLS_CERT_FILE", "WEBHOOK_TLS_KEY_FILE", "WEBHOOK_SECRET"}, []string{
			"WEBHOOK_TLS_CERT_FILE: is missing, and WEBHOOK_ENABLED is true; example: /etc/",
			"WEBHOOK_TLS_KEY_FILE: is missing, and WEBHOOK_ENABLED is true; example: /etc/",
			"WEBHOOK_SECRET: is missing, and WEBHOOK_ENABLED is true; example: WEBHOOK_SECRET_FILE=",
		}},
		{"misspelled secret", []string{"WEBHOOK_SECRET", "WEBHOOK_SECRT=s3cret"}, []string{"WEBHOOK_SECRET: is missing, " +
			"and WEBHOOK_ENABLED is true (set, but unknown: WEBHOOK_SECRT)"}},
		{"key of another certificate", []string{"WEBHOOK_TLS_CERT_FILE=" + otherCrt, "WEBHOOK_TLS_KEY_FILE=" + key}, []string{"WEBHOOK_TLS_CERT_FILE: is no certificate for the key in WEBHOOK_TLS_KEY_FILE: "}},
		{"certificate without PEM", []string{"WEBHOOK_TLS_CERT_FILE=" + write(t, "tls.crt", "not PEM")}, []string{"WEBHOOK_TLS_CERT_FILE: is no certificate for the key"}},
		{"files swapped", []string{"WEBHOOK_TLS_CERT_FILE=" + key, "WEBHOOK_TLS_KEY_FILE=" + crt}, []string{"WEBHOOK_TLS_CERT_FILE: is no certificate for the key"}},
		{"absent key and certificate", []string{"WEBHOOK_TLS_CERT_FILE=/nowhere/tls.crt", "WEBHOOK_TLS_KEY_FILE=/nowhere/tls.key"}, []string{
			"WEBHOOK_TLS_CERT_FILE: cannot be read: open /nowhere/tls.crt", "WEBHOOK_TLS_KEY_FILE: cannot be read: open " +
				"/nowhere/tls.key",
		}},
		{"absent secret file", []string{"WEBHOOK_SECRET", "WEBHOOK_SECRET_FILE=/nowhere/secret"}, []string{"WEBHOOK_SECRET_FILE: cannot be read: stat /nowhere/secret"}},
		{"empty secret file", []string{"WEBHOOK_SECRET", "WEBHOOK_SECRET_FILE=" + write(t, "secret", "\n")}, []string{"WEBHOOK_SECRET_FILE: "}},
		{"address without port", []string{"WEBHOOK_LISTEN_ADDR=0.0.0.0"}, []string{`WEBHOOK_LISTEN_ADDR: must be host:port or :port, is "0.0.0.0"`}},
		{"public address of plain http", []string{"WEBHOOK_PUBLIC_ADDR=http://agent.example.com"}, []string{`WEBHOOK_PUBLIC_ADDR: must be an https:// URL or host:port, is "http://`}},
		{"public address with a password", []string{"WEBHOOK_PUBLIC_ADDR=https://jira:x@agent.example.com"}, []string{"WEBHOOK_PUBLIC_ADDR: must be an https:// URL or host:port"}},
		{"public address without host", []string{"WEBHOOK_PUBLIC_ADDR=:8081"}, []string{"WEBHOOK_PUBLIC_ADDR: must be an " +
			"https:// URL or host:port"}},
		{"public address with port too high", []string{"WEBHOOK_PUBLIC_ADDR=agent.example.com:65536"}, []string{"WEBHOOK_PUBLIC_ADDR: must be an https:// URL or host:port"}},
		{"neither on nor off", []string{"WEBHOOK_ENABLED=maybe", "WEBHOOK_TLS_CERT_FILE=/nowhere/tls.crt", "WEBHOOK_SECRET"}, []string{
			`WEBHOOK_ENABLED: must be true or false, is "maybe"`, "WEBHOOK_TLS_CERT_FILE: cannot be read",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lines := problems(t, "", webhookOn(t, c.changes...))
			require.Len(t, lines, len(c.want), lines)
			for i, want := range c.want {
				require.True(t, strings.HasPrefix(lines[i], want), "got:  %s\nwant: %s", lines[i], want)
				require.Contains(t, lines[i], "; example: ")
				require.NotContains(t, lines[i], "s3cret")
			}
		})
	}
}

func TestAWebhookThatIsRightLoads(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"", "https://agent.example.com", "https://agent.example.com:8443/jira", "agent.example.com:8081", "agent.example.com", "[2001:db8::1]:443"} {
		cfg := load(t, "", webhookOn(t, "WEBHOOK_PUBLIC_ADDR="+addr))
		require.True(t, cfg.Webhook.Enabled)
		require.Equal(t, addr, cfg.Webhook.PublicAddr)
	}
	cfg := load(t, "", webhookOn(t, "WEBHOOK_SECRET", "WEBHOOK_SECRET_FILE="+write(t, "secret", "s3cret\n")))
	require.Equal(t, "s3cret", cfg.Webhook.Secret.Value())
}

func TestOfAWebhookThatIsOffNothingNeedsToBeRight(t *testing.T) {
	t.Parallel()
	for _, off := range []string{"WEBHOOK_ENABLED", "WEBHOOK_ENABLED=", "WEBHOOK_ENABLED=false"} {
		cfg := load(
			t,
			"",
			environ(
				t,
				off,
				"WEBHOOK_LISTEN_ADDR=8081",
				"WEBHOOK_PUBLIC_ADDR=http://x",
				"WEBHOOK_TLS_CERT_FILE=/nowhere",
				"WEBHOOK_TLS_KEY_FILE=/nowhere",
				"WEBHOOK_SECRET=s3cret",
				"WEBHOOK_SECRET_FILE=/nowhere",
			),
		)
		require.False(t, cfg.Webhook.Enabled)
	}
}
