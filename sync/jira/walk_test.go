package jira

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

// arrows is a simulated Jira in which issues begin in Backlog, with these arrows alone, and a
// client.
func arrows(t *testing.T, d jirasim.Deployment, arrows map[string][]string) (*jirasim.Server, *Client) {
	t.Helper()
	s, c := tracing(t, d)
	for n, name := range []string{"Backlog", "Selected", "In review", "Granted"} {
		s.AddStatus(jirasim.Status{ID: "1031" + strconv.Itoa(n), Name: name, Category: "new"})
	}
	setArrows(s, arrows)
	return s, c
}

func setArrows(s *jirasim.Server, arrows map[string][]string) {
	var transitions []jirasim.Transition
	for from, all := range arrows {
		for _, to := range all {
			id := strconv.Itoa(100 + len(transitions))
			transitions = append(transitions, jirasim.Transition{ID: id, Name: "t" + id, From: []string{from}, To: to})
		}
	}
	s.SetWorkflow("Backlog", transitions...)
}

// walked drives an issue that begins in Backlog as the engine does, and returns the statuses that
// it came to.
func walked(t *testing.T, s *jirasim.Server, c *Client, way sync.Way) (visited []string, err error) {
	t.Helper()
	issue, err := s.CreateIssue("agent", map[string]any{"summary": "x"}, nil)
	require.NoError(t, err)
	now, err := c.readIssue(testContext(t), issue.ID)
	require.NoError(t, err)
	var planned sync.Status
	commit := func(_ context.Context, next sync.Status) error { planned = next; return nil }
	for step := range sync.MaxWay + 1 {
		before := now.Status
		if step == 0 {
			now, err = c.Drive(testContext(t), now, way, commit)
		} else {
			now, err = c.Move(testContext(t), issue.ID, before, way, commit)
		}
		if err != nil {
			return visited, err
		}
		require.Equal(t, planned, now.Status)
		really, _ := s.Issue(issue.ID)
		require.Equal(t, really.Status.ID, now.Status.ID)
		visited = append(visited, now.Status.Name)
		if way.Arrived(now.Status) {
			return visited, nil
		}
		way.Visited = append(way.Visited, before)
	}
	t.Fatal("the way does not end")
	return nil, nil
}

var walkPolicy = sync.Policy{Statuses: sync.Statuses{
	sync.OutcomePending: {"Pending"}, sync.OutcomeApproved: {"Granted", "Approved"}, sync.OutcomeDenied: {"Denied"},
	sync.OutcomeExpired: {"Expired"},
}}

func TestMoveWalksWhereNoTransitionLeads(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		to      sync.Outcome
		pending bool
		arrows  map[string][]string
		want    []string
	}{
		"to Pending, past a decision": {
			sync.OutcomePending, true,
			map[string][]string{"Backlog": {"Approved", "Denied", "Selected"}, "Selected": {"Pending"}, "Approved": {"Pending"}},
			[]string{"Selected", "Pending"},
		},
		"to Denied by way of Pending": {
			sync.OutcomeDenied, false,
			map[string][]string{"Backlog": {"Selected", "Pending"}, "Pending": {"Denied"}},
			[]string{"Pending", "Denied"},
		},
		"to the first, though the second is a step away": {
			sync.OutcomeApproved, false,
			map[string][]string{"Backlog": {"Approved", "Selected"}, "Selected": {"In review"}, "In review": {"Granted"}},
			[]string{"Selected", "In review", "Granted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, d jirasim.Deployment) {
				s, c := arrows(t, d, tt.arrows)
				for range 2 {
					visited, err := walked(t, s, c, walkPolicy.Way(tt.to, tt.pending))
					require.NoError(t, err)
					require.Equal(t, tt.want, visited)
				}
			})
		})
	}
}

func TestTheSecondIssueTakesTheShortestWayThatTheFirstHasSeen(t *testing.T) {
	t.Parallel()
	s, c := arrows(t, jirasim.Cloud, map[string][]string{
		"Backlog": {"Selected", "In review"}, "In review": {"Denied"}, "Selected": {"Backlog"},
	})
	way := walkPolicy.Way(sync.OutcomeDenied, false)
	for range 2 { // a dead end or two are found out
		_, _ = walked(t, s, c, way)
	}
	visited, err := walked(t, s, c, way)
	require.NoError(t, err)
	require.Equal(t, []string{"In review", "Denied"}, visited)
}

