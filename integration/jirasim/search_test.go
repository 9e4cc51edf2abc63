package jirasim_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// find searches by whichever endpoint the deployment has and returns the keys found, in order.
func (c *client) find(d jirasim.Deployment, jql string) ([]string, reply) {
	c.t.Helper()
	path := "search"
	if d == jirasim.Cloud {
		path = "search/jql"
	}
	a := c.post(path, object{"jql": jql, "fields": []string{"key"}})
	if a.status != http.StatusOK {
		return nil, a
	}
	keys := []string{}
	for _, issue := range a.body["issues"].([]any) {
		keys = append(keys, at(c.t, issue, "key").(string))
	}
	return keys, a
}

func TestCloudSearchShowsOnlyTheFieldsAskedFor(t *testing.T) {
	t.Parallel()
	_, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	bare := c.post("search/jql", object{"jql": "project = OPS"})
	require.Equal(t, []any{object{"id": id}}, bare.body["issues"])
	require.Equal(t, true, bare.body["isLast"])
	for _, absent := range []string{"nextPageToken", "total", "startAt", "maxResults"} {
		require.NotContains(t, bare.body, absent)
	}
	full := c.post(
		"search/jql",
		object{"jql": "project = OPS", "fields": []string{"summary", "status"}, "expand": "changelog,transitions"},
	)
	issue := at(t, full.body, "issues", 0)
	require.Equal(t, "OPS-1", at(t, issue, "key"))
	require.Len(t, at(t, issue, "fields"), 2)
	require.Contains(t, issue, "changelog")
	require.Len(t, at(t, issue, "transitions"), 4)
	require.Equal(t, bare.body, c.get("search/jql?jql="+url.QueryEscape("project = OPS")).body)
}

func TestCloudSearchIsRefused(t *testing.T) {
	t.Parallel()
	_, c := start(t, jirasim.Example(jirasim.Cloud))
	c.create()
	good := func(key string, value any) object { return object{"jql": "project = OPS", key: value} }
	for name, body := range map[string]object{
		"no jql":              {},
		"unbounded":           {"jql": "ORDER BY key DESC"},
		"expand as a list":    good("expand", []string{"changelog"}),
		"startAt":             good("startAt", 0),
		"reconcile as text":   good("reconcileIssues", []string{"10001"}),
		"51 to reconcile":     good("reconcileIssues", make([]int, 51)),
		"6 properties":        good("properties", []string{"a", "b", "c", "d", "e", "f"}),
		"maxResults 0":        good("maxResults", 0),
		"maxResults 5001":     good("maxResults", 5001),
		"made-up token":       good("nextPageToken", "xyz"),
		"sorted by 8 fields":  {"jql": "project = OPS ORDER BY key, id, updated, created, key, id, updated, created"},
		"sorted by a secret":  {"jql": "project = OPS ORDER BY votes"},
		"invisible project":   {"jql": "project = SECRET"},
		"equality with text":  {"jql": "cf[10042] = x"},
		"list with text":      {"jql": "cf[10042] in (x)"},
		"unknown field":       {"jql": "cf[10043] is EMPTY"},
		"unknown status":      {"jql": "status = Frozen"},
		"date with zone":      {"jql": `updated > "2026-05-07 12:00 UTC"`},
		"date with seconds":   {"jql": `updated > "2026-05-07 12:00:00"`},
		"quoted milliseconds": {"jql": `updated > "1790000000000"`},
		"unquoted date":       {"jql": "updated > 2026/05/07"},
		"function":            {"jql": "updated > startOfDay()"},
		"no operator":         {"jql": "project OPS"},
		"unfinished":          {"jql": "project = OPS AND"},
		"unclosed":            {"jql": "(project = OPS"},
		"unclosed string":     {"jql": `project = "OPS`},
		"bad escape":          {"jql": `project = "\x"`},
		"empty phrase":        {"jql": `cf[10042] ~ ""`},
		"wildcard":            {"jql": `cf[10042] ~ "a*"`},
		"trailing":            {"jql": "project = OPS project = OPS"},
	} {
		a := c.post("search/jql", body)
		require.Equal(t, http.StatusBadRequest, a.status, name+": "+a.raw)
	}
	a := c.post("search/jql", good("reconcileIssues", make([]int, 50)))
	require.Equal(t, http.StatusOK, a.status, a.raw)
	require.Equal(t, http.StatusOK, c.get("search/jql?jql=project=OPS&reconcileIssues=1&reconcileIssues=2").status)
	require.Equal(t, http.StatusBadRequest, c.get("search/jql?jql=project=OPS&reconcileIssues=1,2").status)
	refusal(t, c.post("search/jql", object{"jql": "order by key"}), http.StatusBadRequest, "Unbounded JQL")
	require.Equal(
		t,
		http.StatusRequestURITooLong,
		c.get("search/jql?jql="+url.QueryEscape(fmt.Sprintf("id in (%09000d)", 1))).status,
	)
}

