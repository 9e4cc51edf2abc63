package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
)

// Issues that go into the archive and come back, and issues that are given another type: what the
// agent says of each, and what it does.

// activity of a request, in order, each line as "action: outcome"; of what observers saw, the side
// in place of the action.
func (s *system) activity(id string) []string {
	s.t.Helper()
	conn, err := pgx.Connect(s.ctx, s.database)
	require.NoError(s.t, err)
	defer conn.Close(s.ctx)
	rows, err := conn.Query(s.ctx, `
		SELECT CASE WHEN action = 'observe' THEN cause ELSE action END || ': ' || outcome FROM activity
			WHERE request_id = $1 ORDER BY id`, id)
	require.NoError(s.t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(s.t, err)
	return lines
}

// tells waits until the activity of a request has a line. What observers see is logged just before
// it is committed.
func (s *system) tells(id, line string) {
	s.t.Helper()
	for {
		s.mu.Lock()
		called := s.called
		s.mu.Unlock()
		lines := s.activity(id)
		if slices.Contains(lines, line) {
			return
		}
		select {
		case <-called: // the agent goes on
		case <-s.ctx.Done():
			require.Contains(s.t, lines, line)
		}
	}
}

// quiet waits until polls have confirmed what the agent itself did last, so that what it then sees
// is only what a test does.
func (s *system) quiet(d jirasim.Deployment) {
	s.t.Helper()
	s.polls(d, 6)
}

// parked waits until the agent gives a request up until something changes, after the first n lines
// of its log, for a reason with these words, and returns it.
func (s *system) parked(r *replica.Replica, n int, id, words string) (reason string) {
	s.t.Helper()
	seen := 0
	_, err := r.WaitLine(s.ctx, func(l replica.Line) bool {
		seen++
		reason, _ = l.Fields["error"].(string)
		return seen > n && l.Is("parked: repeating cannot help until something changes", "request_id", id) &&
			strings.Contains(reason, words)
	})
	require.NoError(s.t, err, words)
	return reason
}

const (
	archivedWhilePending = "the issue is archived: nobody can move it; no other is made: restore it, or decide the " +
		"request in Teleport"
	archivedWhenDenied = "the issue is archived: it cannot show that the request is denied; restore it if it should"
)

func TestAnArchivedIssueIsToldAndGoneOnWithWhenItIsRestored(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d}, often)
		denied, approved := s.request(twice), s.request()
		issues := map[string]jirasim.Issue{denied: s.issueIn(denied, "Pending"), approved: s.issueIn(approved, "Pending")}
		s.quiet(d)
		for id, issue := range issues {
			require.NoError(t, s.jira.Archive(issue.ID, "bob"))
			s.parked(r, 0, id, archivedWhilePending)
			_, err := r.WaitLog(s.ctx, "observed", "request_id", id, "side", "jira", "news", "archived")
			require.NoError(t, err)
			s.tells(id, "jira: archived")
			s.tells(id, "read: jira: work on issue "+issue.Key+": "+archivedWhilePending)
		}

		// What happens in Teleport is taken up, and nothing is tried on the issue.
		writes := s.jira.CallCount("POST issue/{issue}/comment") + s.jira.CallCount("POST issue/{issue}/transitions")
		s.review(denied)
		n := len(r.Lines())
		require.NoError(t, s.teleport.Deny(denied, "dave@example.com", ""))
		s.settled(denied, "denied")
		s.parked(r, n, denied, archivedWhenDenied)
		s.tells(denied, "read: jira: work on issue "+issues[denied].Key+": "+archivedWhenDenied)
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(approved))
		require.Equal(
			t,
			writes,
			s.jira.CallCount("POST issue/{issue}/comment")+s.jira.CallCount("POST issue/{issue}/transitions"),
		)
		neighbour := s.lives(nil)

		for id, issue := range issues {
			require.NoError(t, s.jira.Restore(issue.ID, "bob"))
			_, err := r.WaitLog(s.ctx, "observed", "request_id", id, "side", "jira", "news", "no longer archived")
			require.NoError(t, err)
		}
		require.NoError(t, s.jira.Move(issues[approved].ID, "bob", "Approved"))
		s.settled(approved, "approved")
		want := story{
			State: types.RequestState_DENIED, Moves: []string{placed, "agent: Pending → Denied"},
			Marks: []string{"review:carol@example.com", "resolution:denied"},
		}
		s.becomes(denied, want)
		for _, id := range []string{denied, approved} {
			_, err := r.WaitLog(s.ctx, "done", "request_id", id, "action", "settle")
			require.NoError(t, err)
			s.tells(id, "jira: no longer archived")
		}
		s.polls(d, 2)
		require.Equal(t, want, s.story(denied))
		require.Equal(t, story{
			State: types.RequestState_APPROVED, Verdicts: byBob(types.RequestState_APPROVED),
			Moves: []string{placed, "bob: Pending → Approved"}, Marks: []string{"resolution:approved"},
		}, s.story(approved))
		require.Equal(t, wholeLife(), s.story(neighbour))
		require.Len(t, s.jira.Issues(), 3)
		require.Equal(t, 3, s.jira.CallCount("POST issue"))
	})
}

