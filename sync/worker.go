package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	// workTime bounds the work on one request at a stretch; what is left is done when the row is
	// next due.
	workTime = 5 * time.Minute
	// recordTime bounds the last record of a step whose own context may be over.
	recordTime = time.Second
	// maxSteps is far above what a request needs (one step per review and a handful more): it ends
	// a plan that does not shrink.
	maxSteps = 500
)

// errNoProgress means that an action succeeded and the plan still asks for it.
var errNoProgress = errors.New("the action succeeded without effect; both sides are read again later")

// worker brings one request as far as it goes now. It is the only one at work on its row.
type worker struct {
	*Engine
	Policy Policy // with the names that statuses have had by now
	link   Link
	fresh  *Detail  // the issue as ActRead has just read it, for what comes next
	ended  bool     // recorded as having nothing left to do
	looked bool     // for the issue of a request that has none in the row
	told   string   // Work.LastError as it was at first: in a dry run, what was told last
	undone []string // in a dry run: what would have been done
	log    *zap.Logger
}

func newWorker(e *Engine, l Link) *worker {
	w := &worker{
		Engine: e,
		Policy: e.policy(),
		link:   l,
		told:   l.LastError,
		log:    e.Log.With(zap.String("request_id", l.RequestID)),
	}
	w.notePlaced()
	return w
}

// run plans and acts until nothing is left, or until what is left has failed, then records when to
// look again. An action that failed does not hold up the others of the plan, unless a whole side is
// in trouble or an effect is uncertain. It returns an error when the term is over or PostgreSQL did
// not take the record: the row then stays due as it was.
func (w *worker) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()

	failed := make(map[string]error)
	succeeded := make(map[string]int)
	if err := w.glance(ctx); err != nil {
		return w.finish(ctx, err)
	}
	var worst error
	for range maxSteps {
		action, ok := firstNotIn(Plan(w.link, w.Policy, time.Now()), failed)
		if !ok {
			break
		}
		seq := w.link.Seq
		err := w.act(ctx, action)
		if errors.Is(err, ErrDryRun) {
			failed[action.id()] = err
			continue
		}
		if errors.Is(err, ErrNotLeader) || ctx.Err() != nil {
			return cmp.Or(err, ctx.Err()) // the row stays due; whoever leads goes on from what is recorded
		}
		if w.ended {
			return nil
		}
		if err == nil {
			if succeeded[action.id()]++; succeeded[action.id()] < 3 {
				continue
			}
			err = errNoProgress
		}
		if e := asError(err); w.link.Seq != seq && e.Scope == ScopeRequest && !e.Uncertain {
			continue // a fact changed meanwhile: what failed may no longer be what is to be done, and must not park the row
		}
		failed[action.id()] = err
		worst = worse(worst, err)
		if e := asError(err); e.Scope == ScopeSide || e.Uncertain {
			break
		}
	}
	return w.finish(ctx, worst)
}

// act does one action and appends its outcome to the row's activity. What is left of an issue that
// was read is for the next action alone.
func (w *worker) act(ctx context.Context, a Action) error {
	if err := w.Lease.Check(); err != nil {
		return err
	}
	start := time.Now()
	if a.Kind != ActJudge && (a.Kind != ActMove || a.To != OutcomePending) {
		w.fresh = nil
	}
	if a.Kind == ActJudge || w.link.Urgent {
		ctx = WithPriority(ctx, PriorityPeople)
	}
	err := w.do(ctx, a)
	if a.Kind != ActRead && a.Kind != ActAnswer && w.link.Bound.ID != "" && isJiras(err, ErrNotFound) {
		w.link.SuspectIssue = true
	}
	if errors.Is(err, ErrDryRun) {
		w.leaveUndone(asError(err).Op)
		return err
	}
	err = w.suspectArchive(ctx, a.Kind, err)
	w.Observer.Acted(a.Kind, err, time.Since(start))
	fields := []zap.Field{
		zap.String("action", string(a.Kind)),
		zap.String("cause", a.Cause),
		zap.Int("attempt", w.link.Attempts+1),
	}
	if w.link.Bound.Key != "" {
		fields = append(fields, zap.String("issue_key", w.link.Bound.Key))
	}
	if a.Key != "" {
		fields = append(fields, zap.String("comment", a.Key))
	}
	switch {
	case err == nil:
		w.log.Info("done", fields...)
		for _, side := range sidesOf(a.Kind) {
			w.sideWorked(ctx, side, start)
		}
	case errors.Is(err, ErrNotLeader) || ctx.Err() != nil:
		return err
	case errors.Is(err, errAskAgain):
		w.log.Info("asking again before it is believed", fields...)
	default:
		w.log.Warn("not done", append(fields, zap.Error(err))...)
	}
	if saveErr := w.save(ctx, a, err); saveErr != nil {
		return saveErr
	}
	return err
}

