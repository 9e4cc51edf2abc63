package teleportsim

import (
	"context"
	"errors"
	"time"

	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
)

// errSlowReader is how Teleport ends the stream of a reader that stays behind.
// https://github.com/gravitational/teleport/blob/master/lib/utils/fanoutbuffer/buffer.go
var errSlowReader = errors.New("failed to process fanout buffer backlog within grace period")

// watcher is one open stream. Events are put in with Server.mu held; err is set before done is
// closed.
type watcher struct {
	kinds  []types.WatchKind
	events chan told
	done   chan struct{}
	err    error
}

// told is an event and when it leaves the server.
type told struct {
	event types.Event
	due   time.Time
}

// nextBatch is when an event of now is told: together with all others of the same period, at its
// end.
func (s *Server) nextBatch() time.Time {
	now := time.Now()
	if s.cfg.EventDelay < 0 {
		return now
	}
	return now.Truncate(s.cfg.EventDelay).Add(s.cfg.EventDelay)
}

// BreakWatches ends all streams as a restart of the Auth Service does: with Unavailable, and the
// text of a client whose connection ended.
func (s *Server) BreakWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		s.endWatch(w, trace.ConnectionProblem(nil, "error reading from server: EOF"))
	}
}

// MuteWatches keeps streams open and silent: what happens while they are muted is never told.
func (s *Server) MuteWatches(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted = mute
}

// Watches is the number of open streams.
func (s *Server) Watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers)
}

// fanOut tells an event to every stream whose filter lets it through. s.mu is held.
func (s *Server) fanOut(event types.Event) {
	if s.muted {
		return
	}
	for w := range s.watchers {
		if !w.wants(event) {
			continue
		}
		message := told{event: event, due: s.nextBatch()}
		if request, ok := event.Resource.(*types.AccessRequestV3); ok {
			message.event.Resource = clone(request)
		}
		select {
		case w.events <- message:
		default:
			s.endWatch(w, errSlowReader)
		}
	}
}

// wants reports whether the watch asked for the event. Filters hold for puts; a deletion passes
// them all.
func (w *watcher) wants(event types.Event) bool {
	for _, kind := range w.kinds {
		// The filters were parsed when the watch was opened.
		if match, err := kind.Matches(event); err == nil && match {
			return true
		}
	}
	return false
}

// openWatch registers a stream. s.mu is not held.
func (s *Server) openWatch(caller string, watch *proto.Watch) (*watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down { // since the call was admitted
		return nil, errDown()
	}
	kinds, err := s.checkKinds(caller, watch)
	if err != nil {
		return nil, err
	}
	w := &watcher{kinds: kinds, events: make(chan told, s.cfg.WatchBuffer), done: make(chan struct{})}
	s.watchers[w] = struct{}{}
	s.notify()
	return w, nil
}

// checkKinds answers the kinds that the caller may watch, and fails on the first that it may not
// unless the watch allows a partial success. s.mu is held.
func (s *Server) checkKinds(caller string, watch *proto.Watch) ([]types.WatchKind, error) {
	if len(watch.Kinds) == 0 {
		return nil, trace.AccessDenied("can't setup global watch")
	}
	var allowed []types.WatchKind
	for _, kind := range watch.Kinds {
		err := s.checkKind(caller, kind)
		if err == nil {
			allowed = append(allowed, kind)
		} else if !watch.AllowPartialSuccess {
			return nil, err
		}
	}
	if len(allowed) == 0 {
		return nil, trace.BadParameter("none of the requested kinds can be watched")
	}
	return allowed, nil
}

func (s *Server) checkKind(caller string, kind types.WatchKind) error {
	role := s.roles[caller]
	if kind.Kind != types.KindAccessRequest {
		if err := role.check(kind.Kind, types.VerbRead); err != nil {
			return err
		}
		return trace.BadParameter("resource type %q is not supported by this event stream", kind.Kind)
	}
	var filter types.AccessRequestFilter
	if err := filter.FromMap(kind.Filter); err != nil {
		return trace.Wrap(err)
	}
	if filter.User == caller {
		return nil // anybody may watch their own requests
	}
	return role.check(types.KindAccessRequest, types.VerbRead)
}

// closeWatch ends a stream; ending one twice does nothing. s.mu is not held.
func (s *Server) closeWatch(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endWatch(w, nil)
}

// endWatch is closeWatch with the error that the client is to see. s.mu is held.
func (s *Server) endWatch(w *watcher, err error) {
	if _, open := s.watchers[w]; !open {
		return
	}
	delete(s.watchers, w)
	w.err = err
	close(w.done)
	s.notify()
}

// WatchEvents streams events until the client goes, the reader falls behind or the watch is broken.
// The watch is registered before OpInit is sent, so that what happens after OpInit is never missed.
func (a *authService) WatchEvents(watch *proto.Watch, stream proto.AuthService_WatchEventsServer) error {
	caller, err := callerOf(stream.Context())
	if err != nil {
		return err
	}
	w, err := a.server.openWatch(caller, watch)
	if err != nil {
		return err
	}
	defer a.server.closeWatch(w)

	event := types.Event{Type: types.OpInit, Resource: types.NewWatchStatus(w.kinds)}
	for {
		message, err := client.EventToGRPC(event)
		if err != nil {
			return trace.Wrap(err)
		}
		if err := stream.Send(message); err != nil {
			return trace.Wrap(err)
		}
		event, err = w.next(stream.Context())
		if err != nil || event.Resource == nil { // the watch has ended
			return err
		}
	}
}

// next waits for an event and until it is due. The event is empty when the watch has ended without
// an error.
func (w *watcher) next(ctx context.Context) (types.Event, error) {
	var message told
	select {
	case message = <-w.events:
	case <-w.done:
		return types.Event{}, w.err
	case <-ctx.Done():
		return types.Event{}, trace.Wrap(ctx.Err())
	}
	select {
	case <-time.After(time.Until(message.due)):
		return message.event, nil
	case <-w.done:
		return types.Event{}, w.err
	case <-ctx.Done():
		return types.Event{}, trace.Wrap(ctx.Err())
	}
}
