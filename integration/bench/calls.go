package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/integration/jirasim"
)

// lives is how many requests a count is the mean of.
const lives = 5

// life is how a request goes on once its issue is pending. The bounds are what Teleport's own
// plugin v15.3 spends, or less.
type life struct {
	name                string
	ttl                 time.Duration
	jiraBound           float64 // calls to Jira after the issue is pending
	end                 func(r *rig, id, issueKey string) error
	teleportWholeBounds float64
}

func allLives() []life {
	return []life{
		{"resolved in Teleport (one review)", 0, 3, func(r *rig, id, _ string) error {
			return r.teleport.Review(id, "bob@example.com", false, "not now")
		}, 4},
		{"resolved in Jira", 0, 2, func(r *rig, _, issueKey string) error {
			if _, err := r.jira.Comment(issueKey, "bob", "Reason: fine"); err != nil {
				return err
			}
			return r.jira.Move(issueKey, "bob", "Approved")
		}, 4},
		{"expired", 2 * time.Second, 2, func(*rig, string, string) error { return nil }, 4},
	}
}

// calls counts what one request costs both sides, beyond what goes on anyway.
func calls(ctx context.Context, b *bench) ([]figure, error) {
	var all []figure
	for _, initial := range []string{"Pending", "To Do"} {
		made, err := callsToCreate(ctx, b, initial)
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	for _, d := range []jirasim.Deployment{jirasim.Cloud, jirasim.DataCenter} {
		for _, l := range allLives() {
			some, err := callsOf(ctx, b, d, l)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.name, err)
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

func callsToCreate(ctx context.Context, b *bench, initial string) (figure, error) {
	r, err := b.rig(ctx, setting{initial: initial, polls: true})
	if err != nil {
		return figure{}, err
	}
	defer r.close()
	if _, _, err := r.pending(0); err != nil { // the first one shows where issues begin
		return figure{}, err
	}
	r.reset()
	for range lives {
		if _, _, err := r.pending(0); err != nil {
			return figure{}, err
		}
	}
	jira, _ := r.counted()
	f := figure{Name: "Jira calls: created in " + initial, Value: mean(jira), Unit: "calls", Note: spelled(jira)}
	if initial == "Pending" {
		f.Bound = new(1.0)
	}
	return f, nil
}

func callsOf(ctx context.Context, b *bench, d jirasim.Deployment, l life) ([]figure, error) {
	r, err := b.rig(ctx, setting{deployment: d, polls: true})
	if err != nil {
		return nil, err
	}
	defer r.close()
	after := make(map[string]int)
	for n := range lives + 1 {
		if n == 1 { // the first one has shown how issues move
			clear(after)
			r.reset()
		}
		id, key, err := r.pending(l.ttl)
		if err != nil {
			return nil, err
		}
		before, _ := r.counted()
		if err := l.end(r, id, key); err != nil {
			return nil, err
		}
		if err := r.logs("done", "action", "settle", "request_id", id); err != nil {
			return nil, err
		}
		now, _ := r.counted()
		for route, n := range now {
			after[route] += n - before[route]
		}
	}
	_, teleport := r.counted()
	note := spelled(teleport)
	if lists := teleport["ListAccessRequests"]; lists > 0 {
		note += "; the ListAccessRequests, which do not count, are the reads by ID right before it is decided, or found " +
			"to be gone"
		delete(teleport, "ListAccessRequests")
	}
	where := " on " + map[jirasim.Deployment]string{jirasim.Cloud: "Cloud", jirasim.DataCenter: "Data Center"}[d]
	return []figure{
		{Name: "Jira calls: " + l.name + where, Value: mean(after), Unit: "calls", Bound: &l.jiraBound, Note: spelled(after)},
		{Name: "Teleport calls beyond watch and list: whole life, " +
			l.name + where, Value: mean(teleport), Unit: "calls", Bound: &l.teleportWholeBounds, Note: note},
	}, nil
}

func mean(counts map[string]int) float64 {
	total := 0
	for n := range maps.Values(counts) {
		total += n
	}
	return float64(total) / lives
}

// spelled tells how often each was called.
func spelled(counts map[string]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] > 0 {
			words = append(words, fmt.Sprintf("%.3g %s", float64(counts[name])/lives, name))
		}
	}
	return strings.Join(words, ", ")
}
