package sync

import (
	"context"
	"errors"
	"fmt"
	stdsync "sync"
	"time"

	"go.uber.org/zap"
)

// A side's word is an observation, not a conclusion. One that contradicts all that was known before
// (a list without the request that was there, "not found", a clock past a deadline) makes what is
// believed suspected. Then a second, different question is asked. Only when both answers agree is
// anything concluded; and a conclusion is suspected in turn when the side says otherwise.
//
//	            one word against it              a second question confirms it
//	believed ────────────────────────▶ suspected ──────────────────────────────▶ the contrary is believed
//	    ▲                                  │  │
//	    └──── the second answer denies ────┘  └─ it cannot be asked: told to the operator, nothing changes
//
// What a row believes of its request is Link.Gone, of its issue Work.IssueGone. SuspectRequest and
// SuspectIssue say that a word against that was heard; RequestDoubt and IssueDoubt since when all
// answers agree on it.

var (
	// ErrUnconfirmed means that one answer of a side contradicts what was known before, and no
	// other confirms it.
	ErrUnconfirmed = errors.New("not confirmed")
	// errAskAgain means that all answers agree, and that it is too early to believe them.
	errAskAgain = errors.New("to be confirmed by asking again")
)

const (
	// requestDoubt is how long Teleport has to say that a request has ended, where no watch told of
	// its deletion. Lists trail by a second or so.
	requestDoubt = 3 * time.Second
	// issueDoubt is how long Jira has to say that an issue is not there. A node of a Data Center
	// may lag, and a permission may be gone for the time in which somebody changes a scheme.
	issueDoubt = 30 * time.Second
	// doubtAgain is how often a side is asked again that cannot confirm what it says.
	doubtAgain = 15 * time.Second
	// checkEvery is how often Teleport is asked for a request that it holds although it is past its
	// expiry by this process's clock.
	checkEvery = time.Minute
	// expiryGrace is how long after its expiry a request is asked for. Most watches tell of its
	// deletion before.
	expiryGrace = 2 * time.Second
)

// conclusion is what follows from a side's answers to more than one question.
type conclusion string

const (
	concludeHeld     conclusion = "held"     // the side has it
	concludeEnded    conclusion = "ended"    // the side has it no longer
	concludeUnproven conclusion = "unproven" // its answers say neither
)

// requestWord is what Teleport has answered about a request that may have ended.
type requestWord struct {
	found   bool      // by ID, in Teleport's backend, undecided
	listed  bool      // among those that are not past their expiry by Teleport's own clock
	deleted bool      // a watch told of its deletion
	overdue bool      // past its expiry by two clocks: this process's and Jira's
	right   ListRight // without it, not found and not listed say nothing
}

// conclude says what follows; why says what is missing where nothing does.
func (q requestWord) conclude() (c conclusion, why string) {
	switch {
	case q.found && q.listed:
		return concludeHeld, ""
	case q.deleted && !q.found, q.right == ListRightGranted:
		return concludeEnded, ""
	case q.right == ListRightLacking: // Teleport's own clock may be one that nobody else has
		return concludeUnproven, lacksListRight
	case q.overdue:
		return concludeEnded, ""
	}
	return concludeUnproven, "Teleport does not show the request, and does not tell whether this identity may list all " +
		"requests; see `teleport-jira-agent check`"
}

// lacksListRight is what an operator is told where lists say nothing.
const lacksListRight = "this identity may not list access requests, and Teleport then answers as if there were none; " +
	"add to the agent's role: allow.rules access_request: [list, read], and look for a deny rule"

// issueWord is what Jira has answered about an issue that may be gone.
type issueWord struct {
	shown   bool // by a call that reads many issues at once, or by a search
	project bool // this account sees the project
}

// conclude says what follows for an issue that a read by its id does not show.
func (q issueWord) conclude() (c conclusion, why string) {
	switch {
	case q.shown:
		return concludeUnproven, "Jira shows it among others, and not by itself"
	case !q.project:
		return concludeUnproven, "this account does not see the project at the moment; it needs the permission Browse " +
			"projects"
	}
	return concludeEnded, ""
}

