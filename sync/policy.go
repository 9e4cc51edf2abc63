package sync

import (
	"slices"
	"time"
)

// Outcome is where a request stands as the board shows it: a request's state, or that it ended
// undecided.
type Outcome string

// The outcomes; each has a set of Jira statuses in Statuses.
const (
	OutcomePending  Outcome = "pending"
	OutcomeApproved Outcome = Outcome(StateApproved)
	OutcomeDenied   Outcome = Outcome(StateDenied)
	OutcomeExpired  Outcome = "expired"
	OutcomePromoted Outcome = Outcome(StatePromoted)
)

// outcomes in the order in which a status that is configured for several is read: Promoted shares
// Approved's by default.
var outcomes = []Outcome{OutcomePending, OutcomeApproved, OutcomeDenied, OutcomeExpired, OutcomePromoted}

// OutcomeOf is where the request of a row stands: resolved as Teleport says, expired when it ended
// undecided, else pending.
func OutcomeOf(l Link) Outcome {
	switch {
	case l.Request.State.Resolved():
		return Outcome(l.Request.State)
	case l.Gone:
		return OutcomeExpired
	}
	return OutcomePending
}

// PastExpiry reports whether nobody may decide the request any more. Teleport itself deletes it
// only minutes later, and would let a late approval revive it.
func (r Request) PastExpiry(now time.Time) bool {
	return r.State == StatePending && !r.Expires.IsZero() && !now.Before(r.Expires)
}

// Statuses are the Jira statuses, names or ids, that stand for each outcome. An issue is moved to
// the first that its workflow reaches; any of them is recognised.
type Statuses map[Outcome][]string

// Shows reports whether the status stands for the outcome.
func (s Statuses) Shows(status Status, o Outcome) bool {
	return slices.ContainsFunc(s[o], status.Is)
}

// Outcome is what the status stands for; ok is false for a status that is configured for nothing,
// such as "In review".
func (s Statuses) Outcome(status Status) (o Outcome, ok bool) {
	for _, o := range outcomes {
		if s.Shows(status, o) {
			return o, true
		}
	}
	return "", false
}

// SelfApproval says what becomes of a verdict by the requester.
type SelfApproval string

// The rules on a verdict by the requester.
const (
	SelfDeny   SelfApproval = "deny"   // refused where requester and mover look like the same person
	SelfStrict SelfApproval = "strict" // refused unless the two provably differ
	SelfAllow  SelfApproval = "allow"
)

// DecisionMode says what a verdict in Jira does in Teleport.
type DecisionMode string

// The decision modes.
const (
	// ModeState sets the request's state, past review thresholds.
	ModeState DecisionMode = "state"
	// ModeReview submits a review as the Teleport user who the person is; Teleport itself then says
	// who may, and how many it takes.
	ModeReview DecisionMode = "review"
	// ModeNotify changes nothing in Teleport: Jira only shows.
	ModeNotify DecisionMode = "notify"
)

// Policy is what the operator configured about verdicts from Jira.
type Policy struct {
	Mode DecisionMode
	// Project is the key of the Jira project whose people may decide.
	Project  string
	Statuses Statuses
	// Names are the names under which the project's statuses were seen; not configured, but learned
	// from Jira.
	Names        StatusNames
	SelfApproval SelfApproval
	// Approvers are the people who may decide: account ids (on Data Center user keys or names) or
	// e-mail addresses. ApproverGroups are names or ids of Jira groups whose members may, too. With
	// neither, whoever may move the issue may decide.
	Approvers      []string
	ApproverGroups []string
	// EmailFallback takes, in ModeReview, the Teleport user whose name is the person's e-mail
	// address where no trait tells who it is.
	EmailFallback bool
}
