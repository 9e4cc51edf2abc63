package db

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// dueNow is what an observation that changed a fact does to the queue: the row is due at once, unless it already was, and whatever
// delayed it is forgotten. $2 is now, by this process's clock, since that is the clock which Due is asked with.
const dueNow = "seq = l.seq + 1, due = LEAST(l.due, $2), attempts = 0, parked = false"

// ObserveRequests implements sync.Store.
func (s *store) ObserveRequests(ctx context.Context, requests []sync.Request) error {
	if len(requests) == 0 {
		return nil
	}
	op := fmt.Sprintf("record what Teleport said of %d requests", len(requests))
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		recorded, err := s.lockRequests(ctx, tx, requests)
		if err != nil {
			return err
		}
		for _, seen := range requests {
			row, ok := recorded[seen.ID]
			switch {
			case ok:
				merged, changed := sync.MergeRequest(row.request, seen)
				row.request, row.changed = merged, row.changed || changed
			case seen.State == sync.StatePending:
				recorded[seen.ID] = &requestRow{id: seen.ID, request: seen, fresh: true}
			}
		}
		return s.writeRequests(ctx, tx, recorded)
	})
}

// requestRow is what ObserveRequests knows of a row.
type requestRow struct {
	id      string
	request sync.Request
	fresh   bool // there is no such row yet
	changed bool
}

func (s *store) lockRequests(ctx context.Context, tx pgx.Tx, requests []sync.Request) (map[string]*requestRow, error) {
	ids := make([]string, len(requests))
	for i, r := range requests {
		ids[i] = r.ID
	}
	rows, err := tx.Query(ctx, `
		SELECT request_id, request FROM links
		WHERE scope = $1 AND request_id = ANY($2) ORDER BY request_id FOR UPDATE`, s.scope, ids)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (*requestRow, error) {
		var row requestRow
		err := r.Scan(&row.id, &row.request)
		return &row, err
	})
	recorded := make(map[string]*requestRow, len(requests))
	for _, row := range found {
		recorded[row.id] = row
	}
	return recorded, err
}

// writeRequests writes rows in the order of their IDs, as they were locked.
func (s *store) writeRequests(ctx context.Context, tx pgx.Tx, rows map[string]*requestRow) error {
	var fresh, changed documents
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		row := rows[id]
		var err error
		switch {
		case row.fresh:
			err = fresh.add(id, row.request, string(row.request.State))
		case row.changed:
			err = changed.add(id, row.request, string(row.request.State))
		}
		if err != nil {
			return err
		}
	}
	now := time.Now()
	if len(fresh.ids) > 0 {
		tag, err := tx.Exec(ctx, `
			INSERT INTO links (scope, request_id, seq, request, state, due)
			SELECT $1, c.id, 1, c.request::json, c.state, $2 FROM unnest($3::text[], $4::text[], $5::text[]) AS c (id, request, state)
			ON CONFLICT DO NOTHING`, s.scope, now, fresh.ids, fresh.contents, fresh.extracts)
		if err != nil {
			return err
		}
		if tag.RowsAffected() < int64(len(fresh.ids)) {
			return errConflict // another observer made the row meanwhile; what it saw has to be merged
		}
	}
	if len(changed.ids) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE links AS l SET request = c.request::json, state = c.state, `+dueNow+`
			FROM unnest($3::text[], $4::text[], $5::text[]) AS c (id, request, state)
			WHERE l.scope = $1 AND l.request_id = c.id`, s.scope, now, changed.ids, changed.contents, changed.extracts)
		return err
	}
	return nil
}

// ObserveGone implements sync.Store.
func (s *store) ObserveGone(ctx context.Context, requestID string) error {
	return s.fenced(ctx, "record that request "+requestID+" is gone", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE links AS l SET gone = true, suspect_request = false, `+dueNow+`
			WHERE scope = $1 AND request_id = $3 AND NOT gone`, s.scope, time.Now(), requestID)
		return err
	})
}

