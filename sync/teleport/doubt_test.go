package teleport

import (
	"slices"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

// everyCall makes each call of the agent that Teleport may refuse.
func everyCall(t *testing.T, c *Client, id string) map[string]error {
	t.Helper()
	ctx := soon(t)
	_, watch := c.Watch(ctx)
	_, request := c.Request(ctx, id)
	_, listed := c.Listed(ctx, id)
	_, right := c.ListRight(ctx)
	_, users := c.Users(ctx, sync.UserQuery{Name: "alice"})
	_, mapped := c.Users(ctx, sync.UserQuery{JiraID: "1"})
	_, review := c.Review(ctx, id, sync.Review{Author: "alice", Verdict: sync.StateApproved})
	_, _, claim := c.Claim(ctx, sync.Request{ID: id}, "mark", "OPS-7")
	_, linked := c.Linked(ctx, id)
	return map[string]error{
		"Watch": watch, "Request": request, "Listed": listed, "ListRight": right, "Users": users, "Users by trait": mapped,
		"Review": review, "Claim": claim, "Linked": linked,
		"Requests": c.Requests(ctx, func([]sync.Request) error { return nil }),
		"Decide":   c.Decide(ctx, id, sync.Decision{State: sync.StateApproved}),
		"Reclaim":  c.Reclaim(ctx, id, "mark", "OPS-7"),
		"Link":     c.Link(ctx, id, sync.IssueRef{ID: "1", Key: "OPS-1"}),
		"Resolve":  c.Resolve(ctx, id, sync.IssueRef{ID: "1"}, "approved", "", 0),
	}
}

func TestTheAgentsOwnTroubleSaysNothingOfAnyRequest(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*teleportsim.Server){
		"its user is gone": func(s *teleportsim.Server) { s.DeleteUser("jira-agent") },
		"its role is gone": func(s *teleportsim.Server) { s.RemoveRole("jira-agent") },
		"it is locked":     func(s *teleportsim.Server) { s.Lock("jira-agent") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, c := cluster(t, teleportsim.Config{})
			id := file(t, server, teleportsim.Request{})
			begin(server)
			for call, err := range everyCall(t, c, id) {
				require.Error(t, err, call)
				require.NotErrorIs(t, err, sync.ErrNotFound, call)
				require.NotErrorIs(t, err, sync.ErrForbidden, call)
				require.NotErrorIs(t, err, sync.ErrReviewDenied, call)
				e := failure(t, err)
				require.Equal(t, sync.ScopeSide, e.Scope, "%s: %v", call, err)
				require.False(t, e.Permanent, "%s: %v", call, err)
				require.Contains(t, err.Error(), "access denied", call)
			}
		})
	}
}

func TestARightThatIsMissingToWritePluginDataMayComeBack(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	server.SetRole("jira-agent", teleportsim.Role{Rules: map[string][]string{types.KindAccessRequest: {"list", "read"}}})
	answers := everyCall(t, c, id)
	for _, call := range []string{"Claim", "Reclaim", "Link", "Resolve"} {
		e := failure(t, answers[call])
		require.Equal(t, sync.ScopeRequest, e.Scope, call)
		require.False(t, e.Permanent, call)
		require.ErrorContains(t, e, `"update" on "access_plugin_data"`, call)
	}
	require.True(t, failure(t, answers["Decide"]).Permanent)
}

func TestListedIsWhatTeleportsOwnClockSays(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{ClockShift: -10 * time.Hour})
	listed := func(id string) bool {
		is, err := c.Listed(soon(t), id)
		require.NoError(t, err)
		return is
	}
	id := file(t, server, teleportsim.Request{TTL: time.Hour}) // past its expiry by the real clock
	for range 2*pageSize + 1 {
		file(t, server, teleportsim.Request{Roles: []string{id}}) // is found by the same word
	}
	require.True(t, listed(id))
	require.False(t, listed(id[:8]))
	require.False(t, listed(""))
	require.NoError(t, server.Approve(id, "carol", ""))
	require.True(t, listed(id), "whatever its state")
	passed := file(t, server, teleportsim.Request{})
	require.NoError(t, server.PastExpiry(passed))
	require.False(t, listed(passed))
	_, err := c.Request(soon(t), passed)
	require.NoError(t, err)
	server.SetRole("jira-agent", teleportsim.Role{Rules: map[string][]string{types.KindAccessRequest: {types.VerbRead}}})
	require.False(t, listed(id), "without the right nothing is listed")
}

