package sync

import (
	"errors"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// notes are what an engine told its observer.
type notes struct {
	nopObserver
	mu      stdsync.Mutex
	watches []string
	lags    []time.Duration
}

func (n *notes) Watching(open bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case open:
		n.watches = append(n.watches, "open")
	case err != nil:
		n.watches = append(n.watches, "failed")
	default:
		n.watches = append(n.watches, "over")
	}
}

func (n *notes) Created(lag time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lags = append(n.lags, lag)
}

func TestTheObserverIsToldWhenTheWatchIsOpen(t *testing.T) {
	t.Parallel()
	seen := &notes{}
	inWorldWith(t, func(w *world) { w.observer = seen }, func(t *testing.T, w *world) {
		w.after(time.Hour)
		require.Equal(t, []string{"open"}, seen.watches)
		w.cluster.breakWatches()
		w.after(time.Minute)
		require.Equal(t, []string{"open", "failed", "open"}, seen.watches)
		w.stop()
		require.Equal(t, []string{"open", "failed", "open", "over"}, seen.watches)
		w.start()
		w.after(time.Second)
	})
}

func TestTheObserverIsToldThatAWatchCannotBeOpened(t *testing.T) {
	t.Parallel()
	seen := &notes{}
	inWorldWith(t, func(w *world) {
		w.observer = seen
		w.cluster.set(
			once("watch", &Error{Side: "teleport", Op: "watch", Scope: ScopeSide, Err: errors.New("unavailable")}),
			nil,
		)
	}, func(t *testing.T, w *world) {
		w.after(time.Minute)
		require.Equal(t, []string{"failed", "open"}, seen.watches)
	})
}

func TestTheLagOfAnIssueIsThatOfRequestsOfThisTerm(t *testing.T) {
	t.Parallel()
	seen := &notes{}
	inWorldWith(t, func(w *world) {
		w.observer = seen
		w.request("old")
		time.Sleep(time.Minute)
	}, func(t *testing.T, w *world) {
		w.after(time.Minute)
		w.issue("old")
		require.Empty(t, seen.lags, "how long nobody led is not the agent's lag")

		w.tracker.set(
			once(
				"create",
				&Error{Side: "jira", Op: "create", Scope: ScopeSide, RetryAfter: 7 * time.Second, Err: errors.New("429")},
			),
			nil,
		)
		w.request("new")
		w.after(time.Minute)
		w.issue("new")
		require.Len(t, seen.lags, 1)
		require.InDelta(t, 8, seen.lags[0].Seconds(), 1)
	})
}
