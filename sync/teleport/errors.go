package teleport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gravitational/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"teleport-jira-agent/sync"
)

// side is this package's name in sync.Error.
const side = "teleport"

// kind tells what a failed call says about the rest of Teleport, and whether it may have had an
// effect.
type kind int

const (
	wholeSide  kind = iota // list, watch, ping: any failure concerns all requests
	readOne                // a read of one request
	lookUp                 // a read that needs a right of its own: refusing it says nothing of any other call
	writeData              // a write to the plugin data of one request
	decideOnly             // a write to the state of one request
	reviewOnly             // a write to one request for a person, and refused for what the person may not do as well
)

// writes reports whether the call may have had an effect when its answer is lost.
func (k kind) writes() bool { return k == writeData || k == decideOnly || k == reviewOnly }

// refusals are texts of AccessDenied that are not about the one request. Sources in
// gravitational/teleport: lib/auth/middleware.go (ValidateClientVersion), lib/services/local
// (LockInForceAccessDenied).
var refusals = []string{"client version is unsupported", "lock targeting"}

// denied is how every call is refused to a caller whom Teleport does not let in, and so is no news
// of what the call was about: alone for a lock, before the cause for a user or role that is gone,
// then as NotFound. Source: lib/auth/grpcserver.go (GRPCServer.authenticate) of
// gravitational/teleport.
const denied = "access denied"

// deniedAlone is denied with nothing said of why; some versions put a number before it.
var deniedAlone = regexp.MustCompile(`^(\[\d+\] )?` + denied + `$`)

// classify turns the failure of a remote call into a *sync.Error; nil stays nil.
//
//	not found                          the whole side, but for what notFound knows to be the request or a user
//	compare failed                     ErrChanged
//	access denied                      see refused
//	bad parameter                      permanent, of the one request
//	limit exceeded, unauthenticated,
//	not implemented                    the whole side; of a look-up, permanent and of nothing else
//	unavailable, deadline, canceled    the whole side; a write may have had its effect
//	unknown, anything else             a write may have had its effect
//
// A refusal that concerns the whole side is never permanent: roles, locks and versions change
// without the agent's doing.
func classify(ctx context.Context, op string, k kind, err error) error {
	if err == nil {
		return nil
	}
	e := &sync.Error{Side: side, Op: op, Scope: sync.ScopeRequest, Err: err}
	if k == wholeSide {
		e.Scope = sync.ScopeSide
	}
	code := codeOf(err)
	if strings.Contains(err.Error(), "\n") {
		err = flat{err}
		e.Err = err
	}
	switch code {
	case codes.NotFound:
		notFound(e, k, err)
	case codes.FailedPrecondition:
		e.Err = marked(sync.ErrChanged, err)
	case codes.PermissionDenied:
		refused(e, k, err)
	case codes.InvalidArgument:
		e.Permanent = e.Scope == sync.ScopeRequest
	case codes.Unimplemented:
		if k == lookUp { // an older server: nobody may look that up there
			e.Permanent, e.Err = true, marked(sync.ErrForbidden, err)
			break
		}
		e.Scope = sync.ScopeSide
	case codes.ResourceExhausted, codes.Unauthenticated:
		e.Scope = sync.ScopeSide
	case codes.Unavailable:
		e.Scope = sync.ScopeSide
		e.Uncertain = k.writes()
	case codes.DeadlineExceeded:
		e.Scope = sync.ScopeSide
		e.Uncertain = k.writes()
		// gRPC reports an expired deadline as a status that errors.Is does not see through.
		e.Err = marked(context.DeadlineExceeded, err)
	case codes.Canceled:
		e.Scope = sync.ScopeSide
		e.Uncertain = k.writes()
		// A connection that was closed under the call is "canceled" too; only ctx tells whether the
		// caller meant it.
		if errors.Is(ctx.Err(), context.Canceled) {
			e.Err = marked(context.Canceled, err)
		}
	default:
		e.Uncertain = k.writes()
	}
	return e
}

// flat is an error whose message, that of a remote error with its causes, stands on one line.
type flat struct{ error }

func (f flat) Error() string { return strings.Join(strings.Fields(f.error.Error()), " ") }

func (f flat) Unwrap() error { return f.error }

// refused says what AccessDenied means: the whole side is shut to lists and reads, and to anything
// while the identity is locked or too old; a look-up lacks its right; a write is refused for the
// one request. The right to write plugin data, which no person's move asked for, may come back, and
// the write with it.
func refused(e *sync.Error, k kind, err error) {
	switch {
	case k == wholeSide, k == readOne, concernsAll(err):
		e.Scope = sync.ScopeSide
	case k == lookUp:
		e.Permanent, e.Err = true, marked(sync.ErrForbidden, err)
	case k == reviewOnly:
		condition := reviewRefusal(err)
		e.Permanent = !errors.Is(condition, sync.ErrChanged)
		e.Err = marked(condition, err)
	case k == decideOnly:
		e.Permanent = true
	}
}

