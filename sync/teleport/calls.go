package teleport

import (
	"context"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// CallInfo describes one remote call, for metrics.
type CallInfo struct {
	Method   string        // of the Auth Service: "ListAccessRequests"; the agent calls some ten
	Code     string        // gRPC's name of the status: "OK", "Unavailable"
	Duration time.Duration // until the answer, or until it was given up
}

// told tells onCall of each unary call. The client adds it behind its own interceptors, so that the
// status is still the one that came over the wire.
func told(onCall func(CallInfo)) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		start := time.Now()
		err := invoke(ctx, method, req, reply, cc, opts...)
		if onCall != nil {
			onCall(CallInfo{Method: path.Base(method), Code: status.Code(err).String(), Duration: time.Since(start)})
		}
		return err
	}
}
