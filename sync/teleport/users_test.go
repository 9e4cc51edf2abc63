package teleport

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

// peopled is a cluster whose users the agent may read. change, where given, is made to the client's
// configuration.
func peopled(t *testing.T, change ...func(*Config)) (*teleportsim.Server, *Client) {
	t.Helper()
	role := teleportsim.PluginRoleWithReview()
	server, cfg := start(t, teleportsim.Config{AgentUser: "bot-jira", AgentRole: &role})
	for _, c := range change {
		c(&cfg)
	}
	return server, connect(t, cfg)
}

func withTrait(name string, ids ...string) teleportsim.User {
	return teleportsim.User{Name: name, Traits: map[string][]string{"jira_account_id": ids, "logins": {"root"}}}
}

func set(t *testing.T, server *teleportsim.Server, users ...teleportsim.User) {
	t.Helper()
	for _, u := range users {
		require.NoError(t, server.SetUser(u))
	}
}

func TestUsersAreFoundByTheirExactTrait(t *testing.T) {
	t.Parallel()
	server, c := peopled(t)
	set(
		t,
		server,
		withTrait("bob", "712020:b0b", "557058:old"),
		withTrait("carol", "712020:B0B"),
		withTrait("dave", "712020:b0b "),
		withTrait("erin", "712020:b0b-more"),
		withTrait("frank", "shared"),
		withTrait("grace", "shared", "712020:grace"),
		withTrait("heidi"),
		withTrait("ivan", ""),
		teleportsim.User{
			Name:   "judy",
			Traits: map[string][]string{"other": {"712020:b0b"}},
		},
		teleportsim.User{Name: "712020:b0b"},
	)
	for id, want := range map[string][]sync.User{
		"712020:b0b":    {{Name: "bob", JiraIDs: []string{"712020:b0b", "557058:old"}}},
		"557058:old":    {{Name: "bob", JiraIDs: []string{"712020:b0b", "557058:old"}}},
		"712020:grace":  {{Name: "grace", JiraIDs: []string{"shared", "712020:grace"}}},
		"shared":        {{Name: "frank", JiraIDs: []string{"shared"}}, {Name: "grace", JiraIDs: []string{"shared", "712020:grace"}}},
		"712020:nobody": nil,
		"root":          nil,
		"":              nil, // ivan's empty value is nobody's account
	} {
		got, err := c.Users(soon(t), sync.UserQuery{JiraID: id})
		require.NoError(t, err, id)
		require.Equal(t, want, got, id)
	}
}

func TestUsersAreFoundOnEveryPage(t *testing.T) {
	t.Parallel()
	server, c := peopled(t)
	for i := range 2*userPage + 20 {
		set(t, server, teleportsim.User{Name: fmt.Sprintf("user-%04d", i)})
	}
	set(t, server, withTrait("user-0000", "x"), withTrait("user-0250", "x"), withTrait("user-0419", "x"))
	got, err := c.Users(soon(t), sync.UserQuery{JiraID: "x"})
	require.NoError(t, err)
	var names []string
	for _, u := range got {
		names = append(names, u.Name)
	}
	require.Equal(t, []string{"user-0000", "user-0250", "user-0419"}, names)
	require.Equal(t, 3, server.Calls()["ListUsers"])
}

func TestUsersAreFoundByTheirExactName(t *testing.T) {
	t.Parallel()
	server, c := peopled(t)
	set(t, server, withTrait("bob@example.com", "712020:b0b"), teleportsim.User{Name: "carol"})
	for name, want := range map[string][]sync.User{
		"bob@example.com": {{Name: "bob@example.com", JiraIDs: []string{"712020:b0b"}}},
		"carol":           {{Name: "carol"}},
		"BOB@example.com": nil,
		"nobody":          nil,
		"":                nil,
	} {
		got, err := c.Users(soon(t), sync.UserQuery{Name: name})
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	_, err := c.Users(soon(t), sync.UserQuery{Name: "carol", JiraID: "x"})
	require.True(t, failure(t, err).Permanent)
}

func TestUsersWhoCouldNotLogInThemselvesAreLeftOut(t *testing.T) {
	t.Parallel()
	server, c := peopled(t)
	soonOver, over := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	for name, change := range map[string]func(*teleportsim.User){
		"bot":     func(u *teleportsim.User) { u.Bot = true },
		"locked":  func(u *teleportsim.User) { u.LockedUntil = soonOver },
		"expired": func(u *teleportsim.User) { u.Expires = over },
	} {
		u := withTrait(name, "x")
		change(&u)
		set(t, server, u)
	}
	released, temporary := withTrait("released", "x"), withTrait("temporary", "x")
	released.LockedUntil, temporary.Expires = over, soonOver
	set(t, server, released, temporary)

	got, err := c.Users(soon(t), sync.UserQuery{JiraID: "x"})
	require.NoError(t, err)
	require.Equal(
		t,
		[]sync.User{{Name: "released", JiraIDs: []string{"x"}}, {Name: "temporary", JiraIDs: []string{"x"}}},
		got,
	)
	for name, found := range map[string]int{"bot": 0, "locked": 0, "expired": 0, "released": 1, "temporary": 1, "bot-jira": 0} {
		got, err := c.Users(soon(t), sync.UserQuery{Name: name})
		require.NoError(t, err)
		require.Len(t, got, found, name)
	}
}

func TestUserTraitIsTheConfiguredOne(t *testing.T) {
	t.Parallel()
	server, c := peopled(t, func(cfg *Config) { cfg.UserTrait = "jira" })
	set(t, server, withTrait("bob", "x"), teleportsim.User{Name: "carol", Traits: map[string][]string{"jira": {"x"}}})
	got, err := c.Users(soon(t), sync.UserQuery{JiraID: "x"})
	require.NoError(t, err)
	require.Equal(t, []sync.User{{Name: "carol", JiraIDs: []string{"x"}}}, got)
}

func TestUsersNeedARightOfTheirOwn(t *testing.T) {
	t.Parallel()
	server, c := peopled(t)
	set(t, server, withTrait("bob", "x"))
	server.SetRole("bot-jira", teleportsim.PluginRole())
	for _, q := range []sync.UserQuery{{Name: "bob"}, {JiraID: "x"}} {
		_, err := c.Users(soon(t), q)
		e := failure(t, err)
		require.ErrorIs(t, err, sync.ErrForbidden)
		require.ErrorContains(t, err, "user: [list, read]")
		require.Equal(t, sync.ScopeRequest, e.Scope)
		require.True(t, e.Permanent)
	}
	awaitCall(t, c)

	server.Inject(teleportsim.Fault{RPC: "ListUsers", Kind: teleportsim.FaultError}) // Unavailable
	server.SetRole("bot-jira", teleportsim.PluginRoleWithReview())
	_, err := c.Users(soon(t), sync.UserQuery{JiraID: "x"})
	e := failure(t, err)
	require.NotErrorIs(t, err, sync.ErrForbidden)
	require.Equal(t, sync.ScopeSide, e.Scope)
	require.False(t, e.Permanent)
	require.False(t, e.Uncertain)
}
