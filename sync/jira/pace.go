package jira

import (
	"context"
	"slices"
	stdsync "sync"
	"time"

	"golang.org/x/time/rate"

	"teleport-jira-agent/sync"
)

const (
	// bulkShare: of so many turns that others want, one is for bulk calls that wait. Without it, an
	// agent whose work never ends would never sweep, and only a sweep finds what events and polls
	// lost. With it a sweep of 10,000 open requests, of 110 calls, takes four minutes at the
	// default pace however much else there is, and costs that a twentieth. It comes out of work
	// alone: a person's move is never behind it.
	bulkShare = 20
	// settling is how long the pace stays as it is after a change, so that calls that went out
	// before it are not counted against it.
	settling = time.Second
	// climb is the part of the ceiling by which the pace grows in each settling without a sign of a
	// limit: from half to whole in ten seconds.
	climb = 1.0 / 20
	// slowest is where the pace stops to fall, in calls per second, unless the ceiling is lower. It
	// is a fifth of the lowest limit heard of, 5 per second on a Data Center
	// (https://github.com/ahungry/org-jira/issues/365), and lets a person's move be answered within
	// seconds.
	slowest = 1
)

// pace lets calls go in turns, so many per second. The next turn is reserved, but for nobody: when
// it comes, the call takes it that then ranks highest, and of equals the one that waits longest. A
// call that gives up leaves the line, and nothing is lost. Nothing runs while none waits.
type pace struct {
	mu      stdsync.Mutex
	limiter *rate.Limiter
	ceiling rate.Limit
	lines   [sync.PriorityBulk + 1][]turn // who waits, by priority, the first in front
	next    *rate.Reservation             // the next turn; nil while none waits
	timer   *time.Timer                   // for next
	passed  int                           // turns that work took while bulk calls waited
	slowed  time.Time                     // when the pace was last halved
	climbed time.Time                     // when the pace last grew, or Jira last gave a sign of a limit
}

// turn is closed when it comes.
type turn chan struct{}

// newPace is a pace that never goes above perSecond calls.
func newPace(perSecond float64) *pace {
	return &pace{
		ceiling: rate.Limit(perSecond),
		limiter: rate.NewLimiter(rate.Limit(perSecond), burst(rate.Limit(perSecond))),
	}
}

// burst is how many calls may go at once: a fifth of a second's keep a chain of calls quick and any
// second near the ceiling.
func burst(perSecond rate.Limit) int { return max(1, int(perSecond/5)) }

// wait returns when the call may go, or when ctx ends; at once if the line is too long for its
// deadline.
func (p *pace) wait(ctx context.Context, priority sync.Priority) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	mine, err := p.join(ctx, priority)
	if mine == nil {
		return err
	}
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
		p.leave(mine, priority)
		return ctx.Err()
	}
}

// join takes a place in the line; no turn and no error: the call may go now.
func (p *pace) join(ctx context.Context, priority sync.Priority) (turn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.next == nil {
		if p.limiter.AllowN(now, 1) {
			return nil, nil //nolint:nilnil // neither has to be waited for
		}
		p.reserve(now)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if rest := p.rest(priority, now); deadline.Sub(now) < rest {
			p.settle()
			return nil, &waitError{rest: rest, limit: "within its time"}
		}
	}
	mine := make(turn)
	p.lines[priority] = append(p.lines[priority], mine)
	return mine, nil
}

// rest is how long a call that comes now waits if the line stays as it is. That work is ahead of a
// bulk call does not count, for it may be passed.
func (p *pace) rest(priority sync.Priority, now time.Time) time.Duration {
	ahead := len(p.lines[sync.PriorityPeople])
	if priority != sync.PriorityPeople {
		ahead += len(p.lines[priority])
	}
	return p.next.DelayFrom(now) + time.Duration(float64(ahead)/float64(p.limiter.Limit())*float64(time.Second))
}

func (p *pace) reserve(now time.Time) {
	next := p.limiter.ReserveN(now, 1)
	p.next = next
	p.timer = time.AfterFunc(next.DelayFrom(now), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.next != next {
			return // settle gave it back at the same moment
		}
		p.next = nil
		p.give()
		if p.waiting() {
			p.reserve(time.Now())
		}
	})
}

// give lets the first in line go.
func (p *pace) give() {
	if !p.waiting() {
		return
	}
	line := &p.lines[p.first()]
	close((*line)[0])
	*line = slices.Delete(*line, 0, 1)
}

// first is the line whose turn it is.
func (p *pace) first() sync.Priority {
	people, work, bulk := len(p.lines[sync.PriorityPeople]), len(p.lines[sync.PriorityWork]), len(
		p.lines[sync.PriorityBulk],
	)
	switch {
	case people > 0:
		return sync.PriorityPeople
	case work == 0 || bulk > 0 && p.passed >= bulkShare-1:
		p.passed = 0
		return sync.PriorityBulk
	case bulk > 0:
		p.passed++
	}
	return sync.PriorityWork
}

func (p *pace) waiting() bool {
	return slices.ContainsFunc(p.lines[:], func(line []turn) bool { return len(line) > 0 })
}

// leave gives a place back, or the turn if that has just come.
func (p *pace) leave(mine turn, priority sync.Priority) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := &p.lines[priority]
	if at := slices.Index(*line, mine); at >= 0 {
		*line = slices.Delete(*line, at, at+1)
	} else {
		p.give()
	}
	p.settle()
}

// settle gives the next turn back when none waits for it.
func (p *pace) settle() {
	if p.next != nil && !p.waiting() {
		p.timer.Stop()
		p.next.Cancel()
		p.next = nil
	}
}

// heed adapts the pace to an answer: it halves when the answer shows that a limit is near or
// reached, and else grows again up to the ceiling, also for the time in which nothing was called,
// which fills Jira's buckets. It returns the pace, in calls per second, before and after.
func (p *pace) heed(limited bool, now time.Time) (before, after rate.Limit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = p.limiter.Limit()
	after = before
	switch {
	case limited:
		p.climbed = now
		if now.Sub(p.slowed) >= settling {
			p.slowed = now
			after = max(before/2, min(slowest, p.ceiling))
		}
	case before < p.ceiling:
		if steps := now.Sub(p.climbed) / settling; steps > 0 {
			p.climbed = now
			after = min(p.ceiling, before+rate.Limit(steps)*climb*p.ceiling)
		}
	}
	if after != before {
		p.limiter.SetLimitAt(now, after)
		p.limiter.SetBurstAt(now, burst(after))
	}
	return before, after
}
