package db

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/sync"
)

// vanish records that Teleport no longer has a request.
func vanish(ctx context.Context, s sync.Store, requestID string) error {
	_, err := s.Learn(ctx, sync.Link{RequestID: requestID}, sync.Seen{Gone: true})
	return err
}

func TestLearn_IsNoNewsToTheWorkerThatLearned(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	require.NoError(t, s.SuspectIssues(t.Context(), []string{"100"}, true))
	l := row(t, s, "a")

	seen := issue("100", "a", t0)
	learned, err := s.Learn(t.Context(), l, sync.Seen{Issue: &seen})
	require.NoError(t, err)
	require.Equal(t, seen, learned.Issue)
	require.Greater(t, learned.Seq, l.Seq)
	require.Equal(t, []string{"a"}, dueIDs(t, s), "until the worker says what follows, whoever leads has to look")
	learned.SuspectIssue, learned.Due = false, time.Time{}
	saved, err := s.Save(t.Context(), learned)
	require.NoError(t, err)
	require.False(t, saved.SuspectIssue)
	require.Empty(t, dueIDs(t, s))
}

func TestLearn_LeavesTheRowDueForWhatOthersHaveSeen(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	l := row(t, s, "a")
	denied := request("a")
	denied.State = sync.StateDenied
	observe(t, s, denied)

	seen := issue("100", "a", t0)
	learned, err := s.Learn(t.Context(), l, sync.Seen{Issue: &seen})
	require.NoError(t, err)
	require.Equal(t, sync.StateDenied, learned.Request.State, "it goes on with all that is known")
	require.Equal(t, l.Seq, learned.Seq)
	learned.Due = time.Time{}
	_, err = s.Save(t.Context(), learned)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, dueIDs(t, s))
}

func TestLearn_OfWhatIsKnownWritesNothing(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	seen := issue("100", "a", t0)
	l, err := s.Learn(t.Context(), row(t, s, "a"), sync.Seen{Issue: &seen})
	require.NoError(t, err)
	untouched(t, d, func() {
		again, err := s.Learn(t.Context(), l, sync.Seen{Issue: &seen})
		require.NoError(t, err)
		require.Equal(t, l.Seq, again.Seq)
	})
}

func TestLearn_OfOneSideKeepsWhatAPollHasRecordedOfTheOtherMeanwhile(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	require.NoError(t, s.ObserveIssues(t.Context(), []sync.Issue{issue("100", "a", t0)}, t0))
	busy, err := connect(t, d.config.URL()).Begin(t.Context())
	require.NoError(t, err)
	later := issue("100", "a", t0.Add(time.Hour))
	_, err = busy.Exec(
		t.Context(),
		"UPDATE links SET issue = $1, issue_updated = $2",
		later,
		later.Updated,
	) // no more than its time of change is new
	require.NoError(t, err)

	var learner errgroup.Group
	learner.Go(func() error { return vanish(t.Context(), s, "a") })
	waiting(t, d, 1) // it has read the row
	require.NoError(t, busy.Commit(t.Context()))
	require.NoError(t, learner.Wait())
	l := row(t, s, "a")
	require.True(t, l.Gone)
	require.Equal(t, later, l.Issue)
}
