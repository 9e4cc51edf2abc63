package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	stdsync "sync"
	"time"

	"go.uber.org/zap"
)

const (
	// searchGrace is how long after an uncertain create an issue may still be missing from Jira's
	// search index. Atlassian speaks of seconds to minutes; a Data Center node counts as unhealthy
	// when its index is some minutes behind. It is waited for only where the keys that Jira has
	// given out since cannot all be looked at.
	// https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile/
	searchGrace = 5 * time.Minute
	// createLate is how long after its call was sent, or after Jira answers again, a create may
	// still be under way in Jira.
	createLate = 35 * time.Second
	// lostTime is after what time a create that another process began may have been held up in a
	// Jira that was down.
	lostTime = 2 * time.Minute
)

// find looks for the issue that an unfinished create, Teleport's own plugin, or the agent before
// the database was lost, may have made: in the plugin data, then by search. What a search shows
// counts only if the agent's own account created it and its property agrees, for anybody can type
// an ID into a field.
func (w *worker) find(ctx context.Context) error {
	data, err := w.Cluster.Linked(ctx, w.link.RequestID)
	if err != nil {
		return err
	}
	w.looked = true
	if data.Claimed && data.Mark == "" && !w.DryRun && time.Since(w.link.Request.Created) < searchGrace {
		w.log.Warn("Teleport's own plugin has taken up this request too; stop it, or both will comment")
	}
	switch {
	case data.Issue.ID != "":
		return w.adopt(ctx, data)
	case !data.Claimed && OutcomeOf(w.link) == OutcomePending && w.DryRun:
		return w.create(ctx) // says so, and leaves the mark: somebody else may claim it next
	case !data.Claimed && !w.link.Gone:
		// The claim comes before the create, and Teleport keeps it longer than the request: there
		// was none.
		w.link.Begun = ""
		return nil
	}
	looked := w.looks.begin(w.link.RequestID, time.Now())
	issues, sure, err := w.searchMade(ctx, data)
	if err != nil {
		w.looks.failed(w.link.RequestID)
		return err
	}
	found, err := w.selectOwnIssue(ctx, issues, data)
	if err != nil {
		return err
	}
	if found != nil {
		if reverted, err := w.revertEarlyMove(ctx, *found, data); reverted || err != nil {
			return err
		}
		return w.bind(ctx, *found, data)
	}
	if again := w.mayStillCome(data, looked, sure); again > 0 {
		return &Error{
			Side: "jira", Op: "find the issue of request " + w.link.RequestID, RetryAfter: again,
			Err: fmt.Errorf("%w: Jira may not have finished making it", ErrNotFound),
		}
	}
	if OutcomeOf(w.link) == OutcomePending {
		if err := w.reclaim(ctx); err != nil {
			return err
		}
	}
	w.link.Begun = ""
	w.looks.end(w.link.RequestID)
	return nil
}

// mayStillCome is how long to wait before another look for an issue that none has shown; zero:
// there is none. Began is the first look by this process since Jira answers; sure tells whether the
// look went through all keys that Jira has given out since the create.
func (w *worker) mayStillCome(data PluginData, looked look, sure bool) time.Duration {
	now := time.Now()
	from, grace := w.begunAt(data), createLate
	if !sure {
		grace = searchGrace
	}
	if own := data.Mark == w.link.Mark; looked.troubled ||
		own && now.Sub(from) > lostTime { // Jira may have been down since, and be finishing it now
		from = looked.answered
	}
	waited := now.Sub(from)
	switch {
	case waited >= grace:
		return 0
	case OutcomeOf(w.link) != OutcomePending: // nobody waits for it
		return grace - waited + time.Second
	}
	return max(time.Second, min(grace-waited, time.Second+now.Sub(looked.answered)/2, 30*time.Second))
}

// looks are the requests whose issue is looked for, by this process.
type looks struct {
	mu   stdsync.Mutex
	open map[string]look
}

// look is when Jira first answered a look for an issue, and whether it failed to answer one before.
type look struct {
	answered time.Time
	troubled bool
}

// begin is the look for a request's issue that goes on at now.
func (l *looks) begin(requestID string, now time.Time) look {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[string]look)
	}
	known := l.open[requestID]
	if known.answered.IsZero() {
		known.answered = now
		l.open[requestID] = known
	}
	return known
}

// failed notes that Jira did not answer a look: what it has under way may take its time from when
// it answers again.
func (l *looks) failed(requestID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[requestID] = look{troubled: true}
}

func (l *looks) end(requestID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, requestID)
}

// searchMade looks for the issues that the agent's account made for the request: by the keys that
// Jira has given out since the create, past the search index, and by the field, or by what
// Teleport's own plugin leaves, which has no field. sure tells whether an issue that there was by
// then cannot have been missed.
func (w *worker) searchMade(ctx context.Context, data PluginData) (issues []Issue, sure bool, err error) {
	issues, sure, err = w.trace(ctx, data)
	if err != nil || len(issues) > 0 && sure {
		return issues, sure, err
	}
	if issues, err = w.Tracker.Find(ctx, w.link.RequestID); err == nil && data.Mark == "" {
		var inherited []Issue
		inherited, err = w.Tracker.Inherited(ctx, w.link.RequestID, nil)
		issues = append(issues, inherited...)
	}
	return slices.DeleteFunc(issues, func(i Issue) bool { return !w.madeFor(i) }), sure, err
}

// trace looks through the keys that Jira has given out since the create was begun, or since the
// request was claimed by an agent whose database was lost.
func (w *worker) trace(ctx context.Context, data PluginData) (issues []Issue, sure bool, err error) {
	own := data.Mark != "" && data.Mark == w.link.Mark && !w.link.BegunAt.IsZero()
	after := data.After
	if own {
		after = cmp.Or(w.link.BegunAfter, data.After)
	}
	age := max(0, time.Since(w.link.BegunAt))
	if after == "" && (!own || age > traceable) {
		return nil, false, nil
	}
	there, err := w.Tracker.Now(ctx)
	if err != nil {
		return nil, false, err
	}
	issues, sure, err = w.Tracker.Trace(ctx, w.link.RequestID, after, there.Add(-age-clockSlack))
	sure = sure && after != "" // a clock alone proves nothing: it may have been set meanwhile
	return slices.DeleteFunc(issues, func(i Issue) bool { return !w.madeFor(i) }), sure, err
}

// traceable is up to what age a create is looked for by its key where none is known that was given
// out before. What is older every search shows.
const traceable = time.Hour

// begunAt is when the create that was never finished began, or somewhat later. Teleport's own
// plugin makes an issue as soon as it hears of the request, be it new or only reviewed, or never:
// https://github.com/gravitational/teleport/blob/master/integrations/access/jira/app.go
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
	after, err := w.Tracker.LastKey(ctx)
	if err != nil {
		return err
	}
	err = w.Cluster.Reclaim(ctx, w.link.RequestID, w.link.Mark, after)
	if errors.Is(err, ErrNotFound) {
		return w.suspectRequest()
	}
	return err
}

// madeFor reports whether the agent made the issue for this request.
func (w *worker) madeFor(i Issue) bool { return i.ByAgent && i.Property == w.link.RequestID }

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
