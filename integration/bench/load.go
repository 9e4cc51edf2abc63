package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"teleport-jira-agent/integration/jirasim"
)

// backlogs is how fast issues are made for 1,000 requests at once, where Jira takes 20 ms for each call, beside what the concurrency allows on paper: one
// call for each issue, as many at once as SYNC_CONCURRENCY.
func backlogs(ctx context.Context, b *bench) ([]figure, error) {
	const requests, jiraTakes = 1000, 20 * time.Millisecond
	var all []figure
	for _, concurrency := range []int{16, 64} {
		took, err := backlog(ctx, b, requests, concurrency, jiraTakes)
		if err != nil {
			return nil, err
		}
		paper := time.Duration(requests/concurrency) * jiraTakes
		all = append(all, figure{
			Name: fmt.Sprintf("1,000 requests at once, SYNC_CONCURRENCY=%d", concurrency), Value: took.Seconds() / paper.Seconds(), Unit: "times the paper",
			Bound: new(1.3), Note: fmt.Sprintf("%.3g s; on paper %.3g s at %s a call", took.Seconds(), paper.Seconds(), jiraTakes),
		})
	}
	return all, nil
}

func backlog(ctx context.Context, b *bench, requests, concurrency int, jiraTakes time.Duration) (time.Duration, error) {
	made := make(chan struct{}, requests)
	r, err := b.rig(ctx, setting{env: []string{"SYNC_CONCURRENCY=" + strconv.Itoa(concurrency)}, onCall: func(c jirasim.Call) {
		if c.Route() == "POST issue" && c.Status == 201 {
			made <- struct{}{}
		}
	}})
	if err != nil {
		return 0, err
	}
	defer r.close()
	r.jira.SetLatency(jiraTakes)
	start := time.Now()
	for range requests {
		if _, err := r.request(0); err != nil {
			return 0, err
		}
	}
	for range requests {
		select {
		case <-made:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
	return time.Since(start), nil
}

// idleTime is how long an idle agent is watched: two polls at the default schedule.
const idleTime = 2 * time.Minute

// idle is what an agent costs while nothing is pending, at the default schedules.
func idle(ctx context.Context, b *bench) ([]figure, error) {
	r, err := b.rig(ctx, setting{env: []string{"SYNC_POLL_SCHEDULE=@every 5s"}})
	if err != nil {
		return nil, err
	}
	defer r.close()
	// The first polls are tight, since a request might be pending.
	if err := pause(r.ctx, 15*time.Second); err != nil {
		return nil, err
	}
	r.reset()
	before, err := cpu(r.agent.PID())
	if err != nil {
		return nil, err
	}
	if err := pause(r.ctx, idleTime); err != nil {
		return nil, err
	}
	after, err := cpu(r.agent.PID())
	if err != nil {
		return nil, err
	}
	resident, err := residentMemory(r.agent.PID())
	if err != nil {
		return nil, err
	}
	jira := 0
	for _, summary := range r.jira.Summary() {
		jira += summary.Count
	}
	_, teleport := r.counted()
	hours := idleTime.Hours()
	return []figure{
		{Name: "idle: Jira calls an hour", Value: float64(jira) / hours, Unit: "calls", Bound: new(60.0), Note: fmt.Sprintf("%d in %s", jira, idleTime)},
		{Name: "idle: Teleport calls beyond pings", Value: float64(total(teleport)) / hours, Unit: "calls an hour", Bound: new(0.0), Note: fmt.Sprint(teleport)},
		{Name: "idle: one core", Value: 100 * (after - before).Seconds() / idleTime.Seconds(), Unit: "%", Bound: new(0.5)},
		{Name: "idle: resident memory", Value: float64(resident) / (1 << 20), Unit: "MiB", Bound: new(40.0)},
	}, nil
}

func total(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
