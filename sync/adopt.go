package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// adopt binds the issue that the plugin data names. One that Jira does not show is gone, and no
// other is made.
func (w *worker) adopt(ctx context.Context, data PluginData) error {
	detail, err := w.Tracker.Read(ctx, data.Issue.ID)
	switch {
	case errors.Is(err, ErrNotFound) && projectOf(data.Issue.Key) != w.Policy.Project:
		return w.leaveTo(Issue{ID: data.Issue.ID, Key: data.Issue.Key, Project: projectOf(data.Issue.Key)})
	case errors.Is(err, ErrNotFound):
		return w.adoptGone(ctx, data.Issue)
	case err != nil:
		return err
	case detail.Issue.Project != w.Policy.Project:
		return w.leaveTo(detail.Issue)
	case w.link.Gone && !w.madeFor(detail.Issue):
		w.log.Info(
			"issue left alone: somebody else made it, and Teleport no longer has its request",
			zap.String("issue_key", detail.Issue.Key),
		)
		w.link.Begun = ""
		return nil
	case detail.Issue.Property != w.link.RequestID && detail.Issue.RequestID != w.link.RequestID:
		return &Error{
			Side: "jira", Op: "adopt issue " + detail.Issue.Key, Permanent: true,
			Err: fmt.Errorf("neither its field nor its property names request %s", w.link.RequestID),
		}
	}
	return w.bind(ctx, detail, data)
}

// adoptGone binds an issue that the plugin data names and that Jira no longer has. No other is
// made.
func (w *worker) adoptGone(ctx context.Context, ref IssueRef) error {
	c, why, err := w.askForIssue(ctx, ref.ID)
	switch {
	case err != nil:
		return err
	case c == concludeEnded && agreed(&w.link.IssueDoubt, issueDoubt):
		w.link.Bound, w.link.IssueGone, w.link.Begun, w.link.IssueDoubt = ref, true, "", time.Time{}
		return w.record(ctx)
	}
	return inDoubt("jira", "confirm that issue "+ref.Key+" is gone", c, why, &w.link.IssueDoubt)
}

// leaveTo leaves the request to the agent whose issue it is, in a project that is not this agent's.
// Nothing is said on that issue.
func (w *worker) leaveTo(other Issue) error {
	w.log.Warn("request left to another agent: its issue is in a project that this agent does not serve",
		zap.String("issue_key", other.Key), zap.String("project", w.Policy.Project))
	w.link.Bound, w.link.Issue, w.link.Begun = IssueRef{ID: other.ID, Key: other.Key}, other, ""
	return nil
}

// foreign reports whether the issue is another agent's: it never was in the project of this one.
func (p Policy) foreign(l Link) bool {
	return l.Issue.Project != "" && l.Issue.Project != p.Project && projectOf(l.Bound.Key) != p.Project
}

// projectOf is the project of an issue key.
func projectOf(key string) string {
	i := strings.LastIndexByte(key, '-')
	return key[:max(i, 0)]
}

// selectOwnIssue is the oldest of the issues that the agent made for the request, but one that it
// has closed as made twice only if there is no other; nil if there is none. One that is older than
// the request was made for another, and somebody has since put this one's ID into it: what was
// decided about the other must not count for this one.
func (w *worker) selectOwnIssue(ctx context.Context, oldestFirst []Issue, data PluginData) (first *Detail, err error) {
	for _, issue := range oldestFirst {
		detail, err := w.Tracker.Read(ctx, issue.ID)
		if err != nil {
			return nil, err
		}
		switch {
		case olderThan(w.link.Request, detail, data):
			w.log.Warn("issue left alone: it is older than the request whose ID it holds", zap.String("issue_key", issue.Key))
		case !slices.ContainsFunc(detail.Comments, isStrayComment):
			return &detail, nil
		case first == nil:
			first = &detail
		}
	}
	return first, nil
}

// olderThan reports whether an issue was made before the request. Its key tells, where the claim of
// the request says after which one it was made. Else the clocks of both sides do, unless Teleport's
// is known to be ahead: it was moved before the request was made.
func olderThan(r Request, d Detail, data PluginData) bool {
	if data.After != "" && projectOf(data.After) == projectOf(d.Issue.Key) {
		return numberOf(d.Issue.Key) <= numberOf(data.After)
	}
	if r.Created.IsZero() || ranAhead(r.Created, time.Now()) {
		return false
	}
	return slices.ContainsFunc(d.Moves, func(m Move) bool { return m.At.Before(r.Created.Add(-clockSlack)) })
}

// numberOf is the number of an issue key within its project; 0 for what is no key.
func numberOf(key string) int {
	n, _ := strconv.Atoi(key[strings.LastIndexByte(key, '-')+1:])
	return n
}

// refusedUnlinked: a move made before the issue was known to be the request's.
const refusedUnlinked = "unlinked"

