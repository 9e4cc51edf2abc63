package integration

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// What happens in Teleport, and how the issue shows it.

func TestEachReviewIsOneComment(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		two := func(r *teleportsim.Request) { r.Approvals, r.Denials = 2, 2 }
		approved, denied := s.request(two), s.request(two)
		for _, id := range []string{approved, denied} {
			s.issueIn(id, "Pending")
			require.NoError(t, s.teleport.Review(id, "bob@example.com", id == approved, "first opinion"))
			s.issueWith(id, 1)
		}
		s.polls(d, 2)
		for _, id := range []string{approved, denied} {
			require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
			issue := s.issueOf(id)
			require.Equal(t, "Pending", issue.Status.Name)
			require.Equal(t, []string{"review:bob@example.com"}, marks(t, issue))
			require.NoError(t, s.teleport.Review(id, "carol@example.com", id == approved, "second opinion"))
		}
		for id, outcome := range map[string]string{approved: "approved", denied: "denied"} {
			s.settled(id, outcome)
		}
		s.polls(d, 2)
		for id, outcome := range map[string]string{approved: "approved", denied: "denied"} {
			issue := s.issueOf(id)
			require.Equal(
				t,
				[]string{"review:bob@example.com", "review:carol@example.com", "resolution:" + outcome},
				marks(t, issue),
			)
			comments := agentComments(issue)
			require.Equal(
				t,
				"*bob@example.com* reviewed the request in Teleport: *"+outcome+"*.\n\nReason given: first opinion",
				comments[0],
			)
			require.Equal(
				t,
				"*carol@example.com* reviewed the request in Teleport: *"+outcome+"*.\n\nReason given: second opinion",
				comments[1],
			)
			require.Equal(t, "The Access Request is *"+outcome+"*.\n\nReason given: second opinion", comments[2])
			require.Len(t, moves(issue), 2)
			require.Empty(t, s.verdicts(id), "the agent itself decides nothing")
			require.Equal(t, "2", s.teleport.PluginData(id)["jira"]["reviews_count"])
		}
	})
}

func TestWhatEndsARequestInTeleportMovesAndClosesItsIssue(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		tests := map[string]struct {
			request func(*teleportsim.Request)
			act     func(id string) error
			status  string
			marks   []string
			closing string // what the closing comment says
		}{
			"approved": {
				act:     func(id string) error { return s.teleport.Approve(id, "admin", "as agreed") },
				status:  "Approved",
				marks:   []string{"resolution:approved"},
				closing: "The Access Request is *approved*.\n\nReason given: as agreed",
			},
			"denied": {
				act:     func(id string) error { return s.teleport.Deny(id, "admin", "not today") },
				status:  "Denied",
				marks:   []string{"resolution:denied"},
				closing: "The Access Request is *denied*.\n\nReason given: not today",
			},
			"promoted": {
				act:     func(id string) error { return s.teleport.Promote(id, "carol@example.com", "Database admins") },
				status:  "Approved",
				marks:   []string{"review:carol@example.com", "resolution:promoted"},
				closing: "access list: Database admins",
			},
			"expired": {
				act:     s.teleport.Expire,
				status:  "Expired",
				marks:   []string{"resolution:expired"},
				closing: "*expired* or was deleted",
			},
			"deleted": {
				act:     s.teleport.Delete,
				status:  "Expired",
				marks:   []string{"resolution:expired"},
				closing: "*expired* or was deleted",
			},
			"left until its time has passed": {
				request: func(r *teleportsim.Request) { r.TTL = 10 * time.Second }, act: func(string) error { return nil },
				status: "Expired", marks: []string{"resolution:expired"}, closing: "*expired* or was deleted",
			},
		}
		ids := make(map[string]string, len(tests))
		for name, test := range tests {
			if test.request == nil {
				test.request = by("alice@example.com")
			}
			ids[name] = s.request(test.request)
		}
		for name := range tests {
			s.issueIn(ids[name], "Pending")
		}
		for name, test := range tests {
			require.NoError(t, test.act(ids[name]))
		}
		for name, test := range tests {
			s.issueIn(ids[name], test.status)
		}
		s.polls(d, 2)
		for name, test := range tests {
			issue := s.issueOf(ids[name])
			require.Equal(t, []string{"agent: To Do → Pending", "agent: Pending → " + test.status}, moves(issue), name)
			require.Equal(t, test.marks, marks(t, issue), name)
			comments := agentComments(issue)
			require.Contains(t, comments[len(comments)-1], test.closing, name)
			require.Empty(t, s.verdicts(ids[name]), name)
		}
	})
}

