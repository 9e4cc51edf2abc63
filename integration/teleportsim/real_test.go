package teleportsim_test

import (
	"context"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
)

// What a real Auth Service (17.0.0-dev) was seen to answer where the simulation once answered
// otherwise.

// everyCall makes each call that the agent makes.
func everyCall(ctx context.Context, clt *client.Client, id string) map[string]error {
	_, ping := clt.Ping(ctx)
	_, list := clt.ListAccessRequests(ctx, &proto.ListAccessRequestsRequest{})
	_, read := clt.GetPluginData(ctx, types.PluginDataFilter{Kind: types.KindAccessRequest, Resource: id})
	_, user := clt.GetUser(ctx, "alice", false)
	_, roles := clt.GetCurrentUserRoles(ctx)
	_, review := clt.SubmitAccessReview(ctx, types.AccessReviewSubmission{
		RequestID: id, Review: types.AccessReview{Author: "alice", ProposedState: approved},
	})
	answers := map[string]error{
		"Ping": ping, "ListAccessRequests": list, "GetPluginData": read, "GetUser": user, "GetCurrentUserRoles": roles,
		"SubmitAccessReview": review,
		"UpdatePluginData": clt.UpdatePluginData(ctx, types.PluginDataUpdateParams{
			Kind: types.KindAccessRequest, Resource: id, Plugin: "jira", Set: map[string]string{"a": "b"},
		}),
		"SetAccessRequestState": clt.SetAccessRequestState(ctx, types.AccessRequestUpdate{RequestID: id, State: approved}),
	}
	watch, err := clt.NewWatcher(ctx, types.Watch{Kinds: []types.WatchKind{{Kind: types.KindAccessRequest}}})
	if err != nil {
		answers["WatchEvents"] = err
		return answers
	}
	defer watch.Close()
	select {
	case <-watch.Done():
		answers["WatchEvents"] = watch.Error()
	case <-watch.Events():
		answers["WatchEvents"] = nil
	case <-ctx.Done():
		answers["WatchEvents"] = nil
	}
	return answers
}

func TestEveryCallOfACallerWithoutUserOrRoleIsNotFound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lose    func(*teleportsim.Server)
		restore func(*teleportsim.Server) error
		text    string
	}{
		"user": {
			func(s *teleportsim.Server) { s.DeleteUser("jira-agent") },
			func(s *teleportsim.Server) error {
				s.SetRole("jira-agent", teleportsim.PluginRole())
				return s.SetUser(teleportsim.User{Name: "jira-agent", Bot: true})
			},
			"access denied\n\tuser \"jira-agent\" not found",
		},
		"role": {
			func(s *teleportsim.Server) { s.RemoveRole("jira-agent") },
			func(s *teleportsim.Server) error { s.SetRole("jira-agent", teleportsim.PluginRole()); return nil },
			"access denied\n\trole jira-agent is not found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startCluster(t, teleportsim.Config{})
			clt := connect(t, server, "")
			id := file(t, server, teleportsim.Request{})
			tc.lose(server)
			for call, err := range everyCall(testContext(t), clt, id) {
				require.True(t, trace.IsNotFound(err), "%s: %v", call, err)
				require.Equal(t, tc.text, err.Error(), call)
			}
			require.NoError(t, tc.restore(server))
			_, err := clt.Ping(testContext(t))
			require.NoError(t, err)
		})
	}
}

func TestEveryCallOfALockedUserIsDeniedWhileItsWatchGoesOn(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	watch := openWatch(t, clt, nil)
	server.Lock("jira-agent")
	id := file(t, server, teleportsim.Request{})
	require.Equal(t, id, next(t, watch).Resource.GetName())
	for call, err := range everyCall(testContext(t), clt, id) {
		require.True(t, trace.IsAccessDenied(err), "%s: %v", call, err)
		require.Equal(t, "access denied", err.Error(), call)
	}
	server.Unlock("jira-agent")
	_, err := clt.Ping(testContext(t))
	require.NoError(t, err)
}

func TestWithoutTheRightToListNothingIsListedOrFoundAndTheWatchGoesOn(t *testing.T) {
	t.Parallel()
	rules := func(access ...string) map[string][]string {
		return map[string][]string{types.KindAccessRequest: access, types.KindAccessPluginData: {types.VerbUpdate}}
	}
	for name, role := range map[string]teleportsim.Role{
		"not allowed": {Rules: rules(types.VerbRead, types.VerbUpdate)},
		"denied": {
			Rules: rules(types.VerbList, types.VerbRead, types.VerbUpdate),
			Deny:  map[string][]string{types.KindAccessRequest: {types.VerbList}},
		},
		"denied by asterisks": {
			Rules: rules(types.VerbList, types.VerbRead, types.VerbUpdate),
			Deny:  map[string][]string{types.Wildcard: {types.VerbList}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startCluster(t, teleportsim.Config{AgentRole: &role})
			clt := connect(t, server, "")
			watch := openWatch(t, clt, nil)
			id := file(t, server, teleportsim.Request{})
			require.Equal(t, id, next(t, watch).Resource.GetName())
			for _, filter := range []types.AccessRequestFilter{{}, {ID: id}, {SearchKeywords: []string{id}}} {
				found, err := clt.GetAccessRequests(testContext(t), filter)
				require.NoError(t, err)
				require.Empty(t, found)
			}
		})
	}
}