// revertEarlyMove puts back an issue that was decided before it was found, of a request that
// Teleport's own plugin claimed and for which it names no issue. There may never have been one, as
// the requester may have seen to, who can then write the ID into the issue of another request made
// meanwhile: what was decided about that one must not count for this one. The plugin heeds no such
// move either. It is found again, under Pending.
func (w *worker) revertEarlyMove(ctx context.Context, d Detail, data PluginData) (reverted bool, err error) {
	shown, known := w.Policy.Meaning(d.Issue.Status)
	if data.Mark != "" || OutcomeOf(w.link) != OutcomePending || !known || shown == OutcomePending {
		return false, nil
	}
	v, err := w.Policy.Judge(w.link, d)
	if err != nil {
		return false, &Error{Side: "jira", Op: "read the history of issue " + d.Issue.Key, Err: err}
	}
	if v.Decision == nil {
		return false, nil // it is refused in any case
	}
	v = v.refused(
		refusedUnlinked,
		"Teleport did not know this issue yet as that of the request "+plain(
			w.link.RequestID,
		)+", and it may have been moved as that of another. "+
			"Please look at the request in Teleport"+pageOf(
			w.link.Request,
		)+", and move this issue again.",
	)
	told := func(c Comment) bool { return c.Author.Agent && c.Key == v.refusalKey() }
	if body := refusalText(v); !slices.ContainsFunc(d.Comments, told) && !carries(d.Comments, v.refusalKey(), body) {
		if err := w.Tracker.Comment(ctx, d.Issue.ID, v.refusalKey(), body, w.checked); err != nil {
			return false, err
		}
		w.Observer.Refused(v.Reason)
		w.log.Warn(
			"move refused",
			zap.String("issue_key", d.Issue.Key),
			zap.String("status", v.Status.Name),
			zap.String("reason", v.Reason),
			zap.String("by", v.Move.Author.ID()),
		)
		if err := w.record(ctx, w.activity("refuse", v.Reason, v.moved()+": "+v.Refusal)); err != nil {
			return false, err
		}
	}
	_, err = w.Tracker.Move(ctx, d.Issue.ID, d.Issue.Status, w.way(OutcomePending), w.checkedStep)
	return true, err
}

// bind makes an existing issue the request's, with the comments that it already carries.
func (w *worker) bind(ctx context.Context, detail Detail, data PluginData) error {
	w.link.Bound = IssueRef{ID: detail.Issue.ID, Key: detail.Issue.Key}
	w.link.Begun = ""
	if data.Mark == "" {
		w.link.Begun = EffectComment // Teleport's own plugin may still be at work, and comment
	}
	w.noteComments(detail.Comments)
	w.noteMoves(detail.Moves)
	w.link.Issue = detail.Issue
	w.log.Info("issue adopted", zap.String("issue_key", detail.Issue.Key))
	if err := w.record(ctx); err != nil {
		return err
	}
	return w.recall(ctx, detail, data)
}

// recall gives a row that was lost its outcome back. Where Teleport has forgotten the request, the
// agent's own closing comment is what is left of it, or the resolution in the plugin data: whoever
// moved the issue, and be it the agent's account, proves nothing. Without either the request ended
// undecided. An outcome that was told and shown before is settled: nothing about it is done again,
// and the issue is put back only as that of any settled row is; but one that holds no request's ID
// is given it first.
func (w *worker) recall(ctx context.Context, detail Detail, data PluginData) error {
	told, resolution := toldOutcome(detail.Comments), data.Resolution
	if state := RequestState(cmp.Or(told, resolution)); w.link.Gone && isDecision(state) &&
		!w.link.Request.State.Resolved() {
		decided := w.link.Request
		decided.State = state
		if err := w.observeRequest(ctx, decided); err != nil {
			return err
		}
	}
	outcome := OutcomeOf(w.link)
	shown := func(m Move) bool { return w.Policy.Shows(m.To, outcome) }
	switch recorded := resolution == outcome; {
	case told == outcome && (recorded || w.link.Gone) && slices.ContainsFunc(detail.Moves, shown):
	case recorded && !detail.Issue.ByAgent && w.Policy.Shows(detail.Issue.Status, outcome):
		// Teleport's own plugin did it, under another account than this one, so that its comments
		// prove nothing.
		w.link.Commented = append(w.link.Commented, resolutionKey(w.link, outcome))
		for _, r := range w.link.Request.Reviews {
			w.link.Commented = append(w.link.Commented, reviewKey(r))
		}
	default:
		return nil
	}
	if w.link.Resolved = outcome; detail.Issue.RequestID != w.link.RequestID {
		return nil
	}
	w.link.SettledAt = time.Now()
	w.log.Info(
		"settled before the row was lost",
		zap.String("issue_key", detail.Issue.Key),
		zap.String("outcome", string(outcome)),
	)
	return nil
}

// isDecision reports whether a request can have been decided so.
func isDecision(s RequestState) bool {
	return s == StateApproved || s == StateDenied || s == StatePromoted
}

// toldOutcome is the outcome that the agent's newest closing comment tells, unless that was taken
// back; empty without one.
func toldOutcome(newestFirst []Comment) Outcome {
	for _, c := range newestFirst {
		key := cmp.Or(c.Key, officialClosing(c))
		if _, back := retraction(key); back && c.Author.Agent {
			return ""
		}
		if told, closing := strings.CutPrefix(key, resolutionPrefix); closing && c.Author.Agent {
			outcome, _, _ := strings.Cut(told, ":")
			return Outcome(outcome)
		}
	}
	return ""
}
