package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// create makes the request's issue. What is about to happen is recorded before each step, so that a
// crash or a lost answer leaves a trace: plugin data first (it outlives the database), then the
// row, then Jira.
func (w *worker) create(ctx context.Context) error {
	after, err := w.Tracker.LastKey(ctx)
	if err != nil {
		return err
	}
	ref, mine, err := w.Cluster.Claim(ctx, w.link.Request, w.link.Mark, after)
	switch {
	case errors.Is(err, ErrNotFound):
		return w.suspectRequest()
	case err != nil:
		return err
	case !mine, ref.ID != "":
		// Somebody was here before, and may not have said which issue came of it: an agent whose
		// database was lost, or Teleport's own plugin.
		w.link.Begun, w.link.BegunAt = EffectCreate, time.Now()
		return nil
	}
	d := draft(w.link.Request, w.Policy.Mode)
	if w.unstored.givenUp(w.link.RequestID) {
		d = bareDraft(w.link.Request, w.Policy.Mode)
		w.log.Warn("the issue is made without the request's text, which Jira fails to store")
	}
	issue, err := w.Tracker.Create(ctx, d, w.begin(EffectCreate))
	w.unstored.note(w.link.RequestID, err)
	if err != nil {
		if !asError(err).Uncertain {
			w.link.Begun = ""
		}
		return err
	}
	w.link.Bound = IssueRef{ID: issue.ID, Key: issue.Key}
	if issue.Status != (Status{}) {
		w.link.Issue = issue
	}
	w.link.Begun = ""
	if made := w.link.Request.Created; made.After(w.began) {
		w.Observer.Created(time.Since(made))
	}
	w.log.Info("issue created", zap.String("issue_key", issue.Key))
	return nil
}

// restore puts the request's ID back into the field of its own issue, without which no search finds
// it.
func (w *worker) restore(ctx context.Context) error {
	if err := w.Tracker.SetRequestID(ctx, w.link.Bound.ID, w.link.RequestID, w.checked); err != nil {
		return err
	}
	seen := w.link.Issue
	seen.RequestID = w.link.RequestID
	return w.observeOwn(ctx, seen)
}

// observeOwn records what the agent itself just changed. Jira's time of that is not known. One that
// is made up could outrank a person's next move for good, where Jira keeps times to the second; at
// worst an index that lags takes the change back until it, or a fresh read, shows it.
func (w *worker) observeOwn(ctx context.Context, i Issue) error {
	if i.Updated.Before(w.link.Issue.Updated) {
		i.Updated = w.link.Issue.Updated
	}
	return w.observeIssue(ctx, i)
}

func (w *worker) linkPluginData(ctx context.Context) error {
	err := w.Cluster.Link(ctx, w.link.RequestID, w.link.Bound)
	switch {
	case errors.Is(err, ErrNotFound):
		return w.suspectRequest()
	case errors.Is(err, ErrChanged):
		return &Error{
			Side: "teleport", Op: "link issue " + w.link.Bound.Key, Permanent: true,
			Err: fmt.Errorf("the plugin data names another issue; is another Jira plugin running?: %w", err),
		}
	case err != nil:
		return err
	}
	w.link.Linked = true
	return nil
}

// begin is a commit callback: the lease still holds, and the row says what is about to happen.
func (w *worker) begin(effect string) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := w.Lease.Check(); err != nil {
			return err
		}
		w.link.Begun, w.link.BegunAt = effect, time.Now()
		return w.record(ctx)
	}
}

// checked is the commit callback of an effect that needs no trace, being read afresh before each
// repeat (Tracker.Drive, too).
func (w *worker) checked(context.Context) error { return w.Lease.Check() }

// checkedStep is checked for a transition of an issue that is not the row's.
func (w *worker) checkedStep(context.Context, Status) error { return w.Lease.Check() }