func TestMoveDoesNotWanderForAStatusThatTheWorkflowLacks(t *testing.T) {
	t.Parallel()
	s, c := arrows(t, jirasim.Cloud, map[string][]string{"Backlog": {"Selected"}, "Selected": {"Pending"}})
	way := sync.Way{To: []string{"Nowhere"}}
	s.ResetCalls()
	_, err := walked(t, s, c, way)
	require.ErrorIs(t, err, sync.ErrNoTransition)
	require.True(t, asSyncError(t, err).Permanent)
	require.ErrorContains(t, err, `from "Backlog" the workflow leads to Selected only`)
	require.ErrorContains(t, err, `the workflow of issue type "Task" has no status Nowhere`)
	_, _ = walked(t, s, c, way)
	require.Equal(t, 1, s.CallCount("GET project/{project}/statuses"))
	require.Zero(t, s.CallCount("POST issue/{issue}/transitions"))
}

func TestAWayThatEndsNowhereIsTriedFromThereBeforeItIsGivenUp(t *testing.T) {
	t.Parallel()
	s, c := arrows(t, jirasim.Cloud, map[string][]string{
		"Backlog": {"Selected", "In review"}, "In review": {"Backlog"}, "Selected": {"Backlog"},
	})
	way := walkPolicy.Way(sync.OutcomeDenied, false)
	visited, err := walked(t, s, c, way)
	require.Len(t, visited, 1)
	require.ErrorIs(t, err, sync.ErrNoTransition)
	require.False(t, asSyncError(t, err).Permanent, "back in Backlog there is another way to try")
	_, err = walked(t, s, c, way)
	require.ErrorIs(t, err, sync.ErrNoTransition)
	visited, err = walked(t, s, c, way)
	require.Empty(t, visited)
	require.True(t, asSyncError(t, err).Permanent, "all was looked at")
}

func TestAChangedWorkflowIsSeen(t *testing.T) {
	t.Parallel()
	s, c := arrows(t, jirasim.DataCenter, map[string][]string{
		"Backlog": {"Selected"}, "Selected": {"Pending"}, "Pending": {"Backlog"},
	})
	way := walkPolicy.Way(sync.OutcomeDenied, false)
	_, err := walked(t, s, c, way)
	require.ErrorIs(t, err, sync.ErrNoTransition)
	setArrows(s, map[string][]string{"Backlog": {"Selected"}, "Selected": {"Denied"}})
	for at, seen := range c.workflow.offered {
		seen.at = time.Now().Add(-2 * flowAge)
		c.workflow.offered[at] = seen
	}
	visited, err := walked(t, s, c, way)
	require.NoError(t, err)
	require.Equal(t, []string{"Selected", "Denied"}, visited)
}

func TestATransitionThatAsksForAFieldIsNotOnTheWay(t *testing.T) {
	t.Parallel()
	s, c := arrows(t, jirasim.DataCenter, map[string][]string{
		"Selected": {"Denied"}, "In review": {"Denied"}, "Backlog": {"In review"},
	})
	s.AddTransition(jirasim.Transition{
		ID:       "9",
		Name:     "asks",
		From:     []string{"Backlog"},
		To:       "Selected",
		Screen:   []string{fieldID},
		Required: []string{fieldID},
	})
	visited, err := walked(t, s, c, walkPolicy.Way(sync.OutcomeDenied, false))
	require.NoError(t, err)
	require.Equal(t, []string{"In review", "Denied"}, visited)
}

func TestStatusesAreThoseOfAllWorkflowsOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		s.AddIssueType(jirasim.IssueType{ID: "10209", Name: "Access", Statuses: []string{"To Do", "Denied"}})
		s.TranslateStatus("Approved", "Genehmigt")
		statuses, err := c.Statuses(testContext(t))
		require.NoError(t, err)
		require.Equal(t, []sync.Status{
			{ID: "10300", Name: "To Do"},
			{ID: "10301", Name: "Pending"},
			{ID: "10302", Name: "Genehmigt"},
			{ID: "10303", Name: "Denied"},
			{ID: "10304", Name: "Expired"},
		}, statuses)
		down := jirasim.Respond(http.StatusServiceUnavailable, "")
		s.Inject(jirasim.Fault{Endpoint: "project/{project}/statuses", Times: 1, Effect: down})
		_, err = c.Statuses(testContext(t))
		require.Error(t, err)
	})
}

