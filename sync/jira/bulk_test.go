package jira

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

// many is a simulated Jira with many issues, and a client of it.
type many struct {
	*jirasim.Server
	client *Client
	ids    []string
}

func newMany(t *testing.T, d jirasim.Deployment, count int, change ...func(*jirasim.Config)) *many {
	t.Helper()
	cfg := jirasim.Example(d)
	cfg.RateLimit = jirasim.RateLimit{} // how fast is another matter
	for _, c := range change {
		c(&cfg)
	}
	m := &many{Server: jirasim.New(cfg)}
	for range count {
		i, err := m.CreateIssue("agent", map[string]any{"summary": "Access for alice", "customfield_10042": "req"}, nil)
		require.NoError(t, err)
		m.ids = append(m.ids, i.ID)
	}
	base, stop := m.Start()
	t.Cleanup(stop)
	c, err := Connect(testContext(t), Config{
		URL: base, Username: jirasim.AgentUsername, Token: func() string { return jirasim.AgentToken },
		Project: "OPS", IssueType: "Task", RequestIDField: "teleportAccessRequestId", MaxRPS: 1e6,
	}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	m.client = c
	m.ResetCalls()
	return m
}

// swept reads all issues as a sweep does, a thousand at a time.
func (m *many) swept(t *testing.T) (issues []sync.Issue) {
	t.Helper()
	for some := range slices.Chunk(m.ids, 1000) {
		found, err := m.client.Issues(testContext(t), some)
		require.NoError(t, err)
		issues = append(issues, found...)
	}
	return issues
}

// calls are how many of each kind were made.
func (m *many) calls() map[string]int {
	calls := make(map[string]int)
	for _, c := range m.Calls() {
		calls[strings.TrimPrefix(c.Endpoint, "/rest/api/2/")]++
	}
	return calls
}

// change archives and deletes some issues of each thousand.
func (m *many) change(t *testing.T, archived, gone int) (archivedIDs []string) {
	t.Helper()
	for some := range slices.Chunk(m.ids, 1000) {
		require.GreaterOrEqual(t, len(some), 400+gone)
		for _, id := range some[:archived] {
			require.NoError(t, m.Archive(id, "agent"))
			archivedIDs = append(archivedIDs, id)
		}
		for _, id := range some[400 : 400+gone] {
			require.NoError(t, m.DeleteIssue(id, "agent"))
		}
	}
	return archivedIDs
}

// Three thousand stand for ten thousand, which take a second and a half to make and to read: 110
// calls.
func TestEachThousandIssuesOnCloudCostsElevenCalls(t *testing.T) {
	t.Parallel()
	m := newMany(t, jirasim.Cloud, 3000)
	require.Len(t, m.swept(t), 3000)
	require.Equal(t, map[string]int{"issue/bulkfetch": 30, "search/jql": 3}, m.calls())
}

func TestArchivedIssuesOnCloudCostOneCallMoreForEveryFifty(t *testing.T) {
	t.Parallel()
	m := newMany(t, jirasim.Cloud, 1500)
	archived := m.change(t, 51, 2)
	issues := m.swept(t)
	require.Len(t, issues, 1496)
	require.Equal(t, archived, archivedIDs(issues))
	require.Equal(t, map[string]int{"issue/bulkfetch": 15, "search/jql": 2 + 4}, m.calls())
}

func TestEachThousandIssuesOnDataCenterCostsOneSearch(t *testing.T) {
	t.Parallel()
	m := newMany(t, jirasim.DataCenter, 3000)
	require.Len(t, m.swept(t), 3000)
	require.Equal(t, map[string]int{"search": 3}, m.calls())
}

func TestDataCenterThatRefusesASearchForWhatIsGoneIsAskedForTheRest(t *testing.T) {
	t.Parallel()
	m := newMany(t, jirasim.DataCenter, 2000)
	archived := m.change(t, 3, 2)
	issues := m.swept(t)
	require.Len(t, issues, 1996)
	require.Equal(t, archived, slices.Sorted(slices.Values(archivedIDs(issues))))
	require.Equal(
		t,
		map[string]int{"search": 4, "issue/{issue}": 10},
		m.calls(),
		"a second search for each thousand, and those that Jira named",
	)
}

func TestDataCenterMayGiveLessThanAPageOfAThousand(t *testing.T) {
	t.Parallel()
	m := newMany(t, jirasim.DataCenter, 1000, func(c *jirasim.Config) { c.Caps.SearchPage = 300 })
	require.Len(t, m.swept(t), 1000)
	require.Equal(t, map[string]int{"search": 4}, m.calls())
}

func TestIssuesThatTheIndexDoesNotShowYetAreNeitherGoneNorArchived(t *testing.T) {
	t.Parallel()
	for _, d := range []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			m := newMany(t, d, 0)
			m.SetIndexLag(jirasim.FixedLag(time.Hour))
			for range 60 {
				i, err := m.CreateIssue("agent", map[string]any{"summary": "Access for bob", "customfield_10042": "req"}, nil)
				require.NoError(t, err)
				m.ids = append(m.ids, i.ID)
			}
			issues := m.swept(t)
			require.Len(t, issues, 60)
			for _, i := range issues {
				require.Equal(t, sync.NotArchived, i.Archived)
			}
		})
	}
}

