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

// offers are the transitions that Jira offered last where the issue is.
func (w *workflow) offers(i sync.Issue) []transitionJSON {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.offered[placeOf(i)]
}

// note remembers what Jira offers an issue. Where nothing was remembered, the issue may be in a new workflow, or have come to where no
// remembered transition should have brought it: then the rest is forgotten.
func (w *workflow) note(i sync.Issue, offered []transitionJSON) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := placeOf(i)
	if _, known := w.offered[at]; w.offered == nil || !known {
		kept := make(map[place][]transitionJSON)
		for other, offered := range w.offered {
			if (other.project != at.project || other.kind != at.kind) && len(kept) < maxOffers {
				kept[other] = offered
			}
		}
		w.offered = kept
	}
	w.offered[at] = offered
}
