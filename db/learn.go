package db

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// learnQuery writes the facts of one row as they were merged, unless the row was changed since it
// was read: seq tells, or the issue's time of change ($12), which alone raises no seq.
const learnQuery = `
	hit AS (
		UPDATE links AS l SET request = $5, state = $6, gone = $7, suspect_request = suspect_request AND NOT $7,
			issue = $8, issue_updated = $9,
			` + dueNow + `
		WHERE scope = $1 AND request_id = $3 AND seq = $4 AND issue_updated IS NOT DISTINCT FROM $12 AND ` + held + `
		RETURNING request_id),
	told AS (
		INSERT INTO activity (scope, request_id, at, epoch, action, outcome, cause, attempt)
		SELECT $1, request_id, now(), $2, 'observe', $10, $11, 0 FROM hit WHERE $10 <> '')`

// Learn implements sync.Store. It reads the row and, if that is news, writes it, one round trip
// each, and begins again if an observer was faster.
func (s *store) Learn(ctx context.Context, l sync.Link, seen sync.Seen) (sync.Link, error) {
	op := "record what was read of request " + l.RequestID
	for {
		var rows []sync.Link
		err := s.read(ctx, op, func(batch *pgx.Batch) { s.queueLinks(batch, &rows, rowQuery, s.scope, l.RequestID) })
		switch {
		case err != nil:
			return l, err
		case len(rows) == 0:
			return l, failure(op, fmt.Errorf("%w: there is no such row", sync.ErrNotFound))
		}
		row := rows[0]
		seq, updated := row.Seq, row.Issue.Updated
		informed, side, news, changed := l.Learn(&row, seen)
		if !changed {
			return informed, nil
		}
		news = clean(news)
		hits, err := s.write(ctx, op, learnQuery, l.RequestID, seq, row.Request, row.Request.State, row.Gone,
			issueOrNull(row.Issue), toNull(row.Issue.Updated), news, side, toNull(updated))
		switch {
		case err != nil:
			return l, err
		case hits > 0:
			if news != "" {
				s.logSighting(l.RequestID, side, news)
			}
			return informed, nil
		}
	}
}

// issueOrNull makes NULL of an issue of which nothing is known.
func issueOrNull(i sync.Issue) *sync.Issue {
	if i == (sync.Issue{}) {
		return nil
	}
	return &i
}
