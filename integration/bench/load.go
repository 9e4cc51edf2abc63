package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"teleport-jira-agent/integration/jirasim"
)

// backlogs is how fast issues are made for 1,000 requests at once, beside what the concurrency
// allows on paper: one call for each issue, as many at once as SYNC_CONCURRENCY.
func backlogs(ctx context.Context, b *bench) ([]figure, error) {
	var all []figure
	for _, c := range []backlog{
		{concurrency: 16, jiraTakes: 20 * time.Millisecond, bound: new(1.3)},
		{concurrency: 64, jiraTakes: 20 * time.Millisecond, bound: new(1.3)},
		{concurrency: 16, jiraTakes: 100 * time.Millisecond, bound: new(1.3)},
	} {
		some, err := c.figure(ctx, b)
		if err != nil {
			return nil, err
		}
		all = append(all, some)
	}
	return all, nil
}

// backlogged is how many requests are made at once.
const backlogged = 1000

// backlog is a way to make many issues.
type backlog struct {
	concurrency int
	jiraTakes   time.Duration // for each call
	bound       *float64
}

func (c backlog) figure(ctx context.Context, b *bench) (figure, error) {
	made := make(chan struct{}, backlogged)
	r, err := b.rig(ctx, setting{initial: "Pending", env: []string{"SYNC_CONCURRENCY=" +
		strconv.Itoa(c.concurrency)}, onCall: func(call jirasim.Call) {
		if call.Route() == "POST issue" && call.Status == 201 {
			made <- struct{}{}
		}
	}})
	if err != nil {
		return figure{}, err
	}
	defer r.close()
	r.jira.SetLatency(c.jiraTakes)
	if err := r.forgetStatements(); err != nil {
		return figure{}, err
	}
	before, err := r.spent()
	if err != nil {
		return figure{}, err
	}
	start := time.Now()
	for range backlogged {
		if _, err := r.request(0); err != nil {
			return figure{}, err
		}
	}
	for range backlogged {
		select {
		case <-made:
		case <-r.ctx.Done():
			return figure{}, r.ctx.Err()
		}
	}
	took := time.Since(start)
	after, err := r.spent()
	if err != nil {
		return figure{}, err
	}
	if err := r.tellExpensive(
		fmt.Sprintf("%d requests at once, %d worked on at once", backlogged, c.concurrency),
	); err != nil {
		return figure{}, err
	}
	paper := time.Duration(backlogged/c.concurrency) * c.jiraTakes
	each := func(after, before time.Duration) float64 { return milliseconds(after-before) / backlogged }
	return figure{
		Name:  fmt.Sprintf("1,000 requests at once, SYNC_CONCURRENCY=%d, Jira takes %s", c.concurrency, c.jiraTakes),
		Value: took.Seconds() / paper.Seconds(),
		Unit:  "times the paper",
		Bound: c.bound,
		Note: fmt.Sprintf("%.3g s, on paper %.3g s; CPU for each issue: agent %.3g ms, PostgreSQL %.3g ms, simulators "+
			"%.3g ms", took.Seconds(), paper.Seconds(),
			each(after.agent, before.agent), each(after.postgres, before.postgres), each(after.simulators, before.simulators)),
	}, nil
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
		{
			Name:  "idle: Jira calls an hour",
			Value: float64(jira) / hours,
			Unit:  "calls",
			Bound: new(60.0),
			Note:  fmt.Sprintf("%d in %s", jira, idleTime),
		},
		{
			Name:  "idle: Teleport calls beyond pings",
			Value: float64(total(teleport)) / hours,
			Unit:  "calls an hour",
			Bound: new(0.0),
			Note:  fmt.Sprint(teleport),
		},
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
