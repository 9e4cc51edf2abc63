package sync

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// judge takes an issue whose status disagrees with Teleport: from a fresh read of its history it learns who moved it, and either sets
// the decision in Teleport or puts the issue back.
func (w *worker) judge(ctx context.Context) error {
	detail, err := w.readIssue(ctx)
	if err != nil {
		return err
	}
	target := OutcomeOf(w.link)
	if _, known := w.Policy.Statuses.Outcome(detail.Issue.Status); !known || w.Policy.Statuses.Shows(detail.Issue.Status, target) {
		return nil // somebody moved it on meanwhile
	}
	verdict, err := w.Policy.Judge(w.link, detail)
	if err != nil {
		return &Error{Side: "jira", Op: "read the history of issue " + detail.Issue.Key, Err: err}
	}
	if verdict.Decision != nil {
		return w.decide(ctx, *verdict.Decision, detail)
	}
	return w.refuse(ctx, verdict, detail.Issue.Status, target)
}

// decide sets a person's verdict in Teleport, which has no precondition on the call: the request is read immediately before, and must
// be pending and not past its expiry.
func (w *worker) decide(ctx context.Context, d Decision, detail Detail) error {
	ok, err := w.readRequest(ctx)
	if err != nil || !ok {
		return err
	}
	if OutcomeOf(w.link) != OutcomePending {
		return nil // Teleport's state wins; the new plan says what follows for the issue
	}
	if w.link.Request.State != StatePending {
		return &Error{Side: "teleport", Op: "decide request " + w.link.RequestID, Permanent: true, Err: errors.New("its state is one that this release does not know")}
	}
	if err := w.Lease.Check(); err != nil {
		return err
	}
	if err := w.Cluster.Decide(ctx, w.link.RequestID, d); errors.Is(err, ErrNotFound) {
		return w.gone(ctx)
	} else if err != nil {
		return err
	}
	move, _ := lastMove(detail.Moves)
	w.Observer.Decided(d.State, time.Since(move.At))
	w.log.Info("decided in Teleport", zap.String("issue_key", w.link.Bound.Key), zap.String("state", string(d.State)), zap.String("delegator", d.Delegator))
	decided := w.link.Request
	decided.State, decided.ResolveReason = d.State, d.Reason
	return w.observeRequest(ctx, decided)
}

// refuse says on the issue why its move counts for nothing, once per move, and puts it back. The comment goes first: a workflow may have no
// way back, and after the move nothing would remember that a comment is owed.
func (w *worker) refuse(ctx context.Context, v Verdict, from Status, target Outcome) error {
	if !w.link.HasComment(v.refusalKey()) {
		w.Observer.Refused(v.Reason)
		w.log.Warn("move refused", zap.String("issue_key", w.link.Bound.Key), zap.String("status", from.Name), zap.String("reason", v.Reason))
	}
	if err := w.comment(ctx, v.refusalKey(), refusalText(v)); err != nil {
		return err
	}
	return w.moveFrom(ctx, from, target)
}