func TestCloudPagesAreCappedAndChainedByToken(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	clock := newClock()
	cfg.Now = clock.Now
	s, c := start(t, cfg)
	for n := range 205 {
		clock.advance(time.Second)
		_, err := s.CreateIssue("bob", map[string]any{"summary": strconv.Itoa(n)}, nil)
		require.NoError(t, err)
	}
	body := object{"jql": "project = OPS ORDER BY updated ASC, key ASC", "fields": []string{"summary"}, "maxResults": 5000}
	var seen []any
	var sizes []int
	for {
		a := c.post("search/jql", body)
		require.Equal(t, http.StatusOK, a.status, a.raw)
		issues := a.body["issues"].([]any)
		sizes = append(sizes, len(issues))
		for _, issue := range issues {
			seen = append(seen, at(t, issue, "fields", "summary"))
		}
		if a.body["isLast"] == true {
			break
		}
		body["nextPageToken"] = a.body["nextPageToken"]
	}
	require.Equal(t, []int{100, 100, 5}, sizes)
	require.Equal(t, "0", seen[0])
	require.Equal(t, "204", seen[204])

	require.Len(
		t,
		c.post("search/jql", object{"jql": "project = OPS", "maxResults": 5000}).body["issues"],
		205,
		"ids alone come in larger pages",
	)
	require.Len(t, c.post("search/jql", object{"jql": "project = OPS"}).body["issues"], 50, "the default")
	other := object{"jql": "project = OPS", "nextPageToken": body["nextPageToken"]}
	require.Equal(t, http.StatusBadRequest, c.post("search/jql", other).status, "a token belongs to its query")
	clock.advance(7*24*time.Hour + time.Second)
	require.Equal(t, http.StatusBadRequest, c.post("search/jql", body).status, "tokens expire")
}

func TestDataCenterPagesByOffset(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.DataCenter)
	cfg.Caps.SearchPage, cfg.Caps.ResultWindow = 3, 10
	s, c := start(t, cfg)
	for n := range 5 {
		_, err := s.CreateIssue("bob", map[string]any{"summary": strconv.Itoa(n)}, nil)
		require.NoError(t, err)
	}
	a := c.get("search?maxResults=100&jql=" + url.QueryEscape("project = OPS ORDER BY key ASC"))
	require.Equal(t, []any{0.0, 3.0, 5.0}, []any{a.body["startAt"], a.body["maxResults"], a.body["total"]})
	require.Len(t, a.body["issues"], 3)
	require.Equal(t, "0", at(t, a.body, "issues", 0, "fields", "summary"), "fields are navigable by default")
	require.NotContains(t, at(t, a.body, "issues", 0, "fields"), "comment")
	a = c.post("search", object{"jql": "ORDER BY key ASC", "startAt": 3, "maxResults": 3, "fields": []string{"summary"}})
	require.Equal(t, http.StatusOK, a.status, "an unbounded search is allowed here")
	require.Len(t, a.body["issues"], 2)
	require.Equal(t, "4", at(t, a.body, "issues", 1, "fields", "summary"))
	for _, expand := range []any{"changelog,names", []string{"names", "changelog"}} {
		a = c.post("search", object{"jql": "", "expand": expand})
		require.Contains(t, at(t, a.body, "issues", 0), "changelog")
	}
	refusal(
		t,
		c.post("search", object{"jql": "", "startAt": 9, "maxResults": 3}),
		http.StatusBadRequest,
		"Search limit exceeded",
	)
	require.Equal(t, http.StatusBadRequest, c.post("search", object{"jql": "", "reconcileIssues": []int{1}}).status)
}

