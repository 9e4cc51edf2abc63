package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

const (
	testToken    = "s3cret-token"
	testPassword = "s3cret-password"
)

// environ is an environment that loads, with changes: "NAME=value" sets a variable, "NAME" removes
// one.
func environ(t *testing.T, changes ...string) []string {
	t.Helper()
	env := []string{
		"PATH=/bin",
		"TELEPORT_ADDR=teleport.example.com:443",
		"TELEPORT_IDENTITY_FILE=" + write(t, "identity", "an identity"),
		"JIRA_URL=https://example.atlassian.net",
		"JIRA_API_TOKEN=" + testToken,
		"JIRA_PROJECT=ACCESS",
		"DATABASE_URL=postgres://agent:" + testPassword + "@db.example.com:5432/agent",
	}
	for _, change := range changes {
		name, _, sets := strings.Cut(change, "=")
		kept := env[:0:0]
		for _, entry := range env {
			if !strings.HasPrefix(entry, name+"=") {
				kept = append(kept, entry)
			}
		}
		env = kept
		if sets {
			env = append(env, change)
		}
	}
	return env
}

// write makes a file for one test and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// keyPair makes the files of a private key and its own certificate.
func keyPair(t *testing.T) (key, crt string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotAfter:     time.Now().Add(time.Hour),
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	key = write(t, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	crt = write(t, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})))
	return key, crt
}

func load(t *testing.T, file string, env []string) *Config {
	t.Helper()
	cfg, err := Load(file, env)
	require.NoError(t, err)
	return cfg
}

// problems loads what must not load, and returns the lines; none of them may hold a secret.
func problems(t *testing.T, file string, env []string) []string {
	t.Helper()
	cfg, err := Load(file, env)
	require.Nil(t, cfg)
	var all Problems
	require.ErrorAs(t, err, &all)
	require.NotContains(t, err.Error(), "s3cret")
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, len(all), "a problem is one line")
	return lines
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	cfg := load(t, "", environ(t))

	require.Equal(t, "teleport.example.com:443", cfg.Teleport.Addr)
	require.True(t, cfg.Teleport.RefreshIdentity)
	require.Equal(t, "state", cfg.Teleport.DecisionMode)
	require.Equal(t, "https://example.atlassian.net", cfg.Jira.URL)
	require.Equal(t, cfg.Jira.URL, cfg.Jira.BrowseURL)
	require.Equal(t, testToken, cfg.Jira.APIToken.Value())
	require.Equal(t, "postgres://agent:"+testPassword+"@db.example.com:5432/agent", cfg.Database.URL.Value())
	require.Empty(t, cfg.Jira.Username)
	require.Equal(t, "Task", cfg.Jira.IssueType)
	require.Equal(t, "auto", cfg.Jira.Deployment)
	require.Equal(t, "teleportAccessRequestId", cfg.Jira.RequestIDField)
	require.Equal(t, List{"Pending"}, cfg.Jira.StatusPending)
	require.Equal(t, List{"Approved"}, cfg.Jira.StatusApproved)
	require.Equal(t, List{"Denied"}, cfg.Jira.StatusDenied)
	require.Equal(t, List{"Expired"}, cfg.Jira.StatusExpired)
	require.Equal(t, List{"Approved"}, cfg.Jira.StatusPromoted)
	require.Nil(t, cfg.Jira.Fields)
	require.InDelta(t, 10, cfg.Jira.MaxRPS, 0)
	require.Equal(t, "@every 5s", cfg.Sync.PollSchedule.String())
	require.Equal(t, "@every 1m", cfg.Sync.IdleSchedule.String())
	require.Equal(t, "@every 10m", cfg.Sync.SweepSchedule.String())
	require.Equal(t, 15*time.Minute, cfg.Sync.Lookback)
	require.False(t, cfg.Sync.DryRun)
	require.Equal(t, 16, cfg.Sync.Concurrency)
	require.Equal(t, 2160*time.Hour, cfg.Sync.Retention)
	require.Equal(t, "deny", cfg.Policy.SelfApproval)
	require.Equal(t, 10*time.Second, cfg.Leader.Lease)
	require.Equal(t, "127.0.0.1:8080", cfg.Admin.ListenAddr)
	require.False(t, cfg.Webhook.Enabled)
	require.Equal(t, LogConfig{Output: "stderr", Severity: "info", Format: "json"}, cfg.Log)
	require.Empty(t, cfg.Warnings)
}

