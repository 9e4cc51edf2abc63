package jira

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

// pendingIssue is what polls show of an issue of the fake.
func pendingIssue(id string) sync.Issue {
	return sync.Issue{ID: id, Key: "ACC-" + id, Project: "ACC", Status: sync.Status{ID: "1", Name: "Pending"}}
}

// ofNoType are the statuses of the workflow of the fake's issues, which have no type.
func ofNoType(statuses ...any) func(seen) (int, any) {
	return always(200, []any{map[string]any{"id": "1", "name": "", "statuses": statuses}})
}

// movable lets the issues 7 and 8 be moved from Pending to Approved and Denied.
func movable(routes routes) routes {
	offered := always(
		200,
		map[string]any{"transitions": []any{transition("21", "8", "Approved"), transition("31", "9", "Denied")}},
	)
	routes["GET /project/ACC/statuses"] = ofNoType(status("1", "Pending"), status("8", "Approved"), status("9", "Denied"))
	for id, body := range map[string]map[string]any{"7": issueBody(7), "8": issueBody(8)} {
		routes["GET /issue/"+id] = always(200, body)
		routes["GET /issue/"+id+"/transitions"] = offered
		if routes["POST /issue/"+id+"/transitions"] == nil {
			routes["POST /issue/"+id+"/transitions"] = always(204, nil)
		}
	}
	return routes
}

func TestDriveAsksAboutOneIssueAndKnowsTheNext(t *testing.T) {
	t.Parallel()
	f := newFake(t, movable(routes{}))
	c, _ := connected(t, f, Cloud)
	committed := 0
	issue, err := c.Drive(testContext(t), pendingIssue("7"), sync.Way{To: []string{"Denied"}}, noteStep(&committed))
	require.NoError(t, err)
	require.Equal(t, sync.Status{ID: "9", Name: "Denied"}, issue.Status)
	require.Zero(t, issue.Assumed, "Jira said from where it went, and where to")

	require.Empty(t, f.received("GET", "/project/ACC/statuses"))
	require.NoError(t, c.learnStatuses(testContext(t), pendingIssue("8")))
	before := len(f.calls)
	issue, err = c.Drive(
		testContext(t),
		pendingIssue("8"),
		sync.Way{To: []string{"Granted", "Approved"}},
		noteStep(&committed),
	)
	require.NoError(t, err)
	require.Equal(t, sync.Status{ID: "8", Name: "Approved"}, issue.Status)
	require.WithinDuration(t, time.Now(), issue.Assumed, time.Minute)
	require.Len(t, f.calls, before+1)
	require.Equal(
		t,
		map[string]any{"transition": map[string]any{"id": "21"}},
		f.received("POST", "/issue/8/transitions")[0].body,
	)
	require.Equal(t, 2, committed)
}

func TestDriveOfAnIssueThatDidNotArriveForgetsWhatItKnew(t *testing.T) {
	t.Parallel()
	f := newFake(t, movable(routes{}))
	c, _ := connected(t, f, Cloud)
	// 7 shows the way, 8 takes it; each has to be moved again, and is read.
	for n, id := range []string{"7", "8", "7", "8"} {
		issue, err := c.Drive(testContext(t), pendingIssue(id), sync.Way{To: []string{"Denied"}}, noteStep(new(int)))
		require.NoError(t, err)
		require.Equal(t, n == 1, !issue.Assumed.IsZero())
		if elsewhere := (place{"ACC", "", "5"}); n == 1 {
			c.workflow.offered[elsewhere] = offer{transitions: []transitionJSON{{ID: "41"}}}
		} else {
			require.Equal(
				t,
				n == 2,
				c.workflow.offered[elsewhere].transitions != nil,
				"7 was moved from a fresh read, which is no reason to doubt",
			)
		}
	}
}

func TestDriveReadsTheIssueWhereJiraRefusesWhatItKnew(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code int
		read bool
	}{
		"not valid here": {http.StatusBadRequest, true}, "at the same time": {http.StatusConflict, true}, "not found": {http.StatusNotFound, true},
		"not allowed": {http.StatusForbidden, false}, "in trouble": {http.StatusInternalServerError, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(
				t,
				movable(routes{"POST /issue/8/transitions": inTurn(always(tt.code, jiraError("no")), always(204, nil))}),
			)
			c, _ := connected(t, f, Cloud)
			_, err := c.Drive(testContext(t), pendingIssue("7"), sync.Way{To: []string{"Denied"}}, noteStep(new(int)))
			require.NoError(t, err)
			issue, err := c.Drive(testContext(t), pendingIssue("8"), sync.Way{To: []string{"Denied"}}, noteStep(new(int)))
			require.Zero(t, issue.Assumed)
			require.Len(t, f.received("GET", "/issue/8/transitions"), map[bool]int{true: 1}[tt.read])
			if tt.read {
				require.NoError(t, err)
				require.Equal(t, "Denied", issue.Status.Name)
				return
			}
			require.Error(t, err)
			require.Equal(t, tt.code == http.StatusInternalServerError, asSyncError(t, err).Uncertain)
		})
	}
}

