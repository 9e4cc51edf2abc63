package sync

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind names a step of the agent's work on one request; it is the word in logs, metrics and the
// activity table.
type Kind string

// The kinds of action.
const (
	ActCheck   Kind = "check"   // ask Teleport by ID whether it still has the request
	ActFind    Kind = "find"    // look for the issue that an unfinished create may have made
	ActCreate  Kind = "create"  // make the issue
	ActRead    Kind = "read"    // read the issue by id
	ActRestore Kind = "restore" // put the request's ID back into the issue's field
	ActAnswer  Kind = "answer"  // tell another issue with the request's ID that it is not the one
	ActLink    Kind = "link"    // write the issue into Teleport's plugin data
	ActComment Kind = "comment" // add a comment
	ActMove    Kind = "move"    // bring the issue to a status that shows Action.To
	ActJudge   Kind = "judge"   // read who moved the issue; decide in Teleport or put it back
	ActResolve Kind = "resolve" // write the outcome into Teleport's plugin data
	ActSettle  Kind = "settle"  // nothing is left to do
)

// kinds are all of them.
var kinds = []Kind{
	ActCheck,
	ActFind,
	ActCreate,
	ActRead,
	ActRestore,
	ActAnswer,
	ActLink,
	ActComment,
	ActMove,
	ActJudge,
	ActResolve,
	ActSettle,
}

// Action is one step that brings the two sides closer.
type Action struct {
	Kind  Kind
	Cause string  // why, in words
	To    Outcome // ActMove, ActResolve, ActSettle
	Key   string  // ActComment: the comment's own mark; ActAnswer: the other issue's id
	Body  string  // ActComment: wiki markup
}

// id tells apart the actions of one plan.
func (a Action) id() string { return string(a.Kind) + " " + a.Key }

// Plan is what is left to do about a request, in order: the difference between what both sides last
// said and what should be. It is empty when both agree. It looks at nothing but its arguments.
func Plan(l Link, p Policy, now time.Time) []Action {
	target := OutcomeOf(l)
	switch {
	case l.Dropped && l.SettledAt.IsZero():
		return []Action{{Kind: ActSettle, To: target, Cause: "an operator gave up on the request"}}
	case l.Dropped:
		return nil
	case l.SuspectRequest && l.Gone:
		return []Action{{Kind: ActCheck, Cause: "Teleport may have the request after all"}}
	case l.SuspectRequest:
		return []Action{{Kind: ActCheck, Cause: "Teleport may no longer have the request"}}
	case l.Request.PastExpiry(now) && !l.Gone && !checkedLately(l, now):
		return []Action{{Kind: ActCheck, Cause: "the request is past its expiry by this machine's clock"}}
	case l.Bound.ID == "":
		return planIssue(l, target)
	case p.foreign(l) && l.SettledAt.IsZero():
		return []Action{{Kind: ActSettle, To: target, Cause: "issue " + l.Bound.Key + " is another agent's"}}
	case p.foreign(l):
		return nil
	case l.SuspectIssue, l.IssueGone && target == OutcomePending:
		return []Action{{Kind: ActRead, Cause: "Jira may no longer show the issue"}}
	case l.IssueGone && l.SettledAt.IsZero():
		return []Action{{Kind: ActSettle, To: target, Cause: "the issue is gone: nothing can be shown on it"}}
	case l.IssueGone:
		return nil
	case l.Issue.Archived == Archived:
		return planArchived(l, p, target)
	case l.Issue.Status == Status{}:
		return []Action{{Kind: ActRead, Cause: "the issue's status is not known yet"}}
	}
	plan := planField(l)
	if target == OutcomePending {
		return append(plan, planPending(l, p)...)
	}
	plan = append(plan, planResolved(l, p, target)...)
	if len(plan) == 0 && !settledAs(l, target) {
		return planSettled(l, target, now)
	}
	return plan
}

// planField: the request's ID stands in the field of its own issue, and means nothing in any other.
func planField(l Link) []Action {
	var plan []Action
	if l.Issue.RequestID != l.RequestID && l.SettledAt.IsZero() {
		plan = append(plan, Action{Kind: ActRestore, Cause: fmt.Sprintf("the issue's field holds %q", l.Issue.RequestID)})
	}
	for _, id := range l.Strays {
		if id != l.Bound.ID && !slices.Contains(l.Answered, id) {
			plan = append(plan, Action{Kind: ActAnswer, Key: id, Cause: "another issue holds the request's ID"})
		}
	}
	return plan
}

// planIssue: the request has no issue yet.
func planIssue(l Link, target Outcome) []Action {
	switch {
	case l.Begun == EffectCreate:
		return []Action{{Kind: ActFind, Cause: "a create was begun and its answer never recorded"}}
	case target == OutcomePending:
		return []Action{{Kind: ActCreate, Cause: "the request is pending and has no issue"}}
	case l.SettledAt.IsZero():
		return []Action{{Kind: ActSettle, To: target, Cause: "the request ended before it had an issue"}}
	}
	return nil
}