func TestListedServesAnAuthServiceWithoutPages(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{})
	server.Inject(teleportsim.Fault{RPC: "ListAccessRequests", Err: errNotImplemented()})
	listed, err := c.Listed(soon(t), id)
	require.NoError(t, err)
	require.True(t, listed)
}

func TestListRightIsThatOfTheAgentsRoles(t *testing.T) {
	t.Parallel()
	allow := func(verbs ...string) map[string][]string {
		return map[string][]string{types.KindAccessRequest: verbs}
	}
	for name, tc := range map[string]struct {
		rules, deny map[string][]string
		want        sync.ListRight
	}{
		"as shipped":            {teleportsim.PluginRole().Rules, nil, sync.ListRightGranted},
		"any verb":              {allow("*"), nil, sync.ListRightGranted},
		"anything":              {map[string][]string{"*": {"*"}}, nil, sync.ListRightGranted},
		"no list":               {allow("read"), nil, sync.ListRightLacking},
		"no read":               {allow("list"), nil, sync.ListRightLacking},
		"nothing":               {nil, nil, sync.ListRightLacking},
		"list denied":           {allow("list", "read"), allow("list"), sync.ListRightLacking},
		"read denied":           {allow("list", "read"), allow("read"), sync.ListRightLacking},
		"all denied":            {allow("list", "read"), map[string][]string{"*": {"*"}}, sync.ListRightLacking},
		"something else denied": {allow("list", "read"), map[string][]string{"user": {"list"}}, sync.ListRightGranted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, c := cluster(t, teleportsim.Config{AgentRole: &teleportsim.Role{Rules: tc.rules, Deny: tc.deny}})
			file(t, server, teleportsim.Request{})
			right, err := c.ListRight(soon(t))
			require.NoError(t, err)
			require.Equal(t, tc.want, right)
		})
	}
}

func TestListRightIsOfAllRolesTogetherAndUnknownUnderAnUnreadCondition(t *testing.T) {
	t.Parallel()
	role := func(allow, deny []types.Rule) types.Role {
		spec := types.RoleSpecV6{Allow: types.RoleConditions{Rules: allow}, Deny: types.RoleConditions{Rules: deny}}
		r, err := types.NewRole("r", spec)
		require.NoError(t, err)
		return r
	}
	rule := func(where string, verbs ...string) []types.Rule {
		return []types.Rule{{Resources: []string{types.KindAccessRequest}, Verbs: verbs, Where: where}}
	}
	list, read := role(rule("", types.VerbList), nil), role(rule("", types.VerbRead), nil)
	require.Equal(t, sync.ListRightGranted, listRight([]types.Role{list, read}))
	require.Equal(t, sync.ListRightLacking, listRight([]types.Role{list, read, role(nil, rule("", types.VerbRead))}))
	require.Equal(t, sync.ListRightUnknown, listRight([]types.Role{list, read, role(nil, rule("x", types.VerbRead))}))
	require.Equal(t, sync.ListRightUnknown, listRight([]types.Role{list, role(rule("x", types.VerbRead), nil)}))
	require.Equal(t, sync.ListRightLacking, listRight([]types.Role{role(rule("x", types.VerbRead), nil)}))
	require.Equal(t, sync.ListRightUnknown, listRight(nil))
}

func TestListRightIsShownByAnothersRequestWhereRolesAreNotTold(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{NoUserRoles: true})
	right := func() sync.ListRight {
		r, err := c.ListRight(soon(t))
		require.NoError(t, err)
		return r
	}
	require.Equal(t, sync.ListRightUnknown, right())
	file(t, server, teleportsim.Request{User: "jira-agent"})
	require.Equal(t, sync.ListRightUnknown, right(), "everybody sees their own")
	file(t, server, teleportsim.Request{})
	require.Equal(t, sync.ListRightGranted, right())
	server.SetRole("jira-agent", teleportsim.Role{Rules: map[string][]string{types.KindAccessRequest: {types.VerbRead}}})
	require.Equal(t, sync.ListRightUnknown, right())
	server.Stop()
	_, err := c.ListRight(soon(t))
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
}

