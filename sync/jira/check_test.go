package jira

import (
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

// core are the paths that the agent itself cannot do without.
var core = regexp.MustCompile(
	`/rest/api/2/(serverInfo|myself|project/[A-Z]+|field|mypermissions|search|search/jql|issue|issue/[^/]+)$`,
)

func TestCheckTakesWhatJiraDoesNotTellForNoFailure(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		for _, code := range []int{http.StatusNotFound, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
			server := jirasim.New(administeredJira(d, withFields(textLine)))
			url, stop := server.Start()
			t.Cleanup(stop)
			server.Inject(jirasim.Fault{
				When:   func(r *http.Request) bool { return !core.MatchString(r.URL.Path) },
				Effect: jirasim.Respond(code, `{"errorMessages":["not here"],"errors":{}}`, "Content-Type", "application/json"),
			})
			for _, f := range Check(testContext(t), simulatedConfig(url), CheckFor{Statuses: testStatuses, ApproverGroups: nil}, zap.NewNop()) {
				require.NotEqual(t, sync.Fails, f.Condition, "%d: %+v", code, f)
			}
			require.Empty(t, server.Issues())
		}
	})
}

func TestCheckFindsTheIssueTypeWhereTheProjectDoesNotListTypes(t *testing.T) {
	t.Parallel()
	server := jirasim.New(jirasim.Example(jirasim.DataCenter))
	url, stop := server.Start()
	t.Cleanup(stop)
	server.Inject(
		jirasim.Fault{
			Endpoint: "project/{project}",
			Effect:   jirasim.Respond(http.StatusOK, `{"id":"10100","key":"OPS"}`, "Content-Type", "application/json"),
		},
	)
	conditions := make(map[string]sync.Condition)
	for _, f := range Check(testContext(t), simulatedConfig(url), CheckFor{Statuses: testStatuses}, zap.NewNop()) {
		conditions[f.Check] = f.Condition
	}
	require.Equal(t, sync.Holds, conditions["jira.statuses"])
	require.Equal(t, sync.Holds, conditions["jira.create"])
}
