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
	// $2 is how long after the present it is asked for. Urgent rows and others are two ranges of
	// one index. Of each at most limit rows are read, however many are due.
	dueQuery = `
		SELECT ` + linkColumns + ` FROM (
			(SELECT * FROM links WHERE scope = $1 AND urgent AND due <= now() + $2::interval AND request_id <> ALL($3)
				ORDER BY due, request_id LIMIT $4)
			UNION ALL
			(SELECT * FROM links WHERE scope = $1 AND NOT urgent AND due <= now() + $2::interval AND request_id <> ALL($3)
				ORDER BY due, request_id LIMIT $4)
		) AS l ORDER BY urgent DESC, due, request_id LIMIT $4`
	nextDueQuery = `
		SELECT now(), LEAST(
			(SELECT due FROM links WHERE scope = $1 AND urgent AND due > now() + $2::interval AND request_id <> ALL($3)
				ORDER BY due, request_id LIMIT 1),
			(SELECT due FROM links WHERE scope = $1 AND NOT urgent AND due > now() + $2::interval AND request_id <> ALL($3)
				ORDER BY due, request_id LIMIT 1))`
	// Open rows, and settled ones whose issue may come back, have an index each.
	openQuery = `
		SELECT ` + linkColumns + ` FROM (
			(SELECT * FROM links WHERE scope = $1 AND settled_at IS NULL AND request_id > $2 ORDER BY request_id LIMIT $3)
			UNION ALL
			(SELECT * FROM links WHERE scope = $1 AND settled_at IS NOT NULL AND issue_gone AND request_id > $2
				ORDER BY request_id LIMIT $3)
		) AS l ORDER BY request_id LIMIT $3`

	pending = "scope = $1 AND state = 'pending' AND NOT gone AND settled_at IS NULL"
	// An issue of which Jira has not told yet when it changed comes first: it is the newest, and
	// the likeliest to be missed.
	pendingIssuesQuery = "SELECT issue_id FROM links WHERE " + pending +
		" AND issue_id IS NOT NULL ORDER BY issue_updated DESC NULLS FIRST, request_id LIMIT $2"
	anyPendingQuery = "SELECT EXISTS (SELECT FROM links WHERE " + pending + ")"

	// By the oldest: how many are old it need not guess.
	anyOldQuery = `
		SELECT settled_at < LEAST($2, now() + $3::interval) FROM links
		WHERE scope = $1 AND settled_at IS NOT NULL ORDER BY settled_at LIMIT 1`

	cursorQuery = "SELECT position FROM cursors WHERE scope = $1"

	statsQuery = `
		SELECT now(), (SELECT count(*) FROM links WHERE scope = $1 AND settled_at IS NULL),
			(SELECT count(*) FROM links WHERE ` + pending + `),
			(SELECT count(*) FROM links WHERE scope = $1 AND urgent IN (true, false) AND due <= now() + $2::interval),
			LEAST((SELECT min(due) FROM links WHERE scope = $1 AND urgent AND due <= now() + $2::interval),
				(SELECT min(due) FROM links WHERE scope = $1 AND NOT urgent AND due <= now() + $2::interval)),
			(SELECT count(*) FROM links WHERE scope = $1 AND parked)`
)

// Cursor implements sync.Store.
func (s *store) Cursor(ctx context.Context) (cursor time.Time, err error) {
	err = s.read(ctx, "read the cursor", func(batch *pgx.Batch) { queueTime(batch, &cursor, cursorQuery, s.scope) })
	return cursor, err
}

// Due implements sync.Store. With fewer rows than limit all that are due are known, so the next one
// is due after now.
func (s *store) Due(
	ctx context.Context,
	now time.Time,
	limit int,
	skip []string,
) (due []sync.Link, next time.Time, err error) {
	present := s.db.config.Now()
	ahead := now.Sub(present) // nearly nothing: who asks means the present
	err = s.readQueue(ctx, "read the rows that are due", func(batch *pgx.Batch) {
		s.queueLinks(batch, &due, dueQuery, s.scope, ahead, list(skip), limit)
		batch.Queue(nextDueQuery, s.scope, ahead, list(skip)).QueryRow(func(row pgx.Row) error {
			var serverNow time.Time
			var at *time.Time
			err := row.Scan(&serverNow, &at)
			next = byProcess(present)(at, serverNow)
			return err
		})
	})
	if len(due) == limit {
		next = time.Time{}
	}
	return due, next, err
}

// EndDryRun implements sync.Store.
func (s *store) EndDryRun(ctx context.Context) error {
	_, err := s.write(ctx, "resume what a dry run put off", `
		put_off AS (
			SELECT request_id FROM links
			WHERE scope = $1 AND settled_at IS NULL AND starts_with(last_error, $3) AND `+held+`
			ORDER BY request_id FOR UPDATE),
		hit AS (
			UPDATE links AS l SET due = LEAST(l.due, now()), due_set = now()
			FROM put_off WHERE l.scope = $1 AND l.request_id = put_off.request_id RETURNING 1)`, sync.DryRunError)
	return err
}

