package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// The queries of the hot paths. Each runs on a partial index that leaves out closed rows.
const (
	dueQuery     = "SELECT " + linkColumns + " FROM links WHERE scope = $1 AND due <= $2 AND request_id <> ALL($3) ORDER BY due, request_id LIMIT $4"
	nextDueQuery = "SELECT due FROM links WHERE scope = $1 AND due > $2 AND request_id <> ALL($3) ORDER BY due, request_id LIMIT 1"
	openQuery    = "SELECT " + linkColumns + " FROM links WHERE scope = $1 AND settled_at IS NULL AND request_id > $2 ORDER BY request_id LIMIT $3"

	pending = "scope = $1 AND state = 'pending' AND NOT gone AND settled_at IS NULL"
	// An issue of which Jira has not told yet when it changed comes first: it is the newest, and the likeliest to be missed.
	pendingIssuesQuery = "SELECT issue_id FROM links WHERE " + pending + " AND issue_id IS NOT NULL ORDER BY issue_updated DESC NULLS FIRST, request_id LIMIT $2"
	anyPendingQuery    = "SELECT EXISTS (SELECT FROM links WHERE " + pending + ")"

	statsQuery = `
		SELECT (SELECT count(*) FROM links WHERE scope = $1 AND settled_at IS NULL),
			(SELECT count(*) FROM links WHERE ` + pending + `),
			(SELECT count(*) FROM links WHERE scope = $1 AND due <= $2),
			(SELECT min(due) FROM links WHERE scope = $1 AND due <= $2),
			(SELECT count(*) FROM links WHERE scope = $1 AND parked)`
)

// Cursor implements sync.Store.
func (s *store) Cursor(ctx context.Context) (cursor time.Time, err error) {
	err = s.fenced(ctx, "read the cursor", func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "SELECT position FROM cursors WHERE scope = $1", s.scope).Scan(&cursor)
		if noRows(err) {
			return nil
		}
		cursor = cursor.UTC()
		return err
	})
	return cursor, err
}

// Due implements sync.Store. With fewer rows than limit all that are due are known, so the next one is due after now.
func (s *store) Due(ctx context.Context, now time.Time, limit int, skip []string) (due []sync.Link, next time.Time, err error) {
	err = s.read(ctx, "read the rows that are due", func(batch *pgx.Batch) {
		queueLinks(batch, &due, dueQuery, s.scope, now, list(skip), limit)
		queueTime(batch, &next, nextDueQuery, s.scope, now, list(skip))
	})
	if len(due) == limit {
		next = time.Time{}
	}
	return due, next, err
}

