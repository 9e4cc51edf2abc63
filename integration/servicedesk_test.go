package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// What the customers of a service desk get to see: nothing that the agent writes.

func TestCommentsAreHiddenFromTheCustomersOfAServiceDesk(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d}, "JIRA_PROJECT=HELP")
		id := s.request(by("carol@example.com"))
		issue := s.issueIn(id, "Pending")
		require.Equal(t, "HELP", issue.Project)
		_, err := s.jira.Comment(issue.Key, "bob", "Reason: known incident")
		require.NoError(t, err)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Expired")) // refused
		s.issueWith(id, 1)
		require.NoError(t, s.teleport.Review(id, "dave@example.com", true, "fine"))
		s.settled(id, "approved")
		requireInternal(t, s.issueWith(id, 3))
	})
}

// An issue can be moved to a service desk after the agent commented on it, and be commented on
// there.
func TestCommentsAreHiddenFromCustomersWhereverTheIssueGoes(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		id := s.request(by("carol@example.com"), func(r *teleportsim.Request) { r.Approvals = 2 })
		issue := s.issueIn(id, "Pending")
		require.NoError(t, s.teleport.Review(id, "dave@example.com", true, "fine"))
		s.issueWith(id, 1)
		require.NoError(t, s.jira.MoveToProject(issue.Key, "bob", "HELP"))
		require.NoError(t, s.teleport.Review(id, "erin@example.com", true, "fine"))
		s.settled(id, "approved")
		moved := s.issueWith(id, 3)
		require.Equal(t, "HELP", moved.Project)
		requireInternal(t, moved)
	})
}

// requireInternal fails if a customer could see anything that the agent wrote. What people write is
// public unless they say otherwise.
func requireInternal(t *testing.T, issue jirasim.Issue) {
	t.Helper()
	for _, c := range issue.Comments {
		require.Equal(t, c.Author != "agent", c.JSDPublic, "comment by %s: %s", c.Author, c.Body)
	}
}