// checkRequest finds out whether Teleport still has the request, undecided, and concludes it from
// no single answer.
func (w *worker) checkRequest(ctx context.Context) error {
	word, err := w.askForRequest(ctx)
	if err != nil {
		return err
	}
	c, why := word.conclude()
	switch {
	case w.link.Request.State.Resolved(): // whether Teleport still has it makes no difference
		w.link.SuspectRequest, w.link.RequestDoubt = false, time.Time{}
		if c != concludeEnded || w.link.Gone {
			return nil
		}
		return w.gone(ctx)
	case c == concludeHeld:
		w.held()
		return nil
	case w.link.Gone:
		w.link.SuspectRequest = false // what said that it is there again was old
		w.link.RequestDoubt = time.Time{}
		return nil
	case c == concludeEnded && (word.deleted || agreed(&w.link.RequestDoubt, requestDoubt)):
		return w.gone(ctx)
	}
	return inDoubt("teleport", "confirm that request "+w.link.RequestID+" has ended", c, why, &w.link.RequestDoubt)
}

// agreed notes since when all answers agree on something, and reports whether that is long enough
// to believe it.
func agreed(since *time.Time, enough time.Duration) bool {
	if since.IsZero() || since.After(time.Now()) {
		*since = time.Now()
	}
	return time.Since(*since) >= enough
}

// inDoubt is the error of a step that could not conclude anything yet. The next one begins anew
// unless all answers agree.
func inDoubt(side, op string, c conclusion, why string, since *time.Time) error {
	e := &Error{Side: side, Op: op, RetryAfter: requestDoubt, Err: errAskAgain}
	if c != concludeEnded {
		*since = time.Time{}
		e.RetryAfter, e.Err = doubtAgain, fmt.Errorf("%w: %s", ErrUnconfirmed, why)
	}
	return e
}

// askForRequest asks Teleport the different questions, each only where the answers before leave it
// open, and records the request if it is found.
func (w *worker) askForRequest(ctx context.Context) (word requestWord, err error) {
	word.deleted = w.deletions.told(w.link.RequestID)
	r, err := w.Cluster.Request(ctx, w.link.RequestID)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return word, err
	default:
		if word.found = true; w.link.Gone && !r.State.Resolved() {
			break // it is recorded once it is known to be alive
		}
		if err := w.observeRequest(ctx, r); err != nil || w.link.Request.State.Resolved() {
			word.listed = true
			return word, err
		}
	}
	if word.deleted && !word.found {
		return word, nil
	}
	if word.found {
		if word.listed, err = w.Cluster.Listed(ctx, w.link.RequestID); err != nil {
			return word, err
		}
		if word.listed {
			if w.link.Gone {
				err = w.observeRequest(ctx, r)
			}
			return word, err
		}
	}
	if word.right, err = w.Cluster.ListRight(ctx); err != nil || word.right != ListRightUnknown {
		return word, err
	}
	word.overdue, err = w.overdue(ctx)
	return word, err
}

// LookUp reads a request for somebody who asks, and concludes nothing. ok is false when Teleport
// does not show it; then doubt says why that proves nothing, and is empty where it does.
func LookUp(ctx context.Context, c Cluster, id string) (r Request, ok bool, doubt string, err error) {
	r, err = c.Request(ctx, id)
	if !errors.Is(err, ErrNotFound) {
		return r, err == nil, "", err
	}
	right, err := c.ListRight(ctx)
	if err != nil {
		return r, false, "", err
	}
	_, doubt = requestWord{right: right}.conclude()
	return r, false, doubt, nil
}

// overdue reports whether the request is past its expiry by this process's clock and by Jira's: one
// clock alone may be wrong.
func (w *worker) overdue(ctx context.Context) (bool, error) {
	if !w.link.Request.PastExpiry(time.Now()) {
		return false, nil
	}
	there, err := w.Tracker.Now(ctx)
	return w.link.Request.PastExpiry(there), err
}

// held notes that Teleport has the request, whatever was believed. What was shown of its end is
// taken back.
func (w *worker) held() {
	w.link.SuspectRequest, w.link.RequestDoubt = false, time.Time{}
	w.link.CheckedAt = time.Now()
	if !w.Policy.foreign(w.link) {
		w.link.SettledAt = time.Time{} // it may have been taken for ended before it had an issue
	}
	closing := resolutionKey(w.link, OutcomeExpired)
	if w.link.Resolved == OutcomeExpired || w.link.HasComment(closing) || w.link.Begun == EffectComment+closing {
		w.log.Warn("request pending again in Teleport; its issue is opened again")
		w.link.Retracted++
		w.link.Resolved, w.link.Walking = "", OutcomePending
	}
}

// suspectRequest makes the next step ask for the request: a call that was refused says that it is
// not there.
func (w *worker) suspectRequest() error {
	w.link.SuspectRequest = true
	return nil
}