func TestCloudThatRefusesALongSearchIsAskedInSmallOnes(t *testing.T) {
	t.Parallel()
	var all []any
	for n := range 100 {
		all = append(all, issueBody(1000+n))
	}
	f := newFake(t, routes{
		"POST /issue/bulkfetch": always(200, map[string]any{"issues": all}),
		"POST /search/jql": func(c seen) (int, any) {
			if len(c.body["jql"].(string)) > 500 {
				return 400, jiraError("The query is too long.")
			}
			return showing(c, "1007", "1070")
		},
	})
	c, _ := connected(t, f, Cloud)
	issues, err := c.Issues(testContext(t), manyIDs(100))
	require.NoError(t, err)
	require.Equal(t, []string{"1007", "1070"}, archivedIDs(issues))
	require.Len(t, f.received("POST", "/search/jql"), 3)
}

// listing answers a search for ids as a Data Center does that refuses it for a reason of its own;
// nil: it does not.
func listing(refuse func(ids []string) any) func(seen) (int, any) {
	return func(c seen) (int, any) {
		ids := listedIn(c)
		if why := refuse(ids); why != nil {
			return http.StatusBadRequest, why
		}
		var issues []any
		for _, id := range ids {
			var n int
			_, _ = fmt.Sscan(id, &n)
			issues = append(issues, issueBody(n))
		}
		return http.StatusOK, map[string]any{"issues": issues, "total": len(issues)}
	}
}

func TestDataCenterThatDoesNotSayWhichIsGoneIsAskedForHalves(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"POST /search": listing(func(ids []string) any {
			if slices.Contains(ids, "1500") {
				return jiraError("Eine Angabe ist falsch.")
			}
			return nil
		}),
	})
	read := 0
	f.Config.Handler = countingReads(f.Config.Handler, &read)
	c, _ := connected(t, f, DataCenter)
	issues, err := c.Issues(testContext(t), manyIDs(1000))
	require.NoError(t, err)
	require.Len(t, issues, 999)
	require.Len(t, f.received("POST", "/search"), 15, "halves, seven times")
	require.LessOrEqual(t, read, fewListed)
}

func TestDataCenterThatRefusesALongSearchIsAskedForHalves(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{
		"POST /search": listing(func(ids []string) any {
			if len(ids) > 300 {
				return jiraError("More than 300 values.")
			}
			return nil
		}),
	})
	c, _ := connected(t, f, DataCenter)
	issues, err := c.Issues(testContext(t), manyIDs(1000))
	require.NoError(t, err)
	require.Len(t, issues, 1000)
	require.Len(t, f.received("POST", "/search"), 1+2+4)
}

func TestDataCenterThatSearchesForNothingIsAskedOneByOne(t *testing.T) {
	t.Parallel()
	read := 0
	f := newFake(t, routes{"POST /search": always(400, jiraError("No."))})
	f.Config.Handler = countingReads(f.Config.Handler, &read)
	c, _ := connected(t, f, DataCenter)
	issues, err := c.Issues(testContext(t), append(manyIDs(100), "x"))
	require.NoError(t, err)
	require.Len(t, issues, 101)
	require.Equal(t, 101, read)
	require.LessOrEqual(t, len(f.received("POST", "/search")), 31)
}

// countingReads answers the reads of single issues, and leaves all else to next.
func countingReads(next http.Handler, read *int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, found := strings.CutPrefix(r.URL.Path, "/rest/api/2/issue/")
		if !found || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		*read++
		n := 0
		_, _ = fmt.Sscan(id, &n)
		if n == 1500 {
			send(w, http.StatusNotFound, jiraError("Issue Does Not Exist"))
			return
		}
		send(w, http.StatusOK, issueBody(n))
	})
}