// Open implements sync.Store.
func (s *store) Open(ctx context.Context, after string, limit int) (open []sync.Link, err error) {
	err = s.read(ctx, "read the open rows", func(batch *pgx.Batch) {
		s.queueLinks(batch, &open, openQuery, s.scope, after, limit)
	})
	return open, err
}

// PendingIssues implements sync.Store. Those of a request that Teleport no longer has are not
// pending.
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

// saveQuery is one statement, so that recording an effect is one round trip; what depends on seq is
// left to observers when a fact changed.
const saveQuery = fenceCTE + `,
	saved AS (
		UPDATE links SET issue_id = NULLIF($5, ''), issue_key = $6, mark = $7, begun = $8,
			begun_at = now() + $9::interval, linked = $10, issue_gone = $11, placed = $12, walking = $31,
			begun_after = $32, request_doubt = now() + $33::interval, issue_doubt = now() + $34::interval,
			checked_at = now() + $35::interval, retracted = $36, commented = $13, answered = $14, resolved = $15,
			settled_at = CASE WHEN dropped = $16 THEN now() + $17::interval ELSE settled_at END, last_error = $18,
			issue = CASE WHEN issue_id IS NULL THEN COALESCE($24, issue) ELSE issue END,
			issue_updated = CASE WHEN issue_id IS NULL AND $24 IS NOT NULL THEN $25 ELSE issue_updated END,
			due = CASE WHEN seq = $4 THEN now() + $19::interval ELSE due END,
			due_set = CASE WHEN seq = $4 THEN now() ELSE due_set END,
			attempts = CASE WHEN seq = $4 THEN $20 ELSE attempts END,
			parked = CASE WHEN seq = $4 THEN $21 ELSE parked END,
			urgent = urgent AND seq <> $4,
			suspect_request = suspect_request AND (seq <> $4 OR $22),
			suspect_issue = suspect_issue AND (seq <> $4 OR $23)
		WHERE scope = $1 AND request_id = $3 AND (issue_id IS NULL OR issue_id = $5) AND ` + held + `
		RETURNING request_id, seq, dropped),
	told AS (
		INSERT INTO activity (scope, request_id, at, epoch, action, outcome, cause, attempt)
		SELECT $1, saved.request_id, now() + a.at, $2, a.action, a.outcome, a.cause, a.attempt
		FROM saved, unnest($26::interval[], $27::text[], $28::text[], $29::text[], $30::int[])
			WITH ORDINALITY AS a (at, action, outcome, cause, attempt, n)
		ORDER BY a.n)
	SELECT seq, dropped FROM saved`

const rowQuery = "SELECT " + linkColumns + " FROM links WHERE scope = $1 AND request_id = $2"

// row reads the whole row of a request.
func (s *store) row(ctx context.Context, by querier, requestID string) (sync.Link, error) {
	r := byProcess(s.db.config.Now())
	rows, err := by.Query(ctx, rowQuery, s.scope, requestID)
	if err != nil {
		return sync.Link{}, err
	}
	return pgx.CollectExactlyOneRow(rows, r.scanLink)
}

// Save implements sync.Store. A row that names another issue than l does is left alone:
// sync.ErrChanged. So is one whose issue another row names: ErrIssueTaken. Without a row it returns
// sync.ErrNotFound.
func (s *store) Save(ctx context.Context, l sync.Link, done ...sync.Activity) (saved sync.Link, err error) {
	var known *sync.Issue // what there is to record when the row gets its issue
	if l.Bound.ID != "" && l.Issue.ID == l.Bound.ID {
		known = &l.Issue
	}
	now := s.db.config.Now()
	args := []any{
		s.scope, s.epoch, l.RequestID, l.Seq,
		l.Bound.ID, l.Bound.Key, l.Mark, clean(l.Begun), fromNow(l.BegunAt, now), l.Linked, l.IssueGone, l.Placed,
		cleanAll(l.Commented), cleanAll(l.Answered), l.Resolved, l.Dropped, fromNow(l.SettledAt, now), clean(l.LastError),
		fromNow(l.Due, now), l.Attempts, l.Parked, l.SuspectRequest, l.SuspectIssue,
		known, toNull(l.Issue.Updated),
	}
	args = append(
		append(args, lines(done, now)...),
		l.Walking,
		clean(l.BegunAfter),
		fromNow(l.RequestDoubt, now),
		fromNow(l.IssueDoubt, now),
		fromNow(l.CheckedAt, now),
		l.Retracted,
	)
	op := "save request " + l.RequestID
	saved = l
	var found bool
	err = s.attempt(ctx, op, func(ctx context.Context) error {
		var seq int64
		var dropped bool
		err := s.db.pool.QueryRow(ctx, saveQuery, args...).Scan(&seq, &dropped)
		switch {
		case noRows(err):
			return nil
		case err != nil:
			return err
		}
		found, saved.Urgent = true, false
		if seq == l.Seq && dropped == l.Dropped { // no need to read what was just written
			return nil
		}
		saved, err = s.row(ctx, s.db.pool, l.RequestID)
		return err
	})
	switch {
	case err != nil:
		return sync.Link{}, err
	case !found:
		return sync.Link{}, s.whyNotSaved(ctx, op, l)
	}
	return saved, nil
}

