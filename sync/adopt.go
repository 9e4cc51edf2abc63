package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// searchGrace is how long after an uncertain create an issue may still be missing from Jira's search index. Only after it does "not found"
// mean that there is none. Atlassian speaks of seconds to minutes; a Data Center node counts as unhealthy when its index is some minutes behind.
// https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile/
const searchGrace = 5 * time.Minute

// find looks for the issue that an unfinished create, Teleport's own plugin, or the agent before the database was lost, may have made: in the plugin
// data, then by search. What a search shows counts only if the agent's own account created it and its property agrees, for anybody can type an ID
// into a field.
func (w *worker) find(ctx context.Context) error {
	data, err := w.Cluster.Linked(ctx, w.link.RequestID)
	if err != nil {
		return err
	}
	if data.Claimed && data.Mark == "" && !w.DryRun && time.Since(w.link.Request.Created) < searchGrace {
		w.log.Warn("Teleport's own plugin has taken up this request too; stop it, or both will comment")
	}
	switch {
	case data.Issue.ID != "":
		return w.adopt(ctx, data)
	case !data.Claimed && OutcomeOf(w.link) == OutcomePending && w.DryRun:
		return w.create(ctx) // says so, and leaves the mark: somebody else may claim it next
	case !data.Claimed && OutcomeOf(w.link) == OutcomePending:
		w.link.Begun = "" // the claim comes before the create: there was none
		return nil
	}
	issues, err := w.searchMade(ctx, data)
	if err != nil {
		return err
	}
	found, err := w.oneOf(ctx, issues)
	if err != nil {
		return err
	}
	if found != nil {
		if asked, err := w.askAgain(ctx, *found, data); asked || err != nil {
			return err
		}
		return w.bind(ctx, *found, data)
	}
	if waited := time.Since(w.begunAt(data)); waited < searchGrace {
		again := searchGrace - waited + time.Second
		if OutcomeOf(w.link) == OutcomePending { // somebody waits for it
			again = min(again, 2*time.Second+waited/2, 30*time.Second)
		}
		return &Error{
			Side: "jira", Op: "find the issue of request " + w.link.RequestID, RetryAfter: again,
			Err: fmt.Errorf("%w: it may have been created and not be searchable yet", ErrNotFound),
		}
	}
	if OutcomeOf(w.link) == OutcomePending {
		if err := w.reclaim(ctx); err != nil {
			return err
		}
	}
	w.link.Begun = ""
	return nil
}

// searchMade searches for the issues that the agent's account made for the request: by the field, and where Teleport's own plugin may have made
// one, which leaves the field empty, by what it leaves.
func (w *worker) searchMade(ctx context.Context, data PluginData) ([]Issue, error) {
	issues, err := w.Tracker.Find(ctx, w.link.RequestID)
	if err == nil && data.Mark == "" {
		var inherited []Issue
		inherited, err = w.Tracker.Inherited(ctx, w.link.RequestID, nil)
		issues = append(issues, inherited...)
	}
	return slices.DeleteFunc(issues, func(i Issue) bool { return !w.madeFor(i) }), err
}

// begunAt is when the create that was never finished began, or somewhat later. Teleport's own plugin makes an issue as soon as it hears of the request,
// be it new or only reviewed, or never: https://github.com/gravitational/teleport/blob/master/integrations/access/jira/app.go
func (w *worker) begunAt(data PluginData) time.Time {
	const late = time.Minute
	told := w.link.Request.Created
	if data.Mark != "" || !data.Claimed || told.IsZero() {
		return w.link.BegunAt
	}
	for _, r := range w.link.Request.Reviews {
		if r.Created.After(told) {
			told = r.Created
		}
	}
	if heard := told.Add(late); heard.Before(w.link.BegunAt) {
		return heard
	}
	return w.link.BegunAt
}

// reclaim takes over a claim that came to nothing, so that the issue can be made after all.
func (w *worker) reclaim(ctx context.Context) error {
	err := w.Cluster.Reclaim(ctx, w.link.RequestID, w.link.Mark)
	if errors.Is(err, ErrNotFound) {
		return w.gone(ctx)
	}
	return err
}

// madeFor reports whether the agent made the issue for this request.
func (w *worker) madeFor(i Issue) bool { return i.ByAgent && i.Property == w.link.RequestID }