func (w *worker) do(ctx context.Context, a Action) error {
	switch a.Kind {
	case ActCheck:
		return w.checkRequest(ctx)
	case ActFind:
		return w.find(ctx)
	case ActCreate:
		return w.create(ctx)
	case ActRead:
		return w.read(ctx)
	case ActRestore:
		return w.restore(ctx)
	case ActAnswer:
		return w.answer(ctx, a.Key)
	case ActLink:
		return w.linkPluginData(ctx)
	case ActComment:
		return w.comment(ctx, a.Key, a.Body)
	case ActMove:
		return w.move(ctx, a.To)
	case ActJudge:
		return w.judge(ctx)
	case ActResolve:
		return w.resolve(ctx, a.To)
	case ActSettle:
		return w.settle(ctx)
	}
	return fmt.Errorf("no such action: %q", a.Kind)
}

// save records the agent's part of the row with one line of activity, also when the step's own
// context has just ended: an effect that is not recorded has to be looked for later.
func (w *worker) save(ctx context.Context, a Action, outcome error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	done := w.activity(string(a.Kind), "ok", a.Cause)
	if a.Key != "" {
		done.Action += " " + a.Key
	}
	if outcome != nil {
		done.Outcome = outcome.Error()
	}
	if outcome == nil && len(w.undone) == 0 && len(Plan(w.link, w.Policy, time.Now())) == 0 {
		return w.end(ctx, done)
	}
	return w.record(ctx, done)
}

// end records the last action together with when the row is next due, unless a fact has changed
// meanwhile.
func (w *worker) end(ctx context.Context, done Activity) error {
	seq := w.link.Seq
	w.conclude(ctx, nil)
	err := w.record(ctx, done)
	w.ended = err == nil && w.link.Seq == seq
	return err
}

// record saves the row and goes on with what it holds now, since observers may have changed facts
// meanwhile.
func (w *worker) record(ctx context.Context, done ...Activity) error {
	saved, err := w.Store.Save(ctx, w.link, done...)
	if err != nil {
		return fmt.Errorf("record request %s: %w", w.link.RequestID, err)
	}
	w.link = saved
	w.notePlaced()
	return nil
}

// finish records when the row is next due.
func (w *worker) finish(ctx context.Context, err error) error {
	return w.record(ctx, w.conclude(ctx, err)...)
}

// conclude sets when the row is next due, and returns what a dry run tells.
func (w *worker) conclude(ctx context.Context, err error) (told []Activity) {
	now := time.Now()
	l := &w.link
	e := asError(err)
	switch {
	case err == nil:
		l.Attempts, l.LastError, l.Parked = 0, "", false
		l.Due = nextLook(*l, now)
		if len(w.undone) == 0 {
			w.foreseen.Delete(l.RequestID)
		}
	case e.Scope == ScopeSide:
		// The side is in trouble, not this request: no attempt is counted.
		l.LastError = err.Error()
		l.Due = w.sideFailed(ctx, e)
	case e.Permanent:
		l.Attempts++
		l.LastError, l.Parked = err.Error(), true
		l.Due = now.Add(parkedRetry)
		if swept := errors.Is(err, errArchived) || l.IssueGone; !swept { // a sweep sees those change
			l.Due = now.Add(backoff(l.Attempts, firstParked, parkedRetry))
		}
		w.log.Error("parked: repeating cannot help until something changes", zap.Error(err))
	case e.RetryAfter > 0:
		l.LastError = err.Error()
		l.Due = now.Add(e.RetryAfter)
	default:
		l.Attempts++
		l.LastError = err.Error()
		l.Due = now.Add(backoff(l.Attempts, firstBackoff, maxBackoff))
	}
	w.tellDoubt(ctx, err)
	if len(w.undone) > 0 && e.Scope != ScopeSide { // else it may not be all that would have been done
		told = w.foresee(err)
	}
	// A parked or delayed request still expires on time.
	if look := nextLook(*l, now); look.After(now) && (l.Due.IsZero() || look.Before(l.Due)) {
		l.Due = look
	}
	return told
}

// isJiras reports whether err is this condition, as Jira said it.
func isJiras(err, condition error) bool {
	return errors.Is(err, condition) && asError(err).Side == "jira"
}

// firstNotIn is the first action of a plan that has not failed.
func firstNotIn(plan []Action, failed map[string]error) (Action, bool) {
	for _, a := range plan {
		if failed[a.id()] == nil {
			return a, true
		}
	}
	return Action{}, false
}

// worse picks the error that decides when the row is tried again: trouble of a side first, then
// what may pass, then what is permanent.
func worse(a, b error) error {
	rank := func(err error) int {
		e := asError(err)
		switch {
		case err == nil:
			return 0
		case e.Scope == ScopeSide:
			return 3
		case e.Permanent:
			return 1
		}
		return 2
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// sidesOf tells which sides an action that succeeded has shown to work.
func sidesOf(k Kind) []string {
	switch k {
	case ActCheck, ActLink, ActResolve:
		return []string{"teleport"}
	case ActComment, ActMove, ActRead, ActRestore, ActAnswer:
		return []string{"jira"}
	case ActCreate, ActFind, ActJudge:
		return []string{"jira", "teleport"}
	default: // ActSettle concerns the row alone
		return nil
	}
}
