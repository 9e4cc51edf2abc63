package sync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCallsAreWorkUnlessTheirContextSaysOtherwise(t *testing.T) {
	t.Parallel()
	require.Equal(t, PriorityWork, PriorityOf(t.Context()))
	people := WithPriority(t.Context(), PriorityPeople)
	require.Equal(t, PriorityPeople, PriorityOf(people))
	require.Equal(t, PriorityBulk, PriorityOf(WithPriority(people, PriorityBulk)))
}

func TestSweepsAndTheFirstPollAreBulkAndOtherPollsAreNot(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.after(2 * time.Second) // the first poll looks at all issues
		require.Equal(t, 1, w.tracker.ranked("search", PriorityBulk))
		require.Zero(t, w.tracker.ranked("search", PriorityWork))

		w.request("r1")
		w.after(15 * time.Minute)
		require.Positive(t, w.tracker.ranked("issues", PriorityBulk), "a sweep reads issues")
		require.Zero(t, w.tracker.ranked("issues", PriorityWork))
		require.Positive(t, w.tracker.ranked("create", PriorityWork))
		require.Positive(t, w.tracker.ranked("search", PriorityWork))
		require.LessOrEqual(t, w.tracker.ranked("search", PriorityBulk), 2, "polls are not bulk once there is a cursor")
	})
}
