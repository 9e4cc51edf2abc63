package teleport

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

func TestConvertKeepsEveryFieldInUTC(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("somewhere", 2*3600)
	created := time.Date(2026, 11, 23, 9, 0, 0, 0, zone)
	expires, accessExpires := created.Add(time.Hour), created.Add(8*time.Hour)
	in := &types.AccessRequestV3{
		Metadata: types.Metadata{Name: "0193-id"},
		Spec: types.AccessRequestSpecV3{
			User:               "alice@example.com",
			Roles:              []string{"db", "web"},
			State:              types.RequestState_PROMOTED,
			Created:            created,
			Expires:            accessExpires,
			ResourceExpiry:     &expires,
			RequestReason:      "why",
			ResolveReason:      "because",
			SuggestedReviewers: []string{"bob"},
			RequestedResourceIDs: []types.ResourceID{
				{ClusterName: "main", Kind: "node", Name: "n1"},
				{ClusterName: "main", Kind: "db", Name: "pg", SubResourceName: "table"},
			},
			Reviews: []types.AccessReview{
				{Author: "bob", ProposedState: types.RequestState_APPROVED, Reason: "ok", Created: created.Add(time.Minute)},
				{Author: "eve", ProposedState: types.RequestState_DENIED, Created: created.Add(2 * time.Minute)},
			},
			Thresholds: []types.AccessReviewThreshold{{Approve: 1, Deny: 1}, {Approve: 3, Deny: 5}, {Approve: 2}},
			AccessList: &types.PromotedAccessList{Name: "list-id", Title: "Database people"},
		},
	}
	want := sync.Request{
		ID: "0193-id", State: sync.StatePromoted, User: "alice@example.com", Roles: []string{"db", "web"},
		Resources: []string{"/main/node/n1", "/main/db/pg/table"}, Reason: "why", SuggestedReviewers: []string{"bob"},
		Created: created.UTC(), Expires: expires.UTC(), AccessExpires: accessExpires.UTC(), ResolveReason: "because",
		ApprovalsNeeded: 3,
		Reviews: []sync.Review{
			{Author: "bob", Verdict: sync.StateApproved, Reason: "ok", Created: created.Add(time.Minute).UTC()},
			{Author: "eve", Verdict: sync.StateDenied, Created: created.Add(2 * time.Minute).UTC()},
		},
		PromotedTo: "Database people",
		URL:        "https://teleport.example.com:443/web/requests/0193-id",
	}
	got := convert(in, "https://teleport.example.com:443")
	require.Empty(t, cmp.Diff(want, got))
	require.Equal(t, time.UTC, got.Created.Location())
}

func TestConvertLeavesWhatIsNotThereEmpty(t *testing.T) {
	t.Parallel()
	in := &types.AccessRequestV3{
		Metadata: types.Metadata{Name: "id"},
		Spec: types.AccessRequestSpecV3{
			Roles:              []string{},
			SuggestedReviewers: []string{},
			State:              types.RequestState_PENDING,
		},
	}
	require.Equal(t, sync.Request{ID: "id", State: sync.StatePending}, convert(in, ""))
}

func TestConvertNamesTheRolesAskedForWhereFewerWereGranted(t *testing.T) {
	t.Parallel()
	in := &types.AccessRequestV3{Spec: types.AccessRequestSpecV3{
		Roles:                []string{"web"},
		RoleThresholdMapping: map[string]types.ThresholdIndexSets{"web": {}, "db": {}},
	}}
	require.Equal(t, []string{"db", "web"}, convert(in, "").Roles)
}

func TestConvertNamesAnAccessListWithoutTitle(t *testing.T) {
	t.Parallel()
	in := &types.AccessRequestV3{Spec: types.AccessRequestSpecV3{AccessList: &types.PromotedAccessList{Name: "list-id"}}}
	require.Equal(t, "list-id", convert(in, "").PromotedTo)
}

func TestConvertReplacesWhatDatabasesRefuse(t *testing.T) {
	t.Parallel()
	in := &types.AccessRequestV3{Spec: types.AccessRequestSpecV3{RequestReason: "a\x00b\xffc", Roles: []string{"r\x00"}}}
	got := convert(in, "")
	require.Equal(t, "a�b�c", got.Reason)
	require.Equal(t, []string{"r�"}, got.Roles)
}

func TestConvertEveryStateTheClientKnows(t *testing.T) {
	t.Parallel()
	for number, name := range types.RequestState_name {
		state := types.RequestState(number)
		if state.IsNone() {
			require.Empty(t, convertState(state))
			continue
		}
		require.Equal(t, strings.ToLower(name), string(convertState(state)))
	}
	require.Empty(t, convertState(types.RequestState(99)))
}

func TestCutStaysWithinTheLimitAndBetweenCharacters(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in    string
		limit int
		want  string
	}{
		"short":                 {"abc", 5, "abc"},
		"exact":                 {"abcde", 5, "abcde"},
		"long":                  {"abcdef", 5, "ab…"},
		"inside a character":    {"aéééé", 6, "aé…"},
		"between characters":    {"ééééé", 7, "éé…"},
		"four bytes":            {"a😀😀😀", 8, "a😀…"},
		"invalid bytes":         {"a\xffb", 9, "a�b"},
		"growing when replaced": {"\xff\xffa\xff\xff", 6, "�…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := cut(tc.in, tc.limit)
			require.Equal(t, tc.want, got)
			require.LessOrEqual(t, len(got), tc.limit)
			require.True(t, utf8.ValidString(got))
		})
	}
}
