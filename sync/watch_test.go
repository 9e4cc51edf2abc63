package sync

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// slowStore takes a while for each record of what Teleport says, and counts them.
type slowStore struct {
	Store
	recorded *[]int // how many requests at once
}

func (s slowStore) ObserveRequests(ctx context.Context, requests []Request) error {
	time.Sleep(10 * time.Millisecond)
	if len(requests) > 0 {
		*s.recorded = append(*s.recorded, len(requests))
	}
	return s.Store.ObserveRequests(ctx, requests)
}

// whileFollowing runs a test beside a loop that follows Teleport's events and records them in a
// slow store.
func whileFollowing(t *testing.T, test func(t *testing.T, cluster *memCluster, store *memStore, recorded *[]int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cluster, store, recorded := newMemCluster(), newMemStore(), new([]int)
		store.cursor = time.Now() // a poll has ended before
		e := &Engine{
			Store: slowStore{
				store.term(),
				recorded,
			},
			Cluster:  cluster,
			Health:   NewHealth(),
			Observer: nopObserver{},
			Log:      zap.NewNop(),
			wakeWork: make(chan struct{}, 1),
			wakePoll: make(chan struct{}, 1),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.follow(ctx) }()
		time.Sleep(time.Second) // the list is over
		test(t, cluster, store, recorded)
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestEventsThatComeAtOnceAreRecordedTogetherAndASingleOneAtOnce(t *testing.T) {
	t.Parallel()
	whileFollowing(t, func(t *testing.T, cluster *memCluster, store *memStore, recorded *[]int) {
		const many = 1000
		pending := func(id string) Request { return Request{ID: id, State: StatePending, Created: time.Now()} }
		cluster.add(pending("first"))
		time.Sleep(11 * time.Millisecond)
		require.Equal(t, StatePending, store.row("first").Request.State, "nothing is waited for but the store")

		for n := range many {
			id := fmt.Sprintf("%04d", n)
			cluster.add(pending(id))
			switch n % 100 {
			case 1:
				cluster.change(id, func(r *Request) { r.State = StateDenied })
			case 2:
				cluster.remove(id)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.LessOrEqual(t, len(*recorded), 1+many/burst+2, "%v", *recorded)
		for n := range many {
			l := store.row(fmt.Sprintf("%04d", n))
			require.NotZero(t, l.Seq, "%d has a row", n)
			require.Equal(t, n%100 == 1, l.Request.State == StateDenied, "%d", n)
			require.Equal(t, n%100 == 2, l.SuspectRequest, "%d", n)
		}
	})
}

func TestEventsBeforeAWatchBrokeAreRecorded(t *testing.T) {
	t.Parallel()
	whileFollowing(t, func(t *testing.T, cluster *memCluster, store *memStore, _ *[]int) {
		for n := range 2 * burst {
			cluster.add(Request{ID: fmt.Sprint(n), State: StatePending})
		}
		synctest.Wait() // half of them are read, and the first is being recorded
		cluster.slowList = func() []Request { return nil }
		cluster.breakWatches()
		time.Sleep(time.Minute)
		for n := range burst {
			require.NotZero(t, store.row(fmt.Sprint(n)).Seq, "%d has a row", n)
		}
	})
}
