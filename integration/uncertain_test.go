package integration

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// What becomes of a create of which it is not known whether Jira did it.

func TestAnUncertainCreateEndsInOneIssueWithinAMinute(t *testing.T) {
	t.Parallel()
	const late = 20 * time.Second
	for name, effect := range map[string]jirasim.Effect{
		"made, the answer lost":      jirasim.LoseAnswer(),
		"made, the answer hangs":     jirasim.HangAnswer(),
		"not made, 500":              jirasim.Respond(http.StatusInternalServerError, `{"errorMessages":["Internal error"]}`),
		"not made, 502":              jirasim.Respond(http.StatusBadGateway, "<html>"),
		"not made, hangs":            jirasim.Hang(),
		"not made, its key lost":     jirasim.FinishNever(jirasim.Respond(http.StatusInternalServerError, "{}")),
		"made late, 500":             jirasim.FinishLate(late, jirasim.Respond(http.StatusInternalServerError, "{}")),
		"made late, the answer lost": jirasim.FinishLate(late, jirasim.LoseAnswer()),
	} {
		for _, d := range []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter} {
			t.Run(name+" on "+string(d), func(t *testing.T) {
				t.Parallel()
				s := running(t, on{deployment: d})
				for range 3 { // others use the project, too, and one issue is kept from the agent
					other, err := s.jira.CreateIssue("bob", map[string]any{"summary": "another"}, nil)
					require.NoError(t, err)
					s.jira.HideIssue(other.Key, "agent")
				}
				thaw := s.jira.FreezeIndex()
				defer thaw()
				s.strike(jiraCall{route: "POST issue"}, effect)
				id := s.request()
				ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
				defer cancel()
				pending := func(i jirasim.Issue) bool { return i.Text(field) == id && i.Status.Name == "Pending" }
				_, err := s.jira.WaitIssue(ctx, pending)
				require.NoError(t, err)
				s.jira.FinishCreates()
				s.polls(d, 3)
				require.Len(t, s.issuesOf(id), 1)
			})
		}
	}
}
