package db

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What operators ask of the leader is written into the rows, as observers write facts: Seq is
// raised, so that a worker that is at work on a row at that moment does not take it back, and the
// row is due at once. Of each mark a line of activity is left. The leader is woken; where nobody
// leads, who leads next finds it.

// byOperator is the cause in the activity.
const byOperator = "an operator asked for it"

// Retry makes rows due now, as if nothing had failed before. One that was dropped is taken up
// again.
func (v *View) Retry(ctx context.Context, requestIDs []string) error {
	return v.mark(ctx, "retry", requestIDs, `
		due = LEAST(due, now()), due_set = now(), attempts = 0, parked = false, dropped = false,
		settled_at = CASE WHEN NOT dropped THEN settled_at END`)
}

// Drop gives up on rows: the leader settles them as they are.
func (v *View) Drop(ctx context.Context, requestIDs []string) error {
	return v.mark(ctx, "drop", requestIDs, `
		due = LEAST(due, now()), due_set = now(), attempts = 0, parked = false, dropped = true, last_error = ''`)
}

// Recheck has the leader read both sides of rows afresh.
func (v *View) Recheck(ctx context.Context, requestIDs []string) error {
	return v.mark(ctx, "recheck", requestIDs, `
		due = LEAST(due, now()), due_set = now(), attempts = 0, parked = false,
		suspect_request = NOT gone, suspect_issue = issue_id IS NOT NULL`)
}

// mark writes into rows, all or none, and wakes the leader.
func (v *View) mark(ctx context.Context, action string, requestIDs []string, set string) error {
	op := fmt.Sprintf("%s %d requests", action, len(requestIDs))
	return v.within(ctx, op, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			WITH named AS (SELECT request_id FROM links WHERE scope = $1 AND request_id = ANY($2) ORDER BY request_id FOR UPDATE)
			UPDATE links AS l SET seq = seq + 1, `+set+` FROM named WHERE l.scope = $1 AND l.request_id = named.request_id`,
			v.scope.String(), requestIDs)
		if err != nil {
			return err
		}
		if tag.RowsAffected() < int64(len(requestIDs)) {
			return errRowGone
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO activity (scope, request_id, at, epoch, action, outcome, cause, attempt)
			SELECT $1, c.id, now(), COALESCE((SELECT epoch FROM leadership WHERE name = $1), 0), $3, 'ok', $4, 0
				FROM unnest($2::text[]) AS c (id)`,
			v.scope.String(), requestIDs, action, byOperator)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "SELECT pg_notify($1, '')", v.scope.hintChannel())
		return err
	})
}

// Ask has the leader compare both sides of all requests now. Who leads next does so anyway.
func (v *View) Ask(ctx context.Context) error {
	return v.within(
		ctx,
		"ask the leader to compare both sides",
		pgx.TxOptions{},
		func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SELECT pg_notify($1, $2)", v.scope.hintChannel(), asked)
			return err
		},
	)
}
