package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"teleport-jira-agent/sync"
)

// store is the sync.Store of one scope in one term.
type store struct {
	db    *DB
	scope string
	epoch int64
}

// Store returns the store of a scope for the term with this epoch. Its transactions are refused with sync.ErrNotLeader as soon as another term has begun.
func (d *DB) Store(scope Scope, epoch int64) sync.Store {
	return &store{db: d, scope: scope.String(), epoch: epoch}
}

// maxConflicts is how often a transaction is begun again after another one was in its way. Rows are locked in one order, so this
// is rare, and twice in a row rarer.
const maxConflicts = 3

// fenced runs do in a transaction that no other term can overtake. op says what is tried, for the error.
func (s *store) fenced(ctx context.Context, op string, do func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.db.callTime)
	defer cancel()
	var err error
	for range maxConflicts {
		err = pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
			if err := s.fence(ctx, tx); err != nil {
				return err
			}
			return do(ctx, tx)
		})
		if !conflict(err) {
			break
		}
	}
	return failure(op, err)
}

// read asks what queue puts into the batch, in one round trip that begins with a look at the term. It locks nothing: a read that another term overtakes
// changes nothing, and what is done upon it is fenced itself. So it is given no transaction number and writes no log.
func (s *store) read(ctx context.Context, op string, queue func(*pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, s.db.callTime)
	defer cancel()
	var batch pgx.Batch
	batch.Queue("SELECT 1 FROM leadership WHERE name = $1 AND epoch = $2", s.scope, s.epoch).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() == 0 {
			return s.overtaken()
		}
		return nil
	})
	queue(&batch)
	return failure(op, s.db.pool.SendBatch(ctx, &batch).Close())
}

// overtaken is the error of a store whose term is not the present one.
func (s *store) overtaken() error {
	return fmt.Errorf("%w: epoch %d is not the present one", sync.ErrNotLeader, s.epoch)
}

// fence locks the row of the store's term against the statement that begins the next one.
func (s *store) fence(ctx context.Context, tx pgx.Tx) error {
	tag, err := tx.Exec(ctx, "SELECT 1 FROM leadership WHERE name = $1 AND epoch = $2 FOR KEY SHARE", s.scope, s.epoch)
	if err != nil {
		return fmt.Errorf("verify the leadership of epoch %d: %w", s.epoch, err)
	}
	if tag.RowsAffected() == 0 {
		return s.overtaken()
	}
	return nil
}

// linkColumns are what scanLink reads.
const linkColumns = `request_id, seq, request, gone, suspect_request, issue, suspect_issue, strays, dropped,
	COALESCE(issue_id, ''), issue_key, mark, begun, begun_at, linked, issue_gone, placed, commented, answered, resolved, settled_at, last_error, due, attempts, parked`

// scanLink reads a whole row.
func scanLink(row pgx.CollectableRow) (l sync.Link, err error) {
	var issue *sync.Issue
	var begunAt, settledAt, due *time.Time
	err = row.Scan(&l.RequestID, &l.Seq, &l.Request, &l.Gone, &l.SuspectRequest, &issue, &l.SuspectIssue, &l.Strays, &l.Dropped,
		&l.Bound.ID, &l.Bound.Key, &l.Mark, &l.Begun, &begunAt, &l.Linked, &l.IssueGone, &l.Placed, &l.Commented, &l.Answered, &l.Resolved, &settledAt, &l.LastError,
		&due, &l.Attempts, &l.Parked)
	if issue != nil {
		l.Issue = *issue
	}
	l.BegunAt, l.SettledAt, l.Due = fromNull(begunAt), fromNull(settledAt), fromNull(due)
	return l, err
}

// links runs a query for whole rows.
func links(ctx context.Context, tx pgx.Tx, query string, args ...any) ([]sync.Link, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanLink)
}

// queueLinks adds a query for whole rows to a batch.
func queueLinks(batch *pgx.Batch, found *[]sync.Link, query string, args ...any) {
	batch.Queue(query, args...).Query(func(rows pgx.Rows) (err error) {
		*found, err = pgx.CollectRows(rows, scanLink)
		return err
	})
}

// queueTime adds a query for one time to a batch; without a row, or with NULL, it is zero.
func queueTime(batch *pgx.Batch, found *time.Time, query string, args ...any) {
	batch.Queue(query, args...).QueryRow(func(row pgx.Row) error {
		var at *time.Time
		err := row.Scan(&at)
		if noRows(err) {
			return nil
		}
		*found = fromNull(at)
		return err
	})
}

// toNull makes a zero time NULL.
func toNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// fromNull makes NULL the zero time.
func fromNull(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// clean removes from a text what PostgreSQL cannot hold: NUL and broken UTF-8. Errors and causes quote what other people wrote.
func clean(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD")
}

// cleanAll is clean for a list. It never returns nil, which PostgreSQL would take for NULL.
func cleanAll(texts []string) []string {
	cleaned := make([]string, len(texts))
	for i, text := range texts {
		cleaned[i] = clean(text)
	}
	return cleaned
}

// noRows reports whether a query that asks for one row found none.
func noRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
