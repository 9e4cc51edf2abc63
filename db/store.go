package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	stdsync "sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// store is the sync.Store of one scope in one term.
type store struct {
	db    *DB
	scope string
	epoch int64

	mu     stdsync.Mutex
	clocks clockWatch
}

// Store returns the store of a scope for the term with this epoch. Its transactions are refused
// with sync.ErrNotLeader as soon as another term has begun. A term begins with new sessions: those
// of before may be of a server that is no longer the primary and still answers questions.
func (d *DB) Store(scope Scope, epoch int64) sync.Store {
	d.pool.Reset()
	return &store{db: d, scope: scope.String(), epoch: epoch}
}

// maxConflicts is how often a transaction is begun again after another one was in its way. Rows are
// locked in one order, so this is rare, and twice in a row rarer.
const maxConflicts = 3

// fenced runs do in a transaction that no other term can overtake. op says what is tried, for the
// error. What one statement can do, write does in one round trip.
func (s *store) fenced(ctx context.Context, op string, do func(context.Context, pgx.Tx) error) error {
	return s.attempt(ctx, op, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
			if err := s.fence(ctx, tx); err != nil {
				return err
			}
			return do(ctx, tx)
		})
	})
}

// attempt runs a transaction, and runs it again when another one was in its way.
func (s *store) attempt(ctx context.Context, op string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.db.callTime)
	defer cancel()
	var err error
	for range maxConflicts {
		if err = do(ctx); !conflict(err) {
			break
		}
	}
	return failure(op, err)
}

// fenceCTE begins a statement that is a transaction by itself, as fence begins one of several
// statements: $1 is the scope, $2 the epoch, and whatever the statement writes is to depend on
// held. The row of the term is locked before the first row is written, since nothing else decides
// whether any is, and until the statement is committed. That the statement sees the database as it
// was before it had the lock does not matter: whoever waited for the lock of a row, that of the
// term included, goes on with the row's newest version, or without it if the epoch is another by
// then. https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
const (
	fenceCTE = "WITH fence AS MATERIALIZED (SELECT 1 FROM leadership WHERE name = $1 AND epoch = $2 FOR KEY SHARE)"
	held     = "EXISTS (SELECT FROM fence)"
)

// write runs a statement that writes behind the fence, in one round trip. parts are the parts of
// its WITH clause after the fence; the one named hit returns a line for each row that was written,
// which are counted. Of args the first is $3.
func (s *store) write(ctx context.Context, op, parts string, args ...any) (hits int, err error) {
	err = s.attempt(ctx, op, func(ctx context.Context) (err error) {
		hits, err = s.writeBy(ctx, s.db.pool, parts, args...)
		return err
	})
	return hits, err
}

// writeBy is write as a part of a transaction, or by the pool.
func (s *store) writeBy(ctx context.Context, by querier, parts string, args ...any) (hits int, err error) {
	var ours bool
	err = by.QueryRow(ctx, fenceCTE+", "+parts+" SELECT "+held+", (SELECT count(*) FROM hit)",
		append([]any{s.scope, s.epoch}, args...)...).
		Scan(&ours, &hits)
	if err == nil && !ours {
		return 0, s.overtaken()
	}
	return hits, err
}

// read asks what queue puts into the batch, in one round trip that begins with a look at the term.
// It locks nothing: a read that another term overtakes changes nothing, and what is done upon it is
// fenced itself. So it is given no transaction number and writes no log.
func (s *store) read(ctx context.Context, op string, queue func(*pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, s.db.callTime)
	defer cancel()
	var batch pgx.Batch
	const query = "SELECT clock_timestamp() FROM leadership WHERE name = $1 AND epoch = $2"
	batch.Queue(query, s.scope, s.epoch).QueryRow(func(row pgx.Row) error {
		var server time.Time
		err := row.Scan(&server)
		if noRows(err) {
			return s.overtaken()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.clocks.compare(s.db.config.Now(), server)
		return err
	})
	queue(&batch)
	return failure(op, s.db.pool.SendBatch(ctx, &batch).Close())
}

// readQueue is read of what waits for a time by the server's clock. At the beginning of a term, and
// when that clock was set back, what was set before is put right first: it would wait for as long
// again.
func (s *store) readQueue(ctx context.Context, op string, queue func(*pgx.Batch)) error {
	err := s.read(ctx, op, queue)
	if err != nil || !s.unrighted() {
		return err
	}
	if err := s.hasten(ctx); err != nil {
		return err
	}
	return s.read(ctx, op, queue)
}

func (s *store) unrighted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clocks.unrighted
}

