package agent

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"teleport-jira-agent/db"
)

// certificate ends at a time, and can be replaced while it is watched.
type certificate struct{ atomic.Pointer[time.Time] }

// endsIn replaces the certificate by one with so much time left.
func (c *certificate) endsIn(left time.Duration) {
	end := time.Now().Add(left)
	c.Store(&end)
}

func (c *certificate) expiry() time.Time { return *c.Load() }

// told is what an identity watch says, by the minute after the test's start and the first words of
// the line.
type told struct {
	Minute  float64
	Message string
}

// watched runs an identity watch under synctest's clock; the function that it returns is what has
// been logged by then.
func watched(t *testing.T, c *certificate) (*identityWatch, func() []told) {
	t.Helper()
	start := time.Now()
	core, logs := observer.New(zap.DebugLevel)
	w := newIdentityWatch(c.expiry, zap.New(core))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w, func() (lines []told) {
		synctest.Wait()
		for _, entry := range logs.All() {
			message, _, _ := strings.Cut(entry.Message, ";")
			lines = append(lines, told{entry.Time.Sub(start).Minutes(), entry.Level.String() + ": " + message})
		}
		return lines
	}
}

const (
	nearsItsEnd = "warn: the Teleport identity nears its end"
	hasEnded    = "error: the Teleport identity expired"
)

func TestTheEndOfAnIdentityIsToldInItsLastTenthAndWhenItHasCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c certificate
		c.endsIn(75*time.Minute + 30*time.Second)
		_, lines := watched(t, &c)
		time.Sleep(67 * time.Minute)
		require.Empty(t, lines())
		time.Sleep(24 * time.Hour)
		require.Equal(t, []told{{67.95, nearsItsEnd}, {75.5, hasEnded}}, lines(), "each once, and at its time")
	})
}

func TestARenewedIdentityIsWatchedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c certificate
		c.endsIn(10 * time.Minute)
		_, lines := watched(t, &c)
		time.Sleep(9*time.Minute + 30*time.Second) // warned at 9
		c.endsIn(100 * time.Minute)                // until minute 109.5; noticed at 10
		time.Sleep(90 * time.Minute)
		require.Equal(t, []told{{9, nearsItsEnd}}, lines())
		time.Sleep(time.Hour)
		require.Equal(t, []told{{9, nearsItsEnd}, {99.55, nearsItsEnd}, {109.5, hasEnded}}, lines())
		c.endsIn(20 * time.Minute) // from minute 159.5
		time.Sleep(10 * time.Minute)
		require.Len(t, lines(), 3)
		time.Sleep(10 * time.Minute)
		require.Equal(t, []string{nearsItsEnd, hasEnded}, []string{lines()[3].Message, lines()[4].Message})
	})
}

func TestAReloadIsLookedAtAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c certificate
		c.endsIn(24 * time.Hour)
		w, lines := watched(t, &c)
		require.Empty(t, lines())
		c.endsIn(30 * time.Second) // shorter than the interval
		w.reloaded()
		time.Sleep(time.Minute)
		require.Equal(t, []told{{0.45, nearsItsEnd}, {0.5, hasEnded}}, lines())
	})
}

func TestTheWatchLooksOncePerMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c certificate
		c.endsIn(100 * time.Hour)
		var looks atomic.Int64
		w := newIdentityWatch(func() time.Time { looks.Add(1); return c.expiry() }, zap.NewNop())
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Hour)
		defer cancel()
		w.run(ctx)
		require.InDelta(t, 200*60, looks.Load(), 3, "beside one for the warning and one for the end")
	})
}

func TestAReplicaWithAnExpiredIdentityIsNotReadyUntilItIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReadiness()
		r.electorIs(db.State{Role: db.Standby})
		require.True(t, r.answer().Ready, "before the identity is known")
		var c certificate
		c.endsIn(time.Hour)
		r.identityUntil(c.expiry)

		time.Sleep(time.Hour - time.Second)
		require.True(t, r.answer().Ready, "to near the end is no reason")
		time.Sleep(time.Second)
		require.Equal(t, readyAnswer{Role: "standby", Reasons: []string{
			"teleport: the identity expired at " + c.expiry().
				UTC().
				Format(time.RFC3339) +
				", renew it (tbot, or tctl auth sign)",
		}}, r.answer())
		c.endsIn(time.Hour)
		require.True(t, r.answer().Ready)
	})
}
