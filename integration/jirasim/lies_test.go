package jirasim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// What Jira says wrongly, or only later.

func onEach(t *testing.T, test func(t *testing.T, d jirasim.Deployment)) {
	t.Helper()
	for _, d := range []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}

// hits are the keys that a search shows.
func hits(t *testing.T, c *client, d jirasim.Deployment, where string) []string {
	t.Helper()
	path := map[jirasim.Deployment]string{jirasim.Cloud: "search/jql", jirasim.DataCenter: "search"}[d]
	a := c.post(path, object{"jql": where, "fields": []string{"status"}})
	require.Equal(t, http.StatusOK, a.status, a.raw)
	keys := []string{}
	for _, issue := range a.body["issues"].([]any) {
		keys = append(keys, issue.(object)["key"].(string))
	}
	return keys
}

func TestShiftedClockShowsInAllThatJiraStoresAndSays(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		s, c := start(t, jirasim.Example(jirasim.Cloud))
		old := c.create()
		s.ShiftClock(ahead)
		began := time.Now().Add(ahead)
		id := c.create()
		require.NoError(t, s.Move(id, "bob", "Pending"))
		_, err := s.Comment(id, "bob", "hello")
		require.NoError(t, err)
		issue, _ := s.Issue(id)
		for _, stored := range []time.Time{issue.Created, issue.Updated, issue.History[0].At, issue.Comments[0].Created} {
			require.WithinDuration(t, began, stored, time.Minute)
		}
		a := c.get("serverInfo")
		date, err := http.ParseTime(a.header.Get("Date"))
		require.NoError(t, err)
		require.WithinDuration(t, began, date, time.Minute)
		told, err := time.Parse("2006-01-02T15:04:05.000-0700", a.body["serverTime"].(string))
		require.NoError(t, err)
		require.WithinDuration(t, began, told, time.Minute)
		shown := hits(
			t,
			c,
			jirasim.Cloud,
			fmt.Sprintf("project = OPS AND updated >= %d", began.Add(-time.Minute).UnixMilli()),
		)
		require.Contains(t, shown, issue.Key)
		before, _ := s.Issue(old)
		require.Equal(t, ahead < 0, len(shown) == 2, "%s was stored by the other clock", before.Key)
	}
}

func TestFrozenIndexShowsNothingNewUntilItIsThawed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := start(t, jirasim.Example(d))
		old, _ := s.Issue(c.create())
		thaw := s.FreezeIndex()
		fresh, _ := s.Issue(c.create())
		require.NoError(t, s.Move(old.ID, "bob", "Approved"))
		both := "id in (" + old.ID + ", " + fresh.ID + ")"
		require.Equal(t, []string{old.Key}, hits(t, c, d, both))
		require.Equal(t, []string{old.Key}, hits(t, c, d, `project = OPS AND status = "To Do"`))
		require.Equal(t, "Approved", at(t, c.get("issue/"+old.ID).body, "fields", "status", "name"))
		thaw()
		require.Len(t, hits(t, c, d, both), 2)
		require.Equal(t, []string{fresh.Key}, hits(t, c, d, `project = OPS AND status = "To Do"`))
	})
}

func TestIndexMayLagForAnHour(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d jirasim.Deployment) {
		clock := newClock()
		cfg := jirasim.Example(d)
		cfg.Now, cfg.RateLimit = clock.Now, jirasim.RateLimit{}
		s, c := start(t, cfg)
		s.SetIndexLag(jirasim.FixedLag(time.Hour))
		issue, _ := s.Issue(c.create())
		clock.advance(59 * time.Minute)
		require.Empty(t, hits(t, c, d, "id in ("+issue.ID+")"))
		require.Equal(t, http.StatusOK, c.get("issue/"+issue.Key).status)
		clock.advance(2 * time.Minute)
		require.Len(t, hits(t, c, d, "id in ("+issue.ID+")"), 1)
	})
}

func TestIssueIsNotShownToACallThatMeetsTheFault(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	issue, _ := s.Issue(id)
	transition := object{"transition": object{"id": "11"}}
	for route, call := range map[string]func() reply{
		"GET issue/{issue}":              func() reply { return c.get("issue/" + issue.Key) },
		"POST issue/{issue}/comment":     func() reply { return c.post("issue/"+id+"/comment", object{"body": "x"}) },
		"POST issue/{issue}/transitions": func() reply { return c.post("issue/"+id+"/transitions", transition) },
	} {
		method, endpoint, _ := strings.Cut(route, " ")
		s.Inject(jirasim.Fault{Method: method, Endpoint: endpoint, Times: 1, Effect: jirasim.NotShown(id)})
		require.Equal(t, http.StatusNotFound, call().status, route)
		require.Less(t, call().status, 300, route)
	}
	s.Inject(jirasim.Fault{Endpoint: "issue/bulkfetch", Times: 1, Effect: jirasim.NotShown(issue.Key)})
	other := c.create()
	bulk := object{"issueIdsOrKeys": []string{id, other}, "fields": []string{"status"}}
	require.Len(t, c.post("issue/bulkfetch", bulk).body["issues"], 1)
	require.Len(t, c.post("issue/bulkfetch", bulk).body["issues"], 2)
}

