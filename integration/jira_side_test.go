package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// What people do in Jira, and what of it counts in Teleport.

func TestAPersonsMoveDecidesInTeleport(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		// Alice hides her e-mail address, which only Cloud lets her do.
		alice := "jira:712020:alice"
		if d == jirasim.DataCenter {
			alice = "jira:alice@example.com"
		}
		cases := []struct {
			id, mover, to string
			want          verdict
		}{
			{s.request(), "bob", "Approved", verdict{types.RequestState_APPROVED, "jira:bob@example.com", "known incident"}},
			{s.request(), "bob", "Denied", verdict{types.RequestState_DENIED, "jira:bob@example.com", "known incident"}},
			{
				s.request(by("carol@example.com")),
				"alice",
				"Approved",
				verdict{types.RequestState_APPROVED, alice, "known incident"},
			},
			{s.request(by("carol@example.com")), "alice", "Denied", verdict{types.RequestState_DENIED, alice, "known incident"}},
		}
		for _, c := range cases {
			issue := s.issueIn(c.id, "Pending")
			_, err := s.jira.Comment(issue.Key, c.mover, "Reason: known incident")
			require.NoError(t, err)
			require.NoError(t, s.jira.Move(issue.Key, c.mover, c.to))
		}
		for _, c := range cases {
			s.stateIs(c.id, c.want.State)
			s.settled(c.id, map[string]string{"Approved": "approved", "Denied": "denied"}[c.to])
		}
		s.polls(d, 2)
		for _, c := range cases {
			require.Equal(t, []verdict{c.want}, s.verdicts(c.id))
			require.Equal(t, "known incident", s.teleport.Request(c.id).GetResolveReason())
			issue := s.issueOf(c.id)
			require.Equal(t, []string{"agent: To Do → Pending", c.mover + ": Pending → " + c.to}, moves(issue))
			require.Len(t, marks(t, issue), 1)
			require.Contains(t, agentComments(issue)[0], "known incident")
		}
	})
}

func TestTheReasonIsTheMoversOwn(t *testing.T) {
	type comment struct{ author, body string }
	tests := map[string]struct {
		comments []comment
		want     string
	}{
		"on the line": {[]comment{{"bob", "Reason: known incident"}}, "known incident"},
		"below the line": {
			[]comment{{"bob", "Please note\r\nReason:\r\nknown incident\r\nsee the log"}},
			"known incident\nsee the log",
		},
		"called a resolution": {[]comment{{"bob", "resolution: known incident"}}, "known incident"},
		"below a resolution":  {[]comment{{"bob", "Resolution:\n\nknown incident"}}, "known incident"},
		"of the newest comment": {
			[]comment{{"bob", "Reason: first thought"}, {"bob", "Resolution: second thought"}},
			"second thought",
		},
		"newer ones do not match": {
			[]comment{{"bob", "Reason: known incident"}, {"bob", "no reason given"}},
			"known incident",
		},
		"someone else's are newer": {
			[]comment{{"bob", "Reason: known incident"}, {"mallory", "Reason: forged"}},
			"known incident",
		},
		"only someone else gave one": {[]comment{{"mallory", "Reason: forged"}, {"alice", "Resolution:\nforged"}}, ""},
		"nobody gave one":            {nil, ""},
	}
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		ids := make(map[string]string, len(tests))
		for name := range tests {
			ids[name] = s.request()
		}
		for name, test := range tests {
			issue := s.issueIn(ids[name], "Pending")
			for _, c := range test.comments {
				_, err := s.jira.Comment(issue.Key, c.author, c.body)
				require.NoError(t, err)
			}
			require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		}
		for name, test := range tests {
			s.stateIs(ids[name], types.RequestState_APPROVED)
			require.Equal(
				t,
				[]verdict{{types.RequestState_APPROVED, "jira:bob@example.com", test.want}},
				s.verdicts(ids[name]),
				name,
			)
		}
	})
}

// refusal is a move that does not count.
type refusal struct {
	requester string
	// author and to are the move, as the issue's history has it. force makes it past the workflow,
	// as automation does.
	author, to string
	force      bool
	why        string
}

