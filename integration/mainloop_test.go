package integration

import (
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// The main loop: a request becomes an issue, and keeps agreeing with it however many there are and
// however late Jira's index is.

// running is a system with one replica that leads. It polls every second also while nothing is
// pending, so that "nothing more happens" is soon shown.
func running(t *testing.T, o on, changes ...string) *system {
	t.Helper()
	s := newSystem(t, o)
	s.start("agent", append([]string{"SYNC_IDLE_SCHEDULE=@every 1s"}, changes...)...)
	return s
}

// unlimited takes Jira's rate limits out of the way of a test that makes many calls.
func unlimited(c *jirasim.Config) { c.RateLimit, c.LimitIssueWrites = jirasim.RateLimit{}, false }

// by makes a request one of this user.
func by(user string) func(*teleportsim.Request) {
	return func(r *teleportsim.Request) { r.User = user }
}

// issueOf is the issue of a request, which must have exactly one.
func (s *system) issueOf(id string) jirasim.Issue {
	s.t.Helper()
	issues := s.issuesOf(id)
	require.Len(s.t, issues, 1)
	return issues[0]
}

// moves are the changes of an issue's status, oldest first: "bob: Pending → Approved". Nobody is
// named where Jira does not tell.
func moves(i jirasim.Issue) []string {
	var all []string
	for _, change := range i.History {
		for _, item := range change.Items {
			if item.FieldID == "status" {
				all = append(all, fmt.Sprintf("%s: %s → %s", change.Author, item.FromString, item.ToString))
			}
		}
	}
	return all
}

// marks are the keys that the agent's comments carry, oldest first: "review:bob@example.com",
// "resolution:approved". Of the key of a refusal only the kind is given: the rest is the id of a
// history entry.
func marks(t *testing.T, i jirasim.Issue) []string {
	t.Helper()
	var all []string
	for _, c := range i.Comments {
		if c.Author != "agent" {
			continue
		}
		var mark struct{ Key string }
		require.NoError(t, json.Unmarshal(c.Properties["teleportJiraAgent"], &mark), "comment %q carries no mark", c.Body)
		if strings.HasPrefix(mark.Key, "refused:") {
			mark.Key = "refused"
		}
		all = append(all, mark.Key)
	}
	return all
}

// state is Teleport's state of an outcome: "approved".
func state(outcome string) types.RequestState {
	return types.RequestState(types.RequestState_value[strings.ToUpper(outcome)])
}

// verdict is a change of a request's state by the agent, as Teleport's audit log has it.
type verdict struct {
	State             types.RequestState
	Delegator, Reason string
}

func (s *system) verdicts(id string) []verdict {
	var all []verdict
	for _, e := range s.updates(id) {
		all = append(all, verdict{e.State, e.Delegator, e.Reason})
	}
	return all
}

func TestAPendingRequestGetsOneIssueWithEverythingAnApproverNeeds(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		id := s.request(func(r *teleportsim.Request) {
			r.Roles = []string{"auditor", "db-admin"}
			r.Resources = []types.ResourceID{
				{ClusterName: "prod", Kind: types.KindNode, Name: "web-1"},
				{ClusterName: "prod", Kind: types.KindDatabase, Name: "orders"},
			}
			r.SuggestedReviewers = []string{"carol@example.com"}
			r.TTL, r.AccessTTL = 3*time.Hour, 5*time.Hour
		})
		s.issueIn(id, "Pending")
		s.polls(d, 2)

		issue := s.issueOf(id)
		require.Len(t, s.jira.Issues(), 1)
		require.Equal(t, 1, s.jira.CallCount("POST issue"))
		require.Equal(t, []string{"agent: To Do → Pending"}, moves(issue), "the workflow starts in To Do")
		require.Empty(t, issue.Comments)
		require.Equal(t, "OPS", issue.Project)
		require.Equal(t, "Task", issue.Type)
		require.Equal(t, "alice@example.com requested auditor, db-admin", issue.Text("summary"))
		require.Equal(t, id, issue.Text(field))
		require.JSONEq(t, `"`+id+`"`, string(issue.Properties["teleportAccessRequestId"]))

		request := s.teleport.Request(id)
		stamp := func(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }
		require.Subset(t, strings.Split(issue.Text("description"), "\n"), []string{
			"*User:* alice@example.com",
			"*Roles:* auditor, db-admin",
			`*Resources:* /prod/node/web-1\\/prod/db/orders`,
			"*Reason:* on call this week",
			"*Suggested reviewers:* carol@example.com",
			"*Request ID:* " + id,
			"*Requested:* " + stamp(request.GetCreationTime()),
			"*Request expires:* " + stamp(request.Expiry()),
			"*Access would end:* " + stamp(request.GetAccessExpiry()),
			"*Link:* [https://example.teleport.sh:443/web/requests/" + id + "]",
		})
		require.Equal(t, issue.ID, s.teleport.PluginData(id)["jira"]["issue_id"])
		require.Equal(t, issue.Key, s.teleport.PluginData(id)["jira"]["issue_key"])
	})
}

