package jira

import (
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

func TestSetupNamesTheStatusesThatPeopleHaveToAdd(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, withFields(textLine), func(c *jirasim.Config) {
			c.Statuses, c.Transitions = c.Statuses[:1], nil
		}))
		f := found(t, s, "jira.statuses")
		require.Equal(t, sync.Fails, f.Condition)
		require.Equal(t, `the workflow of issue type "Task" lacks "Pending", "Approved", "Denied", "Expired"`, f.Found)
		tick := map[jirasim.Deployment]string{
			jirasim.Cloud:      "Transition → from Any status to each of them",
			jirasim.DataCenter: `each with the tick "Allow all statuses to transition to this one"`,
		}[d]
		require.Contains(t, f.Remedy, `"Pending", "Approved", "Denied", "Expired"`)
		require.Contains(t, f.Remedy, tick)
		require.Equal(t, sync.Skipped, found(t, s, "jira.transitions").Condition)
		require.Len(t, s.Steps(), 1)
		require.False(t, s.Steps()[0].ByToken)

		for n, name := range []string{"Pending", "Approved", "Denied", "Expired"} { // a person follows
			id := string(rune('1' + n))
			server.AddStatus(jirasim.Status{ID: "1030" + id, Name: name, Category: "done"})
			server.AddTransition(jirasim.Transition{ID: id, Name: name, To: name})
		}
		require.NoError(t, s.look(testContext(t)))
		require.Equal(t, sync.Holds, found(t, s, "jira.statuses").Condition)
		f = found(t, s, "jira.transitions")
		want := map[jirasim.Deployment]sync.Condition{jirasim.Cloud: sync.Holds, jirasim.DataCenter: sync.Doubt}[d]
		require.Equal(t, want, f.Condition, "no issue is in any of them, and Cloud marks what is offered everywhere")
		if want == sync.Doubt {
			require.Contains(t, f.Found, `"Pending" to "Approved", "Approved" to "Pending"`)
		}
		require.Empty(t, writes(server))
	})
}

func TestNewStatusesLeadBackToPending(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		_, s := planned(t, administeredJira(d, withFields(textLine), func(c *jirasim.Config) {
			c.Statuses, c.Transitions = c.Statuses[:2], nil
		}))
		back := map[jirasim.Deployment]string{
			jirasim.Cloud:      `to each of them and to "Pending" →`,
			jirasim.DataCenter: `tick it for "Pending", too →`,
		}[d]
		require.Contains(t, found(t, s, "jira.statuses").Remedy, back)
	})
}

func TestSetupNamesTheTransitionsThatPeopleHaveToAdd(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, withFields(textLine), func(c *jirasim.Config) {
			c.Transitions[0].From = []string{"To Do", "Approved", "Denied"}            // not from Expired to Pending
			c.Transitions[1].From = []string{"To Do", "Denied", "Expired", "Approved"} // not from Pending to Approved
		}))
		f := found(t, s, "jira.transitions")
		require.Equal(t, sync.Fails, f.Condition)
		require.Equal(
			t,
			`the workflow leads the agent's account nowhere from "Pending" to "Approved", "Expired" to "Pending", in up to 6 transitions`,
			f.Found,
		)
		require.Contains(t, f.Remedy, `ransition → "Pending" to "Approved", "Expired" to "Pending"`)
		require.Equal(t, []string{`add transitions: "Pending" to "Approved", "Expired" to "Pending"`}, whats(s.Steps()))

		server.AddTransition(jirasim.Transition{ID: "91", Name: "a", From: []string{"Pending"}, To: "Approved"})
		server.AddTransition(jirasim.Transition{ID: "92", Name: "b", From: []string{"Expired"}, To: "Pending"})
		require.NoError(t, s.look(testContext(t)))
		allHolds(t, s)
	})
}

func TestGlobalTransitionsLeadOnFromStatusesWithoutIssues(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		sim := administeredJira(d, withFields(textLine))
		sim.Transitions = nil
		for n, status := range sim.Statuses {
			sim.Transitions = append(
				sim.Transitions,
				jirasim.Transition{ID: string(rune('1' + n)), Name: status.Name, To: status.Name},
			)
		}
		server, c := simulated(t, sim)
		_, err := server.CreateIssue("alice", map[string]any{"summary": "one"}, nil)
		require.NoError(t, err)
		issue := server.Issues()[0]
		require.NoError(t, server.Move(issue.ID, "alice", "Pending"))
		s, err := c.planSetup(testContext(t), testStatuses)
		require.NoError(t, err)
		want := map[jirasim.Deployment]sync.Condition{jirasim.Cloud: sync.Holds, jirasim.DataCenter: sync.Doubt}[d]
		require.Equal(t, want, found(t, s, "jira.transitions").Condition, "Cloud marks them")
	})
}

