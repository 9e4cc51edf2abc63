package integration

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Who may decide, in each decision mode: the person who moved the issue, whom the policy admits,
// and in review mode whom Teleport admits.

// jiraID is what identifies a user of jirasim.Example to Teleport's trait.
func jiraID(d jirasim.Deployment, user string) string {
	if d == jirasim.Cloud {
		return "712020:" + user
	}
	return map[string]string{"alice": "JIRAUSER10101", "bob": "JIRAUSER10102", "mallory": "JIRAUSER10103"}[user]
}

// reviewing is a Teleport that takes reviews on behalf of users, with the users robert (bob in
// Jira) and malory (mallory), who may review, and trudy (alice), who may not.
func reviewing(t *testing.T, d jirasim.Deployment, changes ...string) *system {
	t.Helper()
	role := teleportsim.PluginRoleWithReview()
	s := newSystem(t, on{deployment: d, teleport: teleportsim.Config{ServerVersion: "18.11.0", AgentRole: &role}})
	reviewer := teleportsim.Role{ReviewRoles: []string{"db-admin"}}
	for name, u := range map[string]struct {
		jira string
		role teleportsim.Role
	}{"robert": {"bob", reviewer}, "malory": {"mallory", reviewer}, "trudy": {"alice", teleportsim.Role{}}} {
		require.NoError(t, s.teleport.SetUser(teleportsim.User{
			Name: name, Traits: map[string][]string{"jira_account_id": {jiraID(d, u.jira)}}, Role: &u.role,
		}))
	}
	s.start("agent", append([]string{"SYNC_IDLE_SCHEDULE=@every 1s", "TELEPORT_DECISION_MODE=review"}, changes...)...)
	return s
}

// reviews are the reviews in Teleport's audit log: "robert by jira-agent: APPROVED, because".
func (s *system) reviews(id string) []string {
	var all []string
	for _, e := range s.teleport.Audit(id) {
		if e.Type == teleportsim.AuditReview {
			all = append(all, e.Reviewer+" by "+e.SubmittedBy+": "+e.ProposedState.String()+", "+e.Reason)
		}
	}
	return all
}

// putBack waits until a move of the request's issue was answered by a comment with this text and
// the issue is back under Pending.
func (s *system) putBack(id, says string) {
	s.t.Helper()
	_, err := s.jira.WaitIssue(s.ctx, func(i jirasim.Issue) bool {
		return i.Text(field) == id && i.Status.Name == "Pending" &&
			slices.ContainsFunc(agentComments(i), func(c string) bool { return strings.Contains(c, says) })
	})
	require.NoError(s.t, err, "%s: %q not among %q", id, says, agentComments(s.issueOf(id)))
}

// untouched fails if anything was decided about a request.
func (s *system) untouched(id string) {
	s.t.Helper()
	require.Equal(s.t, types.RequestState_PENDING, s.teleport.State(id))
	require.Empty(s.t, s.verdicts(id))
	require.Empty(s.t, s.reviews(id))
}

func TestInReviewModeTeleportCountsThePersonsOwnReviews(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := reviewing(t, d)
		id := s.request(by("carol@example.com"), func(r *teleportsim.Request) { r.Approvals = 2 })
		issue := s.issueIn(id, "Pending")
		require.Contains(t, issue.Fields["description"], "as your user in Teleport")
		_, err := s.jira.Comment(issue.Key, "bob", "Reason: known incident")
		require.NoError(t, err)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.putBack(id, "1 of 2 approvals")
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))

		require.NoError(t, s.jira.Move(issue.Key, "bob", "Denied"))
		s.putBack(id, "already reviewed this request")
		require.NoError(t, s.jira.Move(issue.Key, "mallory", "Approved"))
		s.settled(id, "approved")
		s.polls(d, 2)
		require.Equal(
			t,
			[]string{"robert by jira-agent: APPROVED, known incident", "malory by jira-agent: APPROVED, "},
			s.reviews(id),
		)
		require.Empty(t, s.verdicts(id), "the state was set past the reviews")
		after := s.issueOf(id)
		require.Equal(t, "Approved", after.Status.Name)
		keys := marks(t, after)
		slices.Sort(keys)
		require.Equal(t, []string{"refused", "resolution:approved", "review:malory", "review:robert"},
			slices.DeleteFunc(keys, func(k string) bool { return strings.HasPrefix(k, "counted:") }))
	})
}

