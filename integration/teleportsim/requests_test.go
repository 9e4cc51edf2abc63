package teleportsim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"
	apiutils "github.com/gravitational/teleport/api/utils"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
)

const (
	approved = types.RequestState_APPROVED
	denied   = types.RequestState_DENIED
	pending  = types.RequestState_PENDING
	promoted = types.RequestState_PROMOTED
)

func TestARequestCarriesWhatThePersonAskedForAndThreeTimes(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{RequestTTL: time.Hour, AccessTTL: 8 * time.Hour})
	id := file(t, server, teleportsim.Request{
		User: "alice@example.com", Roles: []string{"editor", "auditor"}, Reason: "incident 7",
		Resources:          []types.ResourceID{{ClusterName: "c", Kind: "node", Name: "n1"}},
		SuggestedReviewers: []string{"bob"},
	})
	require.Equal(t, uuid.Version(7), uuid.MustParse(id).Version())

	got, err := connect(t, server, "").GetAccessRequests(testContext(t), types.AccessRequestFilter{ID: id})
	require.NoError(t, err)
	require.Len(t, got, 1)
	request := got[0]
	require.Equal(t, pending, request.GetState())
	require.Equal(t, "alice@example.com", request.GetUser())
	require.Equal(t, []string{"auditor", "editor"}, request.GetRoles())
	require.Equal(t, "incident 7", request.GetRequestReason())
	require.Equal(t, "n1", request.GetRequestedResourceIDs()[0].Name)
	require.Equal(t, []string{"bob"}, request.GetSuggestedReviewers())
	require.WithinDuration(t, time.Now(), request.GetCreationTime(), patience)
	require.Equal(t, time.Hour, request.Expiry().Sub(request.GetCreationTime()))
	require.Equal(t, 8*time.Hour, request.GetAccessExpiry().Sub(request.GetCreationTime()))
}

func TestARequestNeverOutlivesItsAccess(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	request := server.Request(file(t, server, teleportsim.Request{TTL: 24 * time.Hour, AccessTTL: time.Hour}))
	require.Equal(t, request.GetAccessExpiry(), request.Expiry())
}

func TestARequestForResourcesAloneGetsRolesFromTheServer(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{Resources: []types.ResourceID{{ClusterName: "c", Kind: "node", Name: "n"}}})
	require.NotEmpty(t, server.Request(id).GetRoles())
}

func TestAnImpossibleRequestIsRefused(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	for name, request := range map[string]teleportsim.Request{
		"no user":            {Roles: []string{"editor"}},
		"nothing asked for":  {User: "alice"},
		"reason too long":    {User: "alice", Roles: []string{"editor"}, Reason: strings.Repeat("x", 4097)},
		"too many resources": {User: "alice", Roles: []string{"editor"}, Resources: make([]types.ResourceID, 301)},
	} {
		_, err := server.CreateRequest(request)
		require.True(t, trace.IsBadParameter(err), "%s: %v", name, err)
	}
	require.Empty(t, server.Requests())
	require.Empty(t, server.Audit(""))
}

func TestListsComeInPages(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	var ids []string
	for range 5 {
		ids = append(ids, file(t, server, teleportsim.Request{}))
	}
	for _, descending := range []bool{false, true} {
		for _, sort := range []proto.AccessRequestSort{
			proto.AccessRequestSort_DEFAULT, proto.AccessRequestSort_CREATED, proto.AccessRequestSort_STATE,
		} {
			var got []string
			var sizes []int
			query := &proto.ListAccessRequestsRequest{Limit: 2, Sort: sort, Descending: descending}
			for {
				page, err := clt.ListAccessRequests(ctx, query)
				require.NoError(t, err)
				sizes = append(sizes, len(page.AccessRequests))
				for _, request := range page.AccessRequests {
					got = append(got, request.GetName())
				}
				if query.StartKey = page.NextKey; query.StartKey == "" {
					break
				}
			}
			require.Equal(t, []int{2, 2, 1}, sizes)
			require.ElementsMatch(t, ids, got, "each once, sorted by %v", sort)
			if sort == proto.AccessRequestSort_DEFAULT && !descending {
				require.Equal(t, ids, got)
			}
		}
	}
}