// vanished is what becomes of a request whose issue a read by id does not show: deleted, archived,
// out of this account's sight, or just not shown this once. No other issue is made, since this one
// may come back.
func (w *worker) vanished(ctx context.Context, notFound error) error {
	if w.link.IssueGone {
		w.link.SuspectIssue = false
		return w.issueGone(notFound)
	}
	c, why, err := w.askForIssue(ctx, w.link.Bound.ID)
	if err != nil {
		return err
	}
	if c == concludeEnded && agreed(&w.link.IssueDoubt, issueDoubt) {
		w.link.SuspectIssue, w.link.IssueGone, w.link.IssueDoubt = false, true, time.Time{}
		w.log.Warn("issue gone", zap.String("issue_key", w.link.Bound.Key))
		return w.issueGone(notFound)
	}
	w.link.SuspectIssue = true
	return inDoubt("jira", "confirm that issue "+w.link.Bound.Key+" is gone", c, why, &w.link.IssueDoubt)
}

// askForIssue asks Jira a second question about an issue that a read by id does not show.
func (w *worker) askForIssue(ctx context.Context, id string) (c conclusion, why string, err error) {
	var word issueWord
	issues, err := w.Tracker.Issues(ctx, []string{id})
	if err != nil {
		return "", "", err
	}
	word.shown = len(issues) > 0
	if !word.shown {
		if word.project, err = w.seesProject(ctx); err != nil {
			return "", "", err
		}
	}
	c, why = word.conclude()
	return c, why, nil
}

// seesProject reports whether Jira shows this account the project at all.
func (e *Engine) seesProject(ctx context.Context) (bool, error) {
	statuses, err := e.Tracker.Statuses(ctx)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return len(statuses) > 0, err
}

// issueGone is what is left to do for a request whose issue is gone: a pending one has to be
// decided in Teleport, and the row is parked. Of a resolved one nothing can be shown any more,
// until the issue comes back.
func (w *worker) issueGone(notFound error) error {
	if OutcomeOf(w.link) != OutcomePending {
		return nil
	}
	return &Error{
		Side: "jira", Op: "read issue " + w.link.Bound.Key, Permanent: true,
		Err: fmt.Errorf("the issue was deleted or archived, or this account may not see it any more; no other is made, "+
			"decide the request in Teleport: %w", notFound),
	}
}

// tellDoubt tells the operator of what could not be confirmed for a while.
func (w *worker) tellDoubt(ctx context.Context, err error) {
	if !errors.Is(err, ErrUnconfirmed) {
		err = nil
	}
	if changed, all := w.doubts.set(w.link.RequestID, err, time.Now()); changed {
		w.condition(ctx, LoopDoubts, all)
	}
}

// doubts are the requests of which something cannot be confirmed. While there are any the replica
// is not ready.
type doubts struct {
	mu   stdsync.Mutex
	open map[string]doubt
	told bool
}

type doubt struct {
	since time.Time
	err   error
}

// tolerated is how long something may be in doubt without a word.
const tolerated = 2 * doubtAgain

// set notes what is in doubt about a request at now, nil for nothing. changed tells whether that is
// news for the operator; all is what has been in doubt for a while altogether, nil for nothing.
func (d *doubts) set(requestID string, err error, now time.Time) (changed bool, all error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, was := d.open[requestID]
	switch {
	case err == nil:
		delete(d.open, requestID)
	case d.open == nil:
		d.open = map[string]doubt{requestID: {now, err}}
	case !was:
		d.open[requestID] = doubt{now, err}
	default:
		d.open[requestID] = doubt{known.since, err}
	}
	lasting, first := 0, ""
	for id, doubt := range d.open {
		if now.Sub(doubt.since) < tolerated {
			continue
		}
		if lasting++; first == "" || id < first {
			first = id
		}
	}
	before := d.told
	if d.told = lasting > 0; !d.told {
		return before, nil
	}
	return !before, fmt.Errorf("%d in doubt, the first: %w", lasting, d.open[first].err)
}

// deletions are the requests of which a watch told in this term that they were deleted.
type deletions struct {
	mu  stdsync.Mutex
	ids map[string]bool
}

// maxDeletions bounds what is kept, at some 60 bytes each. What is forgotten is asked of Teleport
// in other ways.
const maxDeletions = 100_000

func (d *deletions) note(ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil || len(d.ids) > maxDeletions {
		d.ids = make(map[string]bool)
	}
	for _, id := range ids {
		d.ids[id] = true
	}
}

func (d *deletions) told(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[id]
}