func TestAPersonsDenialInReviewModeDenies(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := reviewing(t, d)
		id := s.request(by("carol@example.com"), func(r *teleportsim.Request) { r.Approvals = 2 })
		require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Denied"))
		s.settled(id, "denied")
		require.Equal(t, []string{"robert by jira-agent: DENIED, "}, s.reviews(id))
	})
}

// spec are the bytes of a field of a request's spec that this agent's client does not know.
func spec(number protowire.Number) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), []byte("x"))
}

func TestWhatReviewModeRefusesIsSaidAndPutBack(t *testing.T) {
	user := func(name string, ids ...string) func(*testing.T, *system) {
		return func(t *testing.T, s *system) {
			require.NoError(
				t,
				s.teleport.SetUser(teleportsim.User{Name: name, Traits: map[string][]string{"jira_account_id": ids}}),
			)
		}
	}
	role := func(edit func(*teleportsim.Role)) func(*testing.T, *system) {
		return func(_ *testing.T, s *system) {
			r := teleportsim.PluginRoleWithReview()
			edit(&r)
			s.teleport.SetRole("jira-agent", r)
		}
	}
	tests := map[string]struct {
		prepare func(*testing.T, *system)
		request func(*teleportsim.Request)
		mover   string
		says    string
	}{
		"a user without the right to review": {mover: "alice", says: "does not let that person's user, trudy, review"},
		"nobody in Teleport": {
			prepare: func(_ *testing.T, s *system) { s.teleport.DeleteUser("robert") },
			mover:   "bob",
			says:    "no user in Teleport is known",
		},
		"two users": {
			prepare: func(t *testing.T, s *system) { user("bobby", "712020:bob", "JIRAUSER10102")(t, s) },
			mover:   "bob",
			says:    "more than one user in Teleport",
		},
		"their own request": {request: by("robert"), mover: "bob", says: "who made the request"},
		"long-term access": {
			request: func(r *teleportsim.Request) { r.Kind = teleportsim.LongTerm },
			mover:   "bob",
			says:    "long-term access",
		},
		"details that cannot be read": {
			request: func(r *teleportsim.Request) { r.Unknown = spec(26) },
			mover:   "bob",
			says:    "cannot be approved here",
		},
		"an address that names a user, which is not asked for": {prepare: func(t *testing.T, s *system) {
			s.teleport.DeleteUser("robert")
			user("bob@example.com")(t, s)
		}, mover: "bob", says: "no user in Teleport is known"},
		"an agent that may not review for users": {
			prepare: role(func(r *teleportsim.Role) { r.SubmitForUsers = nil }),
			mover:   "bob",
			says:    "18.11 or newer and a role that allows it",
		},
		"an agent that may not read users": {
			prepare: role(func(r *teleportsim.Role) { delete(r.Rules, types.KindUser) }),
			mover:   "bob",
			says:    "may not look up",
		},
	}
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := reviewing(t, d)
				if test.prepare != nil {
					test.prepare(t, s)
				}
				edits := []func(*teleportsim.Request){by("carol@example.com")}
				if test.request != nil {
					edits = append(edits, test.request)
				}
				id := s.request(edits...)
				require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, test.mover, "Approved"))
				s.putBack(id, test.says)
				s.polls(d, 2)
				s.untouched(id)
				require.Equal(t, []string{"refused"}, marks(t, s.issueOf(id)))
			})
		}
	})
}

func TestReviewModeOnATeleportWithoutItSaysSoAndNeverSetsAState(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	require.NoError(
		t,
		s.teleport.SetUser(teleportsim.User{Name: "robert", Traits: map[string][]string{"jira_account_id": {"712020:bob"}}}),
	)
	role := teleportsim.PluginRoleWithReview()
	s.teleport.SetRole("jira-agent", role)
	a := s.start("agent", "TELEPORT_DECISION_MODE=review", "SYNC_IDLE_SCHEDULE=@every 1s")
	require.Contains(t, a.Log(), "TELEPORT_DECISION_MODE=review needs Teleport 18.11.0 or newer")
	id := s.request(by("carol@example.com"))
	require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
	s.putBack(id, "18.11 or newer")
	s.untouched(id)
}

