package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// manyOpen and fewOpen are how many open links an agent is measured with: what it costs should
	// not differ.
	manyOpen, fewOpen = 100_000, 10
	// quiet is how long polls are watched between two sweeps, which are betweenSweeps apart.
	quiet, betweenSweeps = 15 * time.Second, 20 * time.Second
	// readyTime bounds start to ready, and residentBound the memory, in MiB, of which so much more
	// after two further sweeps is no growth.
	readyTime, residentBound, noGrowth = 30, 128, 8.0
)

// opened is what was seen of an agent with open links of which nothing is to be done.
type opened struct {
	seed                         time.Duration
	ready, listed, polled, swept time.Duration // since the start
	polls                        int
	quiet                        watch
	sweepCalls, callsAtStart     int
	resident                     [3]float64 // MiB after each sweep
}

// open is what open links cost by being there.
func open(ctx context.Context, b *bench) ([]figure, error) {
	few, err := b.opened(ctx, fewOpen, 1)
	if err != nil {
		return nil, err
	}
	many, err := b.opened(ctx, manyOpen, 3)
	if err != nil {
		return nil, err
	}
	perPoll := func(o opened, whole float64) float64 { return whole / float64(o.polls) }
	cpuMany, cpuFew := perPoll(many, milliseconds(many.quiet.cpu)), perPoll(few, milliseconds(few.quiet.cpu))
	pgMany, pgFew := perPoll(many, many.quiet.Time), perPoll(few, few.quiet.Time)
	return []figure{
		{
			Name:  "100,000 open: start → ready",
			Value: many.ready.Seconds(),
			Unit:  "s",
			Bound: new(float64(readyTime)),
			Note:  fmt.Sprintf("with 10 open %.3g s; seeded in %.3g s", few.ready.Seconds(), many.seed.Seconds()),
		},
		{
			Name:  "100,000 open: start → first list",
			Value: many.listed.Seconds(),
			Unit:  "s",
			Note:  fmt.Sprintf("first poll after %.3g s", many.polled.Seconds()),
		},
		{
			Name:  "100,000 open: start → first sweep",
			Value: many.swept.Seconds(),
			Unit:  "s",
			Note:  fmt.Sprintf("%d Jira calls until then, JIRA_MAX_RPS=1000", many.callsAtStart),
		},
		{
			Name:  "100,000 open: resident after a sweep",
			Value: many.resident[0],
			Unit:  "MiB",
			Bound: new(float64(residentBound)),
		},
		{
			Name:  "100,000 open: resident after three sweeps",
			Value: many.resident[2],
			Unit:  "MiB",
			Bound: new(float64(residentBound)),
			Note:  fmt.Sprintf("after the second %.4g MiB", many.resident[1]),
		},
		{
			Name:  "100,000 open: growth over two sweeps",
			Value: many.resident[2] - many.resident[0],
			Unit:  "MiB",
			Bound: new(noGrowth),
		},
		{
			Name:  "100,000 open: Jira calls a poll",
			Value: 1 + perPoll(many, float64(total(many.quiet.jira))),
			Unit:  "calls",
			Bound: new(1.0),
		},
		{
			Name:  "100,000 open: CPU a poll",
			Value: cpuMany / cpuFew,
			Unit:  "times 10 open",
			Bound: new(1.3),
			Note:  fmt.Sprintf("%.3g ms; with 10 open %.3g ms", cpuMany, cpuFew),
		},
		{
			Name:  "100,000 open: time in statements a poll",
			Value: pgMany / pgFew,
			Unit:  "times 10 open",
			Bound: new(1.3),
			Note:  fmt.Sprintf("%.3g ms; with 10 open %.3g ms", pgMany, pgFew),
		},
		{Name: "100,000 open: Jira calls a sweep", Value: float64(many.sweepCalls), Unit: "calls", Bound: new(1100.0)},
	}, nil
}

func (b *bench) opened(ctx context.Context, links, sweeps int) (o opened, err error) {
	began := time.Now()
	env := []string{"ADMIN_LISTEN_ADDR=127.0.0.1:0", "SYNC_SWEEP_SCHEDULE=@every " + betweenSweeps.String()}
	r, err := b.seeded(ctx, setting{env: env}, links)
	if err != nil {
		return o, err
	}
	defer r.close()
	o.seed = time.Since(began)
	if err := o.starts(r, env); err != nil {
		return o, err
	}
	if o.resident[0], err = r.residentAfterSweeps(1); err != nil {
		return o, err
	}
	o.callsAtStart = r.jiraCalls()
	if o.quiet, err = r.watched(quiet); err != nil {
		return o, err
	}
	o.polls = int(r.polls.Load())
	if err := r.tellExpensive(fmt.Sprintf("%d open", links)); err != nil {
		return o, err
	}
	for n := 1; n < sweeps; n++ {
		if o.resident[n], err = r.residentAfterSweeps(n + 1); err != nil {
			return o, err
		}
	}
	if sweeps > 1 {
		jira, _ := r.counted()
		o.sweepCalls = total(jira) / (sweeps - 1)
	}
	return o, r.undisturbed()
}

// starts starts the agent and takes the times of what it does first.
func (o *opened) starts(r *rig, env []string) error {
	r.reset()
	start := time.Now()
	if err := r.start(env...); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error {
		defer func() { o.ready = time.Since(start) }()
		return r.leads()
	})
	for loop, took := range map[string]*time.Duration{
		"teleport list": &o.listed, "jira poll": &o.polled, "sweep": &o.swept,
	} {
		group.Go(func() error {
			defer func() { *took = time.Since(start) }()
			return r.logs("working", "loop", loop)
		})
	}
	return group.Wait()
}

// leads probes /readyz until the agent is ready as the leader, as a platform would.
func (r *rig) leads() error {
	for {
		code, body, err := r.agent.Get(r.ctx, "/readyz")
		if err == nil && code == http.StatusOK && strings.Contains(body, `"leader"`) {
			return nil
		}
		if err := pause(r.ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

var sweepsDone = regexp.MustCompile(`(?m)^teleport_jira_agent_loops_total\{loop="sweep",outcome="ok"\} ([0-9]+)$`)

// residentAfterSweeps waits until so many sweeps have ended, which only /metrics tells, and returns
// how much memory the agent has then, in MiB.
func (r *rig) residentAfterSweeps(n int) (float64, error) {
	for {
		_, body, err := r.agent.Get(r.ctx, "/metrics")
		if err != nil {
			return 0, err
		}
		if found := sweepsDone.FindStringSubmatch(body); found != nil {
			if done, _ := strconv.Atoi(found[1]); done >= n {
				resident, err := residentMemory(r.agent.PID())
				return float64(resident) / (1 << 20), err
			}
		}
		if err := pause(r.ctx, 100*time.Millisecond); err != nil {
			return 0, errors.Join(fmt.Errorf("waiting for %d sweeps", n), err)
		}
	}
}

// jiraCalls are all since the last reset.
func (r *rig) jiraCalls() (n int) {
	for _, summary := range r.jira.Summary() {
		n += summary.Count
	}
	return n
}
