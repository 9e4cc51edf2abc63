package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Teleport answers, and what it answers is about the agent and not about any request.

// readyWhen waits until /readyz answers so, asked after each poll. Not ready, its reasons hold the
// words.
func (s *system) readyWhen(r *replica.Replica, ready bool, words string) {
	s.t.Helper()
	for {
		answer := s.ready(r)
		if answer.Ready == ready && (ready || strings.Contains(strings.Join(answer.Reasons, "\n"), words)) {
			return
		}
		require.NoError(s.t, s.ctx.Err(), "%+v", answer)
		s.polls(jirasim.Cloud, 1)
	}
}

// decidedInVain is what has become of a request whose approval in Jira has not reached Teleport.
func decidedInVain() story {
	return story{State: types.RequestState_PENDING, Moves: []string{placed, "bob: Pending → Approved"}}
}

func approvedOnce() story {
	return story{
		State: types.RequestState_APPROVED, Verdicts: byBob(types.RequestState_APPROVED),
		Moves: []string{placed, "bob: Pending → Approved"}, Marks: []string{"resolution:approved"},
	}
}

func TestWithoutTheRightToListNoRequestIsTakenForGone(t *testing.T) {
	t.Parallel()
	const requests = types.KindAccessRequest
	for name, role := range map[string]teleportsim.Role{
		"not allowed": {Rules: map[string][]string{requests: {"read", "update"}, types.KindAccessPluginData: {"*"}}},
		"denied":      {Rules: teleportsim.PluginRole().Rules, Deny: map[string][]string{requests: {"list"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, on{deployment: jirasim.Cloud})
			a := s.start("agent", "SYNC_IDLE_SCHEDULE=@every 1s", often)
			waits, decided := s.request(), s.request()
			s.issueIn(waits, "Pending")
			s.issueIn(decided, "Pending")
			s.quiet(jirasim.Cloud)

			s.teleport.SetRole("jira-agent", role)
			s.approveInJira([]string{decided})
			s.readyWhen(a, false, "list")
			s.polls(jirasim.Cloud, 6) // and sweeps meanwhile
			require.Equal(t, waiting(), s.story(waits))
			require.Equal(t, decidedInVain(), s.story(decided))

			s.teleport.SetRole("jira-agent", teleportsim.PluginRole())
			s.readyWhen(a, true, "")
			s.settled(decided, "approved")
			require.Equal(t, approvedOnce(), s.story(decided))
			s.approveInJira([]string{waits})
			s.settled(waits, "approved")
			require.Equal(t, approvedOnce(), s.story(waits))
		})
	}
}

func TestWhileTeleportRefusesTheAgentAsSuchNothingIsConcluded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		begin  func(*teleportsim.Server)
		end    func(*teleportsim.Server) error
		reason string
	}{
		"its user is gone": {
			func(s *teleportsim.Server) { s.DeleteUser("jira-agent") },
			func(s *teleportsim.Server) error {
				role := teleportsim.PluginRole()
				return s.SetUser(teleportsim.User{Name: "jira-agent", Bot: true, Role: &role})
			},
			`user "jira-agent" not found`,
		},
		"its role is gone": {
			func(s *teleportsim.Server) { s.RemoveRole("jira-agent") },
			func(s *teleportsim.Server) error { s.SetRole("jira-agent", teleportsim.PluginRole()); return nil },
			"role jira-agent is not found",
		},
		"it is locked": {
			func(s *teleportsim.Server) { s.Lock("jira-agent") },
			func(s *teleportsim.Server) error { s.Unlock("jira-agent"); return nil },
			"access denied",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, on{deployment: jirasim.Cloud})
			a := s.start("agent", "SYNC_IDLE_SCHEDULE=@every 1s", often)
			waits, decided := s.request(), s.request()
			s.issueIn(waits, "Pending")
			s.issueIn(decided, "Pending")
			s.quiet(jirasim.Cloud)

			tc.begin(s.teleport)
			s.approveInJira([]string{decided})
			made := s.request()
			s.readyWhen(a, false, tc.reason)
			s.polls(jirasim.Cloud, 4)
			require.Equal(t, waiting(), s.story(waits))
			require.Equal(t, decidedInVain(), s.story(decided))
			require.Empty(t, s.issuesOf(made))
			require.NotContains(t, a.Log(), "parked")

			require.NoError(t, tc.end(s.teleport))
			s.readyWhen(a, true, "")
			s.settled(decided, "approved")
			require.Equal(t, approvedOnce(), s.story(decided))
			s.approveInJira([]string{waits, made})
			for _, id := range []string{waits, made} {
				s.settled(id, "approved")
				require.Equal(t, approvedOnce(), s.story(id))
			}
		})
	}
}

func TestWhenTheRightToWritePluginDataComesBackAllGoesOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	a := s.start("agent", "SYNC_IDLE_SCHEDULE=@every 1s", often)
	reader := teleportsim.Role{Rules: map[string][]string{types.KindAccessRequest: {"list", "read"}}}
	s.teleport.SetRole("jira-agent", reader)
	id := s.request()
	_, err := a.WaitLine(s.ctx, func(l replica.Line) bool {
		reason, _ := l.Fields["error"].(string)
		return l.Fields["request_id"] == id && strings.Contains(reason, `"update" on "access_plugin_data"`)
	})
	require.NoError(t, err)
	s.polls(jirasim.Cloud, 1)
	require.NotContains(t, a.Log(), "parked")
	s.teleport.SetRole("jira-agent", teleportsim.PluginRole())
	s.approveInJira([]string{id})
	s.settled(id, "approved")
	require.Equal(t, approvedOnce(), s.story(id))
}

func TestARequestForResourcesWithConstraintsIsShownAndDecidedInJira(t *testing.T) {
	t.Parallel()
	s := running(t, on{deployment: jirasim.Cloud, teleport: teleportsim.Config{ServerVersion: "18.11.0"}})
	web := types.ResourceID{ClusterName: "prod", Kind: types.KindNode, Name: "web"}
	id := s.request(func(r *teleportsim.Request) {
		r.ResourceAccess = []teleportsim.ResourceAccess{{ID: web, Constraints: teleportsim.SSHLogins("root", "ubuntu")}}
	})
	require.Contains(t, s.issueIn(id, "Pending").Text("description"), "/prod/node/web &#40;SSH logins: root, ubuntu&#41;")
	s.approveInJira([]string{id})
	s.settled(id, "approved")
	require.Equal(t, approvedOnce(), s.story(id))
}

func TestTheClosingCommentTellsWhatTheApprovalGrantsLess(t *testing.T) {
	t.Parallel()
	s := running(t, on{deployment: jirasim.Cloud})
	id := s.request(func(r *teleportsim.Request) { r.Roles = []string{"admin", "reader"} })
	s.issueIn(id, "Pending")
	created := s.teleport.Request(id).GetCreationTime()
	starts, ends := created.Add(time.Hour), created.Add(2*time.Hour)
	less := teleportsim.Narrowing{Roles: []string{"reader"}, StartsAt: starts, EndsAt: ends}
	require.NoError(t, s.teleport.ApproveLess(id, "", "", less))
	s.settled(id, "approved")
	comments := agentComments(s.issueIn(id, "Approved"))
	require.Len(t, comments, 1)
	const layout = "2006-01-02 15:04:05 UTC"
	require.Contains(t, comments[0], "granted, only: reader.")
	require.Contains(t, comments[0], "begins at "+starts.Format(layout))
	require.Contains(t, comments[0], "was asked for, at "+ends.Format(layout))
}