func TestSetupTellsWaysThatGoThroughOtherStatuses(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		_, s := planned(t, administeredJira(d, withFields(textLine), func(c *jirasim.Config) {
			c.Statuses = append(c.Statuses, jirasim.Status{ID: "10310", Name: "In review", Category: "indeterminate"})
			c.Transitions = []jirasim.Transition{
				{ID: "1", Name: "queue", From: []string{"Approved", "Denied", "Expired", "To Do"}, To: "Pending"},
				{ID: "2", Name: "look", From: []string{"Pending"}, To: "In review"},
				{ID: "3", Name: "approve", From: []string{"In review"}, To: "Approved"},
				{ID: "4", Name: "deny", From: []string{"Pending"}, To: "Denied"},
				{ID: "5", Name: "lapse", From: []string{"Pending"}, To: "Expired"},
			}
		}))
		f := found(t, s, "jira.transitions")
		require.Equal(t, sync.Holds, f.Condition, f.Found)
		require.Contains(t, f.Found, `from "Pending" to "Approved" by way of "In review"`)
		require.Contains(t, f.Found, `from "Approved" to "Denied" by way of "Pending"`)
		require.Contains(t, f.Found, `from "Denied" to "Approved" by way of "Pending", "In review"`)
	})
}

func TestSetupKnowsNoWayToPendingThroughADecision(t *testing.T) {
	t.Parallel()
	_, s := planned(t, administeredJira(jirasim.DataCenter, withFields(textLine), func(c *jirasim.Config) {
		c.Transitions[0].From = []string{"To Do", "Approved", "Denied"} // not from Expired to Pending, but to Denied
	}))
	f := found(t, s, "jira.transitions")
	require.Equal(t, sync.Fails, f.Condition)
	require.Contains(t, f.Found, `from "Expired" to "Pending", in up to`)
}

func TestSetupDoubtsASpareStatusThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, s := planned(t, administeredJira(jirasim.Cloud, withFields(textLine)))
	s.statuses = sync.Statuses{
		sync.OutcomePending: {
			"pending",
			"Wating",
		},
		sync.OutcomeApproved: {"10302"},
		sync.OutcomeDenied:   {"Denied"},
		sync.OutcomeExpired:  {"Expired", "Lapsed"},
	}
	require.NoError(t, s.look(testContext(t)))
	f := found(t, s, "jira.statuses")
	require.Equal(t, sync.Doubt, f.Condition)
	require.Contains(t, f.Found, "but not Wating, Lapsed")
	require.Equal(t, sync.Holds, found(t, s, "jira.transitions").Condition)
	require.Empty(t, s.Steps())
}

func TestSetupNamesTheIssueTypesThatThereAre(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, withFields(textLine)), func(c *Config) { c.IssueType = "Access" })
		f := found(t, s, "jira.statuses")
		require.Equal(t, sync.Fails, f.Condition)
		require.Equal(t, `project OPS has no issue type "Access"; it has Task, Bug`, f.Found)
		require.Contains(t, f.Remedy, "or set JIRA_ISSUE_TYPE to one that the project has")
		server.AddIssueType(jirasim.IssueType{ID: "10209", Name: "Access"})
		require.NoError(t, s.look(testContext(t)))
		require.Equal(t, sync.Holds, found(t, s, "jira.statuses").Condition)
	})
}

func TestTransitionsOfTheOtherIssueTypeDoNotCount(t *testing.T) {
	t.Parallel()
	sim := administeredJira(jirasim.DataCenter, withFields(textLine))
	server, c := simulated(t, sim)
	for _, status := range sim.Statuses {
		issue, err := server.CreateIssue(
			"alice",
			map[string]any{"summary": "a bug", "issuetype": map[string]any{"id": "10201"}},
			nil,
		)
		require.NoError(t, err)
		require.NoError(t, server.ForceStatus(issue.ID, "", status.Name))
	}
	s, err := c.planSetup(testContext(t), testStatuses)
	require.NoError(t, err)
	require.Equal(t, sync.Doubt, found(t, s, "jira.transitions").Condition)
}
