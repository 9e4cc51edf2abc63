package teleport

import (
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
)

// BenchmarkConvert is one page of Teleport's list.
func BenchmarkConvert(b *testing.B) {
	created := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	expires := created.Add(time.Hour)
	request := &types.AccessRequestV3{
		Metadata: types.Metadata{Name: "01a2124c-7c29-7197-badb-464bafdf8646"},
		Spec: types.AccessRequestSpecV3{
			User:               "alice@example.com",
			Roles:              []string{"db-admin", "web"},
			State:              types.RequestState_PENDING,
			Created:            created,
			Expires:            created.Add(8 * time.Hour),
			ResourceExpiry:     &expires,
			RequestReason:      "on call this week: the orders database is slow",
			SuggestedReviewers: []string{"bob@example.com", "carol@example.com"},
			RequestedResourceIDs: []types.ResourceID{
				{ClusterName: "main", Kind: "node", Name: "n1"},
				{ClusterName: "main", Kind: "db", Name: "orders"},
			},
			Reviews: []types.AccessReview{
				{Author: "bob@example.com", ProposedState: types.RequestState_APPROVED, Created: created},
			},
			Thresholds: []types.AccessReviewThreshold{{Approve: 2, Deny: 1}},
		},
	}
	b.ReportAllocs()
	for b.Loop() {
		for range 200 {
			convert(request, "https://teleport.example.com:443")
		}
	}
}