// hostile are lines that Jira's wiki renderer would give a meaning to: markup, links, mentions,
// macros, entities. https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa
var hostile = []string{
	"*bold* _slanted_ -struck- {color:red}red{color} {noformat}",
	"[~accountid:712020:bob] [~bob] @bob",
	"see OPS-1",
	"[harmless|https://evil.example/] https://evil.example/ www.evil.example",
	"!https://evil.example/x.png!",
	"h1. Approved",
	"bq. quote",
	"* item",
	"# item",
	"|a|b|",
	"----",
	"{{mono}}",
	`a\\b`,
	"&lt;b&gt; &#91; <script>",
	":) (!) (/)",
}

var (
	reference = regexp.MustCompile(`&#[0-9]+;`)
	// meaning is what could mean something to the renderer, in a line whose character references
	// are taken out.
	meaning = regexp.MustCompile(strings.Join([]string{
		"[][*^~+{}|<>()`\\\\]", `--`, `\?\?`, `![^ ]`, `&[#\pL]`, // anywhere
		`(^|[^\pL\pN])[_@]`, `[_@]([^\pL\pN]|$)`, `(^|[^\pL\pN ])-`, ` -[^ ]`, `-([^\pL\pN ]|$)`, // but within a word
		`^#`, `^(h[1-6]|bq)\.`, // at the beginning of a line
		`\pL:[^ ]`, `://`, `(?i:www\.)`, `[A-Z][A-Z0-9_]+-[0-9]`, // links
	}, "|"))
)

// requireShown checks that markup shows exactly these lines; several are each set off by a mark,
// so that none looks like one of the agent's own.
func requireShown(t *testing.T, lines []string, markup string) {
	t.Helper()
	shown := []string{markup}
	if len(lines) > 1 {
		shown = strings.Split(markup, `\\> `)
		require.Empty(t, shown[0])
		shown = shown[1:]
	}
	require.Len(t, shown, len(lines))
	for i, line := range lines {
		require.Regexp(t, meaning, line, "the line is harmless as it is: it shows nothing")
		require.Equal(t, line, html.UnescapeString(shown[i]))
		require.NotRegexp(t, meaning, reference.ReplaceAllString(shown[i], "¤"))
	}
}

func TestTextOfPeopleIsShownAsText(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		const name = "[~accountid:712020:bob] *h1*"
		id := s.request(by("eve\r\n"+name), func(r *teleportsim.Request) { r.Reason = strings.Join(hostile, "\n") })
		issue := s.issueIn(id, "Pending")
		require.Equal(t, "eve "+name+" requested db-admin", issue.Text("summary"), "a summary is no markup, and one line")
		for label, lines := range map[string][]string{"*User:* ": {"eve " + name}, "*Reason:* ": hostile} {
			found := slices.DeleteFunc(
				strings.Split(issue.Text("description"), "\n"),
				func(line string) bool { return !strings.HasPrefix(line, label) },
			)
			require.Len(t, found, 1)
			requireShown(t, lines, strings.TrimPrefix(found[0], label))
		}

		require.NoError(t, s.teleport.Review(id, name, true, strings.Join(hostile, "\n")))
		issue = s.issueIn(id, "Approved")
		require.Equal(t, []string{"review:" + name, "resolution:approved"}, marks(t, issue))
		for _, body := range agentComments(issue) {
			_, text, found := strings.Cut(body, "\n\nReason given: ")
			require.True(t, found)
			requireShown(t, hostile, text)
		}
		reviewer, _, _ := strings.Cut(strings.TrimPrefix(agentComments(issue)[0], "*"), "* reviewed the request")
		requireShown(t, []string{name}, reviewer)
	})
}

func TestARequestOfAnyLengthGetsAnIssue(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		id := s.request(by(strings.Repeat("😀", 400)), func(r *teleportsim.Request) {
			r.Roles = nil
			for n := range 300 {
				r.Roles = append(r.Roles, fmt.Sprintf("%s-%d", strings.Repeat("[", 200), n))
			}
			r.Reason = strings.Repeat("*\n", 2048) // as long as Teleport takes
		})
		issue := s.issueIn(id, "Pending")
		summary := issue.Text("summary")
		require.NotContains(t, summary, "\n")
		require.LessOrEqual(t, len(utf16.Encode([]rune(summary))), 255)
		require.True(t, strings.HasPrefix(summary, strings.Repeat("😀", 100)))
		require.Contains(t, issue.Text("description"), "more, see Teleport")
	})
}

