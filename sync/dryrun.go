package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	stdsync "sync"
	"time"

	"go.uber.org/zap"
)

// A dry run observes, plans and judges as always, with both sides behind a wrapper that reads and
// never writes. So it shows what would be done next to whoever does it now: Teleport's own plugin,
// or people. A write that is already true on its side counts as done. What it cannot show is what
// only follows from a write that it did not do.

// ErrDryRun means that the call would have written, and was not made; Error.Op says what it would
// have done.
var ErrDryRun = errors.New("not done in a dry run")

// DryRunError begins Work.LastError of a row of which something would have been done.
const DryRunError = "dry run, not done: "

// dryRunAgain is when it is looked at again.
const dryRunAgain = time.Minute

func notDone(side, format string, args ...any) error {
	return &Error{Side: side, Op: fmt.Sprintf(format, args...), Err: ErrDryRun}
}

// dryCluster is Teleport without its writes.
type dryCluster struct{ Cluster }

func (dryCluster) Decide(_ context.Context, id string, d Decision) error {
	return notDone("teleport", "set request %s to %s, delegator %s, reason %q", id, d.State, d.Delegator, d.Reason)
}

func (dryCluster) Review(_ context.Context, id string, r Review) (Request, error) {
	return Request{}, notDone("teleport", "review request %s as %s: %s, reason %q", id, r.Author, r.Verdict, r.Reason)
}

// Claim finds the issue, or the claim, that somebody else left.
func (c dryCluster) Claim(ctx context.Context, r Request, _, _ string) (ref IssueRef, mine bool, err error) {
	data, err := c.Linked(ctx, r.ID)
	if err == nil && !data.Claimed {
		err = notDone("teleport", "claim request %s, and create its issue", r.ID)
	}
	return data.Issue, false, err
}

func (dryCluster) Reclaim(_ context.Context, id, _, _ string) error {
	return notDone("teleport", "take over the claim of request %s that no issue came of, and create its issue", id)
}

func (c dryCluster) Link(ctx context.Context, id string, ref IssueRef) error {
	data, err := c.Linked(ctx, id)
	switch {
	case err != nil || data.Issue.ID == ref.ID:
		return err
	case data.Issue.ID != "":
		return ErrChanged
	}
	return notDone("teleport", "name issue %s in the plugin data of request %s", ref.Key, id)
}

func (c dryCluster) Resolve(ctx context.Context, id string, _ IssueRef, resolution, _ string, _ int) error {
	data, err := c.Linked(ctx, id)
	if err != nil || !data.Claimed || string(data.Resolution) == resolution {
		return err
	}
	return notDone("teleport", "write %s into the plugin data of request %s", resolution, id)
}

// dryTracker is Jira without its writes.
type dryTracker struct{ Tracker }

func (dryTracker) Create(_ context.Context, d Draft, _ func(context.Context) error) (Issue, error) {
	return Issue{}, notDone("jira", "create an issue for request %s: %q", d.RequestID, d.Summary)
}

func (t dryTracker) Move(
	ctx context.Context,
	id string,
	from Status,
	way Way,
	_ func(context.Context, Status) error,
) (Issue, error) {
	issues, err := t.Latest(ctx, []string{id})
	switch {
	case err != nil:
		return Issue{}, err
	case len(issues) == 0:
		return Issue{}, ErrNotFound
	case way.Arrived(issues[0].Status):
		return issues[0], nil
	case from != Status{} && issues[0].Status != from:
		return Issue{}, ErrChanged
	}
	return Issue{}, notDone("jira", "move issue %s from %s to %s", issues[0].Key, issues[0].Status.Name, way.To[0])
}

func (t dryTracker) Drive(
	ctx context.Context,
	seen Issue,
	way Way,
	commit func(context.Context, Status) error,
) (Issue, error) {
	return t.Move(ctx, seen.ID, Status{}, way, commit)
}

func (dryTracker) SetRequestID(_ context.Context, id, requestID string, _ func(context.Context) error) error {
	return notDone("jira", "write %s into the field of issue %s", requestID, id)
}

func (dryTracker) Comment(_ context.Context, id, _, body string, _ func(context.Context) error) error {
	return notDone("jira", "comment on issue %s: %q", id, body)
}

// dryStore keeps the cursor to this term. One that is recorded says that Teleport's own plugin has
// been taken over from, which goes on making issues until it is stopped, seen by a dry run or not:
// the live start, too, reads both sides as after a loss.
type dryStore struct {
	Store
	mu     stdsync.Mutex
	cursor time.Time
}

// Cursor is the term's own, from the recorded one on.
func (s *dryStore) Cursor(ctx context.Context) (time.Time, error) {
	recorded, err := s.Store.Cursor(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cursor.After(recorded) {
		return s.cursor, err
	}
	return recorded, err
}

func (s *dryStore) ObserveIssues(ctx context.Context, issues []Issue, cursor time.Time) error {
	err := s.Store.ObserveIssues(ctx, issues, time.Time{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && cursor.After(s.cursor) {
		s.cursor = cursor
	}
	return err
}

// glance reads an issue of which no search tells, since in a dry run its field stays empty.
func (w *worker) glance(ctx context.Context) error {
	if !w.DryRun || w.link.Bound.ID == "" || w.link.Issue.RequestID == w.link.RequestID {
		return nil
	}
	issues, err := w.Tracker.Latest(ctx, []string{w.link.Bound.ID})
	if err != nil || len(issues) == 0 {
		return err
	}
	return w.observeIssue(ctx, issues[0])
}

// leaveUndone notes what would have been done. Whoever does the work meanwhile may comment, so that
// the comments are looked at before the next one is added; whatever else of this run is recorded,
// or fails, that is not to be forgotten.
func (w *worker) leaveUndone(what string) {
	w.undone = append(w.undone, what)
	if w.link.Begun == "" && w.link.Bound.ID != "" {
		w.link.Begun = EffectComment
	}
}

// foresee tells what this run of the worker would have done, unless it was told before and has not
// been otherwise since, and puts off the row. Whoever does the work meanwhile may make the issue,
// which is looked for then whatever becomes of the request.
func (w *worker) foresee(err error) []Activity {
	what := strings.Join(w.undone, "; ")
	before := w.told // by an earlier term
	if known, ok := w.foreseen.Swap(w.link.RequestID, what); ok {
		text, _ := known.(string)
		before = DryRunError + text
	}
	w.link.LastError = DryRunError + what
	if err == nil {
		w.link.Due = time.Now().Add(dryRunAgain)
	} else {
		w.link.LastError += "; failed: " + err.Error()
	}
	if w.link.Begun == "" {
		w.link.Begun, w.link.BegunAt = EffectCreate, time.Now()
	}
	if before == DryRunError+what {
		return nil
	}
	told := make([]Activity, len(w.undone))
	for n, what := range w.undone {
		w.log.Info("dry run, not done", zap.String("would", what), zap.String("issue_key", w.link.Bound.Key))
		told[n] = w.activity("dry run", "not done", what)
	}
	return told
}

// IsDryRun reports whether a dry run put off the row.
func IsDryRun(l Link) bool { return strings.HasPrefix(l.LastError, DryRunError) }