// adopt binds the issue that the plugin data names. One that Jira does not show is gone, and no other is made.
func (w *worker) adopt(ctx context.Context, data PluginData) error {
	detail, err := w.Tracker.Read(ctx, data.Issue.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		w.link.Bound, w.link.IssueGone, w.link.Begun = data.Issue, true, ""
		return w.record(ctx)
	case err != nil:
		return err
	case w.link.Gone && !w.madeFor(detail.Issue):
		w.log.Info("issue left alone: somebody else made it, and Teleport no longer has its request", zap.String("issue_key", detail.Issue.Key))
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

// clockSlack is how far Jira's clock may be behind Teleport's.
const clockSlack = 5 * time.Minute

// oneOf is the oldest of the issues that the agent made for the request, but one that it has closed as made twice only if there is no other; nil if there is none.
// An issue that was moved before the request was made was made for another, and somebody has since put this one's ID into it: what was decided
// about the other must not count for this one.
func (w *worker) oneOf(ctx context.Context, oldestFirst []Issue) (first *Detail, err error) {
	made := w.link.Request.Created
	for _, issue := range oldestFirst {
		detail, err := w.Tracker.Read(ctx, issue.ID)
		if err != nil {
			return nil, err
		}
		early := func(m Move) bool { return !made.IsZero() && m.At.Before(made.Add(-clockSlack)) }
		switch {
		case slices.ContainsFunc(detail.Moves, early):
			w.log.Warn("issue left alone: it is older than the request whose ID it holds", zap.String("issue_key", issue.Key))
		case !slices.ContainsFunc(detail.Comments, isStrayComment):
			return &detail, nil
		case first == nil:
			first = &detail
		}
	}
	return first, nil
}

// refusedUnlinked: a move made before the issue was known to be the request's.
const refusedUnlinked = "unlinked"

// askAgain puts back an issue that was decided before it was found, of a request that Teleport's own plugin claimed and for which it names no issue. There
// may never have been one, as the requester may have seen to, who can then write the ID into the issue of another request made meanwhile: what was
// decided about that one must not count for this one. The plugin heeds no such move either. It is found again, under Pending.
func (w *worker) askAgain(ctx context.Context, d Detail, data PluginData) (asked bool, err error) {
	shown, known := w.Policy.Statuses.Outcome(d.Issue.Status)
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
	v = v.refused(refusedUnlinked, "Teleport did not know this issue yet as that of the request "+plain(w.link.RequestID)+", and it may have been moved as that of another. "+
		"Please look at the request in Teleport"+pageOf(w.link.Request)+", and move this issue again.")
	told := func(c Comment) bool { return c.Author.Agent && c.Key == v.refusalKey() }
	if body := refusalText(v); !slices.ContainsFunc(d.Comments, told) && !carries(d.Comments, body) {
		if err := w.Tracker.Comment(ctx, d.Issue.ID, v.refusalKey(), body, w.checked); err != nil {
			return false, err
		}
		w.Observer.Refused(v.Reason)
		w.log.Warn("move refused", zap.String("issue_key", d.Issue.Key), zap.String("status", v.Status.Name), zap.String("reason", v.Reason),
			zap.String("by", v.Move.Author.ID()))
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

// recall gives a row that was lost its outcome back. Where Teleport has forgotten the request, the agent's own closing comment is what
// is left of it, or the resolution in the plugin data: whoever moved the issue, and be it the agent's account, proves nothing. Without either the
// request ended undecided. An outcome that was told and shown before is settled: nothing about it is done again, and the issue is put back only
// as that of any settled row is; but one that holds no request's ID is given it first.
func (w *worker) recall(ctx context.Context, detail Detail, data PluginData) error {
	told, resolution := toldOutcome(detail.Comments), data.Resolution
	if state := RequestState(cmp.Or(told, resolution)); w.link.Gone && isDecision(state) && !w.link.Request.State.Resolved() {
		decided := w.link.Request
		decided.State = state
		if err := w.observeRequest(ctx, decided); err != nil {
			return err
		}
	}
	outcome := OutcomeOf(w.link)
	shown := func(m Move) bool { return w.Policy.Statuses.Shows(m.To, outcome) }
	switch recorded := resolution == outcome; {
	case told == outcome && (recorded || w.link.Gone) && slices.ContainsFunc(detail.Moves, shown):
	case recorded && !detail.Issue.ByAgent && w.Policy.Statuses.Shows(detail.Issue.Status, outcome):
		// Teleport's own plugin did it, under another account than this one, so that its comments prove nothing.
		w.link.Commented = append(w.link.Commented, resolutionKey(outcome))
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
	w.log.Info("settled before the row was lost", zap.String("issue_key", detail.Issue.Key), zap.String("outcome", string(outcome)))
	return nil
}

// isDecision reports whether a request can have been decided so.
func isDecision(s RequestState) bool {
	return s == StateApproved || s == StateDenied || s == StatePromoted
}

// toldOutcome is the outcome that the agent's newest closing comment tells; empty without one.
func toldOutcome(newestFirst []Comment) Outcome {
	for _, c := range newestFirst {
		if outcome, closing := strings.CutPrefix(cmp.Or(c.Key, officialClosing(c)), resolutionPrefix); closing && c.Author.Agent {
			return Outcome(outcome)
		}
	}
	return ""
}
