package teleport

import (
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

// reviewing is a cluster that takes reviews for others from the agent. bob and carol may review
// editors, alice and dave nobody.
func reviewing(t *testing.T, version string) (*teleportsim.Server, *Client) {
	t.Helper()
	role := teleportsim.PluginRoleWithReview()
	server, c := cluster(t, teleportsim.Config{AgentUser: "bot-jira", AgentRole: &role, ServerVersion: version})
	reviewer := teleportsim.Role{ReviewRoles: []string{"editor"}}
	for _, u := range []teleportsim.User{{Name: "alice"}, {Name: "bob", Role: &reviewer}, {Name: "carol", Role: &reviewer}, {Name: "dave"}} {
		require.NoError(t, server.SetUser(u))
	}
	return server, c
}

var approval = sync.Review{Author: "bob", Verdict: sync.StateApproved, Reason: "fine"}

func TestReviewIsThePersonsOwnAndCountsTowardsTheThreshold(t *testing.T) {
	t.Parallel()
	server, c := reviewing(t, "18.11.0")
	id := file(t, server, teleportsim.Request{Approvals: 2})
	created := time.Date(2026, 11, 23, 9, 0, 0, 0, time.FixedZone("somewhere", 3600))
	after, err := c.Review(
		soon(t),
		id,
		sync.Review{Author: "bob", Verdict: sync.StateApproved, Reason: "fine", Created: created},
	)
	require.NoError(t, err)
	require.Equal(t, sync.StatePending, after.State, "one of two approvals")
	require.Equal(t, 2, after.ApprovalsNeeded)
	require.Equal(
		t,
		[]sync.Review{{Author: "bob", Verdict: sync.StateApproved, Reason: "fine", Created: created.UTC()}},
		after.Reviews,
	)
	require.Equal(t, id, after.ID)

	after, err = c.Review(soon(t), id, sync.Review{Author: "carol", Verdict: sync.StateApproved})
	require.NoError(t, err)
	require.Equal(t, sync.StateApproved, after.State)
	audit := server.Audit(id)
	last := audit[len(audit)-1]
	require.Equal(t, teleportsim.AuditReview, last.Type)
	require.Equal(t, "carol", last.Reviewer)
	require.Equal(t, "bot-jira", last.SubmittedBy)
}

func TestReviewWithoutATimeIsOfNow(t *testing.T) {
	t.Parallel()
	before := time.Now()
	s, err := submission("0193", approval)
	require.NoError(t, err)
	require.WithinRange(t, s.Review.Created, before, time.Now())
	require.Equal(t, time.UTC, s.Review.Created.Location())
}

func TestReviewDenies(t *testing.T) {
	t.Parallel()
	server, c := reviewing(t, "19.0.0-dev")
	id := file(t, server, teleportsim.Request{Approvals: 2})
	long := strings.Repeat("é", 3000)
	after, err := c.Review(soon(t), id, sync.Review{Author: "bob", Verdict: sync.StateDenied, Reason: long})
	require.NoError(t, err)
	require.Equal(t, sync.StateDenied, after.State)
	require.Equal(t, cut(long, 4096), after.ResolveReason)
	require.LessOrEqual(t, len(after.ResolveReason), 4096)
}

func TestReviewReportsWhatTeleportRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare   func(t *testing.T, server *teleportsim.Server, id string)
		change    func(r *sync.Review)
		is        error
		permanent bool
		says      string
	}{
		"no rule for the author": {
			prepare: func(_ *testing.T, server *teleportsim.Server, _ string) {
				role := teleportsim.PluginRoleWithReview()
				role.SubmitForUsers = []string{"car*"}
				server.SetRole("bot-jira", role)
			},
			is: sync.ErrReviewUnsupported, permanent: true, says: `user "bot-jira" cannot submit reviews on behalf of "bob"`,
		},
		"no right to review": {
			change: func(r *sync.Review) { r.Author = "dave" },
			is:     sync.ErrReviewDenied, permanent: true, says: `user "dave" cannot submit reviews`,
		},
		"their own request": {
			prepare: func(t *testing.T, server *teleportsim.Server, _ string) {
				require.NoError(t, server.SetUser(teleportsim.User{Name: "alice", Role: &teleportsim.Role{ReviewRoles: []string{"*"}}}))
			},
			change: func(r *sync.Review) { r.Author = "alice" },
			is:     sync.ErrReviewDenied, permanent: true, says: `user "alice" cannot review request`,
		},
		"no such user": {
			change: func(r *sync.Review) { r.Author = "nobody" },
			is:     sync.ErrReviewDenied, permanent: true, says: `user "nobody" not found`,
		},
		"a second review": {
			prepare: func(t *testing.T, server *teleportsim.Server, id string) {
				require.NoError(t, server.Review(id, "bob", false, ""))
			},
			is: sync.ErrReviewed, permanent: true, says: "already reviewed",
		},
		"a resolved request": {
			prepare: func(t *testing.T, server *teleportsim.Server, id string) {
				require.NoError(t, server.Approve(id, "carol", ""))
			},
			is: sync.ErrChanged, says: "already approved",
		},
		"a request that is gone": {
			prepare: func(t *testing.T, server *teleportsim.Server, id string) { require.NoError(t, server.Delete(id)) },
			is:      sync.ErrNotFound, says: "not found",
		},
		"a second factor": {
			prepare: func(_ *testing.T, server *teleportsim.Server, _ string) {
				err := trace.AccessDenied("admin-level API request requires MFA verification")
				server.Inject(teleportsim.Fault{RPC: "SubmitAccessReview", Kind: teleportsim.FaultError, Err: err})
			},
			is: sync.ErrForbidden, permanent: true, says: "MFA",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, c := reviewing(t, "18.11.0")
			id := file(t, server, teleportsim.Request{Approvals: 2, Denials: 2})
			review := approval
			if tc.prepare != nil {
				tc.prepare(t, server, id)
			}
			if tc.change != nil {
				tc.change(&review)
			}
			_, err := c.Review(soon(t), id, review)
			e := failure(t, err)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.says)
			require.Equal(t, sync.ScopeRequest, e.Scope)
			require.Equal(t, tc.permanent, e.Permanent)
			require.False(t, e.Uncertain)
		})
	}
}