func TestADecidedRequestThatDisappearsLeavesItsIssueAlone(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		deleted, expired := s.request(), s.request()
		require.NoError(t, s.jira.Move(s.issueIn(deleted, "Pending").Key, "bob", "Approved"))
		s.issueIn(expired, "Pending")
		require.NoError(t, s.teleport.Deny(expired, "admin", ""))
		s.settled(deleted, "approved")
		s.settled(expired, "denied")
		s.polls(d, 2)
		before := s.jira.Issues()
		require.NoError(t, s.teleport.Delete(deleted))
		require.NoError(t, s.teleport.Expire(expired))
		s.polls(d, 3)
		require.Equal(t, before, s.jira.Issues())
		require.Equal(t, "Approved", s.issueOf(deleted).Status.Name)
		require.Equal(t, "Denied", s.issueOf(expired).Status.Name)
	})
}

func TestADenialInTeleportOverridesAnApproval(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		id := s.request()
		require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
		s.settled(id, "approved")
		s.polls(d, 2)
		require.NoError(t, s.teleport.Deny(id, "admin", "revoked"))
		s.settled(id, "denied")
		s.polls(d, 2)
		issue := s.issueOf(id)
		require.Equal(
			t,
			[]string{"agent: To Do → Pending", "bob: Pending → Approved", "agent: Approved → Denied"},
			moves(issue),
		)
		require.Equal(t, []string{"resolution:approved", "resolution:denied"}, marks(t, issue))
		require.Len(t, s.verdicts(id), 1)
	})
}

func TestTeleportsFinalStateWinsOverAMoveMadeAtTheSameTime(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		id := s.request()
		issue := s.issueIn(id, "Pending")
		// Teleport approves while the agent reads who denied in Jira.
		reading := make(chan struct{})
		begun := sync.OnceFunc(func() { close(reading) })
		resume := s.jira.Inject(jirasim.Fault{
			Method: http.MethodGet, Endpoint: "issue/{issue}", Effect: jirasim.Hang(),
			When: func(*http.Request) bool { begun(); return true },
		})
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Denied"))
		select {
		case <-reading:
		case <-s.ctx.Done():
			require.NoError(t, s.ctx.Err())
		}
		require.NoError(t, s.teleport.Approve(id, "admin", "as agreed"))
		resume()
		s.issueIn(id, "Approved")
		s.settled(id, "approved")
		s.polls(d, 2)
		require.Empty(t, s.verdicts(id))
		require.Equal(t, types.RequestState_APPROVED, s.teleport.State(id))
		issue = s.issueOf(id)
		require.Equal(
			t,
			[]string{"agent: To Do → Pending", "bob: Pending → Denied", "agent: Denied → Approved"},
			moves(issue),
		)
		require.Equal(t, []string{"resolution:approved"}, marks(t, issue))
	})
}

func TestAKeyACertificateAndAuthoritiesServeInPlaceOfAnIdentityFile(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	triple, err := s.teleport.WriteTriple(t.TempDir(), teleportsim.IdentityOptions{})
	require.NoError(t, err)
	s.start("agent", "TELEPORT_IDENTITY_FILE",
		"TELEPORT_CLIENT_KEY="+triple.Key, "TELEPORT_CLIENT_CRT="+triple.Certificate, "TELEPORT_ROOT_CAS="+triple.RootCAs)
	s.decideOne()
}
