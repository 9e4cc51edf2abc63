package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/sync"
)

// timeline merges what happened in Teleport, in Jira, and in the agent, in order of time.
func (s *story) timeline() []timelineReport {
	all := append([]timelineReport{}, slices.Concat(s.inTeleport(), s.inJira(), s.inAgent())...)
	slices.SortStableFunc(all, func(a, b timelineReport) int { return a.At.Compare(b.At) })
	return all
}

func (s *story) inTeleport() []timelineReport {
	r := s.link.Request
	var all []timelineReport
	if !r.Created.IsZero() {
		asked := strings.Join(slices.Concat(r.Roles, r.Resources), ", ")
		all = append(
			all,
			timelineReport{
				At:     r.Created,
				Source: "teleport",
				Who:    r.User,
				What:   fmt.Sprintf("asks for %s, reason %q", asked, r.Reason),
			},
		)
	}
	for _, review := range r.Reviews {
		all = append(
			all,
			timelineReport{
				At:     review.Created,
				Source: "teleport",
				Who:    review.Author,
				What:   fmt.Sprintf("reviews: %s, reason %q", review.Verdict, review.Reason),
			},
		)
	}
	if now := time.Now(); r.PastExpiry(now) {
		all = append(all, timelineReport{At: r.Expires, Source: "teleport", What: "the request expires undecided"})
	}
	return all
}

// inJira tells of moves and comments as Jira tells them now.
func (s *story) inJira() []timelineReport {
	if s.detail == nil {
		return nil
	}
	var all []timelineReport
	for _, c := range slices.Backward(s.detail.Comments) { // of one moment they come before the move that they explain
		all = append(all, timelineReport{At: c.Created, Source: "jira", Who: personName(c.Author), What: "comments: " +
			legible(c.Body)})
	}
	for _, m := range s.detail.Moves {
		what := fmt.Sprintf("moves %s from %s to %s", s.detail.Issue.Key, m.From.Name, m.To.Name)
		all = append(all, timelineReport{At: m.At, Source: "jira", Who: personName(m.Author), What: what})
	}
	return all
}

func personName(p sync.Person) string {
	if p.Agent {
		return "the agent"
	}
	return cmp.Or(p.Email, p.DisplayName, p.ID(), "nobody known")
}

// observed is the action of a line of activity that tells what was seen.
const observed = "observe"

func (s *story) inAgent() []timelineReport {
	all := make([]timelineReport, len(s.activity))
	for i, a := range s.activity {
		t := timelineReport{At: a.At, Source: "agent", Epoch: a.Epoch, Attempt: a.Attempt}
		switch {
		case a.Action == observed:
			t.What = "sees in " + a.Cause + ": " + legible(a.Outcome)
		case a.Outcome == "ok":
			t.What = a.Action + ", since " + legible(a.Cause)
		case a.Failed():
			t.Failed = true
			t.What = a.Action + " failed: " + legible(a.Outcome) + " (to do, since " + legible(a.Cause) + ")"
		default:
			t.What = a.Action + " (" + a.Outcome + "): " + legible(a.Cause)
		}
		all[i] = t
	}
	return all
}

func (t *terminal) explanation(e explanation, now time.Time) {
	r := e.Teleport
	t.printf("%s\n", t.painted(bold, "Request "+harmless(e.RequestID)))
	t.printf(
		"%s asks for %s, reason %q\n\n",
		legible(r.User),
		legible(strings.Join(slices.Concat(r.Roles, r.Resources), ", ")),
		legible(r.Reason),
	)
	state := r.State
	switch {
	case r.Gone:
		state += ", and Teleport has deleted the request"
	case r.State == string(sync.StatePending) && r.Expires != nil:
		state += ", expires " + since(*r.Expires, now)
	case r.ResolveReason != "":
		state += fmt.Sprintf(", reason %q", legible(r.ResolveReason))
	}
	rows := [][]cell{{{text: "Teleport"}, {text: strings.TrimSpace(state + "  " + r.URL)}}}
	issue := cell{text: "no issue yet"}
	if j := e.Jira; j != nil {
		issue.text = fmt.Sprintf("%s in %s  %s", j.Key, cmp.Or(j.Status, "a status that is not known yet"), j.URL)
		if j.Gone {
			issue = cell{j.Key + " is not shown by Jira any more", yellow}
		}
	}
	rows = append(rows, []cell{{text: "Jira"}, issue})
	mapping := cell{text: e.Mapping.State}
	switch e.Mapping.State {
	case "parked":
		mapping.paint = red
	case "delayed", "dropped":
		mapping.paint = yellow
	}
	if e.Mapping.LastError != "" {
		mapping.text += fmt.Sprintf(" after %d attempts: %s", e.Mapping.Attempts, legible(e.Mapping.LastError))
	}
	rows = append(rows, []cell{{text: "Agent"}, mapping}, []cell{{text: "Verdict"}, {text: legible(e.Verdict)}})
	next := legible(e.Next.What)
	if e.Next.At != nil {
		next += " (" + since(*e.Next.At, now) + ")"
	}
	rows = append(rows, []cell{{text: "Next"}, {text: next}})
	for _, step := range e.Next.Steps {
		rows = append(rows, []cell{{}, {text: "- " + step.Action + ": " + legible(step.Cause)}})
	}
	t.table(rows)
	for _, side := range e.Unavailable {
		t.print(t.painted(yellow, "As last recorded, since it cannot be asked now: "+legible(side)) + "\n")
	}
	t.story(e.Timeline)
}

func (t *terminal) story(timeline []timelineReport) {
	t.title("What happened (UTC)")
	rows := make([][]cell, len(timeline))
	for i, line := range timeline {
		what := cell{text: legible(line.What)}
		if line.Who != "" {
			what.text = legible(line.Who) + " " + what.text
		}
		if line.Attempt > 1 {
			what.text += fmt.Sprintf(" [attempt %d]", line.Attempt)
		}
		if line.Failed {
			what.paint = red
		}
		rows[i] = []cell{{clock(line.At), dim}, {text: line.Source}, what}
	}
	t.table(rows)
}