// EndDryRun implements sync.Store.
func (s *store) EndDryRun(ctx context.Context) error {
	return s.fenced(ctx, "resume what a dry run put off", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			WITH put_off AS (
				SELECT request_id FROM links
				WHERE scope = $1 AND settled_at IS NULL AND starts_with(last_error, $3)
				ORDER BY request_id FOR UPDATE)
			UPDATE links AS l SET due = LEAST(l.due, $2)
			FROM put_off WHERE l.scope = $1 AND l.request_id = put_off.request_id`, s.scope, time.Now(), sync.DryRunError)
		return err
	})
}

// Open implements sync.Store.
func (s *store) Open(ctx context.Context, after string, limit int) (open []sync.Link, err error) {
	err = s.fenced(ctx, "read the open rows", func(ctx context.Context, tx pgx.Tx) (err error) {
		open, err = links(ctx, tx, openQuery, s.scope, after, limit)
		return err
	})
	return open, err
}

// PendingIssues implements sync.Store. Those of a request that Teleport no longer has are not pending.
func (s *store) PendingIssues(ctx context.Context, limit int) (ids []string, pending bool, err error) {
	err = s.read(ctx, "read the pending issues", func(batch *pgx.Batch) {
		batch.Queue(pendingIssuesQuery, s.scope, limit).Query(func(rows pgx.Rows) (err error) {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		batch.Queue(anyPendingQuery, s.scope).QueryRow(func(row pgx.Row) error { return row.Scan(&pending) })
	})
	return ids, pending, err
}

// Save implements sync.Store. A row that names another issue than l does is left alone: sync.ErrChanged. So is one whose
// issue another row names: ErrIssueTaken. Without a row it returns sync.ErrNotFound.
func (s *store) Save(ctx context.Context, l sync.Link, done ...sync.Activity) (saved sync.Link, err error) {
	var known *sync.Issue // what there is to record when the row gets its issue
	if l.Bound.ID != "" && l.Issue.ID == l.Bound.ID {
		known = &l.Issue
	}
	err = s.fenced(ctx, "save request "+l.RequestID, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := links(ctx, tx, `
			UPDATE links SET issue_id = NULLIF($4, ''), issue_key = $5, begun = $6, begun_at = $7, linked = $8, placed = $9, issue_gone = $19, answered = $20, mark = $21,
				issue = CASE WHEN issue_id IS NULL THEN COALESCE($23, issue) ELSE issue END,
				issue_updated = CASE WHEN issue_id IS NULL AND $23 IS NOT NULL THEN $24 ELSE issue_updated END,
				commented = $10, resolved = $11, settled_at = CASE WHEN dropped = $22 THEN $12 ELSE settled_at END, last_error = $13,
				due = CASE WHEN seq = $3 THEN $14 ELSE due END,
				attempts = CASE WHEN seq = $3 THEN $15 ELSE attempts END,
				parked = CASE WHEN seq = $3 THEN $16 ELSE parked END,
				suspect_request = suspect_request AND (seq <> $3 OR $17),
				suspect_issue = suspect_issue AND (seq <> $3 OR $18)
			WHERE scope = $1 AND request_id = $2 AND (issue_id IS NULL OR issue_id = $4)
			RETURNING `+linkColumns,
			s.scope, l.RequestID, l.Seq, l.Bound.ID, l.Bound.Key, clean(l.Begun), toNull(l.BegunAt), l.Linked, l.Placed,
			cleanAll(l.Commented), l.Resolved, toNull(l.SettledAt), clean(l.LastError), toNull(l.Due), l.Attempts, l.Parked, l.SuspectRequest, l.SuspectIssue,
			l.IssueGone, cleanAll(l.Answered), l.Mark, l.Dropped, known, toNull(l.Issue.Updated))
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return s.whyNotSaved(ctx, tx, l)
		}
		saved = rows[0]
		return s.appendActivity(ctx, tx, l.RequestID, done)
	})
	return saved, err
}

// whyNotSaved tells apart the reasons for which Save found no row to update.
func (s *store) whyNotSaved(ctx context.Context, tx pgx.Tx, l sync.Link) error {
	var issueID string
	err := tx.QueryRow(ctx, "SELECT issue_id FROM links WHERE scope = $1 AND request_id = $2 AND issue_id IS NOT NULL", s.scope, l.RequestID).Scan(&issueID)
	switch {
	case noRows(err):
		return fmt.Errorf("%w: there is no such row", sync.ErrNotFound)
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: its issue is %s, not %q", sync.ErrChanged, issueID, l.Bound.ID)
}

func (s *store) appendActivity(ctx context.Context, tx pgx.Tx, requestID string, done []sync.Activity) error {
	if len(done) == 0 {
		return nil
	}
	var batch pgx.Batch
	for _, a := range done {
		batch.Queue(`
			INSERT INTO activity (scope, request_id, at, epoch, action, outcome, cause, attempt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			s.scope, requestID, a.At, s.epoch, clean(a.Action), clean(a.Outcome), clean(a.Cause), a.Attempt)
	}
	return tx.SendBatch(ctx, &batch).Close()
}

// pruneBatch keeps each transaction of Prune far below the statement timeout.
const pruneBatch = 1000

// Prune implements sync.Store, in several transactions; an error may come after some of the rows are gone.
func (s *store) Prune(ctx context.Context, settledBefore time.Time) (pruned int, err error) {
	for {
		var deleted int
		err := s.fenced(ctx, "delete old rows", func(ctx context.Context, tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `
				DELETE FROM links WHERE scope = $1 AND settled_at < $2 AND request_id IN (
					SELECT request_id FROM links WHERE scope = $1 AND settled_at < $2 ORDER BY settled_at LIMIT $3)`,
				s.scope, settledBefore, pruneBatch)
			deleted = int(tag.RowsAffected())
			return err
		})
		if err != nil {
			return pruned, err
		}
		if pruned += deleted; deleted < pruneBatch {
			return pruned, nil
		}
	}
}

// Condition implements sync.Store. A loop that failed in the term before and fails in this one has not worked between.
func (s *store) Condition(ctx context.Context, loop, problem string) error {
	return s.fenced(ctx, "record how "+loop+" goes", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO conditions AS c (scope, loop, epoch, problem, since) VALUES ($1, $2, $3, $4, now())
			ON CONFLICT (scope, loop) DO UPDATE SET epoch = excluded.epoch, problem = excluded.problem,
				since = CASE WHEN (c.problem = '') = (excluded.problem = '') AND (c.problem <> '' OR c.epoch = excluded.epoch) THEN c.since ELSE now() END`,
			s.scope, loop, s.epoch, clean(problem))
		return err
	})
}

// Stats implements sync.Store.
func (s *store) Stats(ctx context.Context, now time.Time) (stats sync.Stats, err error) {
	err = s.fenced(ctx, "count rows", func(ctx context.Context, tx pgx.Tx) error {
		var oldest *time.Time
		err := tx.QueryRow(ctx, statsQuery, s.scope, now).Scan(&stats.Open, &stats.Pending, &stats.Due, &oldest, &stats.Parked)
		stats.OldestDue = fromNull(oldest)
		return err
	})
	return stats, err
}

// list makes a nil list an empty one: PostgreSQL would take it for NULL, and nothing differs from that.
func list(ids []string) []string {
	if ids == nil {
		return []string{}
	}
	return ids
}