// move brings the issue to a status that shows the outcome, wherever it is. One that is to be
// placed under Pending is moved only from the status that was seen: a person may have moved it on
// meanwhile.
func (w *worker) move(ctx context.Context, to Outcome) error {
	if to == OutcomePending {
		return w.place(ctx)
	}
	seen := w.link.Issue
	seen.ID = w.link.Bound.ID
	way := w.way(to)
	issue, err := w.Tracker.Drive(ctx, seen, way, w.onWay(way, to))
	if err != nil {
		return err
	}
	if err := w.observeMoved(ctx, issue); err != nil || way.Arrived(issue.Status) {
		return err
	}
	way.Visited = append(way.Visited, seen.Status)
	return w.walk(ctx, issue.Status, way, to)
}

// way is how to bring the request's issue to a status that shows the outcome.
func (w *worker) way(to Outcome) Way {
	return w.Policy.Way(to, OutcomeOf(w.link) == OutcomePending)
}

// walk takes the issue along the way, each step from a fresh read.
func (w *worker) walk(ctx context.Context, from Status, way Way, to Outcome) error {
	for range MaxWay {
		way.Visited = append(way.Visited, from)
		issue, err := w.Tracker.Move(ctx, w.link.Bound.ID, from, way, w.onWay(way, to))
		if errors.Is(err, ErrChanged) {
			_, err = w.readIssue(ctx)
			return err
		}
		if err != nil {
			return err
		}
		if err := w.observeMoved(ctx, issue); err != nil || way.Arrived(issue.Status) {
			return err
		}
		from = issue.Status
	}
	return &Error{
		Side: "jira", Op: "move issue " + w.link.Bound.Key + " to " + string(to),
		Err: fmt.Errorf("%w within %d steps", ErrNoTransition, MaxWay),
	}
}

// onWay is a commit callback of a transition. One that is not the last is recorded first, so that
// whoever goes on after a crash knows that the issue is on its way and not where somebody put it.
func (w *worker) onWay(way Way, to Outcome) func(context.Context, Status) error {
	return func(ctx context.Context, next Status) error {
		if err := w.Lease.Check(); err != nil {
			return err
		}
		if way.Arrived(next) || w.link.Walking == to {
			return nil
		}
		w.link.Walking = to
		return w.record(ctx)
	}
}

// place brings an issue under Pending that has not been there. A poll that shows one there wakes
// nobody to note it, so an issue that Jira has shown elsewhere may have been there since it was
// made: its history tells.
func (w *worker) place(ctx context.Context) error {
	if w.fresh != nil || w.link.Issue.Assumed.IsZero() {
		if _, err := w.reread(ctx); err != nil {
			return err
		}
		shown, known := w.Policy.Meaning(w.link.Issue.Status)
		back := w.link.Walking == OutcomePending && (!known || shown == OutcomeExpired)
		if !back && (known || w.link.Placed) {
			return nil // the new plan says what follows
		}
	}
	return w.moveFrom(ctx, w.link.Issue.Status, OutcomePending)
}

func (w *worker) moveFrom(ctx context.Context, from Status, to Outcome) error {
	return w.walk(ctx, from, w.way(to), to)
}

func (w *worker) observeMoved(ctx context.Context, i Issue) error {
	seen := w.link.Issue
	seen.Status, seen.Updated, seen.Assumed = i.Status, i.Updated, i.Assumed
	if w.link.Walking != "" && w.Policy.Shows(i.Status, w.link.Walking) {
		w.link.Walking = ""
	}
	if !i.Assumed.IsZero() {
		notify(w.wakePoll) // to see whether it is so
	}
	return w.observeOwn(ctx, seen)
}

// settle notes that nothing is left to do. A request that ended without an issue in its row may
// have one all the same, if Teleport's plugin data names one, or a claim of which the row, being
// younger, knows nothing.
func (w *worker) settle(ctx context.Context) error {
	if w.link.Bound.ID == "" && !w.link.Dropped && !w.looked {
		data, err := w.Cluster.Linked(ctx, w.link.RequestID)
		if err != nil {
			return err
		}
		if data.Issue.ID != "" || data.Claimed && data.Mark != w.link.Mark {
			w.link.Begun, w.link.BegunAt = EffectCreate, time.Now()
			return nil
		}
	}
	w.link.SettledAt = time.Now()
	return nil
}

