package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gravitational/teleport/api/types"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

const (
	// sweptLinks are the open links of a sweep. Of some the issue differs: deletedIssues were
	// deleted, movedIssues are in another project.
	sweptLinks, deletedIssues, movedIssues = 10_000, 3, 3
	// personMoves is how many moves by a person are the mean of their time.
	personMoves = 5
)

// sweeps are what a comparison of all open links costs Jira, and a person who decides meanwhile.
func sweeps(ctx context.Context, b *bench) ([]figure, error) {
	var all []figure
	for _, side := range []struct {
		deployment jirasim.Deployment
		name       string
		bound      float64
	}{
		{jirasim.Cloud, "Cloud", 110},
		{jirasim.DataCenter, "Data Center", sweptLinks/1000 + deletedIssues + movedIssues},
	} {
		some, err := sweepOn(ctx, b, side.deployment, side.name, side.bound)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", side.name, err)
		}
		all = append(all, some...)
	}
	beside, err := decisionsBesideSweep(ctx, b)
	return append(all, beside), err
}

func sweepOn(
	ctx context.Context,
	b *bench,
	deployment jirasim.Deployment,
	name string,
	bound float64,
) ([]figure, error) {
	env := []string{"ADMIN_LISTEN_ADDR=127.0.0.1:0", "JIRA_MAX_RPS=100"}
	r, err := b.seeded(ctx, setting{deployment: deployment, env: env}, sweptLinks)
	if err != nil {
		return nil, err
	}
	defer r.close()
	issues := r.jira.Issues()
	for n := range deletedIssues {
		if err := r.jira.DeleteIssue(issues[1000*n].ID, "bob"); err != nil {
			return nil, err
		}
	}
	for n := range movedIssues {
		if err := r.jira.MoveToProject(issues[1000*n+500].ID, "bob", "OLD"); err != nil {
			return nil, err
		}
	}
	var o opened
	if err := o.starts(r, env); err != nil {
		return nil, err
	}
	jira, _ := r.counted()
	reads := jira["POST issue/bulkfetch"] + jira["POST search/jql"] + jira["POST search"] + jira["GET issue/{issue}"]
	note := fmt.Sprintf("%d deleted, %d moved away; all until its end but the polls: %v", deletedIssues, movedIssues, jira)
	return []figure{
		{
			Name:  "sweep of 10,000 open, " + name + ": Jira reads",
			Value: float64(reads),
			Unit:  "calls",
			Bound: &bound,
			Note:  note,
		},
		{
			Name:  "sweep of 10,000 open, " + name + ": start → its end",
			Value: o.swept.Seconds(),
			Unit:  "s",
			Note:  "JIRA_MAX_RPS=100",
		},
	}, nil
}

// decisionsBesideSweep is how long a person's move takes by poll while a sweep uses the pace,
// beside the same with nothing else going on.
func decisionsBesideSweep(ctx context.Context, b *bench) (figure, error) {
	env := []string{"ADMIN_LISTEN_ADDR=127.0.0.1:0", "JIRA_MAX_RPS=10"}
	r, err := b.seeded(ctx, setting{env: env}, sweptLinks)
	if err != nil {
		return figure{}, err
	}
	defer r.close()
	if err := r.start(env...); err != nil {
		return figure{}, err
	}
	if err := r.logs("working", "loop", "jira poll"); err != nil {
		return figure{}, err
	}
	requests := r.teleport.Requests()
	var beside, alone times
	swept := func() bool {
		return slices.ContainsFunc(r.agent.Lines(), func(l replica.Line) bool { return l.Is("working", "loop", "sweep") })
	}
	for n := 0; n < personMoves && !swept(); n++ {
		took, err := r.decided(requests[n].GetName())
		if err != nil {
			return figure{}, err
		}
		beside = append(beside, took)
	}
	if len(beside) == 0 {
		return figure{}, fmt.Errorf("the sweep ended before a person could move an issue")
	}
	if err := r.logs("working", "loop", "sweep"); err != nil {
		return figure{}, err
	}
	for n := range personMoves {
		took, err := r.decided(requests[personMoves+n].GetName())
		if err != nil {
			return figure{}, err
		}
		alone = append(alone, took)
	}
	return figure{
		Name:  "move → state during a sweep, JIRA_MAX_RPS=10",
		Value: beside.mean() / alone.mean(),
		Unit:  "times without",
		Bound: new(1.5),
		Note: fmt.Sprintf(
			"mean %.4g ms of %d; without a sweep %.4g ms; polls of 1 s",
			beside.mean(),
			len(beside),
			alone.mean(),
		),
	}, nil
}

// longestDecision is how long a decision is waited for. One that takes longer counts as this.
const longestDecision = time.Minute

// decided lets a person approve in Jira, and returns how long it took until Teleport had it, at
// most longestDecision.
func (r *rig) decided(id string) (time.Duration, error) {
	issue, err := r.issue(id)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := r.jira.Move(issue.Key, "bob", "Approved"); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, longestDecision)
	defer cancel()
	err = r.teleport.Wait(ctx, func(t *teleportsim.Server) bool { return t.State(id) == types.RequestState_APPROVED })
	if err != nil && r.ctx.Err() == nil {
		return longestDecision, nil
	}
	return time.Since(start), err
}

// decidedAtOnce is decided for several, by as many people within a second.
func (r *rig) decidedAtOnce(ids []string) (times, error) {
	took := make(times, len(ids))
	var group errgroup.Group
	for n, id := range ids {
		group.Go(func() (err error) {
			if err = pause(r.ctx, time.Duration(n)*time.Second/time.Duration(len(ids))); err == nil {
				took[n], err = r.decided(id)
			}
			return err
		})
	}
	return took, group.Wait()
}

// waitingForIssues is how many requests wait for their issue while a person decides about another.
const waitingForIssues = 1000

// peopleFirst is how long a person's move takes by poll while many requests wait for their issues,
// beside the same with nothing else going on.
func peopleFirst(ctx context.Context, b *bench) ([]figure, error) {
	r, err := b.rig(ctx, setting{initial: "Pending", env: []string{"JIRA_MAX_RPS=10"}, polls: true})
	if err != nil {
		return nil, err
	}
	defer r.close()
	var ids []string
	for range 2 * personMoves {
		id, _, err := r.pending(0)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	alone, err := r.decidedAtOnce(ids[:personMoves])
	if err != nil {
		return nil, err
	}
	for range waitingForIssues {
		if _, err := r.request(0); err != nil {
			return nil, err
		}
	}
	beside, err := r.decidedAtOnce(ids[personMoves:])
	if err != nil {
		return nil, err
	}
	left := waitingForIssues + len(ids) - len(r.jira.Issues())
	if left <= 0 {
		return nil, fmt.Errorf("all issues were made before the person's last move")
	}
	return []figure{
		{
			Name:  "move → state while 1,000 requests wait for issues",
			Value: beside.mean() / alone.mean(),
			Unit:  "times without",
			Bound: new(1.5),
			Note: fmt.Sprintf("mean %.4g ms, max %.4g ms (waited for at most %s); without %.4g ms; polls of 1 s, "+
				"JIRA_MAX_RPS=10; %d still waited at the end",
				beside.mean(), beside.quantile(1), longestDecision, alone.mean(), left),
		},
	}, nil
}