func TestAChangeThatJiraRefusesTellsThatTheIssueIsArchived(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d}) // whose sweeps are too far apart to see it
		id := s.request(twice)
		issue := s.issueIn(id, "Pending")
		_, err := r.WaitLog(s.ctx, "done", "request_id", id, "action", "link")
		require.NoError(t, err)
		require.NoError(t, s.jira.Archive(issue.ID, "bob"))
		s.review(id)
		s.parked(r, 0, id, archivedWhilePending)
		s.tells(id, "jira: archived")
		s.tells(id, "read: jira: work on issue "+issue.Key+": "+archivedWhilePending)
		require.Equal(t, 1, s.jira.CallCount("POST issue/{issue}/comment"), "Jira has refused it once")

		// A person who does something with the issue after it was restored is seen by the next
		// poll.
		require.NoError(t, s.jira.Restore(issue.ID, "bob"))
		require.NoError(t, s.jira.Move(issue.ID, "bob", "Approved"))
		s.settled(id, "approved")
		s.becomes(id, wholeLife())
		s.polls(d, 2)
		require.Equal(t, wholeLife(), s.story(id))
		require.Len(t, s.jira.Issues(), 1)
	})
}

// withBugs gives the type Bug a workflow of its own.
func withBugs(statuses ...string) func(*jirasim.Config) {
	return func(c *jirasim.Config) { c.IssueTypes[1].Statuses = statuses }
}

func TestAnIssueOfAnotherTypeDecidesAllTheSame(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d, jira: withBugs("To Do", "Pending", "Approved", "Denied")}, often)
		moved, mapped := s.request(), s.request()
		issue, other := s.issueIn(moved, "Pending"), s.issueIn(mapped, "Pending")
		s.quiet(d)
		s.typeIs(r, moved, issue.ID, "Bug", "")
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(moved), "the type decides nothing")
		require.NoError(t, s.jira.Move(issue.ID, "bob", "Approved"))
		s.settled(moved, "approved")
		s.polls(d, 2)
		require.Equal(t, story{
			State: state("Approved"), Verdicts: byBob(state("Approved")), Moves: []string{placed, "bob: Pending → Approved"},
			Marks: []string{"resolution:approved"},
		}, s.story(moved))
		// A status that came with the type was decided by nobody, for Jira maps many issues at once
		// like this.
		s.typeIs(r, mapped, other.ID, "Bug", "Denied")
		s.putBack(mapped, "the same change was of its issuetype")
		s.untouched(mapped)
		require.Len(t, s.jira.Issues(), 2)
	})
}

// typeIs lets bob change the type of a request's issue, and waits until the agent has said so.
func (s *system) typeIs(r *replica.Replica, id, issue, typ, status string) {
	s.t.Helper()
	was, _ := s.jira.Issue(issue)
	n := len(r.Lines())
	require.NoError(s.t, s.jira.ChangeType(issue, "bob", typ, status))
	news := `type "` + typ + `", was "` + was.Type + `"`
	if now, _ := s.jira.Issue(issue); now.Status != was.Status {
		news += `; status "` + now.Status.Name + `", was "` + was.Status.Name + `"`
	}
	s.logs(r, n, "observed", "request_id", id, "side", "jira", "news", news)
	s.tells(id, "jira: "+news)
}

func TestAnIssueWhoseTypeLacksTheStatusIsToldAndMovedWhenItHasIt(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, change := range map[string]struct {
			status string   // that bob has to choose with the type
			moves  []string // that come of it
		}{
			"lacks Denied":             {"", nil},
			"lacks Denied and Pending": {"To Do", []string{"bob: Pending → To Do"}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				bugs := withBugs("To Do", "Pending", "Approved")
				if change.status != "" {
					bugs = withBugs("To Do", "Approved")
				}
				s, r := leading(t, on{deployment: d, jira: bugs}, often)
				id := s.request()
				issue := s.issueIn(id, "Pending")
				s.quiet(d)
				s.typeIs(r, id, issue.ID, "Bug", change.status)
				s.polls(d, 2)
				require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))

				require.NoError(t, s.teleport.Deny(id, "dave@example.com", ""))
				s.settled(id, "denied")
				reason := s.parked(r, 0, id, "no transition to the status: from ")
				require.Contains(t, reason, "the workflow leads to ")
				s.tells(id, "move: "+reason)
				told := s.issueWith(id, 1)
				require.Equal(t, []string{"resolution:denied"}, marks(t, told), "what can be done is done")
				require.NotEqual(t, "Denied", told.Status.Name)
				neighbour := s.lives(nil)
				s.polls(d, 2)
				attempts := s.jira.CallCount("GET issue/{issue}/transitions")
				s.polls(d, 3)
				require.Equal(t, attempts, s.jira.CallCount("GET issue/{issue}/transitions"), "it is parked")

				s.typeIs(r, id, issue.ID, "Task", "")
				_, err := r.WaitLog(s.ctx, "done", "request_id", id, "action", "settle")
				require.NoError(t, err)
				s.polls(d, 2)
				from := "Pending"
				if change.status != "" {
					from = change.status
				}
				require.Equal(t, story{
					State: types.RequestState_DENIED,
					Moves: append(append([]string{placed}, change.moves...), "agent: "+from+" → Denied"),
					Marks: []string{"resolution:denied"},
				}, s.story(id))
				require.Equal(t, wholeLife(), s.story(neighbour))
				require.Len(t, s.jira.Issues(), 2)
			})
		}
	})
}