func TestTheAddressTellsTheTeleportUserWhereTheOperatorAllowsIt(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := reviewing(t, d, "TELEPORT_USER_EMAIL_FALLBACK=true")
		s.teleport.DeleteUser("robert")
		require.NoError(
			t,
			s.teleport.SetUser(teleportsim.User{Name: "bob@example.com", Role: &teleportsim.Role{ReviewRoles: []string{"*"}}}),
		)
		id := s.request(by("carol@example.com"))
		require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
		s.settled(id, "approved")
		require.Equal(t, []string{"bob@example.com by jira-agent: APPROVED, "}, s.reviews(id))
	})
}

func TestALostAnswerToAReviewLeadsToNoSecondReview(t *testing.T) {
	t.Parallel()
	s := reviewing(t, jirasim.Cloud)
	id := s.request(by("carol@example.com"), func(r *teleportsim.Request) { r.Approvals = 2 })
	issue := s.issueIn(id, "Pending")
	s.teleport.Inject(teleportsim.Fault{RPC: "SubmitAccessReview", Times: 1, Kind: teleportsim.FaultLoseAnswer})
	require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
	s.putBack(id, "1 of 2 approvals")
	require.Equal(t, 1, s.teleport.Calls()["SubmitAccessReview"])
	require.Len(t, s.reviews(id), 1)
}

func TestOnlyApproversDecide(t *testing.T) {
	tests := map[string]struct {
		setting func(d jirasim.Deployment) string
		admits  []string
		refuses []string
	}{
		"by account": {func(d jirasim.Deployment) string {
			return "POLICY_APPROVERS=" + jiraID(d, "bob") + ",nobody@example.com"
		}, []string{"bob"}, []string{"mallory", "alice"}},
		"by address": {
			func(jirasim.Deployment) string { return "POLICY_APPROVERS=BOB@example.com" },
			[]string{"bob"},
			[]string{"mallory", "alice"},
		},
		"by group": {
			func(jirasim.Deployment) string { return "POLICY_APPROVER_GROUPS=approvers" },
			[]string{"bob", "alice"},
			[]string{"mallory"},
		},
	}
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := running(t, on{deployment: d}, test.setting(d))
				for _, who := range test.refuses {
					id := s.request(by("carol@example.com"))
					issue := s.issueIn(id, "Pending")
					require.NoError(t, s.jira.Move(issue.Key, who, "Approved"))
					s.putBack(id, "one of those who may decide here")
					require.NoError(t, s.jira.Move(issue.Key, who, "Denied")) // each refused move has its own comment
					s.issueWith(id, 2)
					s.putBack(id, "one of those who may decide here")
					s.untouched(id)
				}
				for _, who := range test.admits {
					id := s.request(by("carol@example.com"))
					require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, who, "Approved"))
					s.settled(id, "approved")
				}
			})
		}
	})
}

func TestGroupsThatCannotBeSeenAdmitNobody(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) {
			for i := range c.Users {
				if c.Users[i].Name == "agent" {
					c.Users[i].Permissions = slices.DeleteFunc(
						jirasim.AllPermissions(),
						func(p string) bool { return p == jirasim.BrowseUsers },
					)
				}
			}
		}}, "POLICY_APPROVER_GROUPS=approvers")
		id := s.request(by("carol@example.com"))
		require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
		s.putBack(id, "may not see whether")
		s.untouched(id)
	})
}

func TestInNotifyModeJiraOnlyShows(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d}, "TELEPORT_DECISION_MODE=notify")
		id := s.request(by("carol@example.com"))
		issue := s.issueIn(id, "Pending")
		require.Contains(t, issue.Fields["description"], "only shows the request")
		for _, to := range []string{"Approved", "Denied"} {
			require.NoError(t, s.jira.Move(issue.Key, "bob", to))
			s.putBack(id, "Requests are only shown here")
		}
		s.untouched(id)
		require.NoError(t, s.teleport.Approve(id, "admin", "fine"))
		s.issueIn(id, "Approved")
	})
}