func TestIssueThatDoesNotExistIsRefusedOnDataCenterAndLeftOutOnCloud(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			_, c := start(t, cfg)
			id := c.create()
			for _, jql := range []string{"id in (" + id + ", 99999)", "key in (OPS-1, OPS-99)"} {
				keys, a := c.find(cfg.Deployment, jql)
				if cfg.Deployment == jirasim.Cloud {
					require.Equal(t, []string{"OPS-1"}, keys, jql)
					continue
				}
				refusal(t, a, http.StatusBadRequest, "does not exist for")
				lenient := c.post("search", object{"jql": jql, "validateQuery": false})
				require.Len(t, lenient.body["issues"], 1)
				require.Len(t, lenient.body["warningMessages"], 1)
			}
		})
	}
}

func TestJQLFindsWhatItSays(t *testing.T) {
	t.Parallel()
	for _, cfg := range examples() {
		t.Run(string(cfg.Deployment), func(t *testing.T) {
			t.Parallel()
			clock := newClock() // 12:45:30.123 UTC is 09:15:30.123 in St. John's
			cfg.Now = clock.Now
			s, c := start(t, cfg)
			first := c.create()
			clock.advance(time.Hour)
			_, err := s.CreateIssue("bob", map[string]any{"summary": "none", "description": "A way of *none*"}, nil)
			require.NoError(t, err)
			clock.advance(time.Hour)
			_, err = s.CreateIssue("bob", map[string]any{"summary": "more", "customfield_10042": "see " + requestID + "!"}, nil)
			require.NoError(t, err)
			require.NoError(t, s.Move("OPS-3", "bob", "Approved"))
			firstMillis := time.Date(2026, 11, 23, 12, 45, 30, 123e6, time.UTC).UnixMilli()

			for jql, want := range map[string][]string{
				"project = OPS": {"OPS-3", "OPS-2", "OPS-1"},
				`project = "Operations" AND cf[10042] is not EMPTY ORDER BY updated ASC`: {"OPS-1", "OPS-3"},
				`"teleportAccessRequestId" IS EMPTY`:                                     {"OPS-2"},
				`cf[10042] ~ "\"` + requestID + `\"" ORDER BY id ASC`:                    {"OPS-1", "OPS-3"},
				`cf[10042] ~ "\"0193A1B2-1111\"" ORDER BY id`:                            {"OPS-1", "OPS-3"},
				`cf[10042] ~ "\"1111 0193a1b2\""`:                                        {},
				`cf[10042] ~ "1111 0193a1b2" order by id`:                                {"OPS-1", "OPS-3"},
				`cf[10042] !~ "see"`:                                                     {"OPS-1"},
				fmt.Sprintf("updated >= %d ORDER BY updated", firstMillis):               {"OPS-3", "OPS-2", "OPS-1"},
				fmt.Sprintf("updated > %d ORDER BY updated ASC", firstMillis):            {"OPS-2", "OPS-3"},
				fmt.Sprintf("created <= %d", firstMillis):                                {"OPS-1"},
				fmt.Sprintf("created < %d", firstMillis):                                 {},
				`updated >= "2026-11-23 09:16" ORDER BY key ASC`:                         {"OPS-2", "OPS-3"},
				`updated >= "2026/11/23 09:15" ORDER BY key ASC`:                         {"OPS-1", "OPS-2", "OPS-3"},
				`updated >= "2026-11-23 12:45"`:                                          {},
				`updated >= "2026-11-24"`:                                                {},
				`updated >= "-60m" ORDER BY key ASC`:                                     {"OPS-2", "OPS-3"},
				`updated >= -59m`:                                                        {"OPS-3"},
				`updated >= "-1h 1m" and not status = approved`:                          {"OPS-2"},
				`status in ("To Do", Approved) AND (key = OPS-1 OR key = OPS-3)`:         {"OPS-3", "OPS-1"},
				`creator = currentUser()`:                                                {"OPS-1"},
				`creator != currentUser() AND description ~ "\"way of\""`:                {"OPS-2"},
				`description ~ "\"of way\""`:                                             {},
				"status = 10302":                                                         {"OPS-3"},
				"status != Approved ORDER BY created DESC, key":                          {"OPS-2", "OPS-1"},
				"id = " + first:                                    {"OPS-1"},
				"id not in (" + first + ", OPS-3)":                 {"OPS-2"},
				"project = OLD":                                    {},
				"issuetype = 10201":                                {},
				"type != bug AND status = Approved":                {"OPS-3"},
				"issuekey in (OPS-2, OPS-1) ORDER BY issuekey asc": {"OPS-1", "OPS-2"},
			} {
				keys, a := c.find(cfg.Deployment, jql)
				require.Equal(t, http.StatusOK, a.status, jql+": "+a.raw)
				require.Equal(t, want, keys, jql)
			}
		})
	}
}

