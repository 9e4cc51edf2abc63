package teleportsim_test

import (
	"fmt"
	"testing"
	"time"

	userspb "github.com/gravitational/teleport/api/gen/proto/go/teleport/users/v1"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
)

func setUser(t *testing.T, server *teleportsim.Server, user teleportsim.User) {
	t.Helper()
	require.NoError(t, server.SetUser(user))
}

func TestAUserIsReadWithTraitsAndState(t *testing.T) {
	t.Parallel()
	role := teleportsim.PluginRoleWithReview()
	server := startCluster(t, teleportsim.Config{AgentUser: "bot-jira", AgentRole: &role})
	clt := connect(t, server, "")
	locked, expires := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	setUser(
		t,
		server,
		teleportsim.User{Name: "bob", Traits: map[string][]string{"jira": {"1", "2"}}, LockedUntil: locked, Expires: expires},
	)

	bob, err := clt.GetUser(testContext(t), "bob", false)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, bob.GetTraits()["jira"])
	require.True(t, bob.GetStatus().IsLocked)
	require.WithinDuration(t, locked, bob.GetStatus().LockExpires, time.Second)
	require.WithinDuration(t, expires, bob.Expiry(), time.Second)
	require.False(t, bob.IsBot())
	agent, err := clt.GetCurrentUser(testContext(t))
	require.NoError(t, err)
	require.Equal(t, "bot-jira", agent.GetName())
	require.True(t, agent.IsBot())

	server.DeleteUser("bob")
	_, err = clt.GetUser(testContext(t), "bob", false)
	require.True(t, trace.IsNotFound(err), "%v", err)
	require.Error(t, server.SetUser(teleportsim.User{}), "a user has a name")
}

func TestUsersAreListedInPagesByName(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	role := teleportsim.PluginRoleWithReview()
	server := startCluster(t, teleportsim.Config{AgentUser: "zz-agent", AgentRole: &role})
	clt := connect(t, server, "")
	var want []string
	for i := range 450 {
		want = append(want, fmt.Sprintf("user-%03d", i))
		setUser(t, server, teleportsim.User{Name: want[i]})
	}
	want = append(want, "zz-agent")
	for asked, sizes := range map[int32][]int{0: {200, 200, 51}, 1000: {200, 200, 51}, 150: {150, 150, 150, 1}} {
		var got []string
		query := &userspb.ListUsersRequest{PageSize: asked}
		for page := 0; ; page++ {
			answer, err := clt.ListUsers(ctx, query)
			require.NoError(t, err)
			require.Len(t, answer.Users, sizes[page])
			for _, u := range answer.Users {
				got = append(got, u.GetName())
			}
			if query.PageToken = answer.NextPageToken; query.PageToken == "" {
				break
			}
		}
		require.Equal(t, want, got)
	}
	answer, err := clt.ListUsers(
		ctx,
		&userspb.ListUsersRequest{Filter: &types.UserFilter{SearchKeywords: []string{"user-007"}}},
	)
	require.NoError(t, err)
	require.Len(t, answer.Users, 1)
	require.Empty(t, answer.NextPageToken)
}

func TestUsersAreHiddenFromThoseWithoutTheVerbs(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{AgentUser: "bot-jira"})
	clt := connect(t, server, "")
	setUser(t, server, teleportsim.User{Name: "bob"})
	may := func(verbs ...string) {
		role := teleportsim.PluginRole()
		role.Rules[types.KindUser] = verbs
		server.SetRole("bot-jira", role)
	}
	get := func() error { _, err := clt.GetUser(ctx, "bob", false); return err }
	list := func() error { _, err := clt.ListUsers(ctx, &userspb.ListUsersRequest{}); return err }

	require.True(t, trace.IsAccessDenied(get()))
	require.ErrorContains(t, get(), `"read" on "user"`)
	require.ErrorContains(t, list(), `"list" on "user"`)
	_, err := clt.GetUser(ctx, "bot-jira", false)
	require.NoError(t, err, "everybody may read themselves")

	may(types.VerbRead)
	require.NoError(t, get())
	require.True(t, trace.IsAccessDenied(list()))
	may(types.VerbList)
	require.True(t, trace.IsAccessDenied(get()))
	require.ErrorContains(t, list(), `"read" on "user"`)
	may(types.VerbList, types.VerbRead)
	require.NoError(t, list())

	_, err = clt.GetUser(ctx, "bob", true)
	require.ErrorContains(t, err, "only executed by an admin")
	_, err = clt.ListUsers(ctx, &userspb.ListUsersRequest{WithSecrets: true})
	require.ErrorContains(t, err, "only executed by an admin")
	require.True(t, trace.IsNotImplemented(clt.DeleteUser(ctx, "bob")), "the rest is not simulated")
}