func TestAnIssueIsTakenForBeingWhereTheLastOneBegan(t *testing.T) {
	t.Parallel()
	unmoved := map[string]any{"histories": []any{}, "total": 0, "startAt": 0}
	f := newFake(t, routes{
		"POST /issue": always(201, map[string]any{"id": "9", "key": "ACC-9"}),
		"GET /issue/7": always(
			200,
			issueBody(
				7,
				inStatus("4", "To Do"),
				with("changelog", unmoved),
				withField("comment", map[string]any{"total": 0, "comments": []any{}}),
			),
		),
	})
	c, _ := connected(t, f, Cloud)
	draft := sync.Draft{RequestID: "req-9", Summary: "s"}
	made, err := c.Create(testContext(t), draft, noteCommit(new(int)))
	require.NoError(t, err)
	require.Zero(t, made.Status, "nothing is known yet")
	require.Zero(t, made.Assumed)

	_, err = c.Read(testContext(t), "7")
	require.NoError(t, err)
	made, err = c.Create(testContext(t), draft, noteCommit(new(int)))
	require.NoError(t, err)
	require.Equal(t, sync.Status{ID: "4", Name: "To Do"}, made.Status)
	require.False(t, made.Assumed.IsZero())
	require.Zero(t, made.Updated, "so that whatever Jira says is newer")

	c.workflow.initialAt = time.Now().Add(-initialAge)
	made, err = c.Create(testContext(t), draft, noteCommit(new(int)))
	require.NoError(t, err)
	require.Zero(t, made.Status, "somebody may have changed the workflow")
}

func TestWhereIssuesBeginIsLearnedFromTheAgentsOwnAlone(t *testing.T) {
	t.Parallel()
	unmoved := with("changelog", map[string]any{"histories": []any{}, "total": 0, "startAt": 0})
	moved := with("changelog", map[string]any{"total": 1, "startAt": 0, "histories": []any{
		map[string]any{
			"id":      "1",
			"created": "2026-11-22T09:30:00.000+0000",
			"items": []any{
				map[string]any{
					"field":      "status",
					"fieldId":    "status",
					"from":       "4",
					"to":         "1",
					"fromString": "To Do",
					"toString":   "Pending",
				},
			},
		},
	}})
	for name, change := range map[string][]func(map[string]any){
		"by somebody else":   {unmoved, withField("creator", map[string]any{"accountId": "bob"})},
		"in another project": {unmoved, withField("project", map[string]any{"key": "OTHER"})},
		"that was moved":     {moved},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(
				t,
				routes{
					"GET /issue/7": always(
						200,
						issueBody(7, append(change, withField("comment", map[string]any{"total": 0, "comments": []any{}}))...),
					),
				},
			)
			c, _ := connected(t, f, Cloud)
			_, err := c.Read(testContext(t), "7")
			require.NoError(t, err)
			var made sync.Issue
			c.workflow.begin(&made, time.Now())
			require.Zero(t, made)
		})
	}
}

func TestTheWorkflowThatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	var w workflow
	for n := range 3*maxOffers + 1 {
		i := pendingIssue("7")
		i.Project += string(rune('A' + n))
		w.note(i, nil)
		require.LessOrEqual(t, len(w.offered), maxOffers)
	}
}

func TestDriveReadsTheIssueAfterAnAnswerThatWasLost(t *testing.T) {
	t.Parallel()
	f := newFake(
		t,
		movable(
			routes{
				"POST /issue/8/transitions": inTurn(always(http.StatusInternalServerError, jiraError("no")), always(204, nil)),
			},
		),
	)
	c, _ := connected(t, f, Cloud)
	_, err := c.Drive(testContext(t), pendingIssue("7"), sync.Way{To: []string{"Denied"}}, noteStep(new(int)))
	require.NoError(t, err)
	_, err = c.Drive(testContext(t), pendingIssue("8"), sync.Way{To: []string{"Denied"}}, noteStep(new(int)))
	require.True(t, asSyncError(t, err).Uncertain)
	require.Empty(t, f.received("GET", "/issue/8"))
	_, err = c.Drive(testContext(t), pendingIssue("8"), sync.Way{To: []string{"Denied"}}, noteStep(new(int)))
	require.NoError(t, err)
	require.Len(
		t,
		f.received("GET", "/issue/8"),
		1,
		"it may have been moved: a global transition would be carried out twice",
	)
}
