package teleport

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/gravitational/teleport/api/utils/grpc/interceptors"
	"github.com/gravitational/trace"
	"github.com/gravitational/trace/trail"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"teleport-jira-agent/sync"
)

// remote is an error as the API client returns it for an answer with the code.
func remote(code codes.Code, text string) error {
	return trace.Wrap(&interceptors.RemoteError{Err: trace.Unwrap(trail.FromGRPC(status.Error(code, text)))})
}

func TestClassifySaysHowFarAFailureReaches(t *testing.T) {
	t.Parallel()
	type verdict struct {
		scope                sync.Scope
		permanent, uncertain bool
		is                   error
	}
	request, whole := sync.ScopeRequest, sync.ScopeSide
	for name, tc := range map[string]struct {
		err               error
		list, read, write verdict
	}{
		"not found": {
			remote(codes.NotFound, "x"),
			verdict{scope: whole, is: sync.ErrNotFound},
			verdict{scope: request, is: sync.ErrNotFound},
			verdict{scope: request, is: sync.ErrNotFound},
		},
		"compare failed": {
			remote(codes.FailedPrecondition, "x"),
			verdict{scope: whole, is: sync.ErrChanged},
			verdict{scope: request, is: sync.ErrChanged},
			verdict{scope: request, is: sync.ErrChanged},
		},
		"access denied": {
			remote(codes.PermissionDenied, "x"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: request, permanent: true},
		},
		"version refused": {
			remote(codes.PermissionDenied, "client version is unsupported"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole},
		},
		"locked": {
			remote(codes.PermissionDenied, `lock targeting User:"bot-jira" is in force`),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole},
		},
		"bad parameter": {
			remote(codes.InvalidArgument, "x"),
			verdict{scope: whole},
			verdict{scope: request, permanent: true},
			verdict{scope: request, permanent: true},
		},
		"limit exceeded":  {remote(codes.ResourceExhausted, "x"), verdict{scope: whole}, verdict{scope: whole}, verdict{scope: whole}},
		"unauthenticated": {remote(codes.Unauthenticated, "x"), verdict{scope: whole}, verdict{scope: whole}, verdict{scope: whole}},
		"not implemented": {remote(codes.Unimplemented, "x"), verdict{scope: whole}, verdict{scope: whole}, verdict{scope: whole}},
		"unavailable": {
			remote(codes.Unavailable, "x"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole, uncertain: true},
		},
		"end of stream": {io.EOF, verdict{scope: whole}, verdict{scope: whole}, verdict{scope: whole, uncertain: true}},
		"deadline, as gRPC says it": {
			remote(codes.DeadlineExceeded, "context deadline exceeded"),
			verdict{scope: whole, is: context.DeadlineExceeded},
			verdict{scope: whole, is: context.DeadlineExceeded},
			verdict{scope: whole, uncertain: true, is: context.DeadlineExceeded},
		},
		"connection closed under the call": {
			remote(codes.Canceled, "grpc: the client connection is closing"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole, uncertain: true},
		},
		"unknown": {remote(codes.Unknown, "x"), verdict{scope: whole}, verdict{scope: request}, verdict{scope: request, uncertain: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for k, want := range map[kind]verdict{wholeSide: tc.list, readOne: tc.read, effectOnly: tc.write} {
				var got *sync.Error
				require.ErrorAs(t, classify(t.Context(), "do it", k, tc.err), &got)
				require.Equal(t, "teleport", got.Side)
				require.Equal(t, "do it", got.Op)
				require.Equal(t, want.scope, got.Scope, "scope, kind %d", k)
				require.Equal(t, want.permanent, got.Permanent, "permanent, kind %d", k)
				require.Equal(t, want.uncertain, got.Uncertain, "uncertain, kind %d", k)
				require.ErrorIs(t, got, tc.err)
				for _, mark := range []error{sync.ErrNotFound, sync.ErrChanged, context.DeadlineExceeded, context.Canceled} {
					require.Equal(t, errors.Is(want.is, mark), errors.Is(got, mark), "%v, kind %d", mark, k)
				}
			}
		})
	}
}

func TestClassifyTellsTheCallersOwnCancellation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := classify(ctx, "do it", effectOnly, remote(codes.Canceled, "context canceled"))
	require.ErrorIs(t, err, context.Canceled)
	var e *sync.Error
	require.ErrorAs(t, err, &e)
	require.True(t, e.Uncertain)
}

func TestClassifyLeavesSuccessAlone(t *testing.T) {
	t.Parallel()
	require.NoError(t, classify(t.Context(), "do it", effectOnly, nil))
}
