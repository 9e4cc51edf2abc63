package db

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

// A Term is what the engine checks before each write.
var _ sync.Lease = (*Term)(nil)

func TestTerm_HoldsForOneLeaseAfterTheStartOfTheLastHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lease = 10 * time.Second
		sent := time.Now()
		time.Sleep(time.Second) // the answer takes a while
		term := newTerm(1, lease, sent)
		lost := make(chan error, 1)
		term.onLoss(func(cause error) { lost <- cause })

		time.Sleep(5 * time.Second)
		sent = time.Now()
		time.Sleep(2 * time.Second)
		require.NoError(t, term.extend(sent))
		require.Equal(t, sent.Add(lease), term.Until())

		time.Sleep(lease - 2*time.Second - time.Nanosecond)
		require.NoError(t, term.Check())
		require.Empty(t, lost)
		time.Sleep(time.Nanosecond)
		require.ErrorIs(t, term.Check(), sync.ErrNotLeader)
		synctest.Wait()
		require.Len(t, lost, 1)
		require.ErrorIs(t, <-lost, sync.ErrNotLeader)
		require.ErrorIs(t, term.extend(time.Now()), sync.ErrNotLeader, "a lost lease is not revived")
		require.ErrorIs(t, term.Check(), sync.ErrNotLeader)
	})
}

func TestTerm_RefusesAnAnswerThatComesAfterTheLease(t *testing.T) {
	t.Parallel()
	start := time.Now().Add(-time.Minute) // as after the process stood still: the timer has not fired yet
	term := &Term{Epoch: 1, lease: time.Second, until: start.Add(time.Second), lost: func(error) {}}
	term.timer = time.AfterFunc(time.Hour, term.expire)
	require.ErrorIs(t, term.Check(), sync.ErrNotLeader)
	require.ErrorIs(t, term.extend(time.Now()), sync.ErrNotLeader)
	require.ErrorIs(t, term.lossCause(), sync.ErrNotLeader)
}

func TestTerm_ComparesTheWallClockToo(t *testing.T) {
	t.Parallel()
	// A suspended machine: by the monotonic clock there is time left, by the wall clock there is
	// none.
	term := newTerm(1, time.Hour, time.Now())
	defer term.end(sync.ErrNotLeader)
	require.NoError(t, term.Check())
	term.wallUntil = time.Now().Round(0)
	require.ErrorIs(t, term.Check(), sync.ErrNotLeader)
}

func TestTerm_RefusesOnceItIsOver(t *testing.T) {
	t.Parallel()
	term := newTerm(1, time.Hour, time.Now())
	term.end(sync.ErrNotLeader)
	require.ErrorIs(t, term.Check(), sync.ErrNotLeader)
	told := make(chan error, 1)
	term.onLoss(func(cause error) { told <- cause })
	require.ErrorIs(t, <-told, sync.ErrNotLeader, "who asks late is told at once")
}
