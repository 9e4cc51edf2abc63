package jirasim_test

import (
	"testing"

	jira "github.com/andygrunwald/go-jira"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// A client library that nobody wrote for the simulator must get along with it.
func TestGoJiraGetsAlong(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			s, c := start(t, cfg)
			auth := jira.BasicAuthTransport{Username: c.username, Password: c.token, Transport: c.http.Transport}
			client, err := jira.NewClient(auth.Client(), c.base)
			require.NoError(t, err)
			ctx := t.Context()

			created, _, err := client.Issue.CreateWithContext(ctx, &jira.Issue{Fields: &jira.IssueFields{
				Project: jira.Project{Key: "OPS"}, Type: jira.IssueType{Name: "Task"}, Summary: "Access",
				Unknowns: object{"customfield_10042": requestID},
			}})
			require.NoError(t, err)
			_, _, err = client.Issue.AddCommentWithContext(ctx, created.ID, &jira.Comment{Body: "hello"})
			require.NoError(t, err)
			transitions, _, err := client.Issue.GetTransitionsWithContext(ctx, created.ID)
			require.NoError(t, err)
			require.Equal(t, "Pending", transitions[0].To.Name)
			response, err := client.Issue.DoTransitionWithContext(ctx, created.ID, transitions[0].ID)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.NoError(t, s.Move(created.ID, "alice", "Approved"))

			issue, _, err := client.Issue.GetWithContext(ctx, created.ID, &jira.GetQueryOptions{Expand: "changelog"})
			require.NoError(t, err)
			require.Equal(t, "Approved", issue.Fields.Status.Name)
			require.Equal(t, "hello", issue.Fields.Comments.Comments[0].Body)
			require.Len(t, issue.Changelog.Histories, 2)
			_, err = issue.Changelog.Histories[0].CreatedTime()
			require.NoError(t, err)

			var found []jira.Issue
			if cfg.Deployment == jirasim.Cloud {
				found, _, err = client.Issue.SearchV2JQLWithContext(
					ctx,
					"project = OPS",
					&jira.SearchOptionsV2{Fields: []string{"*all"}},
				)
			} else {
				found, _, err = client.Issue.SearchWithContext(ctx, "project = OPS", &jira.SearchOptions{MaxResults: 100})
			}
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.Equal(t, requestID, found[0].Fields.Unknowns["customfield_10042"])

			refused := map[jirasim.Deployment]string{jirasim.Cloud: "has been removed", jirasim.DataCenter: "Expecting operator"}
			_, _, err = client.Issue.SearchWithContext(ctx, "nonsense", nil)
			require.ErrorContains(t, err, refused[cfg.Deployment])
			me, _, err := client.User.GetSelfWithContext(ctx)
			require.NoError(t, err)
			require.Equal(t, "America/St_Johns", me.TimeZone)
		})
	}
}