// planPending: the issue belongs under Pending until somebody decides.
func planPending(l Link, p Policy) []Action {
	var plan []Action
	if key := retractionKey(l); l.Retracted > 0 && !l.HasComment(key) {
		plan = append(plan, Action{Kind: ActComment, Key: key, Body: retractionText, Cause: "Teleport has the request " +
			"after all"})
	}
	shown, known := p.Meaning(l.Issue.Status)
	switch {
	case known && shown == OutcomeExpired && l.Walking == OutcomePending:
		plan = append(plan, Action{Kind: ActMove, To: OutcomePending, Cause: "Teleport has the request after all"})
	case known && shown != OutcomePending:
		plan = append(plan, Action{Kind: ActJudge, Cause: "the issue is in status " + l.Issue.Status.Name +
			" and the request is pending"})
	case !known && l.Walking == OutcomePending:
		plan = append(plan, Action{Kind: ActMove, To: OutcomePending, Cause: "the issue is on its way, in status " +
			l.Issue.Status.Name})
	case !known && !l.Placed:
		plan = append(plan, Action{Kind: ActMove, To: OutcomePending, Cause: "the workflow starts in status " +
			l.Issue.Status.Name})
	}
	if !l.Linked {
		plan = append(plan, Action{Kind: ActLink, Cause: "Teleport's plugin data does not name the issue yet"})
	}
	return append(plan, planReviews(l)...)
}

// planResolved: the issue shows the outcome, with one closing comment. Later moves of a settled
// issue are put back only from a status that stands for another outcome: what a team does with its
// closed issues (archive, "Done") does not contradict Teleport.
func planResolved(l Link, p Policy, target Outcome) []Action {
	plan := planReviews(l)
	if key := resolutionKey(l, target); !l.HasComment(key) {
		plan = append(plan, Action{Kind: ActComment, Key: key, Body: resolutionText(l, target), Cause: "the request is " +
			string(target)})
	}
	shows := p.Shows(l.Issue.Status, target)
	_, known := p.Meaning(l.Issue.Status)
	switch {
	case shows:
	case !settledAs(l, target), !known && l.Walking == target:
		plan = append(plan, Action{Kind: ActMove, To: target, Cause: "the request is " + string(target)})
	case known:
		plan = append(plan, Action{Kind: ActJudge, Cause: "the issue was moved to " + l.Issue.Status.Name +
			" after the request was " + string(target)})
	}
	if l.Resolved != target {
		plan = append(plan, Action{Kind: ActResolve, To: target, Cause: "Teleport's plugin data does not say " +
			string(target) + " yet"})
	}
	return plan
}

// settledAs reports whether both sides once agreed on this outcome.
func settledAs(l Link, target Outcome) bool { return !l.SettledAt.IsZero() && l.Resolved == target }

// assumedFor is how long an issue may be taken for being where the agent moved it, until it is
// read. Polls show it sooner: the next one of the tight schedule as a rule, one a minute at worst
// by default.
const assumedFor = 2 * time.Minute

// planSettled: nothing is left to do, once Jira has shown the issue where it belongs.
func planSettled(l Link, target Outcome, now time.Time) []Action {
	switch {
	case l.Issue.Assumed.IsZero():
		return []Action{{Kind: ActSettle, To: target, Cause: "both sides say " + string(target)}}
	case !now.Before(l.Issue.Assumed.Add(assumedFor)), l.Issue.Assumed.After(now.Add(assumedFor)): // by another clock
		return []Action{{Kind: ActRead, Cause: "no poll has shown the issue in status " + l.Issue.Status.Name + " yet"}}
	}
	return nil
}

// planReviews: each review becomes one comment. Teleport takes one review per author.
func planReviews(l Link) []Action {
	var plan []Action
	for _, r := range l.Request.Reviews {
		if key := reviewKey(r); !l.HasComment(key) {
			plan = append(plan, Action{Kind: ActComment, Key: key, Body: reviewText(r), Cause: r.Author +
				" reviewed the request"})
		}
	}
	return plan
}

// reviewKey marks the comment that tells of a review.
func reviewKey(r Review) string { return "review:" + r.Author }

const resolutionPrefix = "resolution:"

// resolutionKey marks the closing comment. It names the outcome since Teleport lets a denial
// overwrite an approval, and which time it is told that the request ended undecided, since that may
// have been taken back.
func resolutionKey(l Link, o Outcome) string {
	key := resolutionPrefix + string(o)
	if o == OutcomeExpired && l.Retracted > 0 {
		key += fmt.Sprintf(":%d", l.Retracted+1)
	}
	return key
}

// retractionKey marks the comment that takes the last closing comment back.
func retractionKey(l Link) string { return fmt.Sprintf("%s%d", retractionPrefix, l.Retracted) }

const retractionPrefix = "retracted:"

// retraction reads which retraction a comment's key marks; ok is false for the key of another
// comment.
func retraction(key string) (n int, ok bool) {
	text, ok := strings.CutPrefix(key, retractionPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// checkedLately reports whether Teleport has just confirmed that it holds the request.
func checkedLately(l Link, now time.Time) bool {
	since := now.Sub(l.CheckedAt)
	return since >= 0 && since < checkEvery
}

// nextLook is when the row of a request needs another look although no fact changes: when the
// request expires, or the issue has to be read to settle it.
func nextLook(l Link, now time.Time) time.Time {
	switch {
	case l.Dropped:
	case OutcomeOf(l) == OutcomePending:
		switch {
		case l.Request.State != StatePending: // another, which this release does not know, does not expire
		case l.Request.Expires.IsZero():
		case l.Request.PastExpiry(now):
			return now.Add(checkEvery)
		default:
			return l.Request.Expires.Add(expiryGrace)
		}
	case l.SettledAt.IsZero() && !l.Issue.Assumed.IsZero():
		if l.Issue.Assumed.After(now) {
			return now.Add(assumedFor)
		}
		return l.Issue.Assumed.Add(assumedFor)
	}
	return time.Time{}
}