func TestListsCanBeSortedByState(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	first, second, third := file(t, server, teleportsim.Request{}), file(t, server, teleportsim.Request{}), file(
		t,
		server,
		teleportsim.Request{},
	)
	require.NoError(t, server.Deny(second, "bob", ""))
	require.NoError(t, server.Approve(third, "bob", ""))
	got, err := connect(
		t,
		server,
		"",
	).ListAllAccessRequests(testContext(t), &proto.ListAccessRequestsRequest{Sort: proto.AccessRequestSort_STATE})
	require.NoError(t, err)
	require.Equal(t, []string{third, second, first}, names(got)) // APPROVED, DENIED, PENDING
}

func names(requests []*types.AccessRequestV3) []string {
	var ids []string
	for _, request := range requests {
		ids = append(ids, request.GetName())
	}
	return ids
}

func TestAListRefusesWhatTheRealOneRefuses(t *testing.T) {
	t.Parallel()
	clt := connect(t, startCluster(t, teleportsim.Config{}), "")
	for _, query := range []*proto.ListAccessRequestsRequest{{Limit: 16001}, {Sort: proto.AccessRequestSort_USER}} {
		_, err := clt.ListAccessRequests(testContext(t), query)
		require.True(t, trace.IsBadParameter(err), "%v", err)
	}
	_, err := clt.ListAccessRequests(testContext(t), &proto.ListAccessRequestsRequest{Limit: 16000})
	require.NoError(t, err)
}

func TestListsAreFiltered(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	ofAlice := file(t, server, teleportsim.Request{User: "alice"})
	ofCarol := file(t, server, teleportsim.Request{User: "carol"})
	require.NoError(t, server.Approve(ofCarol, "bob", ""))
	for want, filter := range map[string]types.AccessRequestFilter{
		ofAlice: {User: "alice"},
		ofCarol: {State: approved},
	} {
		got, err := clt.ListAllAccessRequests(ctx, &proto.ListAccessRequestsRequest{Filter: &filter})
		require.NoError(t, err)
		require.Equal(t, []string{want}, names(got))
	}
	none, err := clt.GetAccessRequests(ctx, types.AccessRequestFilter{ID: uuid.NewString()})
	require.NoError(t, err, "an unknown ID is an empty list")
	require.Empty(t, none)
}

func TestAnOldServersListFallsBackToTheStream(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	server.Inject(teleportsim.Fault{RPC: "ListAccessRequests", Err: trace.NotImplemented("unknown method")})
	want := []string{file(t, server, teleportsim.Request{}), file(t, server, teleportsim.Request{})}
	got, err := connect(t, server, "").ListAllAccessRequests(testContext(t), &proto.ListAccessRequestsRequest{})
	require.NoError(t, err)
	require.Equal(t, want, names(got))
	require.Equal(t, 1, server.Calls()["GetAccessRequestsV2"])
}

func TestAPageLargerThanTheClientsLimitFails(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	for range 1000 {
		_, err := server.CreateRequest(teleportsim.Request{
			User: "alice", Roles: []string{"editor"}, Reason: strings.Repeat("x", 4096),
			SuggestedReviewers: []string{strings.Repeat("y", 300)},
		})
		require.NoError(t, err)
	}
	_, err := clt.ListAccessRequests(ctx, &proto.ListAccessRequestsRequest{})
	require.True(t, trace.IsLimitExceeded(err), "%v", err)
	page, err := clt.ListAccessRequests(ctx, &proto.ListAccessRequestsRequest{Limit: 200})
	require.NoError(t, err)
	require.Len(t, page.AccessRequests, 200)
}

