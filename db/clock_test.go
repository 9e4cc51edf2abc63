package db

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

// off returns the store of the present term as a replica has it whose clock is off by d, and that clock. It has no monotonic part, as after a step.
func off(t *testing.T, d *DB, by time.Duration) (s sync.Store, now func() time.Time) {
	t.Helper()
	config := d.config
	config.Now = func() time.Time { return time.Now().Round(0).Add(by) }
	other, err := Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(other.Close)
	return other.Store(board, 1), config.Now
}

// dueAt are the requests that a replica finds due, and in how long the next one is, by its own clock.
func dueAt(t *testing.T, s sync.Store, now func() time.Time) (ids []string, next time.Duration) {
	t.Helper()
	at := now()
	due, then, err := s.Due(t.Context(), at, 100, nil)
	require.NoError(t, err)
	for _, l := range due {
		ids = append(ids, l.RequestID)
	}
	if then.IsZero() {
		return ids, 0
	}
	return ids, then.Sub(at)
}

var skews = map[string]time.Duration{"hours ahead": 5 * time.Hour, "hours behind": -5 * time.Hour}

func TestClock_OfAReplicaThatIsOffNeitherDelaysNorHastensARow(t *testing.T) {
	t.Parallel()
	for name, by := range skews {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, right := newStore(t)
			wrong, itsNow := off(t, d, by)
			observe(t, wrong, request("new"), request("retried"), request("waits"))
			ids, _ := dueAt(t, right, time.Now)
			require.ElementsMatch(t, []string{"new", "retried", "waits"}, ids, "what it observed is due at once")
			ids, _ = dueAt(t, wrong, itsNow)
			require.Len(t, ids, 3)

			save(t, wrong, row(t, wrong, "retried"), func(l *sync.Link) { l.Due = itsNow().Add(-time.Second) })
			save(t, wrong, row(t, wrong, "waits"), func(l *sync.Link) { l.Due = itsNow().Add(time.Hour) })
			save(t, wrong, row(t, wrong, "new"), func(l *sync.Link) { l.Due = time.Time{} })
			for _, side := range []struct {
				store sync.Store
				now   func() time.Time
			}{{right, time.Now}, {wrong, itsNow}} {
				ids, next := dueAt(t, side.store, side.now)
				require.Equal(t, []string{"retried"}, ids)
				require.InDelta(t, time.Hour, next, float64(answerTimes))
				stats, err := side.store.Stats(t.Context(), side.now())
				require.NoError(t, err)
				require.Equal(t, 1, stats.Due)
				require.WithinDuration(t, side.now(), stats.OldestDue, answerTimes)
			}
		})
	}
}

func TestClock_WhatOneReplicaBeganAndSettledTheOthersFindAtThatTime(t *testing.T) {
	t.Parallel()
	for name, by := range skews {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, right := newStore(t)
			wrong, itsNow := off(t, d, by)
			observe(t, right, request("a"))
			l := row(t, wrong, "a")
			l.Begun, l.BegunAt = sync.EffectCreate, itsNow()
			_, err := wrong.Save(t.Context(), l, sync.Activity{At: itsNow(), Action: "create"})
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), row(t, right, "a").BegunAt, answerTimes)
			require.WithinDuration(t, itsNow(), row(t, wrong, "a").BegunAt, answerTimes)
			require.NoError(t, wrong.Recover(t.Context(), []sync.Request{request("b")}))
			require.WithinDuration(t, time.Now(), row(t, right, "b").BegunAt, answerTimes)
			lost := []sync.Issue{issue("3", "c", t0), issue("4", "d", t0)}
			require.NoError(t, wrong.RecoverIssues(t.Context(), lost, itsNow().Add(time.Hour), time.Hour))
			require.WithinDuration(t, time.Now(), row(t, right, "d").BegunAt, answerTimes)
			require.WithinDuration(t, time.Now().Add(2*time.Hour), row(t, right, "d").Due, answerTimes)

			save(t, wrong, row(t, wrong, "a"), func(l *sync.Link) { l.SettledAt = itsNow() })
			require.Less(t, scalar[float64](t, d, "SELECT max(abs(EXTRACT(EPOCH FROM now() - settled_at)))::float8 FROM links"), answerTimes.Seconds())
			require.Less(t, scalar[float64](t, d, "SELECT max(abs(EXTRACT(EPOCH FROM now() - at)))::float8 FROM activity"), answerTimes.Seconds())
			story, err := d.View(board).Activity(t.Context(), "a")
			require.NoError(t, err)
			require.Len(t, story, 2)
		})
	}
}

