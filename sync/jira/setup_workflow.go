package jira

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"teleport-jira-agent/sync"
)

// workflowSight is what the workflow of the issue type has of what JIRA_STATUS_* name.
type workflowSight struct {
	// kinds are the names of the project's issue types.
	kinds []string
	// missing are, by outcome, the configured statuses where the workflow has none of them; spare are those that it lacks beside one that it has.
	missing map[sync.Outcome][]string
	spare   []string
	// pending is the status for pending requests, in quotes; empty where the workflow has none.
	pending string
	moves   []moveSight
	// untold is why Jira does not tell the statuses; empty where it does.
	untold string
}

// moveSight is a move that the agent or a person has to make, from a status of the workflow to one of an outcome.
type moveSight struct {
	from    statusJSON
	to      []string
	offered answerOf
	// asks are fields that the transition wants filled in, which the agent does not do.
	asks []string
}

func (m moveSight) String() string { return fmt.Sprintf("%q to %q", m.from.Name, m.to[0]) }

// outcomesInOrder are those that JIRA_STATUS_* configure.
var outcomesInOrder = []sync.Outcome{sync.OutcomePending, sync.OutcomeApproved, sync.OutcomeDenied, sync.OutcomeExpired, sync.OutcomePromoted}

// lookAtWorkflow compares the workflow with the configuration.
func (s *Setup) lookAtWorkflow(ctx context.Context, seen *sight, workflows []workflowJSON) error {
	for _, t := range seen.project.IssueTypes {
		seen.flow.kinds = append(seen.flow.kinds, t.Name)
	}
	if seen.kind.ID == "" || seen.flow.untold != "" {
		return nil
	}
	var has []statusJSON
	for _, w := range workflows {
		if w.ID == seen.kind.ID {
			has = w.Statuses
		}
	}
	seen.flow.missing = make(map[sync.Outcome][]string)
	known := make(map[sync.Outcome][]statusJSON)
	for _, o := range outcomesInOrder {
		for _, wanted := range s.statuses[o] {
			at := slices.IndexFunc(has, func(h statusJSON) bool { return h.status().Is(wanted) })
			if at >= 0 {
				known[o] = append(known[o], has[at])
			} else if !slices.Contains(seen.flow.spare, wanted) {
				seen.flow.spare = append(seen.flow.spare, wanted)
			}
		}
		if len(known[o]) == 0 && len(s.statuses[o]) > 0 {
			seen.flow.missing[o] = s.statuses[o]
		}
	}
	for _, lacking := range seen.flow.missing {
		seen.flow.spare = slices.DeleteFunc(seen.flow.spare, func(name string) bool { return slices.Contains(lacking, name) })
	}
	if pending := known[sync.OutcomePending]; len(pending) > 0 {
		seen.flow.pending = fmt.Sprintf("%q", pending[0].Name)
	}
	seen.flow.moves = s.movesBetween(known)
	return s.askForMoves(ctx, seen)
}

// workflowJSON is an issue type of a project, with the statuses of its workflow.
type workflowJSON struct {
	statusJSON
	Statuses []statusJSON `json:"statuses"`
}

// workflows are the issue types of the project.
func (c *Client) workflows(ctx context.Context) (all []workflowJSON, err error) {
	_, err = c.do(ctx, request{
		op: "read the statuses of project " + c.cfg.Project, method: http.MethodGet,
		endpoint: "project/{project}/statuses", project: c.cfg.Project, scope: sync.ScopeSide,
	}, &all)
	return all, err
}