func TestAListMayTrailWhileALookupByIDDoesNot(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{CacheDelay: time.Hour})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})

	all, err := clt.GetAccessRequests(ctx, types.AccessRequestFilter{})
	require.NoError(t, err)
	require.Empty(t, all)
	one, err := clt.GetAccessRequests(ctx, types.AccessRequestFilter{ID: id})
	require.NoError(t, err)
	require.Len(t, one, 1)

	server.SetCacheDelay(0)
	all, err = clt.GetAccessRequests(ctx, types.AccessRequestFilter{})
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestATrailingListCatchesUp(t *testing.T) {
	t.Parallel()
	const delay = 100 * time.Millisecond
	server := startCluster(t, teleportsim.Config{CacheDelay: delay})
	clt := connect(t, server, "")
	began := time.Now()
	id := file(t, server, teleportsim.Request{})
	var seen []*types.AccessRequestV3
	for len(seen) == 0 {
		var err error
		seen, err = clt.ListAllAccessRequests(testContext(t), &proto.ListAccessRequestsRequest{})
		require.NoError(t, err)
		require.Less(t, time.Since(began), patience)
	}
	require.Equal(t, []string{id}, names(seen))
	require.GreaterOrEqual(t, time.Since(began), delay)
}

func TestARequestPastItsExpiryIsHiddenFromListsButFoundByID(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	require.NoError(t, server.PastExpiry(id))

	all, err := clt.GetAccessRequests(ctx, types.AccessRequestFilter{})
	require.NoError(t, err)
	require.Empty(t, all)
	one, err := clt.GetAccessRequests(ctx, types.AccessRequestFilter{ID: id})
	require.NoError(t, err)
	require.Len(t, one, 1)
	require.True(t, one[0].Expiry().Before(time.Now()))

	// Approving it revives it, as in Teleport.
	require.NoError(t, clt.SetAccessRequestState(ctx, types.AccessRequestUpdate{RequestID: id, State: approved}))
	all, err = clt.GetAccessRequests(ctx, types.AccessRequestFilter{})
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, all[0].GetAccessExpiry(), all[0].Expiry())
}

func TestTheExpiryServiceDeletesOnlyWhatIsDue(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	due, open := file(t, server, teleportsim.Request{TTL: -time.Second}), file(t, server, teleportsim.Request{})
	require.Equal(t, 1, server.ExpireDue())
	require.Nil(t, server.Request(due))
	require.NotNil(t, server.Request(open))
	require.Len(t, server.Audit(due), 1, "an expiry is no event of the audit log")
}

func TestSettingAStateIsRecordedWithDelegatorAndReason(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{AgentUser: "jira"})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{User: "alice", Roles: []string{"editor"}, Reason: "please"})
	ctx := apiutils.WithDelegator(testContext(t), "jira:bob@example.com")
	require.NoError(
		t,
		clt.SetAccessRequestState(ctx, types.AccessRequestUpdate{RequestID: id, State: approved, Reason: "looks fine"}),
	)

	request := server.Request(id)
	require.Equal(t, approved, request.GetState())
	require.Equal(t, "looks fine", request.GetResolveReason())
	require.Equal(t, request.GetAccessExpiry(), request.Expiry())

	events := server.Audit(id)
	require.Len(t, events, 2)
	require.Equal(t, teleportsim.AuditCreate, events[0].Type)
	require.Equal(t, "alice", events[0].User)
	require.Regexp(t, `^[0-9a-f-]{36}\.example\.teleport\.sh$`, events[1].Impersonator)
	events[1].At, events[1].Impersonator = time.Time{}, ""
	require.Equal(t, teleportsim.AuditEvent{
		Type: teleportsim.AuditUpdate, RequestID: id, State: approved, Reason: "looks fine", Expires: request.Expiry(),
		UpdatedBy: "jira", UserKind: "bot", Delegator: "jira:bob@example.com",
	}, events[1])
}

func TestADenialOverwritesAnApprovalAndNothingOverwritesADenial(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})
	set := func(state types.RequestState, reason string) error {
		return clt.SetAccessRequestState(ctx, types.AccessRequestUpdate{RequestID: id, State: state, Reason: reason})
	}
	require.NoError(t, set(approved, "one"))
	require.NoError(t, set(approved, "two"), "repeating overwrites the reason")
	require.Equal(t, "two", server.Request(id).GetResolveReason())
	require.NoError(t, set(denied, "three"))
	require.Equal(t, denied, server.State(id))
	require.NoError(t, set(denied, "four"))
	require.Equal(t, "four", server.Request(id).GetResolveReason())

	err := set(approved, "five")
	require.True(t, trace.IsBadParameter(err), "%v", err)
	require.ErrorContains(t, err, `cannot set request-state "APPROVED" (already denied)`)
	require.Equal(t, "four", server.Request(id).GetResolveReason())
	require.Len(t, server.Audit(id), 5, "a refused change is not in the audit log")
}

