package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	stdsync "sync"
	"time"
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