// SuspectRequests implements sync.Store. A row that is suspect already stays as it is: it was made due then, and may wait for its next attempt.
func (s *store) SuspectRequests(ctx context.Context, requestIDs []string) error {
	if len(requestIDs) == 0 {
		return nil
	}
	op := fmt.Sprintf("mark %d requests that may be gone", len(requestIDs))
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			WITH suspect AS (
				SELECT request_id FROM links
				WHERE scope = $1 AND request_id = ANY($3) AND NOT gone AND NOT suspect_request AND settled_at IS NULL
				ORDER BY request_id FOR UPDATE)
			UPDATE links AS l SET suspect_request = true, `+dueNow+`
			FROM suspect WHERE l.scope = $1 AND l.request_id = suspect.request_id`, s.scope, time.Now(), requestIDs)
		return err
	})
}

// ObserveIssues implements sync.Store.
func (s *store) ObserveIssues(ctx context.Context, issues []sync.Issue, cursor time.Time) error {
	if len(issues) == 0 && cursor.IsZero() {
		return nil
	}
	op := fmt.Sprintf("record what Jira said of %d issues", len(issues))
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		if len(issues) > 0 {
			if err := s.recordIssues(ctx, tx, issues); err != nil {
				return err
			}
		}
		return s.raiseCursor(ctx, tx, cursor)
	})
}

// issueRow is what ObserveIssues knows of a row.
type issueRow struct {
	requestID string
	issueID   string // empty while the row has no issue
	issue     sync.Issue
	changed   bool
}

// lockIssuesQuery finds the rows that name one of the issues ($2), and those without an issue that one of the issues names ($3).
const lockIssuesQuery = `
	SELECT request_id, COALESCE(issue_id, ''), issue FROM links
	WHERE scope = $1 AND issue_id = ANY($2) OR scope = $1 AND request_id = ANY($3) AND issue_id IS NULL
	ORDER BY request_id FOR UPDATE`

// recordIssues merges into the rows that name the issues, and wakes those that wait for one.
func (s *store) recordIssues(ctx context.Context, tx pgx.Tx, issues []sync.Issue) error {
	ids, requestIDs := make([]string, len(issues)), make([]string, len(issues))
	for i, issue := range issues {
		ids[i], requestIDs[i] = clean(issue.ID), clean(issue.RequestID)
	}
	rows, err := tx.Query(ctx, lockIssuesQuery, s.scope, ids, requestIDs)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (*issueRow, error) {
		var row issueRow
		var issue *sync.Issue
		err := r.Scan(&row.requestID, &row.issueID, &issue)
		if issue != nil {
			row.issue = *issue
		}
		return &row, err
	})
	if err != nil {
		return err
	}
	named, waiting := make(map[string]*issueRow), make(map[string]bool)
	for _, row := range found {
		if row.issueID != "" {
			named[row.issueID] = row
		} else {
			waiting[row.requestID] = true
		}
	}
	var woken []string
	for _, seen := range issues {
		if row := named[seen.ID]; row != nil {
			merged, changed := sync.MergeIssue(row.issue, seen)
			row.issue, row.changed = merged, row.changed || changed
		} else if waiting[seen.RequestID] {
			woken = append(woken, seen.RequestID)
		}
	}
	return s.writeIssues(ctx, tx, found, woken)
}

func (s *store) writeIssues(ctx context.Context, tx pgx.Tx, rows []*issueRow, woken []string) error {
	var changed documents
	var updated []*time.Time
	for _, row := range rows {
		if !row.changed {
			continue
		}
		if err := changed.add(row.requestID, row.issue, ""); err != nil {
			return err
		}
		updated = append(updated, toNull(row.issue.Updated))
	}
	now := time.Now()
	if len(changed.ids) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE links AS l SET issue = c.issue::json, issue_updated = c.updated, `+dueNow+`
			FROM unnest($3::text[], $4::text[], $5::timestamptz[]) AS c (id, issue, updated)
			WHERE l.scope = $1 AND l.request_id = c.id`, s.scope, now, changed.ids, changed.contents, updated)
		if err != nil {
			return err
		}
	}
	if len(woken) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE links SET due = $2 WHERE scope = $1 AND request_id = ANY($3) AND (due IS NULL OR due > $2)`, s.scope, now, woken)
		return err
	}
	return nil
}

// raiseCursor moves the cursor forward, never back; a zero time leaves it alone.
func (s *store) raiseCursor(ctx context.Context, tx pgx.Tx, cursor time.Time) error {
	if cursor.IsZero() {
		return nil
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO cursors AS c (scope, position) VALUES ($1, $2)
		ON CONFLICT (scope) DO UPDATE SET position = excluded.position WHERE c.position < excluded.position`, s.scope, cursor)
	return err
}

// SuspectIssues implements sync.Store. A row that is suspect already stays as it is: one whose issue is known to be gone is not tried
// anew by each sweep.
func (s *store) SuspectIssues(ctx context.Context, issueIDs []string) error {
	if len(issueIDs) == 0 {
		return nil
	}
	op := fmt.Sprintf("mark %d issues that may be gone", len(issueIDs))
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			WITH suspect AS (
				SELECT request_id FROM links
				WHERE scope = $1 AND issue_id = ANY($3) AND NOT suspect_issue AND settled_at IS NULL
				ORDER BY request_id FOR UPDATE)
			UPDATE links AS l SET suspect_issue = true, `+dueNow+`
			FROM suspect WHERE l.scope = $1 AND l.request_id = suspect.request_id`, s.scope, time.Now(), issueIDs)
		return err
	})
}

// documents are columns of a batch: IDs, the JSON that belongs to each, and a text taken out of it.
type documents struct{ ids, contents, extracts []string }

func (d *documents) add(id string, document any, extract string) error {
	content, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("encode request %s: %w", id, err)
	}
	d.ids, d.contents, d.extracts = append(d.ids, id), append(d.contents, string(content)), append(d.extracts, extract)
	return nil
}