// resolve records the outcome in the plugin data, as Teleport's own plugin would.
func (w *worker) resolve(ctx context.Context, o Outcome) error {
	r := w.link.Request
	if err := w.Cluster.Resolve(ctx, r.ID, w.link.Bound, string(o), r.ResolveReason, len(r.Reviews)); err != nil {
		return err
	}
	// A row that had settled with another outcome is open again, until Jira has shown the issue
	// where it belongs now.
	w.link.Resolved, w.link.SettledAt = o, time.Time{}
	return nil
}

// readRequest reads the request and records what Teleport said. ok is false when Teleport does not
// show it, or has it no longer among those that may be decided: both its backend and its list have
// to say that it is there.
func (w *worker) readRequest(ctx context.Context) (ok bool, err error) {
	r, err := w.Cluster.Request(ctx, w.link.RequestID)
	if errors.Is(err, ErrNotFound) {
		return false, w.suspectRequest()
	}
	if err != nil {
		return false, err
	}
	if err := w.observeRequest(ctx, r); err != nil || w.link.Request.State != StatePending {
		return err == nil, err
	}
	listed, err := w.Cluster.Listed(ctx, w.link.RequestID)
	if err == nil && !listed {
		err = w.suspectRequest()
	}
	return listed, err
}

// observeRequest records what Teleport said and goes on with the merged row.
func (w *worker) observeRequest(ctx context.Context, r Request) error {
	return w.learn(ctx, Seen{Request: &r})
}

// learn records what was read, and goes on with what the row then says.
func (w *worker) learn(ctx context.Context, seen Seen) error {
	informed, err := w.Store.Learn(ctx, w.link, seen)
	if err != nil {
		return fmt.Errorf("record request %s: %w", w.link.RequestID, err)
	}
	w.link = informed
	return nil
}

// gone records the conclusion that Teleport no longer has the request.
func (w *worker) gone(ctx context.Context) error {
	w.link.SuspectRequest, w.link.RequestDoubt = false, time.Time{}
	return w.learn(ctx, Seen{Gone: true})
}

// readIssue reads the issue by id and records what Jira said.
func (w *worker) readIssue(ctx context.Context) (Detail, error) {
	detail, err := w.Tracker.Read(ctx, w.link.Bound.ID)
	if errors.Is(err, ErrNotFound) {
		return detail, w.vanished(ctx, err)
	}
	if err != nil {
		return detail, err
	}
	back := w.link.IssueGone
	w.link.SuspectIssue, w.link.IssueGone, w.link.IssueDoubt = false, false, time.Time{}
	w.noteMoves(detail.Moves)
	if err := w.observeIssue(ctx, detail.Issue); err != nil || !back {
		return detail, err
	}
	return detail, w.issueBack(ctx, detail)
}

// issueBack goes on with an issue that was taken for gone. While it was, nothing could be shown on
// it; and one that was adopted so may carry comments of before.
func (w *worker) issueBack(ctx context.Context, detail Detail) error {
	w.log.Info("issue there again", zap.String("issue_key", w.link.Bound.Key))
	w.link.SettledAt = time.Time{}
	w.noteComments(detail.Comments)
	data, err := w.Cluster.Linked(ctx, w.link.RequestID)
	if err != nil {
		w.link.IssueGone = true // not before all that it tells is known
		return err
	}
	return w.recall(ctx, detail, data)
}

func (w *worker) observeIssue(ctx context.Context, i Issue) error {
	if err := w.learn(ctx, Seen{Issue: &i}); err != nil {
		return err
	}
	w.notePlaced()
	return nil
}

// notePlaced remembers that the issue has been seen under Pending: from then on people may move it
// to statuses that mean nothing here.
func (w *worker) notePlaced() {
	seen := w.link.Issue.Assumed.IsZero() && w.Policy.Shows(w.link.Issue.Status, OutcomePending)
	w.link.Placed = w.link.Placed || seen
	if w.link.Walking != "" && w.link.Issue.Assumed.IsZero() && w.Policy.Shows(w.link.Issue.Status, w.link.Walking) {
		w.link.Walking = ""
	}
}

// noteMoves is notePlaced of an issue's history.
func (w *worker) noteMoves(moves []Move) {
	for _, m := range moves {
		w.link.Placed = w.link.Placed || w.Policy.Shows(m.From, OutcomePending)
	}
}
