package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// shippedRole reads a role of deploy/teleport as Teleport would. Fields that a role does not have
// fail the test, but for one that the client module is too old for.
func shippedRole(t *testing.T, mode string) teleportsim.Role {
	t.Helper()
	file, err := os.ReadFile("../deploy/teleport/role-" + mode + ".yaml")
	require.NoError(t, err)
	return roleOf(t, file)
}

// roleOf is what `tctl create -f` makes of a role's file.
func roleOf(t *testing.T, file []byte) teleportsim.Role {
	t.Helper()
	var content map[string]any
	require.NoError(t, yaml.UnmarshalStrict(file, &content))
	role := teleportsim.Role{Rules: make(map[string][]string)}
	allow := content["spec"].(map[string]any)["allow"].(map[string]any)
	if reviews, ok := allow["review_requests"].(map[string]any); ok {
		for _, user := range reviews["submit_for_users"].([]any) {
			role.SubmitForUsers = append(role.SubmitForUsers, user.(string))
		}
		delete(reviews, "submit_for_users")
	}
	document, err := json.Marshal(content)
	require.NoError(t, err)
	strict := json.NewDecoder(bytes.NewReader(document))
	strict.DisallowUnknownFields()
	var r types.RoleV6
	require.NoError(t, strict.Decode(&r))
	require.NoError(t, r.CheckAndSetDefaults())
	for _, rule := range r.Spec.Allow.Rules {
		for _, kind := range rule.Resources {
			role.Rules[kind] = append(role.Rules[kind], rule.Verbs...)
		}
	}
	return role
}

// denials are the RPCs that Teleport refused for want of a right.
type denials struct {
	mu   sync.Mutex
	rpcs []string
}

func (d *denials) note(c teleportsim.Call) {
	if c.Err != nil && trace.IsAccessDenied(c.Err) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.rpcs = append(d.rpcs, c.RPC)
	}
}

func (d *denials) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.rpcs) > 0
}

// withRole starts the agent in a mode with a role, and lets bob approve a request by somebody else.
func withRole(t *testing.T, mode string, role teleportsim.Role) (s *system, id string, denied *denials) {
	t.Helper()
	denied = new(denials)
	s = newSystem(
		t,
		on{
			deployment: jirasim.Cloud,
			teleport:   teleportsim.Config{ServerVersion: "18.11.0", AgentRole: &role, OnCall: denied.note},
		},
	)
	require.NoError(t, s.teleport.SetUser(teleportsim.User{
		Name:   "bob",
		Traits: map[string][]string{"jira_account_id": {jiraID(jirasim.Cloud, "bob")}},
		Role:   &teleportsim.Role{ReviewRoles: []string{"*"}},
	}))
	r := s.launch("agent", "TELEPORT_DECISION_MODE="+mode)
	verbs := role.Rules[types.KindAccessRequest]
	switch reads, lists := slices.Contains(verbs, types.VerbRead), slices.Contains(verbs, types.VerbList); {
	case reads && lists: // without read the watch is refused
		_, err := r.WaitLog(s.ctx, "working", "loop", "teleport list")
		require.NoError(t, err)
	case reads: // Teleport refuses nothing then, and lists the agent's own requests
		s.tellsOf(r, "teleport list", "this identity may not list access requests")
	}
	return s, s.request(), denied
}

// decidedBy lets bob approve the request's issue, and in notify mode an administrator the request.
func (s *system) decidedBy(mode, id string) error {
	issue, err := s.jira.WaitIssue(
		s.ctx,
		func(i jirasim.Issue) bool { return i.Text(field) == id && i.Status.Name == "Pending" },
	)
	if err != nil {
		return err
	}
	if mode == "notify" {
		return s.teleport.Approve(id, "admin", "")
	}
	return s.jira.Move(issue.Key, "bob", "Approved")
}

func TestTheShippedRolesAreEnough(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"state", "review", "notify"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s, id, denied := withRole(t, mode, shippedRole(t, mode))
			require.NoError(t, s.decidedBy(mode, id))
			s.settled(id, "approved")
			require.Empty(t, denied.rpcs)
		})
	}
}

// TestTheShippedRolesHoldNothingToSpare takes each right away in turn, and sees Teleport refuse a
// call. In state mode the right to update requests covers that to update plugin data, which is
// there as in the role that Teleport documents.
func TestTheShippedRolesHoldNothingToSpare(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"state", "review", "notify"} {
		whole := shippedRole(t, mode)
		for kind, verbs := range whole.Rules {
			for _, verb := range verbs {
				if mode == "state" && kind == types.KindAccessPluginData {
					continue
				}
				t.Run(fmt.Sprint(mode, " without ", verb, " on ", kind), func(t *testing.T) {
					t.Parallel()
					role := whole
					role.Rules = make(map[string][]string)
					for k, all := range whole.Rules {
						role.Rules[k] = slices.DeleteFunc(slices.Clone(all), func(v string) bool { return k == kind && v == verb })
					}
					s, id, denied := withRole(t, mode, role)
					if kind == types.KindAccessRequest && verb == types.VerbList {
						return // the agent has said so
					}
					go func() { _ = s.decidedBy(mode, id) }() // if there ever is an issue
					require.NoError(t, s.teleport.Wait(s.ctx, func(*teleportsim.Server) bool { return denied.any() }))
				})
			}
		}
	}
}

func TestTheReviewRoleSubmitsForItsUsersAlone(t *testing.T) {
	t.Parallel()
	role := shippedRole(t, "review")
	require.NotContains(t, role.SubmitForUsers, "*")
	role.SubmitForUsers = []string{"carol"}
	s, id, _ := withRole(t, "review", role)
	require.NoError(t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
	s.putBack(id, "a role that allows it")
	s.untouched(id)
}
