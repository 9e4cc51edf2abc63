package jira

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/time/rate"

	"teleport-jira-agent/sync"
)

// line lets calls wait at a pace and notes who went when.
type line struct {
	*pace
	start time.Time
	calls stdsync.WaitGroup
	mu    stdsync.Mutex
	went  []string
	at    map[string]time.Duration
	errs  map[string]error
}

// newLine is at a pace whose burst is used up.
func newLine(t *testing.T, perSecond float64) *line {
	t.Helper()
	l := &line{pace: newPace(perSecond), start: time.Now(), at: map[string]time.Duration{}, errs: map[string]error{}}
	for range burst(rate.Limit(perSecond)) {
		require.NoError(t, l.wait(t.Context(), sync.PriorityWork))
	}
	return l
}

// call begins to wait, and returns when it does.
func (l *line) call(ctx context.Context, name string, priority sync.Priority) {
	l.calls.Go(func() {
		err := l.wait(ctx, priority)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.at[name], l.errs[name] = time.Since(l.start), err
		if err == nil {
			l.went = append(l.went, name)
		}
	})
	synctest.Wait()
}

func TestNextTurnIsOfTheHighestPriorityAndOfEqualsOfTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 1)
		for _, name := range []string{"bulk 1", "bulk 2"} {
			l.call(t.Context(), name, sync.PriorityBulk)
		}
		for _, name := range []string{"work 1", "work 2"} {
			l.call(t.Context(), name, sync.PriorityWork)
		}
		time.Sleep(900 * time.Millisecond) // the next turn is nobody's until it comes
		for _, name := range []string{"people 1", "people 2"} {
			l.call(t.Context(), name, sync.PriorityPeople)
		}
		l.calls.Wait()
		require.Equal(t, []string{"people 1", "people 2", "work 1", "work 2", "bulk 1", "bulk 2"}, l.went)
		require.Equal(t, time.Second, l.at["people 1"])
		require.Equal(t, 6*time.Second, l.at["bulk 2"])
		require.Nil(t, l.next, "something runs while none waits")
	})
}

func TestACallsPriorityIsThatOfItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var went []string
		c := over(t, func(r *http.Request) (*http.Response, error) {
			went = append(went, r.URL.Path[len("/rest/api/2/"):])
			return answer(200, "{}"), nil
		}, func(cfg *Config) { cfg.MaxRPS = 1 })
		require.NoError(t, c.get(t.Context(), "first"))
		var calls stdsync.WaitGroup
		for _, call := range []struct {
			name string
			ctx  context.Context
		}{
			{"bulk", sync.WithPriority(t.Context(), sync.PriorityBulk)},
			{"work", t.Context()},
			{"people", sync.WithPriority(t.Context(), sync.PriorityPeople)},
		} {
			calls.Go(func() { _ = c.get(call.ctx, call.name) })
			synctest.Wait()
		}
		calls.Wait()
		require.Equal(t, []string{"first", "people", "work", "bulk"}, went)
	})
}

func TestBulkCallsGetASmallShareOfWhatWorkTakesAndNoneOfThePeoples(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		busy sync.Priority
		want []int // after how many others the bulk calls went
	}{
		"work without end":   {sync.PriorityWork, []int{19, 38, 57}},
		"people without end": {sync.PriorityPeople, []int{100, 100, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLine(t, 1)
				for i := range 3 {
					l.call(t.Context(), "bulk "+strconv.Itoa(i), sync.PriorityBulk)
				}
				for i := range 100 {
					l.call(t.Context(), "busy "+strconv.Itoa(i), tt.busy)
				}
				l.calls.Wait()
				for i, others := range tt.want {
					require.Equal(t, others+i, slices.Index(l.went, "bulk "+strconv.Itoa(i)))
				}
			})
		})
	}
}

func TestACallThatGivesUpGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		l.call(ctx, "gives up", sync.PriorityWork)
		l.call(t.Context(), "stays", sync.PriorityWork)
		time.Sleep(500 * time.Millisecond)
		cancel()
		l.calls.Wait()
		require.ErrorIs(t, l.errs["gives up"], context.Canceled)
		require.Equal(t, 500*time.Millisecond, l.at["gives up"])
		require.Equal(t, time.Second, l.at["stays"])

		ctx, cancel = context.WithCancel(t.Context())
		l.call(ctx, "alone", sync.PriorityBulk)
		cancel()
		l.calls.Wait()
		require.Nil(t, l.next, "something runs while none waits")
		time.Sleep(time.Second)
		require.NoError(t, l.wait(t.Context(), sync.PriorityWork))
		require.Equal(t, 2*time.Second, time.Since(l.start), "its turn was lost")
	})
}

func TestATurnThatComesAsItsCallGivesUpIsOfTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 1)
		givesUp, err := l.join(t.Context(), sync.PriorityWork)
		require.NoError(t, err)
		l.call(t.Context(), "next", sync.PriorityWork)
		<-givesUp
		l.leave(givesUp, sync.PriorityWork)
		l.calls.Wait()
		require.Equal(t, time.Second, l.at["next"])
	})
}

func TestACallThatTheLineIsTooLongForFailsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 1)
		for i := range 5 {
			l.call(t.Context(), strconv.Itoa(i), sync.PriorityWork)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		l.call(ctx, "people", sync.PriorityPeople)
		l.call(ctx, "bulk", sync.PriorityBulk)
		var long *waitError
		require.ErrorAs(t, l.wait(ctx, sync.PriorityWork), &long)
		require.Zero(t, time.Since(l.start))
		require.Equal(t, 7*time.Second, long.rest, "five of its kind and a person's are ahead")
		l.calls.Wait()
		require.Equal(t, time.Second, l.at["people"])
		require.ErrorIs(t, l.errs["bulk"], context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, l.at["bulk"], "that it may not get a share could not be known")

		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorAs(t, l.wait(ctx, sync.PriorityWork), &long)
		require.Nil(t, l.next, "a turn is reserved for a call that does not wait")
	})
}

func TestThePaceHalvesAtASignOfALimitAndClimbsBack(t *testing.T) {
	t.Parallel()
	p, now := newPace(20), time.Now()
	told := func(limited bool, after time.Duration) float64 {
		now = now.Add(after)
		_, perSecond := p.heed(limited, now)
		require.InDelta(t, float64(perSecond), float64(p.limiter.Limit()), 0)
		require.Equal(t, burst(perSecond), p.limiter.Burst())
		return float64(perSecond)
	}
	require.InDelta(t, 20, told(false, time.Hour), 0)
	require.InDelta(t, 10, told(true, time.Millisecond), 0)
	require.InDelta(t, 10, told(true, 900*time.Millisecond), 0, "of a call that went out before")
	require.InDelta(t, 5, told(true, 100*time.Millisecond), 0)
	require.InDelta(t, 5, told(false, 900*time.Millisecond), 0)
	require.InDelta(t, 6, told(false, 100*time.Millisecond), 0)
	require.InDelta(t, 8, told(false, 2*time.Second), 0)
	for range 10 {
		told(true, time.Second)
	}
	require.InDelta(t, 1, told(true, time.Second), 0, "no limit is so low")
	require.InDelta(t, 20, told(false, time.Minute), 0)

	p = newPace(0.5)
	require.InDelta(t, 0.5, told(true, time.Second), 0, "nor is it faster than the ceiling")
}

func TestWhatAnAnswerSaysOfALimitChangesThePace(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code   int
		header []string
		want   float64
	}{
		"nothing":                     {200, nil, 10},
		"plenty left":                 {200, []string{"X-RateLimit-Limit", "100", "X-RateLimit-Remaining", "20"}, 10},
		"less than a fifth left":      {200, []string{"X-RateLimit-Limit", "100", "X-RateLimit-Remaining", "19"}, 5},
		"near, in Cloud's word":       {200, []string{"X-RateLimit-NearLimit", "true"}, 5},
		"not what is left":            {200, []string{"X-RateLimit-Limit", "100"}, 10},
		"one call is all there is":    {200, []string{"X-RateLimit-Limit", "1", "X-RateLimit-Remaining", "0"}, 10},
		"refused":                     {429, nil, 5},
		"refused for one endpoint":    {429, []string{reasonHeader, "jira-burst-based"}, 5},
		"refused for one issue alone": {429, []string{reasonHeader, "jira-per-issue-on-write"}, 10},
		"not there just now":          {503, []string{"Retry-After", "1"}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zapcore.InfoLevel)
			c := over(t, func(*http.Request) (*http.Response, error) { return answer(tt.code, "{}", tt.header...), nil },
				func(cfg *Config) { cfg.MaxRPS = 10 })
			c.transport.log = zap.New(core)
			_ = c.get(t.Context(), "a")
			require.InDelta(t, tt.want, float64(c.transport.pace.limiter.Limit()), 0)
			require.Equal(t, tt.want < 10, logs.FilterMessageSnippet("slower").Len() == 1)
		})
	}
}

// A Jira that lets 5 calls a second through, of which it tells as Data Center does, is asked twice
// that.
func TestThePaceStaysBelowALimitThatJiraTellsOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bucket, refused := rate.NewLimiter(5, 50), 0
		c := over(t, func(*http.Request) (*http.Response, error) {
			code := 200
			if !bucket.Allow() {
				code = 429
				refused++
			}
			return answer(
				code,
				"{}",
				"X-RateLimit-Limit",
				"50",
				"X-RateLimit-Remaining",
				strconv.Itoa(max(0, int(bucket.Tokens()))),
			), nil
		}, func(cfg *Config) { cfg.MaxRPS = 10 })
		start := time.Now()
		for range 1000 {
			_ = c.get(t.Context(), "a")
		}
		require.Zero(t, refused)
		require.Less(
			t,
			time.Since(start),
			250*time.Second,
			"190 s is what the bucket allows",
		) // 1000 less the 50 that were there
	})
}

// BenchmarkAwait is what pauses and pace cost a call that may go at once.
func BenchmarkAwait(b *testing.B) {
	t, ctx, r := newTransport(nil, Config{MaxRPS: 1e12}, zap.NewNop()), b.Context(), request{
		method:   "GET",
		endpoint: "issue/{id}",
		issue:    "1",
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.await(ctx, &r); err != nil {
			b.Fatal(err)
		}
	}
}