func TestSettingAStateIsRefused(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{AgentUser: "jira"})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{Roles: []string{"editor"}})
	own := file(t, server, teleportsim.Request{User: "jira"})
	for name, c := range map[string]struct {
		update types.AccessRequestUpdate
		is     func(error) bool
		text   string
	}{
		"promoted":            {types.AccessRequestUpdate{RequestID: id, State: promoted}, trace.IsBadParameter, "only set when promoting"},
		"unknown":             {types.AccessRequestUpdate{RequestID: "x", State: approved}, trace.IsNotFound, `cannot set state of access request "x" (not found)`},
		"own":                 {types.AccessRequestUpdate{RequestID: own, State: approved}, trace.IsAccessDenied, "your own access requests"},
		"no state":            {types.AccessRequestUpdate{RequestID: id}, trace.IsBadParameter, "missing request state"},
		"long reason":         {types.AccessRequestUpdate{RequestID: id, State: denied, Reason: strings.Repeat("é", 2049)}, trace.IsBadParameter, "resolve reason is too long"},
		"foreign role":        {types.AccessRequestUpdate{RequestID: id, State: approved, Roles: []string{"admin"}}, trace.IsBadParameter, "must be a subset"},
		"roles with a denial": {types.AccessRequestUpdate{RequestID: id, State: denied, Roles: []string{"editor"}}, trace.IsBadParameter, "cannot override roles"},
		"pending and reason":  {types.AccessRequestUpdate{RequestID: id, State: pending, Reason: "r"}, trace.IsBadParameter, "cannot include resolve reason"},
	} {
		err := clt.SetAccessRequestState(testContext(t), c.update)
		require.True(t, c.is(err), "%s: %v", name, err)
		require.ErrorContains(t, err, c.text, name)
	}
	require.Equal(t, pending, server.State(id))
	require.Len(t, server.Audit(id), 1)

	longest := strings.Repeat("x", 4096)
	require.NoError(
		t,
		clt.SetAccessRequestState(testContext(t), types.AccessRequestUpdate{RequestID: id, State: denied, Reason: longest}),
	)
}

func TestAnApprovalMayNarrowTheRoles(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{Roles: []string{"editor", "auditor"}})
	require.NoError(t, connect(t, server, "").SetAccessRequestState(testContext(t), types.AccessRequestUpdate{
		RequestID: id, State: approved, Roles: []string{"auditor"},
	}))
	require.Equal(t, []string{"auditor"}, server.Request(id).GetRoles())
	require.Equal(t, []string{"auditor", "editor"}, server.Request(id).GetOriginalRoles())
}

func TestWithoutVerbsRequestsAreHiddenAndChangesRefused(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	role := teleportsim.Role{Rules: map[string][]string{types.KindAccessRequest: {types.VerbList, types.VerbUpdate}}}
	server := startCluster(t, teleportsim.Config{AgentUser: "jira", AgentRole: &role})
	clt := connect(t, server, "")
	foreign, own := file(t, server, teleportsim.Request{}), file(t, server, teleportsim.Request{User: "jira"})

	all, err := clt.ListAllAccessRequests(ctx, &proto.ListAccessRequestsRequest{})
	require.NoError(t, err, "a list without the read verb does not fail")
	require.Equal(t, []string{own}, names(all))
	err = clt.SetAccessRequestState(ctx, types.AccessRequestUpdate{RequestID: foreign, State: approved})
	require.True(t, trace.IsNotFound(err), "what is not seen is not found: %v", err)

	server.SetRole(
		"jira",
		teleportsim.Role{Rules: map[string][]string{types.KindAccessRequest: {types.VerbList, types.VerbRead}}},
	)
	all, err = clt.ListAllAccessRequests(ctx, &proto.ListAccessRequestsRequest{})
	require.NoError(t, err)
	require.Len(t, all, 2)
	err = clt.SetAccessRequestState(ctx, types.AccessRequestUpdate{RequestID: foreign, State: approved})
	require.True(t, trace.IsAccessDenied(err), "%v", err)
	require.ErrorContains(t, err, `access denied to perform action "update" on "access_request"`)
}
