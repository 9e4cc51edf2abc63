package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// What a side says once and wrongly is not believed, and what was concluded of it is taken back.

// tellsOf waits until the agent tells that one of its loops fails, for a reason with these words.
func (s *system) tellsOf(r *replica.Replica, loop, words string) {
	s.t.Helper()
	_, err := r.WaitLine(s.ctx, func(l replica.Line) bool {
		reason, _ := l.Fields["error"].(string)
		return l.Is("failing; trying again until it works", "loop", loop) && strings.Contains(reason, words)
	})
	require.NoError(s.t, err, "%s: %s", loop, words)
}

// notReadyFor fails unless /readyz gives a reason with these words.
func (s *system) notReadyFor(r *replica.Replica, words string) {
	s.t.Helper()
	answer := s.ready(r)
	require.False(s.t, answer.Ready)
	require.True(
		s.t,
		slices.ContainsFunc(answer.Reasons, func(reason string) bool { return strings.Contains(reason, words) }),
		"%q not among %q",
		words,
		answer.Reasons,
	)
}

func TestAnIssueThatIsNotShownOnceShowsTheOutcomeAllTheSame(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, fault := range map[string]jirasim.Fault{
			"comment":    {Method: "POST", Endpoint: "issue/{issue}/comment"},
			"transition": {Method: "POST", Endpoint: "issue/{issue}/transitions"},
			"read":       {Method: "GET", Endpoint: "issue/{issue}"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, _ := leading(t, on{deployment: d}, often)
				id := s.request()
				issue := s.issueIn(id, "Pending")
				fault.Times, fault.Effect = 1, jirasim.NotShown(issue.ID)
				s.jira.Inject(fault)
				require.NoError(t, s.teleport.Deny(id, "dave@example.com", "no"))
				s.settled(id, "denied")
				require.Len(t, agentComments(s.issueIn(id, "Denied")), 1)
			})
		}
	})
}

func TestAnIssueThatComesBackShowsTheOutcome(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d}, often)
		id, other := s.request(), s.request()
		issue := s.issueIn(id, "Pending")
		s.issueIn(other, "Pending")
		s.jira.HideIssue(issue.Key, "agent")
		require.NoError(t, s.teleport.Deny(id, "dave@example.com", "no"))
		_, err := r.WaitLog(s.ctx, "issue gone", "request_id", id)
		require.NoError(t, err)
		s.jira.ShowIssue(issue.Key)
		require.Len(t, agentComments(s.issueIn(id, "Denied")), 1)
	})
}

func TestASearchIndexThatStandsStillHoldsUpNoDecision(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d}, often)
		id := s.request()
		issue := s.issueIn(id, "Pending")
		s.quiet(d)
		thaw := s.jira.FreezeIndex()
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.jira.ShiftClock(time.Hour) // the move was an hour ago
		s.stateIs(id, types.RequestState_APPROVED)
		if d == jirasim.DataCenter {
			s.tellsOf(r, "jira search index", "it is behind by 1h0m")
		}
		thaw()
		s.settled(id, "approved")
	})
}

func TestJirasClockMayRunAheadAndBeSetBack(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, _ := leading(t, on{deployment: d}, "SYNC_LOOKBACK=30s")
		s.jira.ShiftClock(5 * time.Hour)
		id, other := s.request(), s.request()
		issue := s.issueIn(id, "Pending")
		s.issueIn(other, "Pending")
		_, err := s.jira.Comment(issue.Key, "bob", "I look into it")
		require.NoError(t, err)
		s.quiet(d)
		s.jira.ShiftClock(0)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.stateIs(id, types.RequestState_APPROVED)
		s.issueIn(id, "Approved")
	})
}

func TestAStatusIsTheSameInAnotherLanguage(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d}, often)
		id := s.request()
		issue := s.issueIn(id, "Pending")
		s.jira.TranslateStatus("Approved", "Genehmigt")
		s.tellsOf(
			r,
			"jira statuses",
			`the approved status "Approved" is no longer in project OPS: it is called "Genehmigt" now`,
		)
		s.notReadyFor(r, `"Genehmigt"`)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.stateIs(id, types.RequestState_APPROVED)
		require.Len(t, s.updates(id), 1)
		s.jira.TranslateStatus("Approved", "")
		_, err := r.WaitLog(s.ctx, "working", "loop", "jira statuses")
		require.NoError(t, err)
	})
}

func TestAConfiguredStatusThatIsNoLongerThereDecidesNothing(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d}, often)
		id := s.request()
		issue := s.issueIn(id, "Pending")
		require.NoError(t, s.jira.RenameStatus("Approved", "Archiv"))
		s.tellsOf(r, "jira statuses", `is no longer in project OPS`)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Archiv"))
		_, err := r.WaitLine(s.ctx, func(l replica.Line) bool {
			reason, _ := l.Fields["error"].(string)
			return l.Is("not done", "request_id", id) && strings.Contains(reason, "had another name before")
		})
		require.NoError(t, err)
		s.untouched(id)
		require.Empty(t, agentComments(s.issueOf(id)), "it stays where it is")
	})
}

func TestAStatusChangeThatNobodyDecidedIsPutBack(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, _ := leading(t, on{deployment: d})
		ids := []string{s.request(), s.request()}
		migrated, ruled := s.issueIn(ids[0], "Pending"), s.issueIn(ids[1], "Pending")
		rule := &jirasim.HistoryMetadata{
			Generator: &jirasim.HistoryParticipant{ID: "rule-7", Type: "rule", DisplayName: "Auto approve"},
		}
		require.NoError(t, s.jira.ForceStatusWith(ruled.Key, "bob", "Approved", rule))
		s.putBack(ids[1], "It was moved by Auto approve, an app or an automation rule")
		require.NoError(t, s.jira.ForceStatusWith(migrated.Key, "bob", "Approved", nil,
			jirasim.ChangeItem{Field: "Workflow", FromString: "Old", ToString: "New"}))
		s.putBack(ids[0], "the same change was of its Workflow")
		for _, id := range ids {
			s.untouched(id)
		}
	})
}

func TestTheClockOfTeleportSaysWhenARequestEnds(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"ahead": 5 * time.Hour, "behind": -5 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := leading(t, on{deployment: jirasim.Cloud}, often)
			s.teleport.ShiftClock(ahead)
			lasting := s.request(func(r *teleportsim.Request) { r.TTL = time.Hour })
			issue := s.issueIn(lasting, "Pending")
			short := s.request(func(r *teleportsim.Request) { r.TTL = 15 * time.Second })
			s.issueIn(short, "Pending")
			s.issueIn(short, "Expired")
			require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
			s.stateIs(lasting, types.RequestState_APPROVED)
		})
	}
}

func TestAFirstStartIsStuckOnNoRequestThatWasResolvedBefore(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		var ids []string
		for range 3 {
			id := s.request()
			require.NoError(t, s.teleport.Approve(id, "dave@example.com", ""))
			ids = append(ids, id)
		}
		r := s.start("agent")
		for _, id := range ids {
			_, err := r.WaitLog(s.ctx, "done", "request_id", id, "action", "settle")
			require.NoError(t, err)
		}
		for _, line := range r.Lines() {
			require.NotContains(t, []string{"warn", "error"}, line.Fields["level"], line)
		}
		require.Empty(t, s.answers("status")["stuck"])
		require.Empty(t, s.jira.Issues())
	})
}