// What was set by a clock that was ahead of the present one, $2 is by how much at the least: how
// long it was to wait is not known any more. Rows of links come first, as in DB.Hint.
const (
	hastenLinksQuery = `
		WITH late AS (
			SELECT request_id FROM links
			WHERE scope = $1 AND urgent IN (true, false) AND due > now() AND due_set > now() + $2::interval
			ORDER BY request_id FOR UPDATE)
		UPDATE links AS l SET due = now(), due_set = now() FROM late WHERE l.scope = $1 AND l.request_id = late.request_id`
	hastenHintsQuery = `
		UPDATE hints SET due = now(), due_set = now()
		WHERE scope = $1 AND due > now() AND due_set > now() + $2::interval`
)

// hasten makes due what was put off by a clock that has been set back since.
func (s *store) hasten(ctx context.Context) error {
	err := s.fenced(ctx, "make due what a clock that was ahead put off", func(ctx context.Context, tx pgx.Tx) error {
		for _, query := range []string{hastenLinksQuery, hastenHintsQuery} {
			tag, err := tx.Exec(ctx, query, s.scope, setBackBy)
			if err != nil {
				return err
			}
			if n := tag.RowsAffected(); n > 0 {
				s.db.config.Log.Warn("PostgreSQL's clock was set back: what was put off by it is due now", zap.Int64("rows", n))
			}
		}
		return nil
	})
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.clocks.unrighted = false
	}
	return err
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
	COALESCE(issue_id, ''), issue_key, mark, begun, begun_at, begun_after, linked, issue_gone, request_doubt, issue_doubt,
	checked_at, retracted, placed, walking, commented, answered, resolved, settled_at, last_error, due, attempts, parked,
	urgent, now()`

// scanLink reads a whole row, with its times by the clock of the reading.
func (r reading) scanLink(row pgx.CollectableRow) (l sync.Link, err error) {
	var issue *sync.Issue
	var begunAt, requestDoubt, issueDoubt, checkedAt, settledAt, due *time.Time
	var serverNow time.Time
	err = row.Scan(
		&l.RequestID,
		&l.Seq,
		&l.Request,
		&l.Gone,
		&l.SuspectRequest,
		&issue,
		&l.SuspectIssue,
		&l.Strays,
		&l.Dropped,
		&l.Bound.ID,
		&l.Bound.Key,
		&l.Mark,
		&l.Begun,
		&begunAt,
		&l.BegunAfter,
		&l.Linked,
		&l.IssueGone,
		&requestDoubt,
		&issueDoubt,
		&checkedAt,
		&l.Retracted,
		&l.Placed,
		&l.Walking,
		&l.Commented,
		&l.Answered,
		&l.Resolved,
		&settledAt,
		&l.LastError,
		&due,
		&l.Attempts,
		&l.Parked,
		&l.Urgent,
		&serverNow,
	)
	if issue != nil {
		l.Issue = *issue
	}
	l.BegunAt, l.SettledAt, l.Due = r(begunAt, serverNow), r(settledAt, serverNow), r(due, serverNow)
	l.RequestDoubt, l.IssueDoubt, l.CheckedAt = r(requestDoubt, serverNow), r(issueDoubt, serverNow), r(
		checkedAt,
		serverNow,
	)
	return l, err
}

// queueLinks adds a query for whole rows to a batch.
func (s *store) queueLinks(batch *pgx.Batch, found *[]sync.Link, query string, args ...any) {
	r := byProcess(s.db.config.Now())
	batch.Queue(query, args...).Query(func(rows pgx.Rows) (err error) {
		*found, err = pgx.CollectRows(rows, r.scanLink)
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

// clean removes from a text what PostgreSQL cannot hold: NUL and broken UTF-8. Errors and causes
// quote what other people wrote.
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
