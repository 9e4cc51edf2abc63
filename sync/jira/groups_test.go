package jira

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

var (
	bobOnCloud      = sync.Person{AccountID: "712020:b0b", Active: true}
	bobOnDataCenter = sync.Person{Key: "JIRAUSER2", Name: "bob", Active: true}
)

// userGroups is a user of Data Center with expand=groups.
func userGroups(size any, names ...string) map[string]any {
	items := []any{}
	for _, name := range names {
		items = append(items, map[string]any{"name": name, "self": "x"})
	}
	return map[string]any{"key": "JIRAUSER2", "name": "bob", "groups": map[string]any{"size": size, "items": items}}
}

func TestGroupsAreReadAsTheDeploymentOffersThem(t *testing.T) {
	t.Parallel()
	cloudList := []any{
		map[string]any{"name": "approvers", "groupId": "276f955c", "self": "x"},
		map[string]any{"name": "jira-users", "groupId": nil},
		map[string]any{"groupId": "6e87dc72"},
	}
	for name, tt := range map[string]struct {
		deployment Deployment
		person     sync.Person
		route      string
		body       any
		query      map[string][]string
		want       []string
	}{
		"Cloud": {
			Cloud, bobOnCloud, "/user/groups", cloudList,
			map[string][]string{"accountId": {"712020:b0b"}},
			[]string{"approvers", "276f955c", "jira-users", "6e87dc72"},
		},
		"Cloud, in none": {Cloud, bobOnCloud, "/user/groups", []any{}, map[string][]string{"accountId": {"712020:b0b"}}, nil},
		"Data Center": {
			DataCenter, bobOnDataCenter, "/user", userGroups(2, "approvers", "jira-users"),
			map[string][]string{"key": {"JIRAUSER2"}, "expand": {"groups"}},
			[]string{"approvers", "jira-users"},
		},
		"Data Center, by name": {
			DataCenter,
			sync.Person{Name: "bob"},
			"/user", userGroups(1, "approvers"),
			map[string][]string{"username": {"bob"}, "expand": {"groups"}},
			[]string{"approvers"},
		},
		"Data Center, in none": {
			DataCenter, bobOnDataCenter, "/user", userGroups(0),
			map[string][]string{"key": {"JIRAUSER2"}, "expand": {"groups"}},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, routes{"GET " + tt.route: always(200, tt.body)})
			c, _ := connected(t, f, tt.deployment)
			groups, err := c.Groups(testContext(t), tt.person)
			require.NoError(t, err)
			require.Equal(t, tt.want, groups)
			require.Equal(t, tt.query, f.received("GET", tt.route)[0].query)
		})
	}
}

func TestNobodyIsInNoGroup(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil) // any call fails the test
	for deployment, people := range map[Deployment][]sync.Person{
		Cloud:      {{}, {AccountID: "unknown"}, {Name: "bob", Key: "bob"}, {DisplayName: "Bob", Email: "bob@example.com"}},
		DataCenter: {{}, {DisplayName: "Bob"}, {AccountID: "712020:b0b"}},
	} {
		c, _ := connected(t, f, deployment)
		for _, p := range people {
			groups, err := c.Groups(testContext(t), p)
			require.NoError(t, err)
			require.Empty(t, groups)
		}
	}
}

