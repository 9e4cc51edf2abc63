package main

import (
	"context"
	"fmt"
	"time"
)

// pendingTime is how long an agent with pending requests is watched: polls of 1 s, of which one a
// minute reaches back the whole look-back.
const pendingTime = time.Minute

// waiting is what requests cost that wait for a decision while nothing happens.
func waiting(ctx context.Context, b *bench) ([]figure, error) {
	const requests = 10
	r, err := b.rig(ctx, setting{proxied: true, initial: "Pending", polls: true})
	if err != nil {
		return nil, err
	}
	defer r.close()
	for range requests {
		if _, _, err := r.pending(0); err != nil {
			return nil, err
		}
	}
	// The polls soon after show the issues as they were made.
	if err := r.morePolls(3); err != nil {
		return nil, err
	}
	if err := r.forgetStatements(); err != nil {
		return nil, err
	}
	w, err := r.watched(pendingTime)
	if err != nil {
		return nil, err
	}
	if err := r.tellExpensive("10 pending"); err != nil {
		return nil, err
	}
	polls := float64(r.polls.Load())
	searches := float64(total(w.jira)) + polls
	note := fmt.Sprintf("%.0f polls in %s", polls, pendingTime)
	if len(w.jira) > 0 {
		note += fmt.Sprint("; beside them ", w.jira)
	}
	return []figure{
		{Name: "10 pending: Jira calls a poll", Value: searches / polls, Unit: "calls", Bound: new(1.0), Note: note},
		{
			Name:  "10 pending: Teleport calls beyond pings",
			Value: float64(total(w.teleport)),
			Unit:  "calls a minute",
			Bound: new(0.0),
			Note:  fmt.Sprint(w.teleport),
		},
		{
			Name:  "10 pending: transactions that wrote",
			Value: float64(w.Transactions),
			Unit:  "a minute",
			Bound: new(0.0),
			Note:  "nothing changed; locking a row counts, as it does in PostgreSQL's log",
		},
		{Name: "10 pending: PostgreSQL's log", Value: float64(w.Log) / 1024, Unit: "KiB a minute"},
		{
			Name:  "10 pending: statements a poll",
			Value: float64(w.Statements) / polls,
			Unit:  "statements",
			Note:  "with the leader's heartbeats and counts for the metrics",
		},
		{Name: "10 pending: round trips a poll", Value: float64(w.Trips) / polls, Unit: "round trips", Note: "the same"},
		{Name: "10 pending: one core", Value: 100 * w.cpu.Seconds() / pendingTime.Seconds(), Unit: "%"},
	}, nil
}

// watch is what was seen in a time in which nobody did anything.
type watch struct {
	work
	jira, teleport map[string]int // without polls, pings and the watch
	cpu            time.Duration
}

// watched lets time pass.
func (r *rig) watched(d time.Duration) (w watch, err error) {
	r.reset()
	workBefore, err := r.worked()
	if err != nil {
		return w, err
	}
	cpuBefore, err := cpu(r.agent.PID())
	if err != nil {
		return w, err
	}
	if err := pause(r.ctx, d); err != nil {
		return w, err
	}
	cpuAfter, err := cpu(r.agent.PID())
	if err != nil {
		return w, err
	}
	workAfter, err := r.worked()
	w.work, w.cpu = workAfter.minus(workBefore), cpuAfter-cpuBefore
	w.jira, w.teleport = r.counted()
	return w, err
}

// morePolls waits until so many more have ended.
func (r *rig) morePolls(n int64) error {
	for until := r.polls.Load() + n; r.polls.Load() < until; {
		select {
		case <-r.polled:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	return nil
}
