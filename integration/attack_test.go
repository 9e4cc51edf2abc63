package integration

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// What people try who may not decide, in each decision mode. bob may: he is an approver, and in
// review mode robert in Teleport.

// attack is one attempt to get a request decided that ought not to be.
type attack struct {
	requester string
	try       func(s *system, id string, issue jirasim.Issue)
	// says is part of the answer on the issue; empty where there is none.
	says string
	// cloudOnly: Data Center has nothing of the kind.
	cloudOnly bool
}

func movedBy(user, to string) func(*system, string, jirasim.Issue) {
	return func(s *system, _ string, i jirasim.Issue) { require.NoError(s.t, s.jira.Move(i.Key, user, to)) }
}

func forcedBy(user, to string) func(*system, string, jirasim.Issue) {
	return func(s *system, _ string, i jirasim.Issue) { require.NoError(s.t, s.jira.ForceStatus(i.Key, user, to)) }
}

var attacks = map[string]attack{
	"by somebody who is no approver":   {try: movedBy("mallory", "Approved"), says: "not one of those who may decide"},
	"a denial by somebody who is none": {try: movedBy("mallory", "Denied"), says: "not one of those who may decide"},
	"by the requester, who is an approver": {
		requester: "bob@example.com",
		try:       movedBy("bob", "Approved"),
		says:      "who made the request",
	},
	"by an approver who hides the address": {
		try:       movedBy("alice", "Approved"),
		says:      "does not show this account's e-mail address",
		cloudOnly: true,
	},
	"by an automation rule":     {try: movedBy("automation", "Approved"), says: "", cloudOnly: true},
	"by a deactivated approver": {try: forcedBy("gone", "Approved"), says: "account is not active"},
	"by the agent's own account": {
		try:  movedBy("agent", "Approved"),
		says: "account of this agent never decides",
	},
	"by nobody": {try: forcedBy("", "Approved"), says: "does not say who moved"},
	"last by somebody who is no approver": {try: func(s *system, id string, i jirasim.Issue) {
		movedBy("bob", "Denied")(s, id, i) // before the agent looks, mallory overrules bob
		movedBy("mallory", "Approved")(s, id, i)
	}, says: "not one of those who may decide"},
	"on a forged issue, by an approver": {try: func(s *system, id string, i jirasim.Issue) {
		forged, err := s.jira.CreateIssue(
			"mallory",
			map[string]any{"summary": i.Fields["summary"], field: id},
			map[string]any{"teleportAccessRequestId": id},
		)
		require.NoError(s.t, err)
		require.NoError(s.t, s.jira.Move(forged.Key, "bob", "Approved"))
		told, err := s.jira.WaitIssue(
			s.ctx,
			func(i jirasim.Issue) bool { return i.Key == forged.Key && len(agentComments(i)) == 1 },
		)
		require.NoError(s.t, err)
		require.Contains(s.t, agentComments(told)[0], "Moving this one decides nothing")
	}},
	"after the move out of the project, by an approver": {try: func(s *system, id string, i jirasim.Issue) {
		require.NoError(s.t, s.jira.MoveToProject(i.Key, "mallory", "OLD"))
		moved, ok := s.jira.Issue(i.ID)
		require.True(s.t, ok)
		require.NoError(s.t, s.jira.Move(moved.Key, "bob", "Approved"))
	}, says: "moved out of the project"},
}

