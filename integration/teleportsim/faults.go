package teleportsim

import (
	"context"
	"path"
	"slices"
	"time"

	"github.com/gravitational/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// FaultKind is what goes wrong with a call.
type FaultKind int

const (
	// FaultError answers Fault.Err, Unavailable by default, and nothing happens.
	FaultError FaultKind = iota
	// FaultDelay only waits for Fault.Delay before the call goes its way.
	FaultDelay
	// FaultHang holds the call until the client gives up, and nothing happens; a call that still
	// waits when the fault is removed goes its way.
	FaultHang
	// FaultDropBefore cuts the client's connection, with all that goes on over it, and nothing
	// happens.
	FaultDropBefore
	// FaultLoseAnswer cuts the connection after the call took effect.
	FaultLoseAnswer
	// FaultHangAnswer holds the answer back until the client gives up, after the call took effect.
	FaultHangAnswer
)

// Fault describes calls that go wrong. On a stream it strikes when the stream is opened;
// FaultLoseAnswer and FaultHangAnswer strike when it has ended.
type Fault struct {
	// RPC is the method's name, as in "SetAccessRequestState"; empty means any.
	RPC string
	// Match, if set, picks among the calls by the request message. It must not call the Server.
	Match func(request any) bool
	// Times is how many calls it strikes; zero means all until it is removed.
	Times int
	Kind  FaultKind
	// Err is what FaultError answers: an error of package trace or a gRPC status.
	Err error
	// Delay is waited for first, with any kind.
	Delay time.Duration
}

// Injection is a fault in force.
type Injection struct {
	server  *Server
	fault   Fault
	struck  int // guarded by server.mu
	removed chan struct{}
}

// Inject puts a fault in force. Of several that fit a call the one injected first strikes.
func (s *Server) Inject(fault Fault) *Injection {
	s.mu.Lock()
	defer s.mu.Unlock()
	injection := &Injection{server: s, fault: fault, removed: make(chan struct{})}
	s.faults = append(s.faults, injection)
	return injection
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, injection := range s.faults {
		close(injection.removed)
	}
	s.faults = nil
}

// Remove ends the fault; removing it twice does nothing.
func (i *Injection) Remove() {
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	if at := slices.Index(i.server.faults, i); at >= 0 {
		i.server.faults = slices.Delete(i.server.faults, at, at+1)
		close(i.removed)
	}
}

// Struck is how many calls the fault has struck so far; Server.Wait is told of each.
func (i *Injection) Struck() int {
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	return i.struck
}

// SetDown makes every call fail with Unavailable, and ends the watches, while the port still
// accepts connections: what a client sees behind a load balancer whose Auth Service is away. For a
// refused connection see Stop.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	s.down = down
	s.notify()
	s.mu.Unlock()
	if down {
		s.BreakWatches()
	}
}

func errDown() error { return trace.ConnectionProblem(nil, "the auth service is down") }

// pick finds the fault that strikes a call and counts it, or returns nil.
func (s *Server) pick(rpc string, request any) *Injection {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, injection := range s.faults {
		fault := injection.fault
		spent := fault.Times > 0 && injection.struck >= fault.Times
		if spent || fault.RPC != "" && fault.RPC != rpc || fault.Match != nil && !fault.Match(request) {
			continue
		}
		injection.struck++
		s.notify()
		return injection
	}
	return nil
}

// admit is everything that comes before a call takes effect: the count, the version check, whether
// the caller may call at all, and the faults.
func (s *Server) admit(ctx context.Context, rpc string, request any) (*Injection, error) {
	s.mu.Lock()
	s.calls[rpc]++
	s.notify()
	down := s.down
	s.mu.Unlock()
	if down {
		return nil, errDown()
	}
	if err := s.checkClientVersion(ctx); err != nil {
		return nil, err
	}
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	injection := s.pick(rpc, request)
	if injection == nil {
		return nil, nil
	}
	return injection, injection.before(ctx)
}

// before is the part of a fault that comes before the effect; an error means that there will be
// none.
func (i *Injection) before(ctx context.Context) error {
	if i.fault.Delay > 0 {
		if err := hold(ctx, time.After(i.fault.Delay), i.removed); err != nil {
			return err
		}
	}
	switch i.fault.Kind {
	case FaultError:
		if i.fault.Err != nil {
			return i.fault.Err
		}
		return trace.ConnectionProblem(nil, "injected fault")
	case FaultHang:
		return hold(ctx, nil, i.removed)
	case FaultDropBefore:
		return i.server.cut(ctx)
	default: // the others strike after the effect, or only delay
		return nil
	}
}

// after is the part of a fault that comes after the effect.
func (i *Injection) after(ctx context.Context) error {
	switch {
	case i == nil:
		return nil
	case i.fault.Kind == FaultLoseAnswer:
		return i.server.cut(ctx)
	case i.fault.Kind == FaultHangAnswer:
		return hold(ctx, nil, i.removed)
	}
	return nil
}

// hold waits until the time has passed, the fault is removed, or the client has gone: only that is
// an error.
func hold(ctx context.Context, passed <-chan time.Time, removed <-chan struct{}) error {
	select {
	case <-passed:
		return nil
	case <-removed:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// cut closes the connection that a call came over. The client never sees the error that it returns.
func (s *Server) cut(ctx context.Context) error {
	s.dropConnection(remoteOf(ctx))
	return trace.ConnectionProblem(nil, "the connection was cut")
}

func (s *Server) interceptUnary(
	ctx context.Context,
	request any,
	info *grpc.UnaryServerInfo,
	handle grpc.UnaryHandler,
) (any, error) {
	call := s.beginCall(ctx, info.FullMethod)
	injection, err := s.admit(ctx, call.RPC, request)
	if err != nil {
		return nil, s.endCall(call, err)
	}
	answer, err := handle(ctx, request)
	if lost := injection.after(ctx); lost != nil {
		answer, err = nil, lost
	}
	return answer, s.endCall(call, err)
}

func (s *Server) interceptStream(
	service any,
	stream grpc.ServerStream,
	info *grpc.StreamServerInfo,
	handle grpc.StreamHandler,
) error {
	call := s.beginCall(stream.Context(), info.FullMethod)
	guarded := &guardedStream{ServerStream: stream, server: s, rpc: call.RPC}
	err := handle(service, guarded)
	if lost := guarded.injection.after(stream.Context()); lost != nil {
		err = lost
	}
	return s.endCall(call, err)
}

// guardedStream admits a stream once its request message is known, which for a server stream is the
// first and only one.
type guardedStream struct {
	grpc.ServerStream
	server    *Server
	rpc       string
	injection *Injection
}

func (g *guardedStream) RecvMsg(message any) error {
	if err := g.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	injection, err := g.server.admit(g.Context(), g.rpc, message)
	g.injection = injection
	return err
}

// rpcName is "Ping" for "/proto.AuthService/Ping".
func rpcName(fullMethod string) string { return path.Base(fullMethod) }