func TestDatesAreReadInTheZoneOfTheAccount(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Now = newClock().Now
	s, c := start(t, cfg)
	c.create()
	keys, _ := c.find(cfg.Deployment, `updated >= "2026-11-23 12:45"`)
	require.Empty(t, keys)
	s.UpdateUser("agent", func(u *jirasim.User) { u.TimeZone = "UTC" })
	keys, _ = c.find(cfg.Deployment, `updated >= "2026-11-23 12:45"`)
	require.Equal(t, []string{"OPS-1"}, keys)
}

func TestFieldsOfOtherTypesHaveTheirOwnOperators(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.DataCenter)
	cfg.Fields = append(cfg.Fields,
		jirasim.Field{ID: "customfield_10060", Name: "Link", Type: jirasim.URLField},
		jirasim.Field{ID: "customfield_10061", Name: "Dark", Type: jirasim.TextField, Unsearchable: true},
		jirasim.Field{ID: "customfield_10062", Name: "teleportAccessRequestId", Type: jirasim.TextField})
	s, c := start(t, cfg)
	_, err := s.CreateIssue(
		"bob",
		map[string]any{"summary": "a", "customfield_10060": "https://x/1", "customfield_10062": "twin"},
		nil,
	)
	require.NoError(t, err)
	for jql, want := range map[string]int{
		`cf[10060] = "https://x/1"`:        http.StatusOK,
		`cf[10060] ~ "x"`:                  http.StatusBadRequest,
		`cf[10061] is not EMPTY`:           http.StatusBadRequest,
		`teleportAccessRequestId ~ "twin"`: http.StatusOK,
	} {
		keys, a := c.find(cfg.Deployment, jql)
		require.Equal(t, want, a.status, jql+": "+a.raw)
		if want == http.StatusOK {
			require.Equal(t, []string{"OPS-1"}, keys, jql)
		}
	}
}

func TestSearchLagsAndReconcileDoesNot(t *testing.T) {
	t.Parallel()
	clock := newClock()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.Now, cfg.IndexLag = clock.Now, jirasim.FixedLag(20*time.Second)
	s, c := start(t, cfg)
	id := c.create()
	search := func(jql string, reconcile ...string) reply {
		body := fmt.Sprintf(`{"jql":%q,"fields":["status"],"reconcileIssues":%v}`, jql, reconcile)
		return c.post("search/jql", body)
	}
	require.Empty(t, search("project = OPS").body["issues"], "a new issue is invisible")
	require.Len(t, search("project = OPS", id).body["issues"], 1)
	require.Equal(t, http.StatusOK, c.get("issue/"+id).status, "reads do not lag")

	clock.advance(20 * time.Second)
	require.Len(t, search("project = OPS").body["issues"], 1)
	require.NoError(t, s.Move(id, "bob", "Approved"))
	clock.advance(19 * time.Second)
	status := func(a reply) any { return at(t, a.body, "issues", 0, "fields", "status", "name") }
	require.Equal(t, "To Do", status(search("project = OPS")), "the lagged copy")
	require.Equal(t, "Approved", status(search("project = OPS", id)))
	require.Empty(t, search(`status = "To Do"`, id).body["issues"], "a reconciled issue must satisfy the JQL")
	clock.advance(time.Second)
	require.Equal(t, "Approved", status(search("project = OPS")))

	require.NoError(t, s.DeleteIssue(id, "bob"))
	require.Len(t, search("project = OPS").body["issues"], 1, "a deleted issue is still indexed")
	require.Empty(t, search("project = OPS", id).body["issues"])
	clock.advance(20 * time.Second)
	require.Empty(t, search("project = OPS").body["issues"])
}