func TestAnApprovalOfLessThanWasAskedForIsTold(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{Roles: []string{"admin", "editor"}, AccessTTL: 8 * time.Hour})
	asked, err := c.Request(soon(t), id)
	require.NoError(t, err)
	require.Empty(t, asked.GrantedRoles)
	require.Zero(t, asked.StartsAt)
	require.Zero(t, asked.EndsAt)
	starts, ends := asked.Created.Add(time.Hour), asked.Created.Add(2*time.Hour)
	less := teleportsim.Narrowing{Roles: []string{"editor"}, StartsAt: starts, EndsAt: ends}
	require.NoError(t, server.ApproveLess(id, "", "", less))
	granted, err := c.Request(soon(t), id)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"admin", "editor"}, granted.Roles)
	require.Equal(t, []string{"editor"}, granted.GrantedRoles)
	require.Equal(t, starts, granted.StartsAt)
	require.Equal(t, ends, granted.EndsAt)

	whole := file(t, server, teleportsim.Request{Roles: []string{"admin", "editor"}})
	require.NoError(t, server.Approve(whole, "carol", ""))
	all, err := c.Request(soon(t), whole)
	require.NoError(t, err)
	require.Empty(t, all.GrantedRoles)
	require.Zero(t, all.StartsAt)
	require.Zero(t, all.EndsAt)
}

func TestResourcesWithConstraintsAreShown(t *testing.T) {
	t.Parallel()
	node := types.ResourceID{ClusterName: "prod", Kind: "node", Name: "web"}
	object := types.ResourceID{ClusterName: "prod", Kind: "kube", Name: "k8s", SubResourceName: "ns/pod"}
	access := func(id types.ResourceID, constraints ...[]byte) []teleportsim.ResourceAccess {
		return []teleportsim.ResourceAccess{{ID: id, Constraints: slices.Concat(constraints...)}}
	}
	version := func(v string) []byte { return bytesField(1, []byte(v)...) }
	unread := []string{"/prod/node/web (narrowed in a way that this release cannot read)"}
	misleading := types.ResourceID{ClusterName: "prod", Kind: "node", Name: "web (SSH logins: nobody)"}
	server, c := cluster(t, teleportsim.Config{})
	for name, tc := range map[string]struct {
		access []teleportsim.ResourceAccess
		shown  []string
		only   string
	}{
		"unconstrained": {
			[]teleportsim.ResourceAccess{{ID: node}, {ID: object}},
			[]string{"/prod/node/web", "/prod/kube/k8s/ns/pod"},
			"",
		},
		"constrained": {
			[]teleportsim.ResourceAccess{
				{ID: node, Constraints: teleportsim.SSHLogins("root", "ubuntu")},
				{ID: object, Constraints: teleportsim.AWSRoles("arn:aws:iam::1:role/admin")},
			},
			[]string{
				"/prod/node/web (SSH logins: root, ubuntu)",
				"/prod/kube/k8s/ns/pod (AWS roles: arn:aws:iam::1:role/admin)",
			},
			"",
		},
		"a misleading name": {access(misleading), []string{`"/prod/node/web (SSH logins: nobody)"`}, ""},
		"a misleading login": {
			access(node, teleportsim.SSHLogins("a, b", "")), []string{`/prod/node/web (SSH logins: "a, b", "")`}, "",
		},
		"no login":           {access(node, teleportsim.SSHLogins()), unread, unreadable},
		"a newer constraint": {access(node, version("v1"), bytesField(12)), unread, unreadable},
		"a newer version":    {access(node, version("v2"), bytesField(11, bytesField(1, 'r')...)), unread, unreadable},
		"a newer detail":     {access(node, version("v1"), bytesField(11, bytesField(2, 'r')...)), unread, unreadable},
		"two constraints":    {access(node, teleportsim.SSHLogins("a"), teleportsim.AWSRoles("b")), unread, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := file(t, server, teleportsim.Request{
				ResourceAccess: tc.access, Roles: []string{"access"}, Kind: teleportsim.ShortTerm,
			})
			r, err := c.Request(soon(t), id)
			require.NoError(t, err)
			require.Equal(t, tc.shown, r.Resources)
			require.Equal(t, tc.only, r.OnlyInTeleport)
		})
	}
}
