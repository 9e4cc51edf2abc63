package sync

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// statusesOf are those that an issue came to, in order.
func statusesOf(d Detail) (names []string) {
	for _, m := range d.Moves {
		names = append(names, m.To.Name)
	}
	return names
}

func TestTheEngineWalksTheWorkflow(t *testing.T) {
	t.Parallel()
	directed := map[string][]Status{
		"Backlog":           {approvedStatus, reviewStatus},
		"In review":         {pendingStatus, deniedStatus},
		pendingStatus.Name:  {approvedStatus, deniedStatus, expiredStatus},
		approvedStatus.Name: {pendingStatus},
	}
	inWorldWith(t, func(w *world) {
		w.tracker.lead(directed, append(slices.Clone(allStatuses), backlogStatus, reviewStatus)...)
		w.tracker.begin(backlogStatus)
	}, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Minute)
		require.Equal(t, []string{"In review", "Pending"}, statusesOf(w.issue("req-1")))
		require.Equal(t, StatePending, w.cluster.get("req-1").State)

		w.tracker.person(w.issue("req-1").Issue.ID, bob, approvedStatus)
		w.after(time.Minute)
		require.Equal(t, StateApproved, w.cluster.get("req-1").State)
		w.deny("req-1")
		w.after(time.Minute)
		require.Equal(t, []string{"In review", "Pending", "Approved", "Pending", "Denied"}, statusesOf(w.issue("req-1")))
	})
}
