package sync

import (
	"errors"
	"time"
)

// Conditions that an adapter reports, to be tested with errors.Is.
var (
	// ErrNotFound means that the request or the issue is not there, or this account cannot see it.
	ErrNotFound = errors.New("not found")
	// ErrNoTransition means that the workflow offers this account no way from the present status to
	// the wanted one.
	ErrNoTransition = errors.New("no transition to the status")
	// ErrChanged means that what was expected is no longer so (a status, plugin data, a request's
	// state); look again.
	ErrChanged = errors.New("changed meanwhile")
	// ErrForbidden means that this identity or account may not make the call at all, whatever it is
	// about.
	ErrForbidden = errors.New("not allowed to this account")
	// ErrReviewUnsupported means that Teleport does not let this identity submit reviews for other
	// users: the server is older than the feature, or the role lacks
	// review_requests.submit_for_users.
	ErrReviewUnsupported = errors.New("reviews on behalf of users are not available")
	// ErrReviewDenied means that Teleport does not let the review's author review this request: no
	// right to it, or it is their own.
	ErrReviewDenied = errors.New("the user may not review this request")
	// ErrReviewed means that the author has reviewed the request before; Teleport takes one review
	// per author.
	ErrReviewed = errors.New("the user has already reviewed this request")
	// ErrNotLeader means that the lease has run out or another replica leads; nothing was written.
	ErrNotLeader = errors.New("not the leader")
)

// Scope tells how far a failure reaches.
type Scope int

const (
	// ScopeRequest means that this one request or issue is in trouble and its neighbours are not.
	ScopeRequest Scope = iota
	// ScopeSide means that the whole of Jira or Teleport is: unreachable, overloaded, or refusing
	// the credentials.
	ScopeSide
)

// Error is what Tracker and Cluster return for a call that failed, beside the bare conditions above
// (which it may wrap).
type Error struct {
	Side  string // "jira" or "teleport"
	Op    string // what was tried, on what: "create issue for request 0193…"
	Scope Scope
	// Permanent: the same call cannot succeed until a fact, the configuration or a permission
	// changes.
	Permanent bool
	// Uncertain: the effect may have happened all the same (a lost answer). Never set on reads.
	Uncertain bool
	// RetryAfter is the least time to wait before another call, where the side named one.
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string { return e.Side + ": " + e.Op + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// asError finds the Error in err's chain; for a foreign error it returns one of scope ScopeRequest.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Err: err}
}

// errNotYet is the condition of a loop before its first run has ended.
var errNotYet = errors.New("has not succeeded yet in this term")
