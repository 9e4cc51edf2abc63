package integration

import (
	"strconv"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// Workflows in which no single transition leads where an issue belongs.

var (
	backlog  = jirasim.Status{ID: "10310", Name: "Backlog", Category: "new"}
	selected = jirasim.Status{ID: "10311", Name: "Selected", Category: "new"}
	inReview = jirasim.Status{ID: "10312", Name: "In review", Category: "indeterminate"}
	granted  = jirasim.Status{ID: "10313", Name: "Granted", Category: "done"}
)

// flow is a Jira whose workflow begins in a status and has these arrows alone; statuses are added
// to those of the example.
func flow(initial string, arrows map[string][]string, statuses ...jirasim.Status) func(*jirasim.Config) {
	return func(c *jirasim.Config) {
		c.Statuses, c.Initial, c.Transitions = append(c.Statuses, statuses...), initial, nil
		id := 100
		for from, all := range arrows {
			for _, to := range all {
				id++
				c.Transitions = append(c.Transitions, jirasim.Transition{
					ID: strconv.Itoa(id), Name: from + " to " + to, From: []string{from}, To: to,
				})
			}
		}
	}
}

func TestADenialGoesThroughPendingWhereApprovedLeadsNowhereElse(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: flow("To Do", map[string][]string{
			"To Do": {"Pending"}, "Pending": {"Approved", "Denied", "Expired"}, "Approved": {"Pending"},
		})})
		id := s.request()
		require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").ID, "bob", "Approved"))
		s.settled(id, "approved")
		require.NoError(t, s.teleport.Deny(id, "carol@example.com", "on second thoughts")) // Teleport lets a denial overrule
		s.issueIn(id, "Denied")
		s.settled(id, "denied")
		require.Equal(t, []string{
			"agent: To Do → Pending", "bob: Pending → Approved", "agent: Approved → Pending", "agent: Pending → Denied",
		}, moves(s.issueOf(id)))
	})
}

func TestANewIssueIsTakenToPendingInTwoSteps(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: flow("Backlog", map[string][]string{
			"Backlog": {"Approved", "Selected"}, "Selected": {"Pending", "Denied"}, "Pending": {"Approved", "Denied", "Expired"},
		}, backlog, selected)})
		first := s.request()
		issue := s.issueIn(first, "Pending")
		require.Equal(t, []string{"agent: Backlog → Selected", "agent: Selected → Pending"}, moves(issue))
		second := s.request()
		require.Len(t, moves(s.issueIn(second, "Pending")), 2)
		require.NoError(t, s.jira.Move(issue.ID, "bob", "Approved"))
		s.stateIs(first, types.RequestState_APPROVED)
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(second))
	})
}

func TestAnIssueGoesToTheFirstConfiguredStatusHoweverFarItIs(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: flow("Pending", map[string][]string{
			"Pending": {"Approved", "In review", "Denied", "Expired"}, "In review": {"Pending", "Granted"},
		}, inReview, granted)}, "JIRA_STATUS_APPROVED=Granted,Approved")
		for range 2 {
			id := s.request()
			s.issueIn(id, "Pending")
			require.NoError(t, s.teleport.Approve(id, "carol@example.com", "fine"))
			issue := s.issueIn(id, "Granted")
			require.Equal(t, []string{"agent: Pending → In review", "agent: In review → Granted"}, moves(issue))
		}
	})
}

func TestTheSecondConfiguredStatusDoesWhereTheWorkflowLacksTheFirst(t *testing.T) {
	t.Parallel()
	s := running(t, on{deployment: jirasim.Cloud, jira: flow("Pending", map[string][]string{
		"Pending": {"In review", "Approved", "Denied", "Expired"}, "In review": {"Pending"},
	}, inReview)}, "JIRA_STATUS_APPROVED=Granted,Approved")
	id := s.request()
	s.issueIn(id, "Pending")
	require.NoError(t, s.teleport.Approve(id, "carol@example.com", "fine"))
	require.Equal(t, []string{"agent: Pending → Approved"}, moves(s.issueIn(id, "Approved")))
}

func TestNoIssueGoesThroughADecisionToReachPending(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d, jira: flow("Backlog", map[string][]string{
			"Backlog": {"Approved"}, "Approved": {"Pending"}, "Pending": {"Approved", "Denied", "Expired"},
		}, backlog)})
		id := s.request()
		s.issueIn(id, "Backlog")
		_, err := r.WaitLog(s.ctx, "parked: repeating cannot help until something changes", "request_id", id)
		require.NoError(t, err)
		require.Empty(t, moves(s.issueOf(id)))
		require.Contains(t, r.Log(), `from \"Backlog\" the workflow leads to Approved only`)
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
		s.polls(d, 2)
		require.Zero(t, s.jira.CallCount("POST issue/{issue}/transitions"))
	})
}