// requestGone are Teleport's words for a request that is not there, as unquoted leaves them: "no
// access request matching", "cannot set state of access request … (not found)", "cannot apply
// review to access request … (not found)", and "access_request … not found". Sources in
// gravitational/teleport: lib/services/local/dynamic_access.go, and lib/auth/auth_with_roles.go.
var requestGone = regexp.MustCompile(`access[_ ]request (matching )?""`)

// notFound believes that something is gone only when the text says so, in answer to a call that
// asked for it. Everything else is a refusal of the whole side, above all that the agent's own user
// or role is gone.
func notFound(e *sync.Error, k kind, err error) {
	text := unquoted(err)
	switch {
	case strings.Contains(text, denied):
		e.Scope = sync.ScopeSide
	case k == reviewOnly && strings.Contains(text, userGone): // the reviewer: that one cannot review anything
		e.Permanent, e.Err = true, marked(sync.ErrReviewDenied, err)
	case k == lookUp && strings.Contains(text, userGone), k.writes() && requestGone.MatchString(text):
		e.Err = marked(sync.ErrNotFound, err)
	default:
		e.Scope = sync.ScopeSide
	}
}

// marked makes err a case of mark.
func marked(mark, err error) error {
	if errors.Is(err, mark) {
		return err
	}
	return fmt.Errorf("%w: %w", mark, err)
}

// codeOf undoes the API client's translation of most gRPC codes into error types of its own.
func codeOf(err error) codes.Code {
	switch {
	case trace.IsNotFound(err):
		return codes.NotFound
	case trace.IsCompareFailed(err):
		return codes.FailedPrecondition
	case trace.IsAccessDenied(err):
		return codes.PermissionDenied
	case trace.IsBadParameter(err):
		return codes.InvalidArgument
	case trace.IsLimitExceeded(err):
		return codes.ResourceExhausted
	case trace.IsNotImplemented(err):
		return codes.Unimplemented
	case trace.IsConnectionProblem(err), errors.Is(err, io.EOF):
		return codes.Unavailable
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	}
	return status.Code(err)
}

// reviewRefusals are texts of AccessDenied in answer to a review, as unquoted leaves them, and the
// condition that each means. Sources in gravitational/teleport: lib/auth/auth_with_roles.go
// (AuthorizeAccessReviewRequest, pull request 66230), lib/services/access_request.go
// (checkReviewCompat, ApplyAccessReview), api/mfa/mfa.go (ErrAdminActionMFARequired).
var reviewRefusals = []struct {
	text      string
	condition error
}{
	{`user "" cannot submit reviews on behalf of ""`, sync.ErrReviewUnsupported},
	{`user "" has already reviewed this request`, sync.ErrReviewed},
	{"the access request has been already", sync.ErrChanged},
	{"admin-level API request requires MFA", sync.ErrForbidden},
}

// userGone is how Teleport reports that it has no user of a name (lib/services/local/users.go).
const userGone = `user "" not found`

// reviewRefusal is the condition that a refused review means. What no text names is the author's
// own lack of a right.
func reviewRefusal(err error) error {
	text := unquoted(err)
	for _, r := range reviewRefusals {
		if strings.Contains(text, r.text) {
			return r.condition
		}
	}
	return sync.ErrReviewDenied
}

var quotation = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// unquoted is Teleport's message without what stands in quotes: names, which people choose and
// which might read like another message.
func unquoted(err error) string { return quotation.ReplaceAllString(err.Error(), `""`) }

// concernsAll reports whether AccessDenied is about the caller or its client, whatever the call
// was.
func concernsAll(err error) bool {
	text := unquoted(err)
	return deniedAlone.MatchString(text) ||
		slices.ContainsFunc(refusals, func(refusal string) bool { return strings.Contains(text, refusal) })
}

// sideError is a failure before anything was sent.
func sideError(op string, err error) error {
	return &sync.Error{Side: side, Op: op, Scope: sync.ScopeSide, Err: err}
}

// requestError is a finding about one request that no remote call reported.
func requestError(op string, err error) error {
	return &sync.Error{Side: side, Op: op, Scope: sync.ScopeRequest, Err: err}
}

// dialError boils the API client's report on a failed dial, a page on each of the ways that it
// tried, down to one line of the causes. They are sorted, since the ways end in any order.
func dialError(err error) error {
	var tries trace.Aggregate
	if !errors.As(err, &tries) {
		return oneLine(err)
	}
	causes := make(map[string]bool)
	for _, try := range tries.Errors() {
		cause := oneLine(try).Error()
		if _, quoted, found := strings.Cut(cause, "desc = "); found {
			if text, err := strconv.Unquote(quoted); err == nil {
				cause = strings.TrimPrefix(text, "transport: Error while dialing: failed to dial: ")
			}
		}
		causes[cause] = true
	}
	return fmt.Errorf("no way to connect: %s", strings.Join(slices.Sorted(maps.Keys(causes)), "; "))
}

// oneLine puts the API client's tree of messages on one line.
func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}
