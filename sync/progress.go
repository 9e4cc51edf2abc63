package sync

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// tellEvery is how often a long piece of work says how far it is. What takes less is not told of.
const tellEvery = 5 * time.Second

// progress tells in the log how far a list, a poll or a sweep is.
type progress struct {
	log         *zap.Logger
	loop        string
	done, total int // total is zero where it is not known
	began, told time.Time
}

func (e *Engine) progress(loop string, total int) *progress {
	now := time.Now()
	return &progress{log: e.Log, loop: loop, total: total, began: now, told: now}
}

// add tells that n more are done.
func (p *progress) add(n int) {
	p.done += n
	now := time.Now()
	if now.Sub(p.told) < tellEvery {
		return
	}
	p.told = now
	fields := []zap.Field{zap.String("loop", p.loop), zap.Int("done", p.done)}
	if p.total > p.done {
		fields = append(
			fields,
			zap.Int("of", p.total),
			zap.Duration("left", timeLeft(p.done, p.total-p.done, now.Sub(p.began))),
		)
	}
	p.log.Info("progress", fields...)
}

// timeLeft is how long the rest will take if it goes on as it did.
func timeLeft(done, left int, took time.Duration) time.Duration {
	if done == 0 {
		return 0
	}
	return time.Duration(float64(took) / float64(done) * float64(left)).Round(time.Second)
}

// backlog tells in the log how far the workers are with more rows than they can take at once, as
// after a first start with many requests.
type backlog struct {
	done        int
	began, told time.Time // zero: there is none
}

// tell says how far it is, unless it did a moment ago. full: there may be more due rows than
// workers.
func (b *backlog) tell(ctx context.Context, e *Engine, full bool) {
	now := time.Now()
	switch {
	case !full:
		*b = backlog{}
		return
	case b.began.IsZero():
		*b = backlog{began: now, told: now}
	}
	if now.Sub(b.told) < tellEvery {
		return
	}
	b.told = now
	stats, err := e.Store.Stats(ctx, now)
	if err != nil || stats.Due == 0 {
		return // the next query reports what keeps PostgreSQL from answering
	}
	e.Log.Info("progress", zap.String("loop", LoopWork), zap.Int("done", b.done), zap.Int("of", b.done+stats.Due),
		zap.Duration("left", timeLeft(b.done, stats.Due, now.Sub(b.began))))
}