func TestRandomLagKeepsChangesOfOneIssueInOrder(t *testing.T) {
	t.Parallel()
	clock := newClock()
	cfg := jirasim.Example(jirasim.DataCenter)
	cfg.Now = clock.Now
	s, c := start(t, cfg)
	id := c.create()
	s.SetIndexLag(jirasim.FixedLag(time.Minute))
	require.NoError(t, s.Move(id, "bob", "Pending"))
	s.SetIndexLag(jirasim.FixedLag(0))
	require.NoError(t, s.Move(id, "bob", "Approved"))
	keys, _ := c.find(cfg.Deployment, `status = "To Do"`)
	require.Equal(t, []string{"OPS-1"}, keys)
	clock.advance(time.Minute)
	keys, _ = c.find(cfg.Deployment, "status = Approved")
	require.Equal(t, []string{"OPS-1"}, keys)
}

func TestBulkFetchReadsByIDPastTheIndex(t *testing.T) {
	t.Parallel()
	cfg := jirasim.Example(jirasim.Cloud)
	cfg.IndexLag = jirasim.FixedLag(time.Hour)
	_, c := start(t, cfg)
	first, second := c.create(), c.create()
	a := c.post("issue/bulkfetch", object{
		"issueIdsOrKeys": []string{
			second,
			"99999",
			first,
			"OPS-1",
		},
		"fields": []string{"status"},
		"expand": []string{"changelog"},
	})
	require.Equal(t, http.StatusOK, a.status, a.raw)
	require.Len(t, a.body["issues"], 2, "what is not there is silently absent")
	require.Equal(t, first, at(t, a.body, "issues", 0, "id"))
	require.Len(t, at(t, a.body, "issues", 0, "fields"), 1)
	require.Contains(t, at(t, a.body, "issues", 0), "changelog")

	ids := make([]string, 101)
	for i := range ids {
		ids[i] = strconv.Itoa(10001 + i)
	}
	require.Equal(t, http.StatusBadRequest, c.post("issue/bulkfetch", object{"issueIdsOrKeys": ids}).status)
	require.Equal(t, http.StatusOK, c.post("issue/bulkfetch", object{"issueIdsOrKeys": ids[:100]}).status)
	require.Equal(t, http.StatusBadRequest, c.post("issue/bulkfetch", object{"issueIdsOrKeys": []string{}}).status)
	require.Equal(
		t,
		http.StatusBadRequest,
		c.post("issue/bulkfetch", object{"issueIdsOrKeys": []string{first}, "expand": "changelog"}).status,
	)
}

func TestSearchWithoutBrowsePermissionFindsNothing(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	c.create()
	s.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{} })
	_, a := c.find(jirasim.Cloud, "project = OPS")
	require.Equal(t, http.StatusBadRequest, a.status)
	keys, _ := c.find(jirasim.Cloud, "updated > 0")
	require.Empty(t, keys)
}

func TestPeriodsFarTooLongReachBackACentury(t *testing.T) {
	t.Parallel()
	_, c := start(t, jirasim.Example(jirasim.Cloud))
	c.create()
	for _, period := range []string{"-999999999w", "-999999999w 999999999w", "-90d"} {
		keys, a := c.find(jirasim.Cloud, "updated >= '"+period+"'")
		require.Equal(t, []string{"OPS-1"}, keys, a.raw)
	}
	keys, _ := c.find(jirasim.Cloud, `updated >= "10"`)
	require.Empty(t, keys, "in quotes a number is a period in minutes")
}

func TestStringsMayBeEscaped(t *testing.T) {
	t.Parallel()
	_, c := start(t, jirasim.Example(jirasim.Cloud))
	c.create()
	for _, jql := range []string{`project = "\u004fPS"`, `project = 'OPS'`, `cf[10042] ~ '"0193a1b2"'`} {
		keys, a := c.find(jirasim.Cloud, jql)
		require.Equal(t, []string{"OPS-1"}, keys, a.raw)
	}
}