var refusals = map[string]refusal{
	"by the requester": {
		requester: "bob@example.com",
		author:    "bob",
		to:        "Approved",
		why:       "Bob Cratchit, who made the request",
	},
	"a denial by the requester": {
		requester: "bob@example.com",
		author:    "bob",
		to:        "Denied",
		why:       "Bob Cratchit, who made the request",
	},
	"by nobody": {
		requester: "carol@example.com",
		to:        "Approved",
		force:     true,
		why:       "does not say who moved this issue",
	},
	"by the agent": {
		requester: "carol@example.com",
		author:    "agent",
		to:        "Approved",
		why:       "account of this agent never decides",
	},
	"by an inactive account": {
		requester: "carol@example.com",
		author:    "gone",
		to:        "Approved",
		force:     true,
		why:       "account is not active",
	},
	"to Expired": {
		requester: "carol@example.com",
		author:    "bob",
		to:        "Expired",
		why:       "still pending in Teleport",
	},
}

// onCloud are the moves that only Cloud can tell from those of people: Data Center's accounts have
// no type.
var onCloud = map[string]refusal{
	"by an app": {
		requester: "carol@example.com",
		author:    "automation",
		to:        "Approved",
		why:       "by an app or an automation rule",
	},
	"past workflow": {
		requester: "carol@example.com",
		author:    "automation",
		to:        "Denied",
		force:     true,
		why:       "by an app or an automation rule",
	},
}

func TestAMoveThatDoesNotCountIsPutBackOnceWithTheReason(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) {
			c.Users = append(c.Users, jirasim.User{Name: "gone", DisplayName: "Gone Girl", Inactive: true})
		}})
		requests := make(map[string]refusal)
		for _, r := range refusals {
			requests[s.request(by(r.requester))] = r
		}
		for _, r := range onCloud {
			if d == jirasim.Cloud {
				requests[s.request(by(r.requester))] = r
			}
		}
		for id, r := range requests {
			key := s.issueIn(id, "Pending").Key
			if r.force {
				require.NoError(t, s.jira.ForceStatus(key, r.author, r.to))
			} else {
				require.NoError(t, s.jira.Move(key, r.author, r.to))
			}
		}
		for id := range requests {
			s.issueWith(id, 1)
			s.issueIn(id, "Pending")
		}
		s.polls(d, 2)
		for id, r := range requests {
			require.Equal(t, types.RequestState_PENDING, s.teleport.State(id), r.why)
			require.Empty(t, s.verdicts(id), r.why)
			issue := s.issueOf(id)
			require.Equal(
				t,
				[]string{
					"agent: To Do → Pending",
					r.author + ": Pending → " + r.to,
					"agent: " + r.to + " → Pending",
				},
				moves(issue),
				r.why,
			)
			require.Equal(t, []string{"refused"}, marks(t, issue), r.why)
			require.Contains(t, agentComments(issue)[0], r.why)
			require.NoError(t, s.jira.Move(issue.Key, "mallory", "Approved"))
		}
		for id, r := range requests {
			s.settled(id, "approved")
			require.Equal(t, []verdict{{types.RequestState_APPROVED, "jira:mallory@example.com", ""}}, s.verdicts(id), r.why)
			require.Equal(t, []string{"refused", "resolution:approved"}, marks(t, s.issueOf(id)), r.why)
			require.Len(t, moves(s.issueOf(id)), 4)
		}
	})
}

func TestWithStrictSelfApprovalAHiddenAddressDecidesNothing(t *testing.T) {
	t.Parallel()
	s := running(t, on{deployment: jirasim.Cloud}, "POLICY_SELF_APPROVAL=strict")
	id := s.request(by("carol@example.com"))
	issue := s.issueIn(id, "Pending")
	require.NoError(t, s.jira.Move(issue.Key, "alice", "Approved"))
	require.Contains(t, agentComments(s.issueWith(id, 1))[0], "it cannot be shown that this is not the requester")
	s.issueIn(id, "Pending")
	require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
	s.stateIs(id, types.RequestState_APPROVED)
	require.Equal(t, []verdict{{types.RequestState_APPROVED, "jira:bob@example.com", ""}}, s.verdicts(id))
}