func TestMoreThanAHundredMovesWithinOnePollAreDecidedOnceEach(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		const count = 130
		s := running(t, on{deployment: d, jira: unlimited}, "JIRA_MAX_RPS=1000")
		issues := make(map[string]jirasim.Issue, count)
		for range count {
			issues[s.request()] = jirasim.Issue{}
		}
		for id := range issues {
			issues[id] = s.issueIn(id, "Pending")
		}
		require.Len(t, s.jira.Issues(), count)

		_, endpoint, _ := strings.Cut(searchRoute(d), " ")
		resume := s.jira.Inject(jirasim.Fault{Endpoint: endpoint, Effect: jirasim.Hang()}) // no poll sees a part of the moves
		outcomes := make(map[string]string, count)
		for n, id := range slices.Sorted(maps.Keys(issues)) {
			outcomes[id] = []string{"Approved", "Denied"}[n%2]
			require.NoError(t, s.jira.Move(issues[id].Key, "bob", outcomes[id]))
		}
		s.jira.ResetCalls()
		resume()
		for id, outcome := range outcomes {
			s.settled(id, strings.ToLower(outcome))
		}
		s.polls(d, 2)

		paged := func(c jirasim.Call) bool {
			return c.Route() == searchRoute(d) && regexp.MustCompile(`"nextPageToken"|"startAt":100`).Match(c.Body)
		}
		require.True(t, slices.ContainsFunc(s.jira.Calls(), paged), "the moves fit on one page")
		require.Len(t, s.jira.Issues(), count)
		for id, outcome := range outcomes {
			require.Equal(t, []verdict{{state(outcome), "jira:bob@example.com", ""}}, s.verdicts(id))
			issue := s.issueOf(id)
			require.Equal(t, []string{"agent: To Do → Pending", "bob: Pending → " + outcome}, moves(issue))
			require.Equal(t, []string{"resolution:" + strings.ToLower(outcome)}, marks(t, issue))
		}
	})
}

func TestASearchIndexThatLagsDelaysAndRepeatsNothing(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		const lag = 20 * time.Second
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) { c.IndexLag = jirasim.FixedLag(lag) }})
		decided, refused := s.request(), s.request(by("mallory@example.com"))
		require.NoError(t, s.jira.Move(s.issueIn(decided, "Pending").Key, "bob", "Approved"))
		moved := time.Now()
		require.NoError(t, s.jira.Move(s.issueIn(refused, "Pending").Key, "mallory", "Approved"))

		s.stateIs(decided, types.RequestState_APPROVED)
		took := s.updates(decided)[0].At.Sub(moved)
		if d == jirasim.Cloud {
			require.Less(t, took, lag, "Cloud shows the issues of pending requests past the index")
		} else {
			require.Greater(t, took, lag-time.Second, "only the index tells of the move: it did not lag")
		}
		s.settled(decided, "approved")
		s.issueWith(refused, 1)
		s.issueIn(refused, "Pending")
		s.polls(d, int(lag/time.Second)+2) // until the index has shown all that the agent did, too

		require.Len(t, s.jira.Issues(), 2)
		require.Equal(t, []verdict{{types.RequestState_APPROVED, "jira:bob@example.com", ""}}, s.verdicts(decided))
		require.Equal(t, []string{"agent: To Do → Pending", "bob: Pending → Approved"}, moves(s.issueOf(decided)))
		require.Equal(t, []string{"resolution:approved"}, marks(t, s.issueOf(decided)))
		require.Empty(t, s.verdicts(refused))
		require.Equal(
			t,
			[]string{
				"agent: To Do → Pending",
				"mallory: Pending → Approved",
				"agent: Approved → Pending",
			},
			moves(s.issueOf(refused)),
		)
		require.Equal(t, []string{"refused"}, marks(t, s.issueOf(refused)))
	})
}

func TestTheClockAndTheTimeZonesOfJiraDoNotMatter(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for _, ahead := range []time.Duration{7 * time.Hour, -7 * time.Hour} {
			t.Run(ahead.String(), func(t *testing.T) {
				t.Parallel()
				s := running(t, on{deployment: d, jira: func(c *jirasim.Config) {
					c.SystemTimeZone = "Asia/Kathmandu"
					c.Now = func() time.Time { return time.Now().Add(ahead) }
					c.TimePrecision = time.Second // as some databases under Data Center have it
				}})
				require.Equal(t, "America/St_Johns", s.agentZone())
				decided, refused := s.request(), s.request(by("bob@example.com"))
				for _, id := range []string{decided, refused} {
					require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
				}
				s.settled(decided, "approved")
				s.issueWith(refused, 1)
				s.issueIn(refused, "Pending")
				s.polls(d, 2)
				require.Equal(t, []verdict{{types.RequestState_APPROVED, "jira:bob@example.com", ""}}, s.verdicts(decided))
				require.Equal(t, []string{"resolution:approved"}, marks(t, s.issueOf(decided)))
				require.Empty(t, s.verdicts(refused))
				require.Equal(t, []string{"refused"}, marks(t, s.issueOf(refused)))
			})
		}
	})
}