func TestPluginDataOfNoRequestIsRefused(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	update := func(id string) error {
		return clt.UpdatePluginData(testContext(t), types.PluginDataUpdateParams{
			Kind: types.KindAccessRequest, Resource: id, Plugin: "jira", Set: map[string]string{"a": "b"},
		})
	}
	err := update("nowhere")
	require.True(t, trace.IsNotFound(err), "%v", err)
	require.Equal(t, `no access request matching "nowhere"`, err.Error())
	require.True(t, trace.IsBadParameter(update("")))
}

func TestARequestIsDeletedWhenItsTimeHasPassed(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	watch := openWatch(t, connect(t, server, ""), nil)
	id := file(t, server, teleportsim.Request{TTL: time.Hour})
	later := file(t, server, teleportsim.Request{TTL: 3 * time.Hour})
	require.Equal(t, types.OpPut, next(t, watch).Type)
	require.Equal(t, types.OpPut, next(t, watch).Type)
	request := server.Request(id)
	require.Nil(t, request.Spec.ResourceExpiry, "the expiry of a pending request stands among the metadata")
	require.WithinDuration(t, time.Now().Add(time.Hour), *request.Metadata.Expires, time.Minute)

	server.ShiftClock(2 * time.Hour)
	event := next(t, watch)
	require.Equal(t, types.OpDelete, event.Type)
	require.Equal(t, id, event.Resource.GetName())
	require.Len(t, server.Audit(id), 1)
	require.NotNil(t, server.Request(later))
}

func TestTimesAreOfTheServersOwnClock(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{ClockShift: -3 * time.Hour})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{TTL: time.Hour})
	request := server.Request(id)
	require.WithinDuration(t, time.Now().Add(-3*time.Hour), request.GetCreationTime(), time.Minute)
	require.WithinDuration(t, time.Now().Add(-2*time.Hour), request.Expiry(), time.Minute)
	listed, err := clt.GetAccessRequests(testContext(t), types.AccessRequestFilter{SearchKeywords: []string{id}})
	require.NoError(t, err)
	require.Len(t, listed, 1, "by the server's clock it has not expired")
	require.NoError(t, server.Review(id, "bob", true, ""))
	require.WithinDuration(t, server.Now(), server.Request(id).GetReviews()[0].Created, time.Minute)
}

func TestEventsOfOnePeriodComeTogether(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{EventDelay: 100 * time.Millisecond})
	watch := openWatch(t, connect(t, server, ""), nil)
	first := file(t, server, teleportsim.Request{})
	select {
	case event := <-watch.Events():
		require.Equal(t, first, event.Resource.GetName())
	case <-testContext(t).Done():
		require.FailNow(t, "the event is never told")
	}
}

func TestListsRefuseANegativeLimit(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	_, err := connect(t, server, "").ListAccessRequests(testContext(t), &proto.ListAccessRequestsRequest{Limit: -1})
	require.True(t, trace.IsBadParameter(err), "%v", err)
}

func TestRolesOfTheCallerAreThoseThatAreEnforced(t *testing.T) {
	t.Parallel()
	role := teleportsim.PluginRole()
	role.Deny = map[string][]string{types.KindAccessRequest: {types.VerbList}}
	server := startCluster(t, teleportsim.Config{AgentRole: &role})
	roles, err := connect(t, server, "").GetCurrentUserRoles(testContext(t))
	require.NoError(t, err)
	require.Len(t, roles, 1)
	require.Equal(t, "jira-agent", roles[0].GetName())
	noList := types.NewRule(types.KindAccessRequest, []string{types.VerbList})
	update := types.NewRule(types.KindAccessPluginData, []string{types.VerbUpdate})
	require.Equal(t, []types.Rule{noList}, roles[0].GetRules(types.Deny))
	require.Contains(t, roles[0].GetRules(types.Allow), update)

	old := startCluster(t, teleportsim.Config{NoUserRoles: true})
	_, err = connect(t, old, "").GetCurrentUserRoles(testContext(t))
	require.True(t, trace.IsNotImplemented(err), "%v", err)
}

func TestAnApprovalMayGrantLess(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{AccessTTL: 8 * time.Hour})
	id := file(t, server, teleportsim.Request{Roles: []string{"admin", "editor"}})
	asked := server.Request(id)
	starts, ends := asked.GetCreationTime().Add(time.Hour), asked.GetCreationTime().Add(2*time.Hour)
	require.Error(t, server.ApproveLess(id, "", "", teleportsim.Narrowing{Roles: []string{"owner"}}))
	less := teleportsim.Narrowing{Roles: []string{"editor"}, StartsAt: starts, EndsAt: ends}
	require.NoError(t, server.ApproveLess(id, "", "", less))
	granted := server.Request(id)
	require.Equal(t, []string{"editor"}, granted.GetRoles())
	require.ElementsMatch(t, []string{"admin", "editor"}, granted.GetOriginalRoles())
	require.Equal(t, starts, *granted.GetAssumeStartTime())
	require.Equal(t, ends, granted.GetAccessExpiry())
	require.Equal(t, asked.GetMaxDuration(), granted.GetMaxDuration())
	update := server.Audit(id)[1]
	require.Regexp(t, `^[0-9a-f-]{36}\.example\.teleport\.sh$`, update.UpdatedBy, "tctl on the host")
}
