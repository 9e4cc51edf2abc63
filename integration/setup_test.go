package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

// setup, as a new operator uses it: from a fresh Jira project and an empty Teleport to a request
// that is approved, by what check and setup print.

// fresh is a project as Jira's templates make it: without the field, with a workflow of one status.
func fresh(d jirasim.Deployment, administers bool) on {
	return on{deployment: d, teleport: teleportsim.Config{AgentRole: &teleportsim.Role{}}, jira: func(c *jirasim.Config) {
		c.Fields, c.Transitions = nil, nil
		c.Statuses = c.Statuses[:1]
		if administers {
			c.Users[0].Permissions = append(jirasim.AllPermissions(), jirasim.Administer)
		}
	}}
}

// setupAnswer is what setup answers with --json.
type setupAnswer struct {
	OK      bool
	Applied []string
	Steps   []struct {
		What   string
		Apply  bool
		ByHand string `json:"by_hand"`
	}
	Findings []sync.Finding
	Teleport []struct{ Name, Use, Content string }
}

func (s *system) setup(args ...string) (answer setupAnswer, code int) {
	s.t.Helper()
	r := s.command(append([]string{"setup", "--json"}, args...)...)
	require.Empty(s.t, r.errors)
	require.NoError(s.t, json.Unmarshal([]byte(r.out), &answer), r.out)
	return answer, r.code
}

var inQuotes = regexp.MustCompile(`"([^"]+)"`)

// byHand does a step as a person at the browser does who reads what setup prints.
func (s *system) byHand(what string) {
	s.t.Helper()
	verb, objects, _ := strings.Cut(what, ": ")
	names := inQuotes.FindAllStringSubmatch(objects, -1)
	switch {
	case strings.HasPrefix(verb, "add to the workflow of issue type"):
		for n, name := range names {
			s.jira.AddStatus(jirasim.Status{ID: fmt.Sprint(10400 + n), Name: name[1], Category: "indeterminate"})
			s.jira.AddTransition(
				jirasim.Transition{ID: fmt.Sprint(101 + n), Name: "To " + name[1], To: name[1]},
			) // from any status
		}
	case strings.HasPrefix(what, "create the custom field "):
		s.jira.AddField(jirasim.Field{Name: inQuotes.FindStringSubmatch(what)[1], Type: jirasim.TextField})
	case strings.HasPrefix(what, "show the custom field "), strings.HasPrefix(what, "put the custom field "):
		id := ""
		answer, _ := s.setup()
		for _, f := range answer.Findings {
			if f.Check == "jira.field" {
				id = regexp.MustCompile(`customfield_\d+`).FindString(f.Found)
			}
		}
		s.jira.AddFieldToScreen(id, "Default Screen")
	default:
		s.t.Fatalf("nobody knows how to %q", what)
	}
}

func TestAFreshProjectIsBroughtToWorkByWhatCheckAndSetupPrint(t *testing.T) {
	t.Parallel()
	for name, administers := range map[string]bool{"with a token that administers Jira": true, "by hand": false} {
		t.Run(name, func(t *testing.T) {
			eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
				s := newSystem(t, fresh(d, administers))
				r := s.command("check")
				require.Equal(t, 1, r.code)
				for _, line := range []string{"✗ field ", "✗ statuses ", "✗ watch "} {
					require.Contains(t, r.out, line)
				}
				plan, code := s.setup()
				require.Equal(t, 1, code)
				require.NotEmpty(t, plan.Steps)
				for _, route := range []string{"POST field", "POST screens/{screen}/tabs/{tab}/fields"} {
					require.Zero(t, s.jira.CallCount(route), "a plan writes nothing")
				}
				if administers {
					require.Contains(t, remedyOf(plan, "jira.field"), "teleport-jira-agent setup --apply; or by hand: ")
					applied, _ := s.setup("--apply")
					require.NotEmpty(t, applied.Applied)
					again, _ := s.setup("--apply")
					require.Empty(t, again.Applied, "setup can be run again")
				}
				for range 10 { // each look says what is left
					plan, code = s.setup()
					if len(plan.Steps) == 0 {
						break
					}
					require.False(t, plan.Steps[0].Apply && administers)
					require.NotEmpty(t, plan.Steps[0].ByHand)
					s.byHand(plan.Steps[0].What)
				}
				require.Zero(t, code)
				require.True(t, plan.OK)
				require.Equal(t, "role-state.yaml", plan.Teleport[0].Name)
				s.teleport.SetRole("jira-agent", roleOf(t, []byte(plan.Teleport[0].Content)))

				require.NotContains(t, s.succeeds("check"), "✗")
				s.start("leader")
				id := s.request()
				issue, err := s.jira.WaitIssue(
					s.ctx,
					func(i jirasim.Issue) bool { return i.Status.Name == "Pending" },
				) // the field has another id here
				require.NoError(t, err)
				require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
				s.stateIs(id, types.RequestState_APPROVED)
			})
		})
	}
}

func remedyOf(a setupAnswer, check string) string {
	for _, f := range a.Findings {
		if f.Check == check {
			return f.Remedy
		}
	}
	return ""
}

func TestSetupPrintsTheRoleOfTheConfiguredMode(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	for mode, line := range map[string]string{"state": "verbs: [list, read, update]", "review": "submit_for_users:", "notify": "Shows Access Requests in Jira"} {
		r := s.commandWith([]string{"TELEPORT_DECISION_MODE=" + mode, "TELEPORT_USER_TRAIT=atlassian"}, "setup")
		require.Zero(t, r.code, r.errors)
		require.Contains(t, r.out, "tctl create -f role-"+mode+".yaml")
		require.Contains(t, r.out, line)
		require.Contains(t, r.out, "proxy_server: "+s.teleport.Addr())
		require.NotContains(t, r.out, "jira_account_id")
	}
}

func TestSetupThatBreaksOffSaysWhatIsLeftAndGoesOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, fresh(jirasim.Cloud, true))
	mend := s.jira.Inject(
		jirasim.Fault{
			Method:   http.MethodPost,
			Endpoint: "screens/{screen}/tabs/{tab}/fields",
			Effect: jirasim.Respond(
				http.StatusForbidden,
				`{"errorMessages":["Only Jira administrators can do this."],"errors":{}}`,
			),
		},
	)
	r := s.command("setup", "--apply")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.out, `✓ done: create the custom field "teleportAccessRequestId"`)
	require.Contains(t, r.out, "✗ put the custom field")
	require.Contains(t, r.out, "Only Jira administrators can do this.")
	mend()
	answer, _ := s.setup("--apply")
	require.Len(t, answer.Applied, 1)
	require.Equal(t, 1, s.jira.CallCount("POST field"))

	s.jira.SetDown(true)
	r = s.command("setup")
	require.Equal(t, 1, r.code)
	require.Equal(t, 1, strings.Count(r.errors, "\n"))
	require.Contains(t, r.errors, "`teleport-jira-agent check` says more")
}
