package teleportsim_test

import (
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
)

func TestReviewsResolveARequestOnlyWhenTheyMeetItsThreshold(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{Approvals: 2, Denials: 2})
	require.NoError(t, server.Review(id, "bob", true, "one"))
	require.Equal(t, pending, server.State(id))
	require.NoError(t, server.Review(id, "carol", false, "two"))
	require.Equal(t, pending, server.State(id))
	require.NoError(t, server.Review(id, "dave", true, "three"))

	request := server.Request(id)
	require.Equal(t, approved, request.GetState())
	require.Equal(t, "three", request.GetResolveReason())
	require.Equal(t, request.GetAccessExpiry(), request.Expiry())
	require.Len(t, request.GetReviews(), 3)
	last := server.Audit(id)[3]
	require.Equal(t, teleportsim.AuditReview, last.Type)
	require.Equal(t, "dave", last.Reviewer)
	require.Equal(t, approved, last.State)
	require.Equal(t, pending, server.Audit(id)[2].State)
	require.Equal(t, denied, server.Audit(id)[2].ProposedState)
}

func TestOneDenialSufficesByDefault(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{Approvals: 3})
	require.NoError(t, server.Review(id, "bob", false, "no"))
	require.Equal(t, denied, server.State(id))
}

func TestPeoplesReviewsAreRefused(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{User: "alice", Approvals: 2})
	require.True(t, trace.IsAccessDenied(server.Review(id, "alice", true, "")), "by the requester")
	require.True(t, trace.IsNotFound(server.Review("x", "bob", true, "")), "of an unknown request")
	require.NoError(t, server.Review(id, "bob", true, ""))
	require.ErrorContains(t, server.Review(id, "bob", true, ""), `user "bob" has already reviewed this request`)
	require.NoError(t, server.Review(id, "carol", true, ""))
	require.ErrorContains(t, server.Review(id, "dave", false, ""), "the access request has been already approved")
	require.Len(t, server.Request(id).GetReviews(), 2)
	require.True(t, trace.IsAccessDenied(server.Approve(id, "alice", "")), "nobody decides their own request")
}

func TestAPromotionNamesTheAccessList(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	id := file(t, server, teleportsim.Request{Approvals: 5})
	require.NoError(t, server.Promote(id, "bob", "On-call engineers"))
	got, err := connect(t, server, "").GetAccessRequests(testContext(t), types.AccessRequestFilter{ID: id})
	require.NoError(t, err)
	require.Equal(t, promoted, got[0].GetState())
	require.Equal(t, "On-call engineers", got[0].GetPromotedAccessListTitle())
	require.Equal(t, "bob", got[0].GetReviews()[0].Author)
	require.ErrorContains(t, server.Review(id, "carol", true, ""), "already promoted")
}

func TestAReviewOverTheWireIsTheCallersOwn(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{AgentUser: "jira"})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{Roles: []string{"editor"}, Approvals: 2})
	submit := func(review types.AccessReview) (types.AccessRequest, error) {
		return clt.SubmitAccessReview(ctx, types.AccessReviewSubmission{RequestID: id, Review: review})
	}

	_, err := submit(types.AccessReview{Author: "bob", ProposedState: approved})
	require.True(t, trace.IsAccessDenied(err), "%v", err)
	require.ErrorContains(t, err, `user "jira" cannot submit reviews on behalf of "bob"`)
	_, err = submit(types.AccessReview{ProposedState: approved})
	require.ErrorContains(t, err, `user "jira" cannot submit reviews`)

	role := teleportsim.PluginRole()
	role.ReviewRoles = []string{"auditor"}
	server.SetRole("jira", role)
	_, err = submit(types.AccessReview{ProposedState: approved})
	require.ErrorContains(t, err, `user "jira" cannot review request`)

	role.ReviewRoles = []string{"auditor", "editor"}
	server.SetRole("jira", role)
	for name, review := range map[string]types.AccessReview{
		"promoted": {ProposedState: promoted},
		"pending":  {ProposedState: pending},
	} {
		_, err = submit(review)
		require.True(t, trace.IsBadParameter(err), "%s: %v", name, err)
	}
	for name, review := range map[string]types.AccessReview{
		"annotations": {ProposedState: approved, Annotations: map[string][]string{"a": {"b"}}},
		"some roles":  {ProposedState: approved, Roles: []string{"editor", "other"}},
	} {
		_, err = submit(review)
		require.True(t, trace.IsNotImplemented(err), "%s: %v", name, err)
	}

	after, err := submit(types.AccessReview{ProposedState: approved, Reason: "fine"})
	require.NoError(t, err)
	require.Equal(t, pending, after.GetState(), "one of two approvals")
	require.Equal(t, "jira", after.GetReviews()[0].Author)
	require.False(t, after.GetReviews()[0].Created.IsZero())
}

func TestAReviewerWithoutVerbsSeesTheReviewableRequests(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	server.SetRole("bob", teleportsim.Role{ReviewRoles: []string{"editor"}})
	reviewable := file(t, server, teleportsim.Request{Roles: []string{"editor"}})
	file(t, server, teleportsim.Request{Roles: []string{"editor", "auditor"}})
	got, err := connect(t, server, "bob").GetAccessRequests(testContext(t), types.AccessRequestFilter{})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, reviewable, got[0].GetName())
}