// whyNotSaved tells apart the reasons for which Save found no row to update. A term that was the
// present one then may be over by now; one that is the present one now was so then.
func (s *store) whyNotSaved(ctx context.Context, op string, l sync.Link) error {
	return s.read(ctx, op, func(batch *pgx.Batch) {
		batch.Queue("SELECT issue_id FROM links WHERE scope = $1 AND request_id = $2 AND issue_id IS "+
			"NOT NULL", s.scope, l.RequestID).
			QueryRow(func(row pgx.Row) error {
				var issueID string
				switch err := row.Scan(&issueID); {
				case noRows(err):
					return fmt.Errorf("%w: there is no such row", sync.ErrNotFound)
				case err != nil:
					return err
				}
				return fmt.Errorf("%w: its issue is %s, not %q", sync.ErrChanged, issueID, l.Bound.ID)
			})
	})
}

// lines are the columns of new lines of activity: how long after now, action, outcome, cause and
// attempt.
func lines(done []sync.Activity, now time.Time) []any {
	at, attempts := make([]time.Duration, len(done)), make([]int, len(done))
	actions, outcomes, causes := make([]string, len(done)), make([]string, len(done)), make([]string, len(done))
	for i, a := range done {
		at[i], attempts[i] = a.At.Sub(now), a.Attempt
		actions[i], outcomes[i], causes[i] = clean(a.Action), clean(a.Outcome), clean(a.Cause)
	}
	return []any{at, actions, outcomes, causes, attempts}
}

// pruneBatch keeps each transaction of Prune far below the statement timeout.
const pruneBatch = 1000

var pruneQuery = fmt.Sprintf(`
	old AS (
		SELECT request_id FROM links WHERE scope = $1 AND settled_at < LEAST($3, now() + $4::interval)
		ORDER BY settled_at LIMIT %d),
	hit AS (
		DELETE FROM links AS l USING old
		WHERE l.scope = $1 AND l.request_id = old.request_id AND l.settled_at < LEAST($3, now() + $4::interval) AND `+held+`
		RETURNING 1)`, pruneBatch)

// Prune implements sync.Store. A row is old only if both clocks say so, the server's, by which it
// was settled, and this process's: neither alone, run ahead, makes anything forgotten. It goes in
// several transactions; an error may come after some of the rows are gone. Most sweeps find nothing
// to delete, for which no term need be held.
func (s *store) Prune(ctx context.Context, settledBefore time.Time) (pruned int, err error) {
	age := settledBefore.Sub(s.db.config.Now()) // below zero
	var some bool
	err = s.read(ctx, "look for old rows", func(batch *pgx.Batch) {
		batch.Queue(anyOldQuery, s.scope, settledBefore, age).QueryRow(func(row pgx.Row) error {
			if err := row.Scan(&some); !noRows(err) {
				return err
			}
			return nil
		})
	})
	if err != nil || !some {
		return 0, err
	}
	for {
		deleted, err := s.write(ctx, "delete old rows", pruneQuery, settledBefore, age)
		pruned += deleted
		if err != nil || deleted < pruneBatch {
			return pruned, err
		}
	}
}

// Condition implements sync.Store. A loop that failed in the term before and fails in this one has
// not worked between.
func (s *store) Condition(ctx context.Context, loop, problem string) error {
	_, err := s.write(ctx, "record how "+loop+" goes", `
		hit AS (
			INSERT INTO conditions AS c (scope, loop, epoch, problem, since) SELECT $1, $3, $2, $4, now() FROM fence
			ON CONFLICT (scope, loop) DO UPDATE SET epoch = excluded.epoch, problem = excluded.problem,
				since = CASE WHEN (c.problem = '') = (excluded.problem = '') AND (c.problem <> '' OR c.epoch = excluded.epoch)
					THEN c.since ELSE now() END
			RETURNING 1)`, loop, clean(problem))
	return err
}

// Stats implements sync.Store.
func (s *store) Stats(ctx context.Context, now time.Time) (stats sync.Stats, err error) {
	err = s.read(ctx, "count rows", func(batch *pgx.Batch) {
		present := s.db.config.Now()
		batch.Queue(statsQuery, s.scope, now.Sub(present)).QueryRow(func(row pgx.Row) (err error) {
			stats, _, err = byProcess(present).scanStats(row)
			return err
		})
	})
	return stats, err
}

// scanStats reads what statsQuery returns, and when that was by the server's clock.
func (r reading) scanStats(row pgx.Row) (stats sync.Stats, serverNow time.Time, err error) {
	var oldest *time.Time
	err = row.Scan(&serverNow, &stats.Open, &stats.Pending, &stats.Due, &oldest, &stats.Parked)
	stats.OldestDue = r(oldest, serverNow)
	return stats, serverNow, err
}

// list makes a nil list an empty one: PostgreSQL would take it for NULL, and nothing differs from
// that.
func list(ids []string) []string {
	if ids == nil {
		return []string{}
	}
	return ids
}
