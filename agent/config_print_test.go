package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// variables are those that the program promises to its users, with their defaults; "*" marks the
// required ones. Renaming one or changing a default breaks somebody's deployment, so it has to be
// done here too.
const variables = `
TELEPORT_ADDR=*
TELEPORT_IDENTITY_FILE=*
TELEPORT_CLIENT_KEY=
TELEPORT_CLIENT_CRT=
TELEPORT_ROOT_CAS=
TELEPORT_REFRESH_IDENTITY=true
TELEPORT_DECISION_MODE=state
TELEPORT_USER_TRAIT=jira_account_id
TELEPORT_USER_EMAIL_FALLBACK=false
JIRA_URL=*
JIRA_USERNAME=
JIRA_API_TOKEN=*
JIRA_BROWSE_URL=
JIRA_CA_FILE=
JIRA_PROJECT=*
JIRA_ISSUE_TYPE=Task
JIRA_DEPLOYMENT=auto
JIRA_REQUEST_ID_FIELD=teleportAccessRequestId
JIRA_STATUS_PENDING=Pending
JIRA_STATUS_APPROVED=Approved
JIRA_STATUS_DENIED=Denied
JIRA_STATUS_EXPIRED=Expired
JIRA_STATUS_PROMOTED=
JIRA_FIELDS=
JIRA_MAX_RPS=10
DATABASE_URL=*
SYNC_POLL_SCHEDULE=@every 5s
SYNC_IDLE_SCHEDULE=@every 1m
SYNC_SWEEP_SCHEDULE=@every 10m
SYNC_LOOKBACK=15m
SYNC_DRY_RUN=false
SYNC_CONCURRENCY=16
SYNC_RETENTION=2160h
POLICY_APPROVERS=
POLICY_APPROVER_GROUPS=
POLICY_SELF_APPROVAL=deny
LEADER_LEASE=10s
ADMIN_LISTEN_ADDR=127.0.0.1:8080
WEBHOOK_ENABLED=false
WEBHOOK_LISTEN_ADDR=:8081
WEBHOOK_PUBLIC_ADDR=
WEBHOOK_TLS_CERT_FILE=
WEBHOOK_TLS_KEY_FILE=
WEBHOOK_SECRET=
LOG_OUTPUT=stderr
LOG_SEVERITY=info
LOG_FORMAT=json
`

// sampleVariables returns the lines of the sample that set a variable or would, without the "#".
func sampleVariables() (set, commentedOut []string) {
	for line := range strings.Lines(Sample(FormatEnv)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "# "):
		case strings.HasPrefix(line, "#"):
			commentedOut = append(commentedOut, line[1:])
		default:
			set = append(set, line)
		}
	}
	return set, commentedOut
}

func TestVariablesAndDefaultsStayAsPromised(t *testing.T) {
	t.Parallel()
	var got []string
	for _, s := range settings(new(Config)) {
		value := s.tag.Get("default")
		if s.tag.Get("required") != "" {
			value = "*"
		}
		got = append(got, s.name+"="+value)
		require.NotEmpty(t, s.tag.Get("desc"), s.name)
		require.NotEmpty(t, s.example(), s.name)
		require.True(t, strings.HasPrefix(s.name, strings.ToUpper(s.group)+"_"), "%s is not of the group %s", s.name, s.group)
	}
	require.Empty(t, cmp.Diff(strings.Split(strings.TrimSpace(variables), "\n"), got))
}

func TestSampleHasEveryVariableAndNoOther(t *testing.T) {
	t.Parallel()
	set, commentedOut := sampleVariables()
	require.ElementsMatch(
		t,
		strings.Split(strings.ReplaceAll(strings.TrimSpace(variables), "*", ""), "\n"),
		append(set, commentedOut...),
	)
	for _, line := range set {
		require.Contains(t, variables, line+"*", "what is required stands open, the rest is commented out")
	}
}

func TestSampleWithTheRequiredOnesFilledInLoads(t *testing.T) {
	t.Parallel()
	set, commentedOut := sampleVariables()
	required := environ(t)
	want := load(t, "", required)
	for name, sample := range map[string][]string{"as it is": set, "with what is commented out": append(set, commentedOut...)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := load(t, "", append(slices.Clone(sample), required...))
			require.Empty(t, cfg.Warnings)
			require.Equal(t, want.Teleport, cfg.Teleport)
			require.Equal(t, want.Sync, cfg.Sync)
			require.Equal(t, want.Policy, cfg.Policy)
			require.Equal(t, want.Leader, cfg.Leader)
			require.Equal(t, want.Admin, cfg.Admin)
			require.Equal(t, want.Log, cfg.Log)
			require.Equal(t, want.Jira.StatusPromoted, cfg.Jira.StatusPromoted)
		})
	}
}