func TestEnvironmentFillsEverySetting(t *testing.T) {
	t.Parallel()
	key, crt := keyPair(t)
	cfg := load(
		t,
		"",
		environ(
			t,
			"TELEPORT_IDENTITY_FILE",
			"TELEPORT_CLIENT_KEY="+key,
			"TELEPORT_CLIENT_CRT="+crt,
			"TELEPORT_ROOT_CAS="+crt,
			"TELEPORT_REFRESH_IDENTITY=false",
			"JIRA_URL=http://127.0.0.1:8088/jira/",
			"JIRA_USERNAME=bot@example.com",
			"JIRA_BROWSE_URL=https://jira.example.com/",
			"JIRA_CA_FILE="+crt,
			"JIRA_ISSUE_TYPE=10001",
			"JIRA_DEPLOYMENT=DataCenter",
			"JIRA_REQUEST_ID_FIELD=customfield_10100",
			"JIRA_STATUS_PENDING=To do, 10000,",
			"JIRA_STATUS_PROMOTED=On a list",
			`JIRA_FIELDS={"priority":{"id":12345678901234567890}}`,
			"JIRA_MAX_RPS=0.5",
			"SYNC_POLL_SCHEDULE=*/2 * * * *",
			"SYNC_LOOKBACK=1h",
			"SYNC_CONCURRENCY=1",
			"SYNC_RETENTION=1h",
			"POLICY_SELF_APPROVAL=Strict",
			"LEADER_LEASE=1s",
			"ADMIN_LISTEN_ADDR=:0",
			"LOG_OUTPUT=stdout",
			"LOG_SEVERITY=DEBUG",
			"LOG_FORMAT=console",
		),
	)

	require.Equal(t, TeleportConfig{
		Addr: "teleport.example.com:443", ClientKey: key, ClientCrt: crt, RootCAs: crt,
		DecisionMode: "state", UserTrait: "jira_account_id",
	}, cfg.Teleport)
	require.Equal(t, "http://127.0.0.1:8088/jira", cfg.Jira.URL)
	require.Equal(t, "https://jira.example.com", cfg.Jira.BrowseURL)
	require.Equal(t, "bot@example.com", cfg.Jira.Username)
	require.Equal(t, crt, cfg.Jira.CAFile)
	require.Equal(t, "10001", cfg.Jira.IssueType)
	require.Equal(t, "datacenter", cfg.Jira.Deployment)
	require.Equal(t, "customfield_10100", cfg.Jira.RequestIDField)
	require.Equal(t, List{"To do", "10000"}, cfg.Jira.StatusPending)
	require.Equal(t, List{"On a list"}, cfg.Jira.StatusPromoted)
	require.Equal(
		t,
		Fields{"priority": map[string]any{"id": json.Number("12345678901234567890")}},
		cfg.Jira.Fields,
		"numbers are sent as they were written",
	)
	require.InDelta(t, 0.5, cfg.Jira.MaxRPS, 0)
	require.Equal(t, "*/2 * * * *", cfg.Sync.PollSchedule.String())
	require.Equal(t, time.Hour, cfg.Sync.Lookback)
	require.Equal(t, 1, cfg.Sync.Concurrency)
	require.Equal(t, time.Hour, cfg.Sync.Retention)
	require.Equal(t, "strict", cfg.Policy.SelfApproval)
	require.Equal(t, time.Second, cfg.Leader.Lease)
	require.Equal(t, ":0", cfg.Admin.ListenAddr)
	require.Equal(t, LogConfig{Output: "stdout", Severity: "debug", Format: "console"}, cfg.Log)
}

