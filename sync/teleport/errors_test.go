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

// marks are all conditions that classify knows.
var marks = []error{
	sync.ErrNotFound,
	sync.ErrChanged,
	sync.ErrForbidden,
	sync.ErrReviewUnsupported,
	sync.ErrReviewDenied,
	sync.ErrReviewed,
	context.DeadlineExceeded,
	context.Canceled,
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
		list, read, write verdict // a review is a write
	}{
		"the request is not found": {
			remote(codes.NotFound, `no access request matching "x"`),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: request, is: sync.ErrNotFound},
		},
		"something is not found": {
			remote(codes.NotFound, `key "access request" is not found`),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole},
		},
		"the agent's user is not found": {
			remote(codes.NotFound, "access denied\n\tuser \"access request\" not found"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole},
		},
		"the agent's role is not found": {
			remote(codes.NotFound, "access denied\n\trole access request is not found"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole},
		},
		"denied without a word": {
			remote(codes.PermissionDenied, "access denied"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole},
		},
		"denied by a number": {
			remote(codes.PermissionDenied, "[10] access denied"),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: whole},
		},
		"denied with the words of a lock in a name": {
			remote(codes.PermissionDenied, `user "lock targeting" cannot do that`),
			verdict{scope: whole},
			verdict{scope: whole},
			verdict{scope: request, permanent: true},
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
			review := tc.write
			if tc.write.permanent && trace.IsAccessDenied(tc.err) {
				review.is = sync.ErrReviewDenied
			}
			data := tc.write
			data.permanent = tc.write.permanent && !trace.IsAccessDenied(tc.err) // rights come back
			for k, want := range map[kind]verdict{
				wholeSide: tc.list, readOne: tc.read, decideOnly: tc.write, writeData: data, reviewOnly: review,
			} {
				var got *sync.Error
				require.ErrorAs(t, classify(t.Context(), "do it", k, tc.err), &got)
				require.Equal(t, "teleport", got.Side)
				require.Equal(t, "do it", got.Op)
				require.Equal(t, want.scope, got.Scope, "scope, kind %d", k)
				require.Equal(t, want.permanent, got.Permanent, "permanent, kind %d", k)
				require.Equal(t, want.uncertain, got.Uncertain, "uncertain, kind %d", k)
				require.ErrorIs(t, got, tc.err)
				for _, mark := range marks {
					require.Equal(t, errors.Is(want.is, mark), errors.Is(got, mark), "%v, kind %d", mark, k)
				}
			}
		})
	}
}

func TestClassifyTellsWhatARefusedReviewMeans(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code      codes.Code
		text      string
		is        error
		permanent bool
	}{
		"not for others":      {codes.PermissionDenied, `user "bot-jira" cannot submit reviews on behalf of "bob"`, sync.ErrReviewUnsupported, true},
		"not at all":          {codes.PermissionDenied, `user "bot-jira" cannot submit reviews`, sync.ErrReviewDenied, true},
		"not this request":    {codes.PermissionDenied, `user "bob" cannot review request "0193"`, sync.ErrReviewDenied, true},
		"for the second time": {codes.PermissionDenied, `user "bob" has already reviewed this request`, sync.ErrReviewed, true},
		"too late":            {codes.PermissionDenied, "the access request has been already denied", sync.ErrChanged, false},
		"without a factor": {codes.PermissionDenied, "admin-level API request requires MFA " +
			"verification", sync.ErrForbidden, true},
		"no such request": {codes.NotFound, `cannot apply review to access request "0193" (not found)`, sync.ErrNotFound, false},
		"no such author":  {codes.NotFound, `user "bob" not found`, sync.ErrReviewDenied, true},
		// People choose their names.
		"a name like a message": {
			codes.PermissionDenied,
			`user "x\" cannot submit reviews on behalf of \"y, the access request has been already" cannot review request "0193"`,
			sync.ErrReviewDenied, true,
		},
		"a name like a missing user": {codes.NotFound, `access request "user \"x\" not found" is not found`, sync.ErrNotFound, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := classify(t.Context(), "review it", reviewOnly, remote(tc.code, tc.text))
			var got *sync.Error
			require.ErrorAs(t, err, &got)
			require.Equal(t, sync.ScopeRequest, got.Scope)
			require.Equal(t, tc.permanent, got.Permanent)
			require.False(t, got.Uncertain)
			require.ErrorContains(t, err, tc.text)
			for _, mark := range marks {
				require.Equal(t, errors.Is(tc.is, mark), errors.Is(err, mark), "%v", mark)
			}
		})
	}
}

func TestClassifyKeepsARefusedLookUpToItself(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err       error
		scope     sync.Scope
		permanent bool
		is        error
	}{
		"no right":            {remote(codes.PermissionDenied, `access denied to perform action "list" on "user"`), sync.ScopeRequest, true, sync.ErrForbidden},
		"locked":              {remote(codes.PermissionDenied, `lock targeting User:"bot-jira" is in force`), sync.ScopeSide, false, nil},
		"unknown to Teleport": {remote(codes.Unimplemented, "unknown service"), sync.ScopeRequest, true, sync.ErrForbidden},
		"not found":           {remote(codes.NotFound, `user "bob" not found`), sync.ScopeRequest, false, sync.ErrNotFound},
		"no such caller":      {remote(codes.NotFound, "access denied\n\tuser \"bot-jira\" not found"), sync.ScopeSide, false, nil},
		"no such thing":       {remote(codes.NotFound, `role bob is not found`), sync.ScopeSide, false, nil},
		"denied, and no more": {remote(codes.PermissionDenied, "access denied"), sync.ScopeSide, false, nil},
		"unavailable":         {remote(codes.Unavailable, "x"), sync.ScopeSide, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := classify(t.Context(), "find users", lookUp, tc.err)
			var got *sync.Error
			require.ErrorAs(t, err, &got)
			require.Equal(t, tc.scope, got.Scope)
			require.Equal(t, tc.permanent, got.Permanent)
			require.False(t, got.Uncertain)
			for _, mark := range marks {
				require.Equal(t, errors.Is(tc.is, mark), errors.Is(err, mark), "%v", mark)
			}
		})
	}
}

func TestClassifyTellsTheCallersOwnCancellation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := classify(ctx, "do it", decideOnly, remote(codes.Canceled, "context canceled"))
	require.ErrorIs(t, err, context.Canceled)
	var e *sync.Error
	require.ErrorAs(t, err, &e)
	require.True(t, e.Uncertain)
}

func TestClassifyLeavesSuccessAlone(t *testing.T) {
	t.Parallel()
	require.NoError(t, classify(t.Context(), "do it", decideOnly, nil))
}