// ownWorkflow has two statuses each for pending and approved, one for promoted, and one that
// means nothing to the agent. Each is reached from everywhere, by a transition that is named
// unlike it.
func ownWorkflow(c *jirasim.Config) {
	c.Statuses, c.Transitions, c.Initial = nil, nil, "Backlog"
	for n, name := range []string{
		"Backlog", "Waiting for a lead", "Under review", "Granted", "Granted for a day", "Rejected", "Lapsed", "On a list", "On hold",
	} {
		id := strconv.Itoa(10500 + n)
		c.Statuses = append(c.Statuses, jirasim.Status{ID: id, Name: name, Category: "indeterminate"})
		c.Transitions = append(c.Transitions, jirasim.Transition{ID: strconv.Itoa(700 + n), Name: "Step " + id, To: name})
	}
}

var ownStatuses = []string{
	"JIRA_STATUS_PENDING=waiting FOR a lead, Under review",
	"JIRA_STATUS_APPROVED=10503, granted for a day", // 10503 is Granted
	"JIRA_STATUS_DENIED=Rejected",
	"JIRA_STATUS_EXPIRED=10506",
	"JIRA_STATUS_PROMOTED=On a list",
}

func TestStatusesMayHaveAnyNames(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: ownWorkflow}, ownStatuses...)
		const pending = "Waiting for a lead"
		inTeleport := map[string]func(id string) error{ // by the status that shows the outcome
			"Granted":   func(id string) error { return s.teleport.Approve(id, "admin", "") },
			"Rejected":  func(id string) error { return s.teleport.Deny(id, "admin", "") },
			"On a list": func(id string) error { return s.teleport.Promote(id, "admin", "Database admins") },
			"Lapsed":    s.teleport.Delete,
		}
		for status, act := range inTeleport {
			id := s.request()
			s.issueIn(id, pending)
			require.NoError(t, act(id))
			require.Equal(
				t,
				[]string{"agent: Backlog → " + pending, "agent: " + pending + " → " + status},
				moves(s.issueIn(id, status)),
			)
		}

		inJira := map[string]string{"Granted": "approved", "Granted for a day": "approved", "Rejected": "denied"}
		ids := make(map[string]string) // by the status that it is moved to
		for status := range inJira {
			ids[status] = s.request()
			s.issueIn(ids[status], pending)
		}
		for _, step := range []string{"On hold", "Under review"} { // the one means nothing, the other pending
			for _, id := range ids {
				require.NoError(t, s.jira.Move(s.issueOf(id).Key, "bob", step))
			}
			s.polls(d, 2)
		}
		for status, id := range ids {
			require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
			require.NoError(t, s.jira.Move(s.issueOf(id).Key, "bob", status))
		}
		for status, id := range ids {
			s.settled(id, inJira[status])
		}
		s.polls(d, 2)
		for status, id := range ids {
			require.Equal(t, []verdict{{state(inJira[status]), "jira:bob@example.com", ""}}, s.verdicts(id))
			require.Equal(t, []string{
				"agent: Backlog → " + pending,
				"bob: " + pending + " → On hold",
				"bob: On hold → Under review",
				"bob: Under review → " + status,
			}, moves(s.issueOf(id)))
			require.Equal(t, []string{"resolution:" + inJira[status]}, marks(t, s.issueOf(id)))
		}

		id := s.request() // a person can promote nobody
		require.NoError(t, s.jira.Move(s.issueIn(id, pending).Key, "bob", "On a list"))
		require.Contains(t, agentComments(s.issueWith(id, 1))[0], "Only a move to an approved or denied status decides it")
		s.issueIn(id, pending)
		require.Empty(t, s.verdicts(id))
	})
}

// agentZone is the zone in which Jira reads dates in the agent's searches, as Jira says itself.
func (s *system) agentZone() string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.jiraURL+"/rest/api/2/myself", http.NoBody)
	require.NoError(s.t, err)
	req.SetBasicAuth(jirasim.AgentUsername, jirasim.AgentToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	var me struct{ TimeZone string }
	require.NoError(s.t, json.NewDecoder(resp.Body).Decode(&me))
	return me.TimeZone
}
