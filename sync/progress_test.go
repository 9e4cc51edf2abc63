package sync

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// told are the lines of progress of one loop.
func told(logs *observer.ObservedLogs, loop string) []map[string]any {
	var lines []map[string]any
	for _, line := range logs.FilterMessage("progress").All() {
		if fields := line.ContextMap(); fields["loop"] == loop {
			lines = append(lines, fields)
		}
	}
	return lines
}

func TestAFirstBackfillSaysEveryFewSecondsHowFarItIs(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	inWorldWith(t, func(w *world) {
		w.log = zap.New(core)
		for n := range 40 {
			w.request(fmt.Sprintf("req-%02d", n))
		}
		w.tracker.delay = func() time.Duration { return time.Second }
	}, func(t *testing.T, w *world) {
		w.after(20 * time.Second)
		lines := told(logs, LoopWork)
		require.GreaterOrEqual(t, len(lines), 3)
		require.LessOrEqual(t, len(lines), 4)
		first, last := lines[0], lines[len(lines)-1]
		require.Greater(t, last["done"], first["done"])
		require.EqualValues(t, 40, last["of"])
		left, elapsed, done := last["left"].(time.Duration), 20*time.Second, last["done"].(int64)
		require.InDelta(
			t,
			float64(elapsed)/float64(done)*float64(40-done),
			float64(left),
			float64(20*time.Second),
			"it goes on as it did",
		)

		w.after(5 * time.Minute)
		require.Len(t, w.tracker.of("req-39"), 1)
		logs.TakeAll()
		w.request("one more")
		w.after(time.Minute)
		require.Empty(t, told(logs, LoopWork), "what is done at once is not told of")
	})
}

func TestLongWorkSaysEveryFewSecondsHowFarItIs(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	p := &progress{
		log:   zap.New(core),
		loop:  LoopSweep,
		total: 2000,
		began: time.Now().Add(-10 * time.Second),
		told:  time.Now(),
	}
	p.add(500)
	require.Empty(t, logs.All(), "not before five seconds")
	p.told = p.told.Add(-tellEvery)
	p.add(500)
	p.add(500)
	require.Len(t, logs.All(), 1)
	fields := logs.All()[0].ContextMap()
	require.EqualValues(t, 1000, fields["done"])
	require.EqualValues(t, 2000, fields["of"])
	require.InDelta(t, 10*time.Second, fields["left"], float64(time.Second))
}
