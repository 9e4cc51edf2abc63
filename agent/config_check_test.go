package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each row is one change to a configuration that loads, and the one problem that it makes: the
// variable and what is wrong with it. Every line must end in an example.
func TestWrongValueIsNamedWithWhatIsWrongAndAnExample(t *testing.T) {
	t.Parallel()
	key, crt := keyPair(t)
	_, otherCrt := keyPair(t)
	noPEM, empty, dir := write(t, "ca.pem", "not PEM"), write(t, "empty", ""), t.TempDir()

	for _, c := range []struct {
		name    string
		changes []string
		want    string
	}{
		{"address without port", []string{"TELEPORT_ADDR=teleport.example.com"}, `TELEPORT_ADDR: must be host:port without a scheme, is "teleport.example.com"`},
		{"address with scheme", []string{"TELEPORT_ADDR=https://teleport.example.com:443"}, `TELEPORT_ADDR: must be host:port without a scheme, is "https://`},
		{"address with port 0", []string{"TELEPORT_ADDR=teleport.example.com:0"}, `TELEPORT_ADDR: must be host:port`},
		{"address without host", []string{"TELEPORT_ADDR=:443"}, `TELEPORT_ADDR: must be host:port`},
		{"absent identity", []string{"TELEPORT_IDENTITY_FILE=/nowhere/identity"}, `TELEPORT_IDENTITY_FILE: cannot be read: open /nowhere/identity: no such file or directory`},
		{"identity is a folder", []string{"TELEPORT_IDENTITY_FILE=" + dir}, `TELEPORT_IDENTITY_FILE: cannot be read: read ` + dir + `: is a directory`},
		{"empty identity", []string{"TELEPORT_IDENTITY_FILE=" + empty}, `TELEPORT_IDENTITY_FILE: is an empty file: ` + empty},
		{"identity and key", []string{"TELEPORT_CLIENT_KEY=" + key}, `TELEPORT_IDENTITY_FILE: is set, and so is TELEPORT_CLIENT_KEY: set the one or the others`},
		{"half a triple", []string{"TELEPORT_IDENTITY_FILE", "TELEPORT_CLIENT_KEY=" + key, "TELEPORT_CLIENT_CRT=" + crt}, `TELEPORT_ROOT_CAS: is missing beside TELEPORT_CLIENT_KEY, TELEPORT_CLIENT_CRT`},
		{"key of another certificate", []string{"TELEPORT_IDENTITY_FILE", "TELEPORT_CLIENT_KEY=" + key, "TELEPORT_CLIENT_CRT=" + otherCrt, "TELEPORT_ROOT_CAS=" + crt}, `TELEPORT_CLIENT_CRT: is no certificate for the key in TELEPORT_CLIENT_KEY: `},
		{"authorities without PEM", []string{"TELEPORT_IDENTITY_FILE", "TELEPORT_CLIENT_KEY=" + key, "TELEPORT_CLIENT_CRT=" + crt, "TELEPORT_ROOT_CAS=" + noPEM}, `TELEPORT_ROOT_CAS: holds no certificate in PEM form: ` + noPEM},
		{"refresh neither true nor false", []string{"TELEPORT_REFRESH_IDENTITY=sometimes"}, `TELEPORT_REFRESH_IDENTITY: must be true or false, is "sometimes"`},
		{"unknown decision mode", []string{"TELEPORT_DECISION_MODE=vote"}, `TELEPORT_DECISION_MODE: must be one of state, review, notify, is "vote"`},

		{"plain http", []string{"JIRA_URL=http://jira.example.com"}, `JIRA_URL: must begin with https:// (http:// is for a loopback address), is "http://jira.example.com"`},
		{"no URL", []string{"JIRA_URL=jira.example.com"}, `JIRA_URL: must be a URL of scheme, host and perhaps a path, is "jira.example.com"`},
		{"URL with a query", []string{"JIRA_URL=https://jira.example.com/?a=b"}, `JIRA_URL: must be a URL`},
		{"URL with a password", []string{"JIRA_URL=https://bot:s3cret@jira.example.com"}, `JIRA_URL: must not hold a user name or password`},
		{"browse URL without host", []string{"JIRA_BROWSE_URL=https:///browse"}, `JIRA_BROWSE_URL: must be a URL`},
		{"user name with a colon", []string{"JIRA_USERNAME=bot:x"}, `JIRA_USERNAME: must not contain a colon`},
		{"token with a line break", []string{"JIRA_API_TOKEN=s3cret\ns3cret"}, `JIRA_API_TOKEN: must not contain spaces, line breaks or control characters`},
		{"token twice", []string{"JIRA_API_TOKEN_FILE=" + noPEM}, `JIRA_API_TOKEN: is set, and so is JIRA_API_TOKEN_FILE: set one of the two`},
		{"absent token file", []string{"JIRA_API_TOKEN", "JIRA_API_TOKEN_FILE=/nowhere/token"}, `JIRA_API_TOKEN_FILE: cannot be read: stat /nowhere/token: no such file or directory`},
		{"empty token file", []string{"JIRA_API_TOKEN", "JIRA_API_TOKEN_FILE=" + empty}, `JIRA_API_TOKEN_FILE: ` + empty + ` is empty`},
		{"token file is a folder", []string{"JIRA_API_TOKEN", "JIRA_API_TOKEN_FILE=" + dir}, `JIRA_API_TOKEN_FILE: ` + dir + ` is no regular file`},
		{"CA file without PEM", []string{"JIRA_CA_FILE=" + noPEM}, `JIRA_CA_FILE: holds no certificate in PEM form: ` + noPEM},
		{"project in lower case", []string{"JIRA_PROJECT=access"}, `JIRA_PROJECT: must be a project key`},
		{"project of one letter", []string{"JIRA_PROJECT=A"}, `JIRA_PROJECT: must be a project key`},
		{"project that would break out of JQL", []string{`JIRA_PROJECT=A" OR "1`}, `JIRA_PROJECT: must be a project key`},
		{"unknown deployment", []string{"JIRA_DEPLOYMENT=server"}, `JIRA_DEPLOYMENT: must be one of auto, cloud, datacenter, is "server"`},
		{"field without number", []string{"JIRA_REQUEST_ID_FIELD=customfield_x"}, `JIRA_REQUEST_ID_FIELD: must be a field's name or customfield_ and its number, is "customfield_x"`},
		{"no pending status", []string{"JIRA_STATUS_PENDING= , "}, `JIRA_STATUS_PENDING: must name at least one, is ","`},
		{"status of two outcomes", []string{"JIRA_STATUS_PENDING=Open, Done", "JIRA_STATUS_DENIED=done"}, `JIRA_STATUS_DENIED: has "done", and so has JIRA_STATUS_PENDING`},
		{"promoted like denied", []string{"JIRA_STATUS_PROMOTED=Denied"}, `JIRA_STATUS_PROMOTED: has "Denied", and so has JIRA_STATUS_DENIED`},
		{"fields no JSON", []string{"JIRA_FIELDS={priority:1}"}, `JIRA_FIELDS: must be a JSON object, is "{priority:1}"`},
		{"fields no object", []string{"JIRA_FIELDS=[1]"}, `JIRA_FIELDS: must be a JSON object, is "[1]"`},
		{"fields null", []string{"JIRA_FIELDS=null"}, `JIRA_FIELDS: must be a JSON object`},
		{"fields and more", []string{"JIRA_FIELDS={} {}"}, `JIRA_FIELDS: must be one JSON object with nothing after it`},
		{"fields the agent sets", []string{`JIRA_FIELDS={"summary":"x"}`}, `JIRA_FIELDS: must not set summary, which the agent sets itself`},
		{"fields with the custom field", []string{"JIRA_REQUEST_ID_FIELD=customfield_7", `JIRA_FIELDS={"customfield_7":"x"}`}, `JIRA_FIELDS: must not set customfield_7`},
		{"no requests per second", []string{"JIRA_MAX_RPS=0"}, `JIRA_MAX_RPS: must be greater than 0, is 0`},
		{"requests per second NaN", []string{"JIRA_MAX_RPS=NaN"}, `JIRA_MAX_RPS: must be greater than 0, is NaN`},
		{"endless requests per second", []string{"JIRA_MAX_RPS=Inf"}, `JIRA_MAX_RPS: must be greater than 0, is +Inf`},
		{"requests per second in words", []string{"JIRA_MAX_RPS=ten"}, `JIRA_MAX_RPS: must be a number, is "ten"`},

		{"database not PostgreSQL", []string{"DATABASE_URL=mysql://agent:s3cret@db/agent"}, `DATABASE_URL: must begin with postgres://`},
		{"database no URL", []string{"DATABASE_URL=postgres://agent:s3cret%zz@db/agent"}, `DATABASE_URL: must be a URL`},
		{"database port", []string{"DATABASE_URL=postgres://agent:s3cret@db:port/agent"}, `DATABASE_URL: must be a URL`},
		{"database parameter", []string{"DATABASE_URL=postgres://agent:s3cret@db/agent?sslmode=maybe"}, `DATABASE_URL: must be a PostgreSQL URL: `},
		{"database pool", []string{"DATABASE_URL=postgres://agent:s3cret@db/agent?pool_max_conns=s3cret"}, `DATABASE_URL: must be a PostgreSQL URL`},

		{"schedule in words", []string{"SYNC_POLL_SCHEDULE=often"}, `SYNC_POLL_SCHEDULE: must be a cron spec (`},
		{"schedule too tight", []string{"SYNC_POLL_SCHEDULE=@every 500ms"}, `SYNC_POLL_SCHEDULE: must leave at least a second from one run to the next, is "@every 500ms"`},
		{"schedule backwards", []string{"SYNC_IDLE_SCHEDULE=@every -5s"}, `SYNC_IDLE_SCHEDULE: must leave at least a second`},
		{"schedule of a zone only", []string{"SYNC_SWEEP_SCHEDULE=TZ=UTC"}, `SYNC_SWEEP_SCHEDULE: must be a cron spec: there is nothing after the time zone`},
		{"schedule that never comes", []string{"SYNC_SWEEP_SCHEDULE=0 0 30 2 *"}, `SYNC_SWEEP_SCHEDULE: must be a cron spec that comes due some day`},
		{"look-back without unit", []string{"SYNC_LOOKBACK=15"}, `SYNC_LOOKBACK: must be a duration with its unit, such as 90s, 15m or 24h, is "15"`},
		{"no look-back", []string{"SYNC_LOOKBACK=0s"}, `SYNC_LOOKBACK: must be greater than 0, is 0s`},
		{"look-back shorter than two polls", []string{"SYNC_POLL_SCHEDULE=@every 8m"}, `SYNC_LOOKBACK: must be at least 2 times the interval of SYNC_POLL_SCHEDULE (8m0s), is 15m0s`},
		{"no concurrency", []string{"SYNC_CONCURRENCY=0"}, `SYNC_CONCURRENCY: must be from 1 to 1000, is 0`},
		{"too much concurrency", []string{"SYNC_CONCURRENCY=1001"}, `SYNC_CONCURRENCY: must be from 1 to 1000, is 1001`},
		{"negative retention", []string{"SYNC_RETENTION=-1h"}, `SYNC_RETENTION: must be greater than 0, is -1h0m0s`},
		{"unknown self-approval", []string{"POLICY_SELF_APPROVAL=maybe"}, `POLICY_SELF_APPROVAL: must be one of deny, strict, allow, is "maybe"`},
		{"short lease", []string{"LEADER_LEASE=999ms"}, `LEADER_LEASE: must be at least 1s, is 999ms`},
		{"lease too long", []string{"LEADER_LEASE=10h"}, `LEADER_LEASE: must be at most 1h0m0s, is 10h0m0s`},
		{"admin listener without port", []string{"ADMIN_LISTEN_ADDR=127.0.0.1"}, `ADMIN_LISTEN_ADDR: must be host:port or :port, is "127.0.0.1"`},
		{"admin listener with port too high", []string{"ADMIN_LISTEN_ADDR=:65536"}, `ADMIN_LISTEN_ADDR: must be host:port or :port`},
		{"log that cannot be written", []string{"LOG_OUTPUT=/nowhere/agent.log"}, "LOG_OUTPUT: cannot be written: open " +
			"/nowhere/agent.log: no such file or directory"},
		{"approvers that are none", []string{"POLICY_APPROVERS= , "}, `POLICY_APPROVERS: must name at least one, is ","`},
		{"trait with a space", []string{"TELEPORT_USER_TRAIT=jira id"}, "TELEPORT_USER_TRAIT: must not contain spaces, " +
			"line breaks or control characters"},
		{"unknown severity", []string{"LOG_SEVERITY=loud"}, `LOG_SEVERITY: must be one of debug, info, warn, error, is "loud"`},
		{"value at great length", []string{"LOG_FORMAT=" + strings.Repeat("x", 10_000)}, `LOG_FORMAT: must be one of json, console, is "` + strings.Repeat("x", 80) + `…"`},
		{"value of several lines", []string{"LOG_FORMAT=a\nb"}, `LOG_FORMAT: must be one of json, console, is "a\nb"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lines := problems(t, "", environ(t, c.changes...))
			require.Len(t, lines, 1)
			require.True(t, strings.HasPrefix(lines[0], c.want), "got:  %s\nwant: %s", lines[0], c.want)
			require.Contains(t, lines[0], "; example: ")
		})
	}
}

func TestNoProblemOffersTheRefusedValueAsItsExample(t *testing.T) {
	t.Parallel()
	for setting, example := range map[string]string{
		"SYNC_POLL_SCHEDULE=@every 8m":  "; example: 16m0s",
		"JIRA_STATUS_PENDING=Approved":  "",
		"POLICY_SELF_APPROVAL=maybe":    "; example: deny",
		"JIRA_STATUS_EXPIRED=Denied,No": "; example: Expired",
	} {
		lines := problems(t, "", environ(t, setting))
		require.Len(t, lines, 1)
		require.True(t, strings.HasSuffix(lines[0], example), lines[0])
		if example == "" {
			require.NotContains(t, lines[0], "example")
		}
	}
}

func TestTheirDefaultsAreAccepted(t *testing.T) {
	t.Parallel()
	load(
		t,
		"",
		environ(
			t,
			"TELEPORT_DECISION_MODE=State",
			"TELEPORT_USER_TRAIT=jira_account_id",
			"TELEPORT_USER_EMAIL_FALLBACK=0",
			"SYNC_DRY_RUN=FALSE",
		),
	)
}

func TestPolicyAndSpecialAddressesThatAreRight(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{
		"TELEPORT_DECISION_MODE=review", "TELEPORT_DECISION_MODE=NOTIFY", "TELEPORT_USER_TRAIT=jira", "TELEPORT_USER_EMAIL_FALLBACK=true",
		"POLICY_APPROVERS=712020:alice, bob@example.com", "POLICY_APPROVER_GROUPS=On call, admins",
		"POLICY_SELF_APPROVAL=strict", "POLICY_SELF_APPROVAL=allow", "JIRA_URL=http://localhost:8080", "JIRA_URL=http://[::1]:8080/jira",
		"TELEPORT_ADDR=[::1]:3025", "DATABASE_URL=postgresql:///agent?host=/run/postgresql", "SYNC_POLL_SCHEDULE=CRON_TZ=UTC 0 9 * * 1-5",
		"JIRA_STATUS_PROMOTED=Expired", "JIRA_REQUEST_ID_FIELD=Teleport request", "SYNC_LOOKBACK=10s",
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			load(t, "", environ(t, setting))
		})
	}
}
