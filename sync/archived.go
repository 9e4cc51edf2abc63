package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errArchived: Jira shows the issue by its id and lets nobody change it.
var errArchived = errors.New("the issue is archived")

// planArchived is the plan for an issue that is archived. Teleport's side is done; on the issue
// nothing can be, by nobody, and no other is made. The row is parked until somebody restores it,
// which a sweep sees. A verdict given before it was archived counts.
func planArchived(l Link, p Policy, target Outcome) []Action {
	say := Action{Kind: ActRead, Cause: "the issue is archived"}
	shown, known := p.Meaning(l.Issue.Status)
	switch {
	case target != OutcomePending && l.Resolved != target:
		return []Action{say, {Kind: ActResolve, To: target, Cause: "Teleport's plugin data does not say " + string(target) +
			" yet"}}
	case !l.SettledAt.IsZero() && (!known || p.Shows(l.Issue.Status, target)):
		return nil
	case target != OutcomePending:
		return []Action{say}
	}
	var plan []Action
	if known && shown != OutcomePending {
		plan = append(plan, Action{Kind: ActJudge, Cause: "the issue is in status " + l.Issue.Status.Name +
			" and the request is pending"})
	}
	if !l.Linked {
		plan = append(plan, Action{Kind: ActLink, Cause: "Teleport's plugin data does not name the issue yet"})
	}
	return append(plan, say)
}

// read reads the issue by id, and says what is to be done about one that is archived. Where the
// issue itself does not tell that it no longer is, a sweep does.
func (w *worker) read(ctx context.Context) error {
	detail, err := w.readIssue(ctx)
	if err != nil {
		return err
	}
	if w.fresh = &detail; w.link.Issue.Archived != Archived {
		return nil
	}
	remedy := "nobody can move it; no other is made: restore it, or decide the request in Teleport"
	if o := OutcomeOf(w.link); o != OutcomePending {
		remedy = "it cannot show that the request is " + string(o) + "; restore it if it should"
		w.link.SettledAt = time.Time{} // if it was settled, it no longer agrees; sweeps look at open rows only
	}
	return &Error{
		Side:      "jira",
		Op:        "work on issue " + w.link.Bound.Key,
		Permanent: true,
		Err:       fmt.Errorf("%w: %s", errArchived, remedy),
	}
}

// suspectArchive finds out, when Jira has refused a change of the issue, whether that is because it
// is archived. If so the plan says what follows; if that cannot be learned now, the change is tried
// again soon. With which status Jira refuses is not documented.
func (w *worker) suspectArchive(ctx context.Context, k Kind, refused error) error {
	e := asError(refused)
	mayBe := e.Side == "jira" && e.Scope == ScopeRequest && (e.Permanent || errors.Is(refused, ErrNotFound))
	if !mayBe || !slices.Contains([]Kind{ActComment, ActMove, ActRestore, ActJudge}, k) ||
		w.link.Issue.Archived == Archived {
		return refused
	}
	issues, err := w.Tracker.Issues(ctx, []string{w.link.Bound.ID})
	if err != nil {
		return errors.Join(err, refused)
	}
	for _, i := range issues {
		if err := w.observeIssue(ctx, i); err != nil {
			return err
		}
	}
	return refused
}