func TestPrune_ForgetsOnlyWhatBothClocksSayIsOld(t *testing.T) {
	t.Parallel()
	const retention = 24 * time.Hour
	for name, test := range map[string]struct {
		process time.Duration // by how much it is off
		settled time.Duration // how long ago, by the server's clock
		want    int
	}{
		"both right, young":                       {0, 23 * time.Hour, 0},
		"both right, old":                         {0, 25 * time.Hour, 1},
		"the process's is years ahead":            {10 * 365 * 24 * time.Hour, 23 * time.Hour, 0},
		"the process's is years ahead, and old":   {10 * 365 * 24 * time.Hour, 25 * time.Hour, 1},
		"the server's is ahead of the process's":  {-48 * time.Hour, 25 * time.Hour, 0},
		"the server's is ahead, and long settled": {-48 * time.Hour, 80 * time.Hour, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, right := newStore(t)
			observe(t, right, request("a"))
			exec(t, d, "UPDATE links SET settled_at = now() - $1::interval", test.settled)
			s, now := off(t, d, test.process)
			pruned, err := s.Prune(t.Context(), now().Add(-retention))
			require.NoError(t, err)
			require.Equal(t, test.want, pruned)
		})
	}
}

// setBack makes rows and hints look as if the server's clock had been set back since they were written.
func setBack(t *testing.T, d *DB, by time.Duration) {
	t.Helper()
	exec(t, d, "UPDATE links SET due = due + $1::interval, due_set = due_set + $1::interval", by)
	exec(t, d, "UPDATE hints SET due = due + $1::interval, due_set = due_set + $1::interval", by)
}

func TestClock_OfAServerThatLagsByAnHourDoesNotDelayWhatWasPutOffBeforeTheFailover(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	for n, l := range observe(t, s, request("put off"), request("just observed")) {
		bind(t, s, l, []string{"100", "200"}[n])
	}
	require.NoError(t, s.SuspectIssues(t.Context(), []string{"200"}, true))
	save(t, s, row(t, s, "put off"), func(l *sync.Link) { l.Due = time.Now().Add(10 * time.Minute) })
	observe(t, s, request("never due"))
	save(t, s, row(t, s, "never due"), func(l *sync.Link) { l.Due = time.Time{} })
	hint(t, d, "100", t0)
	setBack(t, d, time.Hour)
	exec(t, d, "UPDATE leadership SET epoch = 2")
	next := d.Store(board, 2)

	require.Equal(t, []string{"just observed", "put off"}, dueIDs(t, next))
	due, _ := hints(t, next, 10)
	require.Len(t, due, 1)
	save(t, next, row(t, next, "put off"), func(l *sync.Link) { l.Due = time.Now().Add(10 * time.Minute) })
	require.Equal(t, []string{"just observed"}, dueIDs(t, next), "what is put off by the clock as it is now waits")
}

func TestClock_ThatIsSetBackUnderTheLeaderDoesNotDelayWhatWasPutOff(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	observe(t, s, request("put off"))
	save(t, s, row(t, s, "put off"), func(l *sync.Link) { l.Due = time.Now().Add(10 * time.Minute) })
	require.Empty(t, dueIDs(t, s), "the term has begun")
	setBack(t, d, time.Hour)
	leader, ok := s.(*store)
	require.True(t, ok)
	leader.mu.Lock()
	leader.clocks.server = leader.clocks.server.Add(time.Hour) // as it was told before
	leader.mu.Unlock()
	require.Equal(t, []string{"put off"}, dueIDs(t, s))
}

func TestClock_OfRowsOfAnEarlierReleaseIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	observe(t, s, request("a"))
	exec(t, d, "UPDATE links SET due = now() + interval '10 minutes', due_set = NULL")
	require.Empty(t, dueIDs(t, s))
}

func TestHint_IsDueAtOnceThoughTheServersClockWasSetBack(t *testing.T) {
	t.Parallel()
	d, s := newStore(t)
	bind(t, s, observe(t, s, request("a"))[0], "100")
	hint(t, d, "100", t0)
	setBack(t, d, time.Hour)
	_, err := d.Hint(context.WithoutCancel(t.Context()), board, "100", t0.Add(time.Minute))
	require.NoError(t, err)
	due, _ := hints(t, s, 10)
	require.Len(t, due, 1)
}