func TestTheRequestersTraitTellsAnOwnRequest(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		role := teleportsim.PluginRoleWithReview()
		s := running(t, on{deployment: d, teleport: teleportsim.Config{AgentRole: &role}}, "POLICY_SELF_APPROVAL=strict")
		require.NoError(
			t,
			s.teleport.SetUser(
				teleportsim.User{Name: "white-rabbit", Traits: map[string][]string{"jira_account_id": {jiraID(d, "alice")}}},
			),
		)
		require.NoError(
			t,
			s.teleport.SetUser(
				teleportsim.User{Name: "hatter", Traits: map[string][]string{"jira_account_id": {jiraID(d, "mallory")}}},
			),
		)
		own, others := s.request(by("white-rabbit")), s.request(by("hatter"))
		require.NoError(t, s.jira.Move(s.issueIn(own, "Pending").Key, "alice", "Approved"))
		require.NoError(t, s.jira.Move(s.issueIn(others, "Pending").Key, "alice", "Approved"))
		s.putBack(own, "who made the request")
		s.untouched(own)
		s.settled(others, "approved") // the trait proves that the two differ, though alice hides her address
	})
}

func TestAnUnreadableHistoryDecidesNothing(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for _, mode := range []string{"state", "review", "notify"} {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				role := teleportsim.PluginRoleWithReview()
				s := newSystem(t, on{deployment: d, teleport: teleportsim.Config{ServerVersion: "18.11.0", AgentRole: &role}})
				require.NoError(t, s.teleport.SetUser(teleportsim.User{
					Name:   "robert",
					Traits: map[string][]string{"jira_account_id": {jiraID(d, "bob")}},
					Role:   &teleportsim.Role{ReviewRoles: []string{"db-admin"}},
				}))
				a := s.start("agent", "SYNC_IDLE_SCHEDULE=@every 1s", "TELEPORT_DECISION_MODE="+mode)
				s.unreadableHistory(d, a, mode)
			})
		}
	})
}

// unreadableHistory lets bob approve while his move cannot be read, then deny when it can.
func (s *system) unreadableHistory(d jirasim.Deployment, a *replica.Replica, mode string) {
	t := s.t
	id := s.request(by("carol@example.com"))
	issue := s.issueIn(id, "Pending")
	s.polls(d, 2)
	history := func(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "expand=changelog") }
	for _, effect := range []jirasim.Effect{
		jirasim.Respond(http.StatusForbidden, `{"errorMessages":["You do not have permission."],"errors":{}}`),
		jirasim.Respond(http.StatusOK, `{"id":"1","key":"OPS-1"}`),
		jirasim.Respond(http.StatusOK, "<html>Log in</html>", "Content-Type", "text/html"),
	} {
		before := len(a.Lines())
		remove := s.jira.Inject(
			jirasim.Fault{Method: http.MethodGet, Endpoint: "issue/{issue}", When: history, Effect: effect},
		)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.logs(a, before, "not done", "action", "judge")
		s.polls(d, 2)
		s.untouched(id)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Pending"))
		remove()
		s.polls(d, 2)
	}
	require.NoError(t, s.jira.Move(issue.Key, "bob", "Denied"))
	if mode == "notify" {
		s.putBack(id, "Requests are only shown here")
		s.untouched(id)
		return
	}
	s.settled(id, "denied")
	require.Equal(t, 1, len(s.verdicts(id))+len(s.reviews(id)))
}

func TestAnIssueThatTeleportsPluginDataDoesNotNameDecidesNothing(t *testing.T) {
	t.Parallel()
	s := running(t, on{deployment: jirasim.Cloud})
	id := s.request(by("carol@example.com"))
	issue := s.issueIn(id, "Pending")
	require.NoError(
		t,
		s.teleport.Wait(s.ctx, func(t *teleportsim.Server) bool { return t.PluginData(id)["jira"]["issue_id"] == issue.ID }),
	)
	require.NoError(
		t,
		s.teleport.SetPluginData(id, "jira", map[string]string{"issue_id": "99999", "issue_key": "OPS-99999"}),
	)
	require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
	s.putBack(id, "names another issue for this request")
	s.untouched(id)
}