func TestOnlyTheIssueThatTheMappingNamesDecides(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		id, other := s.request(), s.request()
		issue, renamed := s.issueIn(id, "Pending"), s.issueIn(other, "Pending")
		forged, err := s.jira.CreateIssue("mallory",
			map[string]any{"summary": "trust me", field: id}, map[string]any{"teleportAccessRequestId": id})
		require.NoError(t, err)
		require.NoError(t, s.jira.Move(forged.Key, "mallory", "Approved"))
		require.NoError(t, s.jira.SetField(renamed.Key, "mallory", field, id))
		require.NoError(t, s.jira.Move(renamed.Key, "mallory", "Approved"))

		// The mapping knows whose issue it is, whatever the field holds; the field is put back.
		s.settled(other, "approved")
		require.Equal(t, []verdict{{types.RequestState_APPROVED, "jira:mallory@example.com", ""}}, s.verdicts(other))
		back, err := s.jira.WaitIssue(
			s.ctx,
			func(i jirasim.Issue) bool { return i.Key == renamed.Key && i.Text(field) == other },
		)
		require.NoError(t, err)
		require.Equal(t, []string{"resolution:approved"}, marks(t, back))

		// The forged issue decides nothing, and is told so once.
		told, err := s.jira.WaitIssue(
			s.ctx,
			func(i jirasim.Issue) bool { return i.Key == forged.Key && len(agentComments(i)) > 0 },
		)
		require.NoError(t, err)
		require.Contains(t, agentComments(told)[0], issue.Key)
		require.NoError(t, s.jira.Move(forged.Key, "mallory", "Denied"))
		s.polls(d, 2)
		require.Empty(t, s.verdicts(id))
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
		now, _ := s.jira.Issue(forged.Key)
		require.Len(t, agentComments(now), 1)

		require.NoError(t, s.jira.Move(issue.Key, "bob", "Denied"))
		s.stateIs(id, types.RequestState_DENIED)
		require.Equal(t, []verdict{{types.RequestState_DENIED, "jira:bob@example.com", ""}}, s.verdicts(id))
	})
}

func TestASettledIssueIsPutBackToItsOutcome(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		approved, denied := s.request(), s.request()
		require.NoError(t, s.jira.Move(s.issueIn(approved, "Pending").Key, "bob", "Approved"))
		s.issueIn(denied, "Pending")
		require.NoError(t, s.teleport.Deny(denied, "admin", "not needed"))
		s.settled(approved, "approved")
		s.settled(denied, "denied")
		s.polls(d, 2) // the rows are settled, too

		require.NoError(t, s.jira.Move(s.issueOf(approved).Key, "mallory", "Denied"))
		require.NoError(t, s.jira.Move(s.issueOf(denied).Key, "mallory", "Pending"))
		for _, id := range []string{approved, denied} {
			require.Contains(t, agentComments(s.issueWith(id, 2))[1], "Teleport has already settled this request")
		}
		s.issueIn(approved, "Approved")
		s.issueIn(denied, "Denied")
		s.polls(d, 2)
		require.Equal(t, []string{
			"agent: To Do → Pending", "bob: Pending → Approved", "mallory: Approved → Denied", "agent: Denied → Approved",
		}, moves(s.issueOf(approved)))
		require.Equal(t, []string{"resolution:approved", "refused"}, marks(t, s.issueOf(approved)))
		require.Equal(t, []string{
			"agent: To Do → Pending", "agent: Pending → Denied", "mallory: Denied → Pending", "agent: Pending → Denied",
		}, moves(s.issueOf(denied)))
		require.Equal(t, []string{"resolution:denied", "refused"}, marks(t, s.issueOf(denied)))
		require.Len(t, s.verdicts(approved), 1)
		require.Empty(t, s.verdicts(denied))
	})
}

func TestARequestPastItsExpiryIsNeverApprovedFromJira(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d})
		id := s.request()
		issue := s.issueIn(id, "Pending")
		require.NoError(t, s.teleport.PastExpiry(id))
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.issueIn(id, "Expired")
		s.settled(id, "expired")
		s.polls(d, 2)
		require.Empty(t, s.verdicts(id))
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
		require.Equal(
			t,
			[]string{"agent: To Do → Pending", "bob: Pending → Approved", "agent: Approved → Expired"},
			moves(s.issueOf(id)),
		)
		require.Equal(t, []string{"resolution:expired"}, marks(t, s.issueOf(id)))
	})
}

func TestWithoutAUserNameTheTokenIsABearerToken(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) {
			c.Credentials = []jirasim.Credential{{User: "agent", Token: "a-personal-access-token"}}
		}}, "JIRA_USERNAME", "JIRA_API_TOKEN=a-personal-access-token")
		s.decideOne()
	})
}