// movesBetween are the moves from each pending status to each other outcome and back.
func (s *Setup) movesBetween(known map[sync.Outcome][]statusJSON) []moveSight {
	var moves []moveSight
	add := func(from []statusJSON, to []string) {
		for _, status := range from {
			// Outcomes may share statuses, as Promoted does with Approved.
			if !slices.ContainsFunc(moves, func(m moveSight) bool { return m.from == status && slices.Equal(m.to, to) }) {
				moves = append(moves, moveSight{from: status, to: to})
			}
		}
	}
	names := func(statuses []statusJSON) (all []string) {
		for _, status := range statuses {
			all = append(all, status.Name)
		}
		return all
	}
	pending := known[sync.OutcomePending]
	for _, o := range outcomesInOrder[1:] {
		if len(known[o]) > 0 && len(pending) > 0 {
			add(pending, names(known[o]))
			add(known[o], names(pending))
		}
	}
	return moves
}

// askForMoves asks the newest issue in each status which transitions it offers: that is all that Jira tells of a workflow to those who do not administer it,
// and it holds for the account that will use them. A status without an issue stays untold, unless a transition is known to lead on from every status.
func (s *Setup) askForMoves(ctx context.Context, seen *sight) error {
	var everywhere []transitionJSON // Cloud marks them
	offers := make(map[statusJSON][]transitionJSON)
	for _, m := range seen.flow.moves {
		if _, asked := offers[m.from]; asked {
			continue
		}
		offers[m.from] = nil
		id, err := s.c.newestIn(ctx, seen.kind.ID, m.from)
		if notTold(err) || err == nil && id == "" {
			continue
		}
		if err != nil {
			return err
		}
		offered, err := s.c.transitions(ctx, "read the transitions from "+m.from.Name, id)
		if notTold(err) {
			continue
		}
		if err != nil {
			return err
		}
		offers[m.from] = append([]transitionJSON{}, offered...)
		for _, t := range offered {
			if t.IsGlobal {
				everywhere = append(everywhere, t)
			}
		}
	}
	for i, m := range seen.flow.moves {
		if t, leads := choose(append(slices.Clone(everywhere), offers[m.from]...), m.to); leads {
			seen.flow.moves[i].offered, seen.flow.moves[i].asks = yes, t.asksFor()
		} else if offers[m.from] != nil {
			seen.flow.moves[i].offered = no
		}
	}
	return nil
}

// newestIn is the id of the newest issue of the type in the status, as the index has it; empty: there is none.
func (c *Client) newestIn(ctx context.Context, typeID string, status statusJSON) (string, error) {
	r := request{
		op: fmt.Sprintf("find an issue in status %q of project %s", status.Name, c.cfg.Project), method: http.MethodPost, endpoint: "search",
		body: map[string]any{
			"jql":    fmt.Sprintf("project = %s AND issuetype = %s AND status = %s ORDER BY created DESC", quoted(c.cfg.Project), typeID, status.ID),
			"fields": []string{"status"}, "maxResults": 1,
		},
		scope: sync.ScopeSide,
	}
	if c.deployment == Cloud {
		r.endpoint = "search/jql"
	}
	var answer struct {
		Issues []struct {
			ID string `json:"id"`
		} `json:"issues"`
	}
	if _, err := c.do(ctx, r, &answer); err != nil || len(answer.Issues) == 0 {
		return "", err
	}
	return answer.Issues[0].ID, nil
}

// lacking are the statuses of which the workflow needs one of each, as a person would read them: "Pending", "Approved or Accepted".
func (w workflowSight) lacking() []string {
	var all []string
	for _, o := range outcomesInOrder {
		if names := w.missing[o]; len(names) > 0 {
			words := `"` + strings.Join(names, `" or "`) + `"`
			if !slices.Contains(all, words) {
				all = append(all, words)
			}
		}
	}
	return all
}

// movesThatAsk are those on which the agent is stuck, each with the fields that it would have to fill in.
func (w workflowSight) movesThatAsk() []string {
	var all []string
	for _, m := range w.moves {
		if len(m.asks) > 0 {
			all = append(all, fmt.Sprintf("%s (%s)", m, strings.Join(m.asks, ", ")))
		}
	}
	return all
}

func (w workflowSight) movesThatAre(a answerOf) []string {
	var all []string
	for _, m := range w.moves {
		if m.offered == a {
			all = append(all, m.String())
		}
	}
	return all
}
