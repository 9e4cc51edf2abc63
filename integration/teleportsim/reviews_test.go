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

// onBehalf is AccessReview.submitted_on_behalf_of_author = true, as bytes.
var onBehalf = []byte{0x60, 0x01}

func TestAReviewOnBehalfIsItsAuthors(t *testing.T) {
	t.Parallel()
	role := teleportsim.Role{SubmitForUsers: []string{"bob", "c*l", "a*"}}
	server := startCluster(t, teleportsim.Config{AgentUser: "jira", AgentRole: &role, ServerVersion: "18.11.0"})
	clt := connect(t, server, "")
	editors := teleportsim.Role{ReviewRoles: []string{"editor"}}
	for _, name := range []string{"alice", "bob", "carol", "carola", "dave"} {
		setUser(t, server, teleportsim.User{Name: name, Role: &editors})
	}
	setUser(t, server, teleportsim.User{Name: "c-bot-l", Role: &editors, Bot: true})
	setUser(t, server, teleportsim.User{Name: "anna"})
	id := file(t, server, teleportsim.Request{User: "alice", Roles: []string{"editor"}, Approvals: 2})
	submit := func(author string, unknown []byte) (types.AccessRequest, error) {
		return clt.SubmitAccessReview(testContext(t), types.AccessReviewSubmission{RequestID: id, Review: types.AccessReview{
			Author: author, ProposedState: approved, XXX_unrecognized: unknown,
		}})
	}

	for name, tc := range map[string]struct {
		author  string
		unknown []byte
		says    string
	}{
		"no flag":             {"bob", nil, `user "jira" cannot submit reviews on behalf of "bob"`},
		"the flag is off":     {"bob", []byte{0x60, 0x00}, `user "jira" cannot submit reviews on behalf of "bob"`},
		"taken back":          {"bob", []byte{0x60, 0x01, 0x60, 0x00}, `user "jira" cannot submit reviews on behalf of "bob"`},
		"another field":       {"bob", []byte{0x68, 0x01}, `user "jira" cannot submit reviews on behalf of "bob"`},
		"no rule":             {"dave", onBehalf, `user "jira" cannot submit reviews on behalf of "dave"`},
		"a rule for part":     {"carola", onBehalf, `user "jira" cannot submit reviews on behalf of "carola"`},
		"no rule for oneself": {"", onBehalf, `user "jira" cannot submit reviews on behalf of "jira"`},
		"nobody":              {"adam", onBehalf, `user "adam" not found`},
		"a bot":               {"c-bot-l", onBehalf, `user "c-bot-l" cannot review request`},
		"no right to review":  {"anna", onBehalf, `user "anna" cannot submit reviews`},
		"their own request":   {"alice", onBehalf, `user "alice" cannot review request`},
	} {
		_, err := submit(tc.author, tc.unknown)
		require.ErrorContains(t, err, tc.says, name)
		require.Equal(t, tc.author != "adam", trace.IsAccessDenied(err), name)
	}
	require.Empty(t, server.Request(id).GetReviews())

	after, err := submit("bob", onBehalf)
	require.NoError(t, err)
	require.Equal(t, pending, after.GetState(), "one of two approvals")
	_, err = submit("bob", onBehalf)
	require.ErrorContains(t, err, "has already reviewed")
	after, err = submit("carol", append([]byte{0x68, 0x07}, onBehalf...))
	require.NoError(t, err)
	require.Equal(t, approved, after.GetState())
	_, err = submit("carol", onBehalf)
	require.True(t, trace.IsAccessDenied(err))

	reviews := server.Request(id).GetReviews()
	require.Len(t, reviews, 2)
	require.Equal(
		t,
		append([]byte("\x5a\x04jira"), onBehalf...),
		reviews[1].XXX_unrecognized,
		"the server says who submitted it, and keeps nothing else",
	)
	last := server.Audit(id)[2]
	require.Equal(t, "carol", last.Reviewer)
	require.Equal(t, "jira", last.SubmittedBy)
}

func TestAnOlderServerKnowsNoReviewOnBehalf(t *testing.T) {
	t.Parallel()
	role := teleportsim.Role{SubmitForUsers: []string{"*"}, ReviewRoles: []string{"*"}}
	for version, want := range map[string]bool{"18.0.0": false, "18.10.9": false, "18.11.0-dev": true, "19.0.0-dev": true} {
		server := startCluster(t, teleportsim.Config{AgentUser: "jira", AgentRole: &role, ServerVersion: version})
		clt := connect(t, server, "")
		setUser(t, server, teleportsim.User{Name: "bob", Role: &role})
		id := file(t, server, teleportsim.Request{})
		_, err := clt.SubmitAccessReview(
			testContext(t),
			types.AccessReviewSubmission{RequestID: id, Review: types.AccessReview{
				Author: "bob", ProposedState: approved, XXX_unrecognized: onBehalf,
			}},
		)
		require.Equal(t, want, err == nil, "%s: %v", version, err)
		require.Equal(t, want, server.State(id) == approved, version)
	}
}

func TestARequestCarriesItsKindAndFieldsThatNobodyKnows(t *testing.T) {
	t.Parallel()
	shortTerm, longTerm := []byte{0xc0, 0x01, 0x01}, []byte{0xc0, 0x01, 0x02}
	future := []byte{0xd8, 0x01, 0x01}
	for version, preset := range map[string][]byte{"18.0.0": nil, "18.11.0": shortTerm} {
		server := startCluster(t, teleportsim.Config{ServerVersion: version})
		clt := connect(t, server, "")
		for name, tc := range map[string]struct {
			request teleportsim.Request
			want    []byte
		}{
			"plain":     {teleportsim.Request{}, preset},
			"long-term": {teleportsim.Request{Kind: teleportsim.LongTerm}, longTerm},
			"unknown":   {teleportsim.Request{Unknown: future}, append(preset[:len(preset):len(preset)], future...)},
		} {
			got, err := clt.GetAccessRequests(testContext(t), types.AccessRequestFilter{ID: file(t, server, tc.request)})
			require.NoError(t, err)
			require.Equal(t, tc.want, got[0].(*types.AccessRequestV3).Spec.XXX_unrecognized, "%s on %s", name, version)
		}
	}
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
