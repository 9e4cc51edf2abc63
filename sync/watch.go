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

// follow keeps a watch of Teleport open and records what it tells. After every break it lists all
// requests, since a watch does not repeat what was missed.
func (e *Engine) follow(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		opened, err := e.watch(ctx)
		if errors.Is(err, ErrNotLeader) {
			e.Observer.Watching(false, nil)
			return err
		}
		if failures++; opened {
			failures = 1
		}
		e.condition(ctx, LoopWatch, err)
		if ctx.Err() != nil {
			err = nil
		}
		e.Observer.Watching(false, err)
		pause(ctx, e.retryAfter(err, failures))
	}
	return nil
}

// watch opens one watch and stays with it until it breaks. opened tells whether Teleport had
// confirmed it.
func (e *Engine) watch(ctx context.Context) (opened bool, err error) {
	w, err := e.Cluster.Watch(ctx)
	if err != nil {
		return false, err
	}
	defer w.Close()
	e.condition(ctx, LoopWatch, nil)
	e.Observer.Watching(true, nil)

	ctx, broken := context.WithCancelCause(ctx)
	told := &toldResolved{ids: make(map[string]bool)}
	events := make(chan Event, burst)
	var lost error // why there are no more events, once they are closed
	var beside stdsync.WaitGroup
	beside.Go(func() {
		defer told.forget()
		if err := e.listAll(ctx, told); err != nil {
			broken(err)
		}
	})
	beside.Go(func() {
		defer close(events)
		lost = pass(ctx, w, events)
	})
	defer func() { broken(nil); beside.Wait() }()

	for {
		some := take(events)
		if len(some) == 0 {
			return true, cmp.Or(context.Cause(ctx), lost)
		}
		told.note(some)
		if err := e.observe(ctx, some); err != nil {
			return true, cmp.Or(context.Cause(ctx), err)
		}
	}
}

// listAll lists until a list says something. Without the right to list none does, and the watch
// goes on all the same.
func (e *Engine) listAll(ctx context.Context, told *toldResolved) error {
	for {
		err := e.list(ctx, told)
		if !errors.Is(err, ErrForbidden) || ctx.Err() != nil {
			return err
		}
		pause(ctx, doubtAgain)
	}
}

const (
	// rightsEvery is how often it is asked whether Teleport still lets the agent in, and list: an
	// open watch goes on delivering after the agent was locked, and a list that may show nothing
	// shows nothing.
	rightsEvery = time.Minute
	// rightsAgain is the same while it does not.
	rightsAgain = 5 * time.Second
)

// watchRights asks now and then what the agent may do in Teleport, so that a right that is lost is
// told before somebody needs it.
func (e *Engine) watchRights(ctx context.Context) error {
	for ctx.Err() == nil {
		right, err := e.Cluster.ListRight(ctx)
		if err == nil && right == ListRightLacking {
			err = errLacksListRight
		}
		e.condition(ctx, LoopRights, err)
		again := rightsEvery
		if err != nil {
			again = rightsAgain
		}
		pause(ctx, again)
	}
	return nil
}

// errLacksListRight: lists say nothing.
var errLacksListRight error = &Error{
	Side: "teleport", Op: "list access requests", Err: fmt.Errorf("%w: %s", ErrForbidden, lacksListRight),
}

// burst is how many events are recorded at once, at most. A thousand requests that are made at once
// cost a handful of transactions in place of a thousand, and each transaction stays a matter of
// milliseconds.
const burst = 200