func TestMovesTellWhatStoodBesideThemAndWhatMadeThem(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		issue, err := s.CreateIssue("agent", map[string]any{"summary": "x"}, nil)
		require.NoError(t, err)
		require.NoError(t, s.Move(issue.ID, "bob", "Pending"))
		s.MigrateWorkflow("bob", map[string]string{"Pending": "Approved"})
		require.NoError(t, s.ChangeType(issue.ID, "bob", "Bug", "Denied"))
		for _, metadata := range []jirasim.HistoryMetadata{
			{Type: "automation", Generator: &jirasim.HistoryParticipant{ID: "rule-7", Type: "rule", DisplayName: "Auto approve"}},
			{Generator: &jirasim.HistoryParticipant{ID: "rule-7", Type: "rule"}},
			{Generator: &jirasim.HistoryParticipant{Type: "rule"}},
			{Type: "x", Actor: &jirasim.HistoryParticipant{ID: "bob"}},
		} {
			require.NoError(t, s.ForceStatusWith(issue.ID, "bob", "Approved", &metadata))
		}
		detail, err := c.Read(testContext(t), issue.ID)
		require.NoError(t, err)
		var beside [][]string
		var generators []string
		for _, m := range detail.Moves {
			beside, generators = append(beside, m.Beside), append(generators, m.Generator)
		}
		require.Equal(t, [][]string{nil, {"Workflow"}, {"issuetype"}, nil, nil, nil, nil}, beside)
		require.Equal(t, []string{"", "", "", "Auto approve", "rule-7", "rule", ""}, generators)
	})
}

func TestAnswersTellAsOfWhenAndWhetherAnIndexSaysSo(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := tracing(t, d)
		s.ShiftClock(-time.Hour)
		indexed, err := c.Create(testContext(t), sync.Draft{RequestID: "r1", Summary: "x"}, noteCommit(new(int)))
		require.NoError(t, err)
		defer s.FreezeIndex()()
		fresh, err := c.Create(testContext(t), sync.Draft{RequestID: "r2", Summary: "x"}, noteCommit(new(int)))
		require.NoError(t, err)
		require.NoError(t, s.Move(indexed.ID, "bob", "Approved"))

		asOf := func(issues ...sync.Issue) {
			t.Helper()
			require.NotEmpty(t, issues)
			for _, i := range issues {
				require.WithinDuration(t, time.Now().Add(-time.Hour), i.AsOf, time.Minute)
			}
		}
		ids := []string{indexed.ID, fresh.ID}
		issues, err := c.Issues(testContext(t), ids)
		require.NoError(t, err)
		require.Len(t, issues, 2)
		asOf(issues...)
		for _, i := range issues {
			stale := d == jirasim.DataCenter && i.ID == indexed.ID
			require.Equal(t, stale, i.FromIndex, i.Key)
			require.Equal(t, i.ID == indexed.ID && !stale, i.Status.Name == "Approved")
		}
		latest, err := c.Latest(testContext(t), ids)
		require.NoError(t, err)
		asOf(latest...)
		for _, i := range latest {
			require.False(t, i.FromIndex)
		}
		require.NoError(t, c.Search(testContext(t), sync.Query{}, func(page []sync.Issue) error {
			asOf(page...)
			require.True(t, page[0].FromIndex)
			return nil
		}))
		detail, err := c.Read(testContext(t), fresh.ID)
		require.NoError(t, err)
		asOf(detail.Issue)
		require.False(t, detail.Issue.FromIndex)
		moved, err := c.Move(testContext(t), fresh.ID, sync.Status{}, sync.Way{To: []string{"Pending"}}, noteStep(new(int)))
		require.NoError(t, err)
		asOf(moved)
	})
}
