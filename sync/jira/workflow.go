package jira

import (
	stdsync "sync"
	"time"

	"teleport-jira-agent/sync"
)

const (
	// initialAge is how long the status that issues begin in is believed. When somebody changes that, the agent's new issues are taken for being there until
	// a poll shows otherwise, for some seconds each.
	initialAge = time.Hour
	// maxOffers bounds what is remembered: three or so statuses of a few issue types. People may give an issue any type, and move it to any project.
	maxOffers = 100
	// maxMoved bounds how many issues are known to have been moved, at some 50 bytes each.
	maxMoved = 10_000
)

// workflow remembers how issues move, as Jira showed it on some of them, so that not each has to be asked about. Jira has no call that tells an ordinary account of a
// workflow. What is remembered may be wrong for another issue, since a transition may have conditions, and for all once somebody changes the
// workflow: Jira may refuse a transition, or carry out another one that has its number now. The zero value is ready.
type workflow struct {
	mu stdsync.Mutex
	// initial has the status, and the type, in which the agent's issues begin, as seen at initialAt.
	initial   sync.Issue
	initialAt time.Time
	offered   map[place][]transitionJSON
	moved     map[string]bool // the ids of issues that were moved; true: by what is remembered
}

// place is where an issue is. Jira assigns workflows by project and issue type.
type place struct{ project, kind, status string }

func placeOf(i sync.Issue) place { return place{i.Project, i.Type, i.Status.ID} }

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

// offers are the transitions that Jira offered last where the issue is; none for one that was moved before, which is read first: it may be there, and only the
// search not show it yet. If it was moved by what is remembered, it may not have come to where it should, and then all is forgotten.
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
	return w.offered[placeOf(i)]
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
		w.offered = make(map[place][]transitionJSON)
	}
	w.offered[placeOf(i)] = offered
}