func TestGroupsThatCannotBeReadAreAnError(t *testing.T) {
	t.Parallel()
	page := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			send(w, code, "<html></html>")
		}
	}
	type want struct {
		side, permanent, forbidden bool
		says                       string
	}
	for name, tt := range map[string]struct {
		code              int
		cloud, dataCenter any // nil: not asked
		want              want
	}{
		"no right": {
			403, jiraError("You do not have permission."), jiraError("No."),
			want{permanent: true, forbidden: true, says: "Browse users and groups"},
		},
		"no scope": {
			401,
			map[string]any{"code": 401, "message": "Unauthorized; scope does not match"},
			nil,
			want{permanent: true, forbidden: true, says: "read:jira-user"},
		},
		"no login":         {401, jiraError("no"), jiraError("no"), want{side: true}},
		"404 of a proxy":   {0, page(404), page(404), want{side: true}},
		"login page":       {0, page(200), page(200), want{side: true, says: "login page"}},
		"unavailable":      {503, "", "", want{side: true}},
		"no list":          {200, "null", nil, want{says: "no list of groups"}},
		"not a list":       {200, map[string]any{"values": []any{}}, nil, want{says: "cannot be read"}},
		"no groups":        {200, nil, map[string]any{"key": "JIRAUSER2"}, want{says: "how many groups"}},
		"null groups":      {200, nil, map[string]any{"groups": nil}, want{says: "how many groups"}},
		"no count":         {200, nil, map[string]any{"groups": map[string]any{"items": []any{}}}, want{says: "how many groups"}},
		"cut short":        {200, nil, userGroups(3, "a", "b"), want{permanent: true, says: "2 of the user's 3 groups"}},
		"without expanded": {200, nil, userGroups(3), want{permanent: true, says: "0 of the user's 3 groups"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for deployment, body := range map[Deployment]any{Cloud: tt.cloud, DataCenter: tt.dataCenter} {
				if body == nil {
					continue
				}
				f := newFake(t, routes{"GET /user/groups": always(tt.code, body), "GET /user": always(tt.code, body)})
				c, _ := connected(t, f, deployment)
				for call := 1; call <= 2; call++ {
					_, err := c.Groups(
						testContext(t),
						map[Deployment]sync.Person{Cloud: bobOnCloud, DataCenter: bobOnDataCenter}[deployment],
					)
					e := asSyncError(t, err)
					require.Equal(t, tt.want.side, e.Scope == sync.ScopeSide, err)
					require.Equal(t, tt.want.permanent, e.Permanent, err)
					require.False(t, e.Uncertain)
					if tt.want.forbidden {
						require.ErrorIs(t, err, sync.ErrForbidden)
					} else {
						require.NotErrorIs(t, err, sync.ErrForbidden)
					}
					require.ErrorContains(t, err, tt.want.says)
					requireNoSecret(t, err.Error())
					require.Len(t, f.calls, call, "an error is not kept")
				}
			}
		})
	}
}

func TestUserWhoIsGoneIsInNoGroup(t *testing.T) {
	t.Parallel()
	gone := always(404, jiraError("The user does not exist"))
	f := newFake(t, routes{"GET /user/groups": gone, "GET /user": gone})
	for deployment, person := range map[Deployment]sync.Person{Cloud: bobOnCloud, DataCenter: bobOnDataCenter} {
		c, _ := connected(t, f, deployment)
		groups, err := c.Groups(testContext(t), person)
		require.NoError(t, err)
		require.Empty(t, groups)
	}
}

// The simulator was written from the same documents, apart from the adapter; both deployments and
// the loss of the permission.
func TestGroupsOfASimulatedJira(t *testing.T) {
	t.Parallel()
	for _, d := range []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter} {
		sim := jirasim.New(jirasim.Example(d))
		base, stop := sim.Start()
		t.Cleanup(stop)
		cfg := testConfig(base)
		cfg.Username, cfg.Token, cfg.Project = jirasim.AgentUsername, func() string { return jirasim.AgentToken }, "OPS"
		c, err := Connect(testContext(t), cfg, zap.NewNop())
		require.NoError(t, err)
		t.Cleanup(c.Close)

		people := map[jirasim.Deployment][]sync.Person{
			jirasim.Cloud:      {{AccountID: "712020:bob"}, {AccountID: "712020:mallory"}, {AccountID: "712020:agent"}, {AccountID: "nobody"}, {AccountID: "712020:alice"}},
			jirasim.DataCenter: {{Key: "JIRAUSER10102", Name: "renamed"}, {Name: "mallory"}, {Name: "agent"}, {Key: "nobody"}, {Name: "alice"}},
		}[d]
		for i, want := range [][]string{{"approvers", "everybody"}, {"everybody"}, nil, nil} {
			groups, err := c.Groups(testContext(t), people[i])
			require.NoError(t, err)
			require.Subset(t, groups, want)
			ids := 0
			if d == jirasim.Cloud {
				ids = len(want)
			}
			require.Len(t, groups, len(want)+ids, "%v", groups)
		}
		sim.UpdateUser("agent", func(u *jirasim.User) { u.Permissions = []string{jirasim.BrowseProjects} })
		_, err = c.Groups(testContext(t), people[4])
		require.ErrorIs(t, err, sync.ErrForbidden)
		require.True(t, asSyncError(t, err).Permanent)
	}
}

func TestGroupsAreBelievedForAMinute(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"GET /user/groups": always(200, []any{map[string]any{"name": "approvers"}})})
	c, _ := connected(t, f, Cloud)
	for _, p := range []sync.Person{bobOnCloud, bobOnCloud, {AccountID: "712020:b0b", Email: "shown@example.com"}, {AccountID: "other"}, bobOnCloud} {
		groups, err := c.Groups(testContext(t), p)
		require.NoError(t, err)
		require.Equal(t, []string{"approvers"}, groups)
		groups[0] = "changed by the caller"
	}
	require.Len(t, f.received("GET", "/user/groups"), 2)
}