// pass reads a watch, ahead of what is recorded of it, until it breaks.
func pass(ctx context.Context, w Watch, events chan<- Event) error {
	for {
		event, err := w.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case events <- event:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take waits for an event, and takes along those that have come meanwhile; it waits for none of
// them. Nothing is left when events are closed.
func take(events <-chan Event) (some []Event) {
	for event := range events {
		if some = append(some, event); len(some) == burst || len(events) == 0 {
			break
		}
	}
	return some
}

// toldResolved are the requests that a watch has told to be resolved. A page of a list that began
// before may still show one as pending, and without a row, which only a pending request gets,
// nothing else would say otherwise. The zero value takes no notes.
type toldResolved struct {
	mu  stdsync.Mutex
	ids map[string]bool
}

func (t *toldResolved) note(events []Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, event := range events {
		if r := event.Request; t.ids != nil && r != nil && r.State.Resolved() {
			t.ids[r.ID] = true
		}
	}
}

// forget ends the notes: the list is over.
func (t *toldResolved) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids = nil
}

// without leaves out of a page what is known better.
func (t *toldResolved) without(page []Request) []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(page, func(r Request) bool { return t.ids[r.ID] && r.State == StatePending })
}

// observe records events. What they say of one request is merged in their order. A deletion says
// neither why nor what the request's state was; the worker asks for it by ID. It is the last that
// is said of a request, so that it may come after all others.
func (e *Engine) observe(ctx context.Context, events []Event) error {
	defer notify(e.wakeWork)
	var requests []Request
	var deleted []string
	pending := false
	for _, event := range events {
		if event.Request == nil {
			deleted = append(deleted, event.DeletedID)
			continue
		}
		requests = append(requests, *event.Request)
		pending = pending || event.Request.State == StatePending
	}
	if pending {
		defer notify(e.wakePoll)
	}
	if len(requests) > 0 {
		record, err := e.recorder(ctx)
		if err != nil {
			return err
		}
		if err := record(ctx, requests); err != nil {
			return err
		}
	}
	if len(deleted) == 0 {
		return nil
	}
	e.deletions.note(deleted)
	return e.Store.SuspectRequests(ctx, deleted)
}

// list records all requests that Teleport lists, but what told knows better, and suspects pending
// ones that it does not list. Without the right to list it says nothing of those: an empty list
// then is no answer.
func (e *Engine) list(ctx context.Context, told *toldResolved) (err error) {
	start := time.Now()
	defer func() {
		e.condition(ctx, LoopList, err)
		e.Observer.Looped(LoopList, err, time.Since(start))
		notify(e.wakeWork)
		notify(e.wakePoll)
	}()
	record, err := e.recorder(ctx)
	if err != nil {
		return err
	}
	listed := make(map[string]bool)
	progress := e.progress(LoopList, 0)
	err = e.Cluster.Requests(ctx, func(page []Request) error {
		for _, r := range page {
			listed[r.ID] = true
		}
		defer progress.add(len(page))
		return record(ctx, told.without(page))
	})
	if err != nil {
		return err
	}
	switch right, err := e.Cluster.ListRight(ctx); {
	case err != nil:
		return err
	case right == ListRightLacking:
		return errLacksListRight
	}
	e.sideWorked(ctx, "teleport", start)
	if e.Health.Failing(LoopRights) {
		e.condition(ctx, LoopRights, nil)
	}
	e.listed.Store(true)
	return e.eachOpen(ctx, func(links []Link) error {
		var missing []string
		for _, l := range links {
			if l.Request.State == StatePending && !l.Gone && !listed[l.RequestID] {
				missing = append(missing, l.RequestID)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		return e.Store.SuspectRequests(ctx, missing)
	})
}

// recorder is how requests are recorded. Without a cursor no poll has ever ended: the database is
// new, or was lost together with the rows of requests that are resolved in Teleport and perhaps not
// yet on their issues.
func (e *Engine) recorder(ctx context.Context) (func(context.Context, []Request) error, error) {
	if e.complete.Load() {
		return e.Store.ObserveRequests, nil
	}
	cursor, err := e.Store.Cursor(ctx)
	if err != nil {
		return nil, err
	}
	e.complete.Store(!cursor.IsZero())
	if cursor.IsZero() {
		return e.Store.Recover, nil
	}
	return e.Store.ObserveRequests, nil
}