func TestIssueSecurityKeepsAnIssueFromOneUser(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := start(t, jirasim.Example(d))
		issue, err := s.CreateIssue("bob", map[string]any{"summary": "secret"}, nil)
		require.NoError(t, err)
		s.HideIssue(issue.Key, "agent")
		require.Equal(t, http.StatusNotFound, c.get("issue/"+issue.Key).status)
		require.Empty(t, hits(t, c, d, "project = OPS"))
		require.NoError(t, s.Move(issue.ID, "bob", "Pending"), "others see it")
		if d == jirasim.Cloud {
			require.Empty(t, c.post("issue/bulkfetch", object{"issueIdsOrKeys": []string{issue.Key}}).body["issues"])
		}
	})
}

func TestLateCreateTakesItsKeyAtOnce(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]jirasim.Effect{
		"lost": jirasim.LoseAnswer(), "500": jirasim.Respond(500, ""), "502": jirasim.Respond(502, "<html>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t, jirasim.Example(jirasim.Cloud))
			s.Inject(onCreate(jirasim.FinishLate(0, answer)))
			s.Inject(onCreate(jirasim.FinishNever(answer)))
			for range 2 {
				a, err := c.try(t.Context(), http.MethodPost, "issue", draft(nil))
				require.Equal(t, name == "lost", err != nil)
				require.GreaterOrEqual(t, a.status, map[bool]int{false: 500}[name == "lost"])
			}
			other, err := s.CreateIssue("bob", map[string]any{"summary": "between"}, nil)
			require.NoError(t, err)
			require.Equal(t, "OPS-3", other.Key, "two keys are taken")
			require.Len(t, s.Issues(), 1)
			s.FinishCreates()
			s.FinishCreates()
			require.Len(t, s.Issues(), 2)
			require.Equal(t, http.StatusOK, c.get("issue/OPS-1").status)
			require.Equal(t, http.StatusNotFound, c.get("issue/OPS-2").status)
		})
	}
}

func TestLateCreateFinishesByItself(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.Inject(onCreate(jirasim.FinishLate(time.Millisecond, jirasim.Respond(500, ""))))
	require.Equal(t, 500, c.post("issue", draft(nil)).status)
	require.NoError(t, s.Wait(t.Context(), func(issues []jirasim.Issue) bool { return len(issues) == 1 }))
}

func TestRefusedCreateTakesNoKey(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.Inject(onCreate(jirasim.FinishLate(0, jirasim.Respond(500, ""))))
	require.Equal(t, http.StatusBadRequest, c.post("issue", object{"fields": object{}}).status)
	s.SkipKeys("OPS", 4)
	issue, _ := s.Issue(c.create())
	require.Equal(t, "OPS-5", issue.Key)
}

func TestTranslatedStatusKeepsItsNameInTheHistory(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d jirasim.Deployment) {
		s, c := start(t, jirasim.Example(d))
		s.TranslateStatus("Approved", "Genehmigt")
		id := c.create()
		require.NoError(t, s.Move(id, "bob", "Approved"))
		a := c.get("issue/" + id + "?expand=changelog")
		require.Equal(t, "Genehmigt", at(t, a.body, "fields", "status", "name"))
		require.Equal(t, "Approved", at(t, a.body, "changelog", "histories", 0, "items", 0, "toString"))
		statuses := c.get("project/OPS/statuses").raw
		require.Contains(t, statuses, `"name":"Genehmigt"`)
		require.Equal(t, d == jirasim.Cloud, strings.Contains(statuses, `"untranslatedName":"Approved"`))
	})
}

func TestHistoryTellsWhatStandsBesideAMoveAndWhatMadeIt(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	id := c.create()
	s.MigrateWorkflow("bob", map[string]string{"To Do": "Approved", "Denied": "Expired"})
	rule := &jirasim.HistoryMetadata{
		Type: "automation", Generator: &jirasim.HistoryParticipant{ID: "rule-7", Type: "rule", DisplayName: "Auto approve"},
	}
	resolved := jirasim.ChangeItem{Field: "resolution", FieldID: "resolution", ToString: "Done"}
	require.NoError(t, s.ForceStatusWith(id, "bob", "Denied", rule, resolved))
	a := c.get("issue/" + id + "?expand=changelog")
	newest := at(t, a.body, "changelog", "histories", 0)
	require.Equal(t, "Auto approve", at(t, newest, "historyMetadata", "generator", "displayName"))
	require.Equal(t, "resolution", at(t, newest, "items", 0, "fieldId"))
	migration := at(t, a.body, "changelog", "histories", 1)
	require.Equal(t, "Workflow", at(t, migration, "items", 0, "field"))
	require.Equal(t, "Approved", at(t, migration, "items", 1, "toString"))
	require.NotContains(t, migration, "historyMetadata")
}

func TestWorkflowIsReplacedWhileJiraRuns(t *testing.T) {
	t.Parallel()
	s, c := start(t, jirasim.Example(jirasim.Cloud))
	s.AddStatus(jirasim.Status{ID: "10310", Name: "Backlog", Category: "new"})
	s.SetWorkflow("Backlog", jirasim.Transition{ID: "5", Name: "Take", From: []string{"Backlog"}, To: "Pending"})
	id := c.create()
	require.NoError(t, s.Move(id, "bob", "Pending"))
	require.Error(t, s.Move(id, "bob", "Approved"), "a dead end")
	require.Panics(t, func() { s.SetWorkflow("Nowhere") })
}
