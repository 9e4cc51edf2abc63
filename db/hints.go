package db

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// number tells scopes apart where PostgreSQL takes no names: positive, and for two scopes very
// likely another.
func (s Scope) number() int32 {
	hash := fnv.New32a()
	hash.Write([]byte(s.String())) //nolint:gosec // a hash takes everything
	return int32(hash.Sum32() & 0x7fffffff)
}

// hintChannel is where the leader of a scope is told that there is a hint.
func (s Scope) hintChannel() string { return fmt.Sprintf("hints_%d", s.number()) }

// Hint keeps what a webhook said of an issue, and wakes the leader. It belongs to no term: any
// replica may call it. claimed is when the issue changed last, as the webhook says; zero: it does
// not say. noted is false for an issue that no row names, of which nothing is kept: if it is of
// interest, the polls find it. The row of links is locked before that of hints, as a deletion locks
// them.
func (d *DB) Hint(ctx context.Context, scope Scope, issueID string, claimed time.Time) (noted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.callTime)
	defer cancel()
	tag, err := d.pool.Exec(ctx, `
		WITH noted AS (
			INSERT INTO hints AS h (scope, issue_id, claimed, due_set)
			SELECT scope, issue_id, $3::timestamptz, now() FROM links WHERE scope = $1 AND issue_id = $2 FOR KEY SHARE
			ON CONFLICT (scope, issue_id) DO UPDATE SET
				claimed = CASE WHEN h.claimed IS NOT NULL AND excluded.claimed IS NOT NULL
					THEN GREATEST(h.claimed, excluded.claimed) END,
				received_at = now(), seq = h.seq + 1, looks = 0, due = LEAST(h.due, now()), due_set = now()
			RETURNING 1)
		SELECT pg_notify($4, '') FROM noted`, scope.String(), issueID, toNull(claimed), scope.hintChannel())
	return tag.RowsAffected() > 0, failure("keep a hint about issue "+issueID, err)
}

const (
	dueHintsQuery = `
		SELECT h.issue_id, h.claimed, h.looks, h.seq, l.issue_updated, l.settled_at IS NULL FROM hints AS h
			JOIN links AS l USING (scope, issue_id)
		WHERE h.scope = $1 AND h.due <= now() ORDER BY h.due, h.issue_id LIMIT $2`
	nextHintQuery = "SELECT EXTRACT(EPOCH FROM min(due) - now())::float8 FROM hints WHERE scope = $1 AND due > now()"
)

// Hints implements sync.Store.
func (s *store) Hints(ctx context.Context, limit int) (due []sync.Hint, next time.Duration, err error) {
	err = s.readQueue(ctx, "read hints", func(batch *pgx.Batch) {
		batch.Queue(dueHintsQuery, s.scope, limit).Query(func(rows pgx.Rows) (err error) {
			due, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (h sync.Hint, err error) {
				var claimed, recorded *time.Time
				err = row.Scan(&h.IssueID, &claimed, &h.Looks, &h.Seq, &recorded, &h.Open)
				h.Claimed, h.Recorded = fromNull(claimed), fromNull(recorded)
				return h, err
			})
			return err
		})
		batch.Queue(nextHintQuery, s.scope).QueryRow(func(row pgx.Row) error {
			var seconds *float64
			err := row.Scan(&seconds)
			if seconds != nil {
				next = max(time.Duration(*seconds*float64(time.Second)), time.Millisecond)
			}
			return err
		})
	})
	return due, next, err
}

// Heeded implements sync.Store.
func (s *store) Heeded(ctx context.Context, hints []sync.Heeded) error {
	if len(hints) == 0 {
		return nil
	}
	ids, seqs, again := make([]string, len(hints)), make([]int64, len(hints)), make([]float64, len(hints))
	for i, h := range hints {
		ids[i], seqs[i], again[i] = h.IssueID, h.Seq, h.Again.Seconds()
	}
	op := fmt.Sprintf("record that %d hints were heeded", len(hints))
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		const heeded = "unnest($2::text[], $3::bigint[], $4::float8[]) AS c (issue_id, seq, again) WHERE h.scope = $1 AND " +
			"h.issue_id = c.issue_id AND h.seq = c.seq"
		_, err := tx.Exec(ctx, "DELETE FROM hints AS h USING "+heeded+" AND c.again = 0", s.scope, ids, seqs, again)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE hints AS h SET looks = h.looks + 1, due = now() + c.again * interval '1 second', due_set = now()
			FROM `+heeded+" AND c.again > 0", s.scope, ids, seqs, again)
		return err
	})
}
