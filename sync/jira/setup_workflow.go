package jira

import (
	"cmp"
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
	// missing are, by outcome, the configured statuses where the workflow has none of them; spare
	// are those that it lacks beside one that it has.
	missing map[sync.Outcome][]string
	spare   []string
	// pending is the status for pending requests, in quotes; empty where the workflow has none.
	pending string
	moves   []moveSight
	// untold is why Jira does not tell the statuses; empty where it does.
	untold string
}

// moveSight is a way that the agent or a person has to take an issue, from a status of the workflow
// to one of an outcome.
type moveSight struct {
	from    statusJSON
	to      []string
	offered answerOf
	// by are the names of the statuses between.
	by []string
	// decided: the request is resolved, so that the way may go through statuses of other outcomes.
	decided bool
	// asks are fields that the transition wants filled in, which the agent does not do.
	asks []string
}

func (m moveSight) String() string {
	words := fmt.Sprintf("%q to %q", m.from.Name, m.to[0])
	if len(m.by) > 0 {
		words += ` by way of "` + strings.Join(m.by, `", "`) + `"`
	}
	return words
}

// outcomesInOrder are those that JIRA_STATUS_* configure.
var outcomesInOrder = []sync.Outcome{
	sync.OutcomePending,
	sync.OutcomeApproved,
	sync.OutcomeDenied,
	sync.OutcomeExpired,
	sync.OutcomePromoted,
}

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
	return s.askForMoves(ctx, seen, has)
}

// workflowJSON is an issue type of a project, with the statuses of its workflow.
type workflowJSON struct {
	statusJSON
	Statuses []statusJSON `json:"statuses"`
}

// workflows are the issue types of the project.
func (c *Client) workflows(ctx context.Context) ([]workflowJSON, error) {
	return c.workflowsOf(ctx, c.cfg.Project)
}

func (c *Client) workflowsOf(ctx context.Context, project string) (all []workflowJSON, err error) {
	_, err = c.do(ctx, request{
		op: "read the statuses of project " + project, method: http.MethodGet,
		endpoint: "project/{project}/statuses", project: project, scope: sync.ScopeSide,
	}, &all)
	return all, err
}

// movesBetween are the ways from each pending status to each other outcome and back, and from each
// outcome to each other, where Teleport decides otherwise than Jira.
func (s *Setup) movesBetween(known map[sync.Outcome][]statusJSON) []moveSight {
	var moves []moveSight
	add := func(from, to []statusJSON, decided bool) {
		var names []string
		for _, status := range to {
			names = append(names, status.Name)
		}
		for _, status := range from {
			// Outcomes may share statuses, as Promoted does with Approved.
			same := func(m moveSight) bool { return m.from == status && slices.Equal(m.to, names) }
			if !slices.Contains(to, status) && !slices.ContainsFunc(moves, same) {
				moves = append(moves, moveSight{from: status, to: names, decided: decided})
			}
		}
	}
	pending, others := known[sync.OutcomePending], outcomesInOrder[1:]
	if len(pending) == 0 {
		return nil
	}
	for _, o := range others {
		if len(known[o]) > 0 {
			add(pending, known[o], false)
			add(known[o], pending, false)
		}
	}
	for _, from := range others {
		for _, to := range others {
			if len(known[from]) > 0 && len(known[to]) > 0 {
				add(known[from], known[to], true)
			}
		}
	}
	return moves
}

// askForMoves asks the newest issue in each status which transitions it offers: that is all that
// Jira tells of a workflow to those who do not administer it, and it holds for the account that
// will use them. A status without an issue stays untold, unless a transition is known to lead on
// from every status.
func (s *Setup) askForMoves(ctx context.Context, seen *sight, has []statusJSON) error {
	if len(seen.flow.moves) == 0 {
		return nil
	}
	g := graph{offers: make(map[string][]transitionJSON)}
	for _, status := range has {
		id, err := s.c.newestIn(ctx, seen.kind.ID, status)
		if notTold(err) || err == nil && id == "" {
			continue
		}
		if err != nil {
			return err
		}
		offered, err := s.c.transitions(ctx, "read the transitions from "+status.Name, id)
		if notTold(err) {
			continue
		}
		if err != nil {
			return err
		}
		g.offers[status.ID] = append([]transitionJSON{}, offered...)
		for _, t := range offered {
			if t.IsGlobal {
				g.everywhere = append(g.everywhere, t)
			}
		}
	}
	for i := range seen.flow.moves {
		s.findWay(g, &seen.flow.moves[i])
	}
	return nil
}

// graph is what Jira tells of a workflow. A status without offers is one that no issue was in to be
// asked.
type graph struct {
	offers     map[string][]transitionJSON // by status id
	everywhere []transitionJSON            // Cloud marks them
}

// leg is a transition on the way, and what comes before it.
type leg struct {
	transitionJSON
	before *leg
}

// findWay finds the shortest way, of at most sync.MaxWay transitions, and what they ask for. As
// sync.Way it goes through no status of an outcome, unless the request is decided.
func (s *Setup) findWay(g graph, m *moveSight) {
	m.offered = no
	var level []*leg
	met := []string{m.from.ID}
	further := func(statusID string, before *leg) (next []*leg) {
		if g.offers[statusID] == nil {
			m.offered = unknown
		}
		for _, t := range slices.Concat(g.offers[statusID], g.everywhere) {
			if t.IsAvailable == nil || *t.IsAvailable {
				next = append(next, &leg{t, before})
			}
		}
		return next
	}
	level = further(m.from.ID, nil)
	for range sync.MaxWay {
		slices.SortStableFunc(level, func(a, b *leg) int { return cmp.Compare(a.demands(), b.demands()) })
		var next []*leg
		for _, l := range level {
			to := l.To.status()
			if isOneOf(to, m.to) {
				m.offered = yes
				m.asks = append(m.asks, l.asksFor()...)
				for p := l.before; p != nil; p = p.before {
					m.by = append([]string{p.To.Name}, m.by...)
				}
				return
			}
			outcome, means := s.statuses.Outcome(to)
			decision := means && outcome != sync.OutcomePending
			if slices.Contains(met, to.ID) || decision && !m.decided || len(l.asksFor()) > 0 {
				continue
			}
			met = append(met, to.ID)
			next = append(next, further(to.ID, l)...)
		}
		level = next
	}
}

// newestIn is the id of the newest issue of the type in the status, as the index has it; empty:
// there is none.
func (c *Client) newestIn(ctx context.Context, typeID string, status statusJSON) (string, error) {
	r := request{
		op:       fmt.Sprintf("find an issue in status %q of project %s", status.Name, c.cfg.Project),
		method:   http.MethodPost,
		endpoint: "search",
		body: map[string]any{
			"jql": fmt.Sprintf(
				"project = %s AND issuetype = %s AND status = %s ORDER BY created DESC",
				quoted(c.cfg.Project),
				typeID,
				status.ID,
			),
			"fields":     []string{"status"},
			"maxResults": 1,
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

// lacking are the statuses of which the workflow needs one of each, as a person would read them:
// "Pending", "Approved or Accepted".
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

// movesThatAsk are those on which the agent is stuck, each with the fields that it would have to
// fill in.
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

// detours are the ways on which there is a status between.
func (w workflowSight) detours() []string {
	var all []string
	for _, m := range w.moves {
		if len(m.by) > 0 {
			all = append(all, m.String())
		}
	}
	return all
}