func TestTheBaseURLMayHaveAPath(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		path := map[jirasim.Deployment]string{
			jirasim.Cloud:      "/ex/jira/11223344-a1b2-3b33-c444-def123456789",
			jirasim.DataCenter: "/jira",
		}[d]
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) { c.BasePath = path }})
		s.decideOne()
		for _, call := range s.jira.Calls() {
			require.Regexp(t, "^"+path+"/rest/api/2/", call.Path)
		}
	})
}

// decideOne takes a request through its life: an issue, a move, a decision.
func (s *system) decideOne() {
	s.t.Helper()
	id := s.request()
	require.NoError(s.t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
	s.settled(id, "approved")
	require.Equal(s.t, []verdict{{types.RequestState_APPROVED, "jira:bob@example.com", ""}}, s.verdicts(id))
	require.Equal(s.t, []string{"resolution:approved"}, marks(s.t, s.issueOf(id)))
	refused := func(c jirasim.Call) bool { return c.Status >= http.StatusBadRequest }
	require.False(s.t, slices.ContainsFunc(s.jira.Calls(), refused), "Jira refused a call: %v", s.jira.Summary())
}

func TestAProjectWithRulesOfItsOwnGetsWhatItAsksFor(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		const team, number = "customfield_10050", "customfield_10099"
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) {
			c.Fields = append(c.Fields,
				jirasim.Field{ID: team, Name: "Team", Type: jirasim.Select, Options: []string{"Payments", "Platform"}},
				// A second field of this name: only its number tells which is meant.
				jirasim.Field{ID: number, Name: "teleportAccessRequestId", Type: jirasim.TextField})
			c.Required = []string{"labels", "priority", team}
		}},
			`JIRA_FIELDS={"labels":["access"],"priority":{"name":"High"},"`+team+`":{"value":"Platform"}}`,
			"JIRA_ISSUE_TYPE=10201", "JIRA_REQUEST_ID_FIELD="+number)
		id := s.request()
		issue, err := s.jira.WaitIssue(
			s.ctx,
			func(i jirasim.Issue) bool { return i.Text(number) == id && i.Status.Name == "Pending" },
		)
		require.NoError(t, err)
		require.Empty(t, issue.Text(field))
		require.Equal(t, "Bug", issue.Type)
		require.Equal(t, []any{"access"}, issue.Fields["labels"])
		require.Equal(t, "High", issue.Fields["priority"].(map[string]any)["name"])
		require.Equal(t, "Platform", issue.Fields[team].(map[string]any)["value"])
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.settled(id, "approved")
		require.Len(t, s.jira.Issues(), 1)
	})
}

func TestATokenFileIsReadAgainWhenTheTokenIsReplaced(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		credential := jirasim.Credential{User: "agent", Username: jirasim.AgentUsername, Token: "first-token"}
		changes := []string{"JIRA_API_TOKEN"}
		if d == jirasim.DataCenter { // a personal access token
			credential.Username, changes = "", append(changes, "JIRA_USERNAME")
		}
		file := filepath.Join(t.TempDir(), "token")
		replace := func(token string) {
			require.NoError(t, os.WriteFile(file+".new", []byte(token+"\n"), 0o600))
			require.NoError(t, os.Rename(file+".new", file))
		}
		replace(credential.Token)
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) { c.Credentials = []jirasim.Credential{credential} }},
			append(changes, "JIRA_API_TOKEN_FILE="+file)...)
		before := s.request()
		issue := s.issueIn(before, "Pending")

		credential.Token = "second-token"
		s.jira.SetCredentials(credential)
		for s.jira.Summary()[searchRoute(d)].Codes[http.StatusUnauthorized] == 0 {
			s.polls(d, 1)
		}
		meanwhile := s.request()
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Denied"))
		replace(credential.Token)

		s.stateIs(before, types.RequestState_DENIED)
		s.settled(before, "denied")
		s.issueIn(meanwhile, "Pending")
		s.polls(d, 2)
		require.Len(t, s.jira.Issues(), 2)
		require.Equal(t, []string{"resolution:denied"}, marks(t, s.issueOf(before)))
		require.Equal(t, []verdict{{types.RequestState_DENIED, "jira:bob@example.com", ""}}, s.verdicts(before))
		require.Equal(t, []string{"agent: To Do → Pending"}, moves(s.issueOf(meanwhile)))
	})
}
