package teleport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/sync"
)

// openTimeout is how long Teleport may take to confirm a watch.
const openTimeout = 15 * time.Second

// watch is an open stream of events. Its stream lives until Close or until the connection breaks,
// and not with the context that it was opened in.
type watch struct {
	watcher types.Watcher
	cancel  context.CancelFunc
	webURL  string
}

// Watch implements sync.Cluster. ctx bounds the opening only; the caller closes the watch.
func (c *Client) Watch(ctx context.Context) (sync.Watch, error) {
	const op = "watch access requests"
	api, err := c.connection()
	if err != nil {
		return nil, sideError(op, err)
	}
	opening, opened := context.WithTimeout(ctx, openTimeout)
	defer opened()
	stream, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stopWaiting := context.AfterFunc(opening, cancel)

	// NewWatcher succeeds even when Teleport refuses the watch; the refusal ends the stream before
	// OpInit. No filter: one by state would hide the very event that tells of a decision.
	watcher, err := api.NewWatcher(
		stream,
		types.Watch{Name: "access requests", Kinds: []types.WatchKind{{Kind: types.KindAccessRequest}}},
	)
	if err == nil {
		err = awaitInit(opening, watcher)
	}
	if !stopWaiting() && err == nil {
		err = opening.Err()
	}
	if err != nil {
		cancel()
		if opening.Err() != nil {
			err = fmt.Errorf("not confirmed: %w", opening.Err())
		}
		return nil, classify(ctx, op, wholeSide, err)
	}
	return &watch{watcher: watcher, cancel: cancel, webURL: c.webURL()}, nil
}

func awaitInit(ctx context.Context, w types.Watcher) error {
	select {
	case event := <-w.Events():
		if event.Type != types.OpInit {
			return fmt.Errorf("the first event is %s, not Init", event.Type)
		}
		return nil
	case <-w.Done():
		return ended(w)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Next implements sync.Watch.
func (w *watch) Next(ctx context.Context) (sync.Event, error) {
	const op = "read the watch of access requests"
	for {
		select {
		case event := <-w.watcher.Events():
			if e, ok := w.convert(event); ok {
				return e, nil
			}
		case <-w.watcher.Done():
			return sync.Event{}, classify(ctx, op, wholeSide, ended(w.watcher))
		case <-ctx.Done():
			return sync.Event{}, classify(ctx, op, wholeSide, ctx.Err())
		}
	}
}

// convert leaves out what is not an Access Request put or deleted.
func (w *watch) convert(event types.Event) (sync.Event, bool) {
	switch event.Type {
	case types.OpPut:
		if r, ok := event.Resource.(types.AccessRequest); ok {
			request := convert(r, w.webURL)
			return sync.Event{Request: &request}, true
		}
	case types.OpDelete:
		if r := event.Resource; r != nil && r.GetKind() == types.KindAccessRequest {
			return sync.Event{DeletedID: r.GetName()}, true
		}
	default: // no change of a request
	}
	return sync.Event{}, false
}

// Close implements sync.Watch.
func (w *watch) Close() error {
	defer w.cancel()
	return w.watcher.Close()
}

// ended is why a watcher is done.
func ended(w types.Watcher) error {
	if err := w.Error(); err != nil {
		return err
	}
	return errors.New("the stream ended")
}