func TestNobodyDecidesWhoMayNot(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for _, mode := range []string{"state", "review", "notify"} {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				role := teleportsim.PluginRoleWithReview()
				s := newSystem(t, on{
					deployment: d, teleport: teleportsim.Config{ServerVersion: "18.11.0", AgentRole: &role},
					jira: func(c *jirasim.Config) {
						unlimited(c)
						c.Users = append(
							c.Users,
							jirasim.User{Name: "gone", Email: "gone@example.com", DisplayName: "Gone Girl", Inactive: true},
						)
					},
				})
				require.NoError(t, s.teleport.SetUser(teleportsim.User{
					Name:   "robert",
					Traits: map[string][]string{"jira_account_id": {jiraID(d, "bob")}},
					Role:   &teleportsim.Role{ReviewRoles: []string{"db-admin"}},
				}))
				h := s.webhook()
				a := s.start(
					"agent",
					"SYNC_POLL_SCHEDULE=@every 1s",
					"TELEPORT_DECISION_MODE="+mode,
					"SYNC_IDLE_SCHEDULE=@every 1s",
					"SYNC_SWEEP_SCHEDULE=@every 2s",
					"POLICY_APPROVERS=bob@example.com,alice@example.com,gone@example.com,agent@example.com,"+jiraID(d, "automation"),
				)

				ids := make(map[string]string)
				for name, a := range attacks {
					if a.cloudOnly && d != jirasim.Cloud {
						continue
					}
					requester := "carol@example.com"
					if a.requester != "" {
						requester = a.requester
					}
					ids[name] = s.request(by(requester))
					a.try(s, ids[name], s.issueIn(ids[name], "Pending"))
				}
				for name, id := range ids {
					says := attacks[name].says
					if mode == "notify" && says != "" {
						says = "Requests are only shown here"
					}
					if says != "" {
						s.putBack(id, says)
						require.Contains(t, strings.Join(s.activity(id), "\n"), "refuse: ", name)
					}
				}
				// Webhooks that claim an approver's move: unsigned, signed with another secret, and
				// signed rightly but sent again and again.
				ids["by webhooks alone"] = s.request(by("carol@example.com"))
				lie := h.claim(s.issueIn(ids["by webhooks alone"], "Pending"), time.Now())
				for signature, code := range map[string]int{
					"": http.StatusUnauthorized, jirasim.Webhook{Secret: "guessed"}.Sign(lie): http.StatusUnauthorized, h.sign(lie): http.StatusOK,
				} {
					for range 5 {
						got, _ := h.posts(a, lie, signature)
						require.Equal(t, code, got)
					}
				}
				s.polls(d, 3)
				for name, id := range ids {
					require.Equal(t, types.RequestState_PENDING, s.teleport.State(id), name)
					require.Empty(t, s.verdicts(id), name)
					require.Empty(t, s.reviews(id), name)
				}
				if mode == "notify" {
					return
				}
				// All of them can still be decided by somebody who may.
				for name, id := range ids {
					if attacks[name].requester != "" || strings.Contains(attacks[name].says, "project") {
						continue
					}
					for _, issue := range s.issuesOf(id) {
						if issue.Status.Name == "Pending" {
							require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
						}
					}
					s.stateIs(id, types.RequestState_APPROVED)
				}
			})
		}
	})
}

func TestAStatusThatIsRenamedAfterTheMoveDecidesNothing(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := running(t, on{deployment: d, jira: func(c *jirasim.Config) {
			c.Statuses = append(c.Statuses, jirasim.Status{ID: "10310", Name: "In review", Category: "indeterminate"})
			c.Transitions = append(
				c.Transitions,
				jirasim.Transition{ID: "51", Name: "Look at it", From: []string{"Pending"}, To: "In review"},
			)
			for i := range c.Transitions {
				if c.Transitions[i].To == "Pending" {
					c.Transitions[i].From = append(c.Transitions[i].From, "In review")
				}
			}
		}}, "JIRA_STATUS_APPROVED=Approved,Granted")
		id := s.request(by("carol@example.com"))
		issue := s.issueIn(id, "Pending")
		require.NoError(t, s.jira.Move(issue.Key, "bob", "In review"))
		s.polls(d, 2)
		require.NoError(t, s.jira.RenameStatus("In review", "Granted"))
		require.NoError(t, s.jira.SetField(issue.Key, "bob", "summary", "a change, so that searches show it"))
		s.putBack(id, "was called In review, which decides nothing")
		s.untouched(id)
	})
}

func TestTheDatabaseUserNeedsNoMoreThanItsOwnSchema(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	server := s.ownPostgres()
	admin, err := pgx.Connect(s.ctx, server.URL("postgres"))
	require.NoError(t, err)
	defer admin.Close(context.WithoutCancel(s.ctx))
	for _, statement := range []string{
		"CREATE ROLE agent LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD 'agent'",
		"REVOKE ALL ON DATABASE postgres FROM PUBLIC", "GRANT CONNECT ON DATABASE postgres TO agent",
		"REVOKE ALL ON SCHEMA public FROM PUBLIC", "CREATE SCHEMA agent AUTHORIZATION agent",
	} {
		_, err := admin.Exec(s.ctx, statement)
		require.NoError(t, err, statement)
	}
	own, err := url.Parse(server.URL("postgres"))
	require.NoError(t, err)
	own.User = url.UserPassword("agent", "agent")
	s.env["DATABASE_URL"] = own.String()
	s.start("agent", "SYNC_IDLE_SCHEDULE=@every 1s")
	s.decideOne()
	var elsewhere int
	require.NoError(
		t,
		admin.QueryRow(s.ctx, "SELECT count(*) FROM pg_tables WHERE tableowner = 'agent' AND schemaname <> 'agent'").
			Scan(&elsewhere),
	)
	require.Zero(t, elsewhere)
}
