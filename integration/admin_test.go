package integration

import (
	endian "encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

func TestWithTheWebhookOffOnlyTheAdminListenerIsOpen(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		s.env["LEADER_LEASE"] = "10s" // leadership changes here by handing over only
		with := s.start("with")
		without := s.standsBy("without", "ADMIN_LISTEN_ADDR=")
		id := s.request()
		require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Denied"))
		s.settled(id, "denied")

		admin, err := with.AdminURL(s.ctx)
		require.NoError(t, err)
		require.Equal(t, []string{strings.TrimPrefix(admin, "http://")}, listening(t, with.PID()))
		require.Empty(t, listening(t, without.PID()))

		_, err = with.Stop(s.ctx)
		require.NoError(t, err)
		s.leads(without)
		s.issueIn(s.request(), "Pending")
		require.Empty(t, listening(t, without.PID()), "also while it leads")
	})
}

// listening are the addresses on which a process listens, as Linux tells them:
// https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
func listening(t *testing.T, pid int) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells which sockets a process has")
	}
	proc := fmt.Sprintf("/proc/%d", pid)
	open, err := os.ReadDir(proc + "/fd")
	require.NoError(t, err)
	sockets := make(map[string]bool)
	for _, file := range open {
		if name, err := os.Readlink(proc + "/fd/" + file.Name()); err == nil { // else it was closed meanwhile
			sockets[name] = true
		}
	}
	const listen, address, state, inode = "0A", 1, 3, 9
	var addresses []string
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(proc + "/net/" + table)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			columns := strings.Fields(line)
			if columns[state] == listen && sockets["socket:["+columns[inode]+"]"] {
				addresses = append(addresses, hexAddress(t, columns[address]))
			}
		}
	}
	return addresses
}

// hexAddress reads an address such as 0100007F:1F90, whose first part is made of words in the
// machine's byte order.
func hexAddress(t *testing.T, text string) string {
	t.Helper()
	host, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(host)
	require.NoError(t, err)
	ip := make([]byte, 0, len(words))
	for word := range slices.Chunk(words, 4) {
		ip = endian.BigEndian.AppendUint32(ip, endian.NativeEndian.Uint32(word))
	}
	addr, ok := netip.AddrFromSlice(ip)
	require.True(t, ok, text)
	number, err := strconv.ParseUint(port, 16, 16)
	require.NoError(t, err)
	return netip.AddrPortFrom(addr, uint16(number)).String()
}

// readyz is what /readyz answers.
type readyz struct {
	Code    int      `json:"-"`
	Role    string   `json:"role"`
	Ready   bool     `json:"ready"`
	Epoch   int      `json:"epoch"`
	Reasons []string `json:"reasons"`
}

func (s *system) ready(r *replica.Replica) (answer readyz) {
	s.t.Helper()
	code, body, err := r.Get(s.ctx, "/readyz")
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal([]byte(body), &answer), body)
	answer.Code = code
	return answer
}

// metrics is what /metrics answers: the value of each series.
func (s *system) metrics(r *replica.Replica) map[string]float64 {
	s.t.Helper()
	code, body, err := r.Get(s.ctx, "/metrics")
	require.NoError(s.t, err)
	require.Equal(s.t, 200, code)
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	require.NoError(s.t, err, "not in Prometheus's text format")
	require.Empty(s.t, problems)
	series := make(map[string]float64)
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		series[line[:at]], err = strconv.ParseFloat(line[at+1:], 64)
		require.NoError(s.t, err, line)
	}
	return series
}

// documented fails the test if a replica shows a metric of its own that METRICS.md does not tell
// of.
func (s *system) documented(shown map[string]float64) {
	s.t.Helper()
	page, err := os.ReadFile("../deploy/METRICS.md")
	require.NoError(s.t, err)
	for series := range shown {
		name := regexp.MustCompile(`(_bucket|_sum|_count)?(\{.*)?$`).ReplaceAllString(series, "")
		if strings.HasPrefix(name, "teleport_jira_agent_") {
			require.Contains(s.t, string(page), "| `"+name+"` |")
		}
	}
}

func TestTheAdminListenerTellsHealthReadinessAndMetrics(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		s.env["LEADER_LEASE"] = "10s" // leadership changes here by handing over only
		a := s.start("a")
		b := s.standsBy("b")
		approved, refused := s.request(), s.request(func(r *teleportsim.Request) { r.User = "mallory@example.com" })
		require.NoError(t, s.jira.Move(s.issueIn(approved, "Pending").Key, "bob", "Approved"))
		require.NoError(t, s.jira.Move(s.issueIn(refused, "Pending").Key, "mallory", "Approved"))
		s.settled(approved, "approved")
		s.issueWith(refused, 1)
		s.issueIn(refused, "Pending")
		s.polls(d, 1)

		for _, r := range []*replica.Replica{a, b} {
			code, body, err := r.Get(s.ctx, "/healthz")
			require.NoError(t, err)
			require.Equal(t, 200, code)
			require.Equal(t, "ok\n", body)
		}
		require.Equal(t, readyz{Code: 200, Role: "leader", Ready: true, Epoch: 1}, s.ready(a))
		require.Equal(t, readyz{Code: 200, Role: "standby", Ready: true}, s.ready(b))

		lead, stand := s.metrics(a), s.metrics(b)
		require.Subset(t, lead, map[string]float64{
			"teleport_jira_agent_leader":                                                                  1,
			"teleport_jira_agent_leader_epoch":                                                            1,
			`teleport_jira_agent_decisions_total{state="approved"}`:                                       1,
			"teleport_jira_agent_decision_lag_seconds_count":                                              1,
			`teleport_jira_agent_refusals_total{reason="self"}`:                                           1,
			`teleport_jira_agent_actions_total{action="create",outcome="ok"}`:                             2,
			`teleport_jira_agent_jira_calls_total{code="201",endpoint="/rest/api/2/issue",method="POST"}`: 2,
		})
		require.InDelta(t, 5, lead["teleport_jira_agent_leader_lease_left_seconds"], 5)
		require.Positive(t, lead["teleport_jira_agent_leader_lease_left_seconds"])
		require.InDelta(t, 2, lead["teleport_jira_agent_issue_lag_seconds_count"], 0)
		require.InDelta(
			t,
			float64(time.Now().Unix()),
			lead[`teleport_jira_agent_loop_last_success_timestamp_seconds{loop="teleport watch"}`],
			60,
		)
		require.Positive(t, lead[`teleport_jira_agent_teleport_calls_total{code="OK",method="SetAccessRequestState"}`])
		require.Positive(t, lead[`teleport_jira_agent_postgresql_statement_duration_seconds_count{outcome="ok"}`])
		s.documented(lead)
		s.documented(stand)
		require.Contains(t, stand, "teleport_jira_agent_leader")
		require.Zero(t, stand["teleport_jira_agent_leader"])
		require.Zero(t, stand["teleport_jira_agent_leader_lease_left_seconds"])
		require.InDelta(t, 1, stand["teleport_jira_agent_ready"], 0)
		for series := range stand {
			require.NotRegexp(t, `^teleport_jira_agent_(decisions|refusals|actions)_total`, series, "a standby did something")
		}
		require.InDelta(
			t,
			float64(time.Now().Add(time.Hour).Unix()),
			lead["teleport_jira_agent_teleport_identity_expiry_timestamp_seconds"],
			600,
		)
	})
}
