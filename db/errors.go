package db

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"teleport-jira-agent/sync"
)

var (
	// ErrNewerSchema means that the database was migrated by a newer release of this program.
	ErrNewerSchema = errors.New("the database schema is newer than this program; run the release that migrated it, or " +
		"a later one")
	// ErrNoSchema means that no agent has made its tables in this database.
	ErrNoSchema = errors.New(
		"the database has no tables of the agent; `teleport-jira-agent start` makes them, with the same DATABASE_URL",
	)
	// ErrOlderSchema means that the tables are those of an earlier release.
	ErrOlderSchema = errors.New(
		"the tables are those of an earlier release; `teleport-jira-agent start` of this one brings them up to date",
	)
	// ErrUnsuitable means that a server, or what stands before it, cannot carry the leader's lock.
	ErrUnsuitable = errors.New("this PostgreSQL connection is not suitable")
	// ErrIssueTaken means that another request's row already names the issue. It is a kind of
	// sync.ErrChanged.
	ErrIssueTaken = fmt.Errorf("the issue belongs to another request: %w", sync.ErrChanged)

	// errRowGone means that an operator's mark came too late.
	errRowGone = fmt.Errorf("%w: a row is gone, being older than SYNC_RETENTION", sync.ErrNotFound)

	errMalformedURL = errors.New("the database URL is malformed; it has the form " +
		"postgres://user:password@host:5432/database")
	errReadOnly = errors.New("the server is read-only")
	errStandby  = fmt.Errorf("%w: it is a standby (pg_is_in_recovery); name the primary in DATABASE_URL, "+
		"or all servers separated by commas", errReadOnly)
	errWritesOff = fmt.Errorf("%w: default_transaction_read_only is on, for the server, the database or the user; "+
		"turn it off, or see whether the provider turned it on since the disk is full", errReadOnly)
	// errConflict: another transaction was there first; the same one works when begun again.
	errConflict = errors.New("in conflict with another transaction")
)

// Error is a failure of PostgreSQL or of the way to it.
type Error struct {
	// Op is what was tried, on what.
	Op string
	// Code is the SQLSTATE; empty if the server did not answer.
	Code string
	// Err is the cause, without the configuration that the driver puts into some of its errors, for
	// that holds the password.
	Err error

	retryable bool
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Retryable reports whether the same call may succeed later with nobody changing the configuration:
// the server is not reachable, starting, shutting down, read-only or overloaded. A refused
// password, an unknown database, a failed certificate check, a missing privilege and a newer schema
// are not.
func Retryable(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.retryable
}

// Failed reports whether an error is one of this package: of PostgreSQL, of the way to it, or of
// what the database holds.
func Failed(err error) bool {
	var failure *Error
	return errors.As(err, &failure) ||
		slices.ContainsFunc(
			[]error{ErrNewerSchema, ErrNoSchema, ErrOlderSchema, ErrUnsuitable, errRowGone},
			func(kind error) bool { return errors.Is(err, kind) },
		)
}

// failure makes the driver's error one of this package; it is the only place that knows the
// driver's errors.
func failure(op string, err error) error {
	for _, condition := range []error{
		sync.ErrNotLeader, sync.ErrNotFound, sync.ErrChanged,
		ErrNewerSchema, ErrNoSchema, ErrOlderSchema, ErrUnsuitable,
	} {
		if errors.Is(err, condition) {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	var known *Error
	var malformed *pgconn.ParseConfigError
	var connect *pgconn.ConnectError
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return fmt.Errorf("%s: %w", op, err)
	case errors.As(err, &malformed):
		return &Error{Op: op, Err: errMalformedURL}
	case errors.As(err, &connect):
		err = fmt.Errorf(
			"connect to database %s as user %s: %w",
			connect.Config.Database,
			connect.Config.User,
			connect.Unwrap(),
		)
	}
	if errors.As(err, &server) {
		if server.Code == uniqueViolation && server.ConstraintName == issueConstraint {
			return fmt.Errorf("%s: %w", op, ErrIssueTaken)
		}
		return &Error{Op: op, Code: server.Code, Err: err, retryable: passing(server.Code)}
	}
	return &Error{Op: op, Err: err, retryable: !lasting(err)}
}

// SQLSTATE codes, from https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	uniqueViolation       = "23505"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	readOnlyTransaction   = "25006"
	diskFull              = "53100"
	insufficientPrivilege = "42501"
)

// issueConstraint is the name of the constraint that lets one row of a scope name an issue.
const issueConstraint = "links_issue"

// takesNoWrites reports whether the server refused to write. It may still answer questions, for
// ever and with old data, while another server has taken its place.
func takesNoWrites(err *pgconn.PgError) bool {
	return err.Code == readOnlyTransaction || err.Code == diskFull
}

// passing reports whether the server's refusal may pass by itself.
func passing(code string) bool {
	classes := []string{
		"08", // connection exception
		"40", // transaction rollback: deadlock, serialization failure
		"53", // insufficient resources: too many connections, out of memory, disk full
		"55", // object not in prerequisite state: lock not available
		"57", // operator intervention: shutdown, starting up, statement timeout, idle-session timeout
		"58", // system error
	}
	codes := []string{
		readOnlyTransaction,
		"25P03", // idle-in-transaction-session timeout
	}
	return len(code) == 5 && slices.Contains(classes, code[:2]) || slices.Contains(codes, code)
}

// lasting reports whether an error that is not the server's own stays until somebody changes
// something.
func lasting(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate) || errors.Is(err, context.Canceled)
}

// conflict reports whether the same transaction may well succeed when begun again at once.
func conflict(err error) bool {
	var server *pgconn.PgError
	return errors.Is(err, errConflict) ||
		errors.As(err, &server) && (server.Code == deadlockDetected || server.Code == serializationFailure)
}
