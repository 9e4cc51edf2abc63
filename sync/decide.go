package sync

import (
	"cmp"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// What is objected while a verdict is brought to Teleport.
const (
	refusedPluginData = "plugin_data" // Teleport's plugin data names another issue
	refusedReview     = "review"      // Teleport does not take this review
	refusedByTeleport = "rejected"    // Teleport does not take the decision
)

// judge takes an issue whose status disagrees with Teleport: from a fresh read of its history it
// learns who moved it, and either brings the decision to Teleport or puts the issue back.
func (w *worker) judge(ctx context.Context) error {
	target := OutcomeOf(w.link)
	detail, err := w.reread(ctx)
	if err != nil || OutcomeOf(w.link) != target {
		return err // Teleport has said more meanwhile, and a new plan says what follows
	}
	status := detail.Issue.Status
	if _, known := w.Policy.Meaning(status); !known || w.Policy.Shows(status, OutcomeOf(w.link)) {
		return nil // somebody moved it on meanwhile
	}
	if err := w.knowStatuses(ctx); err != nil {
		return err
	}
	verdict, err := w.Policy.Judge(w.link, detail)
	if err != nil {
		return &Error{Side: "jira", Op: "read the history of issue " + detail.Issue.Key, Err: err}
	}
	if verdict.Decision != nil {
		known, err := inquiry{w.Policy, w.Cluster, w.Tracker, w.requesters}.about(ctx, w.link, verdict.Move.Author)
		if err != nil {
			return err
		}
		verdict = w.Policy.Admit(w.link, verdict, known)
	}
	if verdict.Decision != nil {
		return w.decide(ctx, verdict)
	}
	return w.refuse(ctx, verdict)
}

// knowStatuses sees to it that the names of statuses are known before a move is judged.
func (w *worker) knowStatuses(ctx context.Context) error {
	if w.names.Load() == nil {
		if err := w.readStatuses(ctx); err != nil {
			return err
		}
	}
	w.Policy = w.policy()
	return nil
}

// reread is the issue as it was read immediately before, unless the row knows better by now, or
// else reads it now.
func (w *worker) reread(ctx context.Context) (Detail, error) {
	d := w.fresh
	w.fresh = nil
	if d != nil && sameStatus(d.Issue.Status, w.link.Issue.Status) {
		return *d, nil
	}
	return w.readIssue(ctx)
}

// decide brings a person's verdict to Teleport, which has no precondition on the call: the request
// is read immediately before, and must be pending and not past its expiry, and Teleport's plugin
// data must name the issue.
func (w *worker) decide(ctx context.Context, v Verdict) error {
	named, err := w.issueInTeleport(ctx)
	if err != nil || w.link.Gone {
		return err
	}
	if named.ID != w.link.Bound.ID {
		return w.refuse(
			ctx,
			v.refused(refusedPluginData, "Teleport's own record names another issue for this request, "+name(named.Key)+
				". Please decide it there or in Teleport, and tell whoever runs this agent."),
		)
	}
	ok, err := w.readRequest(ctx)
	if err != nil || !ok {
		return err
	}
	if OutcomeOf(w.link) != OutcomePending {
		return nil // Teleport's state wins; the new plan says what follows for the issue
	}
	if w.link.Request.State != StatePending {
		return &Error{Side: "teleport", Op: "decide request " +
			w.link.RequestID, Permanent: true, Err: errors.New("its state is one that this release does not know")}
	}
	if err := w.Lease.Check(); err != nil {
		return err
	}
	if w.Policy.Mode == ModeReview {
		return w.review(ctx, v)
	}
	return w.setState(ctx, v)
}

// issueInTeleport is the issue that Teleport's plugin data names for the request. Where it names
// none yet, it is made to name the row's.
func (w *worker) issueInTeleport(ctx context.Context) (IssueRef, error) {
	data, err := w.Cluster.Linked(ctx, w.link.RequestID)
	if err != nil || data.Issue.ID != "" {
		return data.Issue, err
	}
	return w.link.Bound, w.linkPluginData(ctx)
}

// setState sets the request's state on the person's behalf.
func (w *worker) setState(ctx context.Context, v Verdict) error {
	d := *v.Decision
	err := w.Cluster.Decide(ctx, w.link.RequestID, d)
	switch {
	case errors.Is(err, ErrNotFound):
		return w.suspectRequest()
	case err != nil && asError(err).Permanent: // a board that says otherwise than Teleport would mislead everybody
		w.log.Error("Teleport refused the decision", zap.String("state", string(d.State)), zap.Error(err))
		return w.refuse(ctx, v.refused(refusedByTeleport, "Teleport did not take this decision from the agent. Please "+
			"decide the request in Teleport"+
			pageOf(w.link.Request)+", and tell whoever runs this agent."))
	case err != nil:
		return err
	}
	if err := w.decided(ctx, v); err != nil {
		return err
	}
	after := w.link.Request
	after.State, after.ResolveReason = d.State, d.Reason
	return w.observeRequest(ctx, after)
}

// review submits the verdict as the review of the person's user in Teleport, unless that is there
// already: Teleport takes one per user. What Teleport itself refuses is said on the issue. A
// request that is still pending afterwards waits for the next reviewer.
func (w *worker) review(ctx context.Context, v Verdict) error {
	d := *v.Decision
	if earlier, ok := w.link.Request.reviewBy(d.Author); ok {
		return w.reviewed(ctx, v, earlier)
	}
	after, err := w.Cluster.Review(
		ctx,
		w.link.RequestID,
		Review{Author: d.Author, Verdict: d.State, Reason: d.Reason, Created: time.Now()},
	)
	if text := notReviewed(err, v, w.link.Request); text != "" {
		w.log.Warn("Teleport refused the review", zap.String("author", d.Author), zap.Error(err))
		return w.refuse(ctx, v.refused(refusedReview, text))
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return w.suspectRequest()
	case errors.Is(err, ErrChanged), errors.Is(err, ErrReviewed): // since the request was read
		_, err = w.readRequest(ctx)
		return err
	case err != nil:
		return err
	}
	if err := w.decided(ctx, v); err != nil {
		return err
	}
	if err := w.observeRequest(ctx, after); err != nil {
		return err
	}
	return w.reviewed(ctx, v, Review{Author: d.Author, Verdict: d.State})
}

// reviewed goes on after a review that Teleport has.
func (w *worker) reviewed(ctx context.Context, v Verdict, r Review) error {
	switch {
	case OutcomeOf(w.link) != OutcomePending:
		return nil
	case r.Verdict != v.Decision.State:
		return w.refuse(ctx, v.refused(refusedReview, "The user "+name(r.Author)+" has already reviewed this request in "+
			"Teleport ("+string(r.Verdict)+
			"), which takes one review of each. Somebody else has to decide it."))
	}
	return w.putBack(ctx, "counted:"+v.MoveID, progressText(w.link.Request, *v.Decision), v.Status, func() Activity {
		return w.activity("count", string(r.Verdict), v.moved()+": the review by "+r.Author+" counts, and the request is "+
			"still pending")
	})
}

// notReviewed says why Teleport refused a review for good; empty when it did not.
func notReviewed(err error, v Verdict, r Request) string {
	switch {
	case errors.Is(err, ErrReviewUnsupported):
		return "This Teleport does not take reviews from the agent on behalf of users: that needs Teleport 18.11 or newer " +
			"and a role that allows it. Please decide it in Teleport" + pageOf(r) + ", and tell whoever runs this agent."
	case errors.Is(err, ErrForbidden):
		return "Teleport does not let this agent submit reviews. Please decide it in Teleport" + pageOf(r) +
			", and tell whoever runs this agent."
	case errors.Is(err, ErrReviewDenied):
		return "It was moved by " + called(v.Move.Author) + ", and Teleport does not let that person's user, " +
			name(v.Decision.Author) +
			", review this request. Somebody who may has to decide it."
	}
	return ""
}

// decided tells of a verdict that Teleport took.
func (w *worker) decided(ctx context.Context, v Verdict) error {
	d := *v.Decision
	w.Observer.Decided(d.State, time.Since(v.Move.At))
	fields := []zap.Field{
		zap.String("issue_key", w.link.Bound.Key),
		zap.String("state", string(d.State)),
		zap.String("delegator", d.Delegator),
	}
	if d.Author != "" {
		fields = append(fields, zap.String("author", d.Author))
	}
	w.log.Info("decided in Teleport", fields...)
	return w.record(ctx, w.activity("decide", string(d.State), v.moved()+", on behalf of "+cmp.Or(d.Author, d.Delegator)))
}

// refuse says on the issue why its move counts for nothing, once per move, and puts it back.
func (w *worker) refuse(ctx context.Context, v Verdict) error {
	return w.putBack(ctx, v.refusalKey(), refusalText(v), v.Status, func() Activity {
		w.Observer.Refused(v.Reason)
		w.log.Warn(
			"move refused",
			zap.String("issue_key", w.link.Bound.Key),
			zap.String("status", v.Status.Name),
			zap.String("reason", v.Reason),
			zap.String("by", v.Move.Author.ID()),
		)
		return w.activity("refuse", v.Reason, v.moved()+": "+v.Refusal)
	})
}

// putBack brings the issue from a status back to where it belongs. The comment goes first: a
// workflow may have no way back, and after the move nothing would remember that a comment is owed.
// told is called once, when the issue carries the comment; what it returns is recorded together
// with that.
func (w *worker) putBack(ctx context.Context, key, text string, from Status, told func() Activity) error {
	first := !w.link.HasComment(key)
	if err := w.comment(ctx, key, text); err != nil {
		return err
	}
	if first {
		if err := w.record(ctx, told()); err != nil {
			return err
		}
	}
	return w.moveFrom(ctx, from, OutcomeOf(w.link))
}

// activity is a line of the row's story, of now.
func (w *worker) activity(action, outcome, cause string) Activity {
	return Activity{At: time.Now(), Action: action, Outcome: outcome, Cause: cause, Attempt: w.link.Attempts + 1}
}
