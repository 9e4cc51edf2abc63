package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestRemarksOfEachKindAreLoggedAtOnceAndThenOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		r := newRemarks(zap.New(core))
		for range 100 {
			r.warn("the signature is wrong", zap.String("peer", "127.0.0.1:1"))
		}
		r.warn("the body is no JSON")
		require.Len(t, logs.TakeAll(), 2)
		time.Sleep(remarkEvery)
		r.warn("the signature is wrong")
		r.warn("the signature is wrong")
		lines := logs.TakeAll()
		require.Len(t, lines, 1)
		require.Equal(t, map[string]any{"unlogged_before": int64(99)}, lines[0].ContextMap())
		time.Sleep(remarkEvery)
		r.warn("the signature is wrong")
		require.Equal(t, map[string]any{"unlogged_before": int64(1)}, logs.TakeAll()[0].ContextMap())
	})
}