func TestEmptyVariableCountsAsNotSetButForTheAdminListener(t *testing.T) {
	t.Parallel()
	cfg := load(
		t,
		"",
		environ(
			t,
			"JIRA_ISSUE_TYPE=",
			"JIRA_STATUS_PENDING=",
			"SYNC_LOOKBACK=",
			"POLICY_APPROVERS=",
			"WEBHOOK_SECRET=",
			"ADMIN_LISTEN_ADDR=",
		),
	)
	require.Equal(t, "Task", cfg.Jira.IssueType)
	require.Equal(t, List{"Pending"}, cfg.Jira.StatusPending)
	require.Equal(t, 15*time.Minute, cfg.Sync.Lookback)
	require.Empty(t, cfg.Admin.ListenAddr)
	require.Empty(t, cfg.Warnings)
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	cfg := load(t, "", environ(t, "JIRA_API_TOKEN", "JIRA_API_TOKEN_FILE="+write(t, "token", testToken+"\n"),
		"DATABASE_URL", "DATABASE_URL_FILE="+write(t, "url", "postgres://db.example.com/agent\r\n")))
	require.Equal(t, testToken, cfg.Jira.APIToken.Value())
	require.Equal(t, "postgres://db.example.com/agent", cfg.Database.URL.Value())
}

func TestAllProblemsAreReportedAtOnceInTheContractsOrder(t *testing.T) {
	t.Parallel()
	got := problems(
		t,
		"",
		[]string{"LOG_FORMAT=xml", "SYNC_CONCURRENCY=many", "JIRA_PROJEKT=ACCESS", "SYNC_DRY_RUN=perhaps"},
	)
	want := []string{
		`TELEPORT_ADDR: is missing; example: teleport.example.com:443`,
		`TELEPORT_IDENTITY_FILE: is missing, and so are TELEPORT_CLIENT_KEY, TELEPORT_CLIENT_CRT, TELEPORT_ROOT_CAS; example: /var/lib/teleport/plugins/jira/identity`,
		`JIRA_URL: is missing (set, but unknown: JIRA_PROJEKT); example: https://example.atlassian.net`,
		`JIRA_API_TOKEN: is missing (set, but unknown: JIRA_PROJEKT); example: JIRA_API_TOKEN_FILE=/run/secrets/jira-api-token`,
		`JIRA_PROJECT: is missing (set, but unknown: JIRA_PROJEKT); example: ACCESS`,
		`DATABASE_URL: is missing; example: postgres://agent@db.example.com:5432/agent?sslmode=verify-full`,
		`SYNC_DRY_RUN: must be true or false, is "perhaps"; example: false`,
		`SYNC_CONCURRENCY: must be a whole number, is "many"; example: 16`,
		`LOG_FORMAT: must be one of json, console, is "xml"; example: json`,
	}
	require.Empty(t, cmp.Diff(want, got))
}

func TestUnknownVariablesAreWarnedAboutOnly(t *testing.T) {
	t.Parallel()
	cfg := load(
		t,
		"",
		environ(
			t,
			"SYNC_POLL=1s",
			"JIRA_PROJEKT=X",
			"JIRA_URL_FILE=/x",
			"LOG_COLOR=",
			"TEST_DATABASE_URL=x",
			"JIRA_SERVICE_HOST=10.0.0.1",
			"JIRA_SERVICE_PORT_HTTP=80",
			"JIRA_PORT=tcp://10.0.0.1:80",
			"JIRA_PORT_80_TCP_ADDR=10.0.0.1",
		),
	)
	require.Equal(t, []string{
		"JIRA_PROJEKT is set in the environment, but is no variable of this program",
		"JIRA_URL_FILE is set in the environment, but is no variable of this program",
		"SYNC_POLL is set in the environment, but is no variable of this program",
	}, cfg.Warnings)
}

func TestPrintedConfigHoldsNoSecret(t *testing.T) {
	t.Parallel()
	cfg := load(t, "", environ(t))
	asJSON, err := json.Marshal(cfg)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", cfg, *cfg, *cfg), string(asJSON)} {
		require.NotContains(t, text, "s3cret")
		require.Contains(t, text, redacted)
	}
}
