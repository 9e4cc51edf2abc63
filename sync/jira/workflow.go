package jira

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	stdsync "sync"
	"time"

	"teleport-jira-agent/sync"
)

const (
	// initialAge is how long the status that issues begin in is believed. When somebody changes
	// that, the agent's new issues are taken for being there until a poll shows otherwise, for some
	// seconds each.
	initialAge = time.Hour
	// maxOffers bounds what is remembered: some statuses of a few issue types. People may give an
	// issue any type, and move it to any project.
	maxOffers = 200
	// flowAge is how long what was seen of a workflow tells which ways there are: after an
	// administrator has changed it, an issue may go a wrong way, or none, for so long.
	flowAge = 5 * time.Minute
	// maxMoved bounds how many issues are known to have been moved, at some 50 bytes each.
	maxMoved = 10_000
)

// workflow remembers how issues move, as Jira showed it on some of them, so that not each has to be
// asked about. Jira has no call that tells an ordinary account of a workflow. What is remembered
// may be wrong for another issue, since a transition may have conditions, and for all once somebody
// changes the workflow: Jira may refuse a transition, or carry out another one that has its number
// now. The zero value is ready.
type workflow struct {
	mu stdsync.Mutex
	// initial has the status, and the type, in which the agent's issues begin, as seen at
	// initialAt.
	initial   sync.Issue
	initialAt time.Time
	offered   map[place]offer
	statuses  map[place]statusesSeen // by project and type
	moved     map[string]bool        // the ids of issues that were moved; true: by what is remembered
}

// place is where an issue is. Jira assigns workflows by project and issue type.
type place struct{ project, kind, status string }

func placeOf(i sync.Issue) place { return place{i.Project, i.Type, i.Status.ID} }

// offer is what Jira offered an issue.
type offer struct {
	transitions []transitionJSON
	at          time.Time
}

// statusesSeen are those of a workflow.
type statusesSeen struct {
	all []sync.Status
	at  time.Time
}

// began notes an issue of the agent that nobody has moved.
func (w *workflow) began(i sync.Issue, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.initial, w.initialAt = i, now
}

// begin puts an issue that was just made where it begins, if that is known.
func (w *workflow) begin(made *sync.Issue, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.initialAt) < initialAge {
		made.Type, made.Status, made.Assumed = w.initial.Type, w.initial.Status, now
	}
}

// offers are the transitions that Jira offered last where the issue is; none for one that was moved
// before, which is read first: it may be there, and only the search not show it yet. If it was
// moved by what is remembered, it may not have come to where it should, and then all is forgotten.
func (w *workflow) offers(i sync.Issue) []transitionJSON {
	w.mu.Lock()
	defer w.mu.Unlock()
	byMemory, again := w.moved[i.ID]
	if byMemory {
		w.offered, w.moved = nil, nil
	}
	if again {
		return nil
	}
	return w.offered[placeOf(i)].transitions
}

// known is what is remembered of the workflow of an issue that is offered these transitions.
func (w *workflow) known(i sync.Issue, offered []transitionJSON, way sync.Way) sync.Workflow {
	w.mu.Lock()
	defer w.mu.Unlock()
	flow := sync.Workflow{Offered: leading(offered, way)}
	flow.Seen = func(s sync.Status) ([]sync.Status, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		seen, ok := w.offered[place{i.Project, i.Type, s.ID}]
		if !ok || time.Since(seen.at) > flowAge {
			return nil, false
		}
		return leading(seen.transitions, way), true
	}
	if has := w.statuses[place{i.Project, i.Type, ""}]; time.Since(has.at) <= flowAge {
		flow.Statuses = has.all
	}
	return flow
}

// leading are the statuses that transitions lead to. On the way there the agent fills in no fields.
func leading(offered []transitionJSON, way sync.Way) []sync.Status {
	var to []sync.Status
	for _, t := range offered {
		available := t.IsAvailable == nil || *t.IsAvailable
		if s := t.To.status(); available && (way.Arrived(s) || len(t.asksFor()) == 0) && !slices.Contains(to, s) {
			to = append(to, s)
		}
	}
	return to
}

// noteStatuses remembers what statuses the workflows of a project have, by issue type.
func (w *workflow) noteStatuses(project string, kinds []workflowJSON) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.statuses == nil || len(w.statuses) >= maxOffers {
		w.statuses = make(map[place]statusesSeen)
	}
	for _, kind := range kinds {
		seen := statusesSeen{at: time.Now()}
		for _, s := range kind.Statuses {
			seen.all = append(seen.all, s.status())
		}
		w.statuses[place{project, kind.Name, ""}] = seen
	}
}

// learnStatuses finds out what statuses the issue's workflow has, unless that is known.
func (c *Client) learnStatuses(ctx context.Context, i sync.Issue) error {
	if c.workflow.known(i, nil, sync.Way{}).Statuses != nil {
		return nil
	}
	kinds, err := c.workflowsOf(ctx, i.Project)
	if err == nil {
		c.workflow.noteStatuses(i.Project, kinds)
	}
	if notTold(err) {
		return nil
	}
	return err
}

// Statuses are those of the project's workflows; sync.ErrNotFound where Jira does not show the
// project to this account.
func (c *Client) Statuses(ctx context.Context) ([]sync.Status, error) {
	kinds, err := c.workflows(ctx)
	var answer *answerError
	switch {
	case errors.As(err, &answer) && answer.code == http.StatusNotFound && answer.fromJira:
		return nil, fmt.Errorf("%w: %w", sync.ErrNotFound, err)
	case err != nil:
		return nil, err
	}
	var all []sync.Status
	for _, kind := range kinds {
		for _, s := range kind.Statuses {
			if !slices.ContainsFunc(all, func(other sync.Status) bool { return other.ID == s.ID }) {
				all = append(all, s.status())
			}
		}
	}
	return all, nil
}

// noteMoved notes that an issue was moved, perhaps by what is remembered.
func (w *workflow) noteMoved(id string, byMemory bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.moved == nil || len(w.moved) >= maxMoved {
		w.moved = make(map[string]bool)
	}
	w.moved[id] = byMemory
}

// note remembers what Jira offers an issue.
func (w *workflow) note(i sync.Issue, offered []transitionJSON) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.offered == nil || len(w.offered) >= maxOffers {
		w.offered = make(map[place]offer)
	}
	w.offered[placeOf(i)] = offer{offered, time.Now()}
}