func TestReviewIsRefusedByAServerWithoutTheFeature(t *testing.T) {
	t.Parallel()
	server, c := reviewing(t, "18.10.9")
	require.False(t, c.ReviewsOnBehalf())
	id := file(t, server, teleportsim.Request{})
	_, err := c.Review(soon(t), id, approval)
	require.ErrorIs(t, err, sync.ErrReviewUnsupported)
	require.True(t, failure(t, err).Permanent)
	require.Empty(t, server.Request(id).GetReviews())
	require.Equal(t, types.RequestState_PENDING, server.State(id))
}

func TestReviewThatIsNoneIsNotSent(t *testing.T) {
	t.Parallel()
	server, c := reviewing(t, "18.11.0")
	id := file(t, server, teleportsim.Request{})
	for name, r := range map[string]sync.Review{
		"no author":  {Verdict: sync.StateApproved},
		"no verdict": {Author: "bob"},
		"pending":    {Author: "bob", Verdict: sync.StatePending},
		"promoted":   {Author: "bob", Verdict: sync.StatePromoted},
	} {
		_, err := c.Review(soon(t), id, r)
		require.True(t, failure(t, err).Permanent, name)
	}
	require.Zero(t, server.Calls()["SubmitAccessReview"])
}

func TestALostAnswerToAReviewIsUncertainAndShowsAsReviewed(t *testing.T) {
	t.Parallel()
	server, c := reviewing(t, "18.11.0")
	id := file(t, server, teleportsim.Request{Approvals: 2})
	server.Inject(teleportsim.Fault{RPC: "SubmitAccessReview", Kind: teleportsim.FaultLoseAnswer, Times: 1})
	_, err := c.Review(soon(t), id, approval)
	e := failure(t, err)
	require.True(t, e.Uncertain)
	require.False(t, e.Permanent)
	require.Equal(t, sync.ScopeSide, e.Scope)
	require.Len(t, server.Request(id).GetReviews(), 1)

	awaitCall(t, c)
	_, err = c.Review(soon(t), id, approval)
	require.ErrorIs(t, err, sync.ErrReviewed)
	require.Len(t, server.Request(id).GetReviews(), 1)
}

func TestReviewsOnBehalfComeWithTheVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"18.10.99": false, "18.11.0": true, "18.11.0-rc.1": true, "18.12.3": true, "19.0.0": true, "19.0.0-dev": true, "19.0.0-alpha.1+build": true,
		"17.99.0": false, "9.0.0": false, "20.1.0": true, "": false, "latest": false, "19": false,
	} {
		require.Equal(t, want, reviewsOnBehalf(version), version)
	}
	for version, want := range map[string]bool{"18.10.9": false, "18.11.0": true} {
		_, c := cluster(t, teleportsim.Config{ServerVersion: version})
		require.Equal(t, want, c.ReviewsOnBehalf(), version)
	}
}
