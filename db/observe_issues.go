package db

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// ObserveIssues implements sync.Store. Most of what a poll shows is known, so it looks first, as
// recordRequests does.
func (s *store) ObserveIssues(ctx context.Context, issues []sync.Issue, cursor time.Time) error {
	if len(issues) == 0 && cursor.IsZero() {
		return nil
	}
	op := fmt.Sprintf("record what Jira said of %d issues", len(issues))
	ids, requestIDs := make([]string, len(issues)), make([]string, len(issues))
	for i, issue := range issues {
		ids[i], requestIDs[i] = clean(issue.ID), clean(issue.RequestID)
	}
	var known []*issueRow
	var position time.Time
	err := s.read(ctx, op, func(batch *pgx.Batch) {
		batch.Queue(issuesQuery, s.scope, ids, requestIDs).Query(func(rows pgx.Rows) (err error) {
			known, err = issueRows(rows)
			return err
		})
		queueTime(batch, &position, cursorQuery, s.scope)
	})
	if err != nil {
		return err
	}
	news, raise := mergeIssues(known, issues), cursor.After(position)
	switch {
	case !news && !raise:
		return nil
	case !news:
		_, err = s.write(ctx, op, raiseCursor, cursor)
		return err
	}
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, issuesQuery+forUpdate, s.scope, ids, requestIDs)
		if err != nil {
			return err
		}
		recorded, err := issueRows(rows)
		if err != nil {
			return err
		}
		mergeIssues(recorded, issues)
		if err := s.writeIssues(ctx, tx, recorded); err != nil || !raise {
			return err
		}
		_, err = s.writeBy(ctx, tx, raiseCursor, cursor)
		return err
	})
}

// issueRow is what ObserveIssues knows of a row.
type issueRow struct {
	requestID string
	issueID   string // empty while the row has no issue
	issue     sync.Issue
	strays    []string
	due       bool // by now
	// waiting: it failed before, or is not settled and its request is resolved. Whatever is new of
	// the issue may matter.
	waiting bool

	changed bool
	woken   bool // what changed has to be worked on, or the row has no issue, was not due yet, and one was seen
	moved   bool // its status is another, which a person may have done
	news    []string
	strayed bool // a stray is new
}

// issuesQuery finds the rows that name one of the issues ($2), and those whose request one of the
// issues names ($3).
const issuesQuery = `
	SELECT request_id, COALESCE(issue_id, ''), issue, strays, COALESCE(due <= now(), false),
		parked OR attempts > 0 OR settled_at IS NULL AND (state <> 'pending' OR gone) FROM links
	WHERE scope = $1 AND issue_id = ANY($2) OR scope = $1 AND request_id = ANY($3)
	ORDER BY request_id`

func issueRows(rows pgx.Rows) ([]*issueRow, error) {
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*issueRow, error) {
		var row issueRow
		var issue *sync.Issue
		err := r.Scan(&row.requestID, &row.issueID, &issue, &row.strays, &row.due, &row.waiting)
		if issue != nil {
			row.issue = *issue
		}
		return &row, err
	})
}

// mergeIssues merges what was seen into the rows that name the issues, wakes those that wait for
// one, and notes those that have another. It reports whether that is anything new.
func mergeIssues(rows []*issueRow, issues []sync.Issue) (news bool) {
	byIssue, byRequest := make(map[string]*issueRow), make(map[string]*issueRow)
	for _, row := range rows {
		byRequest[row.requestID] = row
		if row.issueID != "" {
			byIssue[row.issueID] = row
		}
	}
	for _, seen := range issues {
		row, named := byIssue[seen.ID], byRequest[seen.RequestID]
		switch {
		case row != nil:
			row.merge(seen)
		case named == nil:
		case named.issueID == "":
			named.woken = !named.due
		case !slices.Contains(named.strays, seen.ID):
			named.strays, named.strayed = append(named.strays, seen.ID), true
			named.news = append(named.news, "issue "+seen.Key+" holds the request's ID, too")
		}
	}
	return slices.ContainsFunc(rows, func(r *issueRow) bool { return r.changed || r.strayed || r.woken })
}

func (r *issueRow) merge(seen sync.Issue) {
	merged, changed := sync.MergeIssue(r.issue, seen)
	if !changed {
		return
	}
	if news := sync.DescribeIssue(r.issue, merged); news != "" {
		r.news = append(r.news, news)
	}
	moved := r.issue.Status != sync.Status{} && r.issue.Status != merged.Status
	r.woken = r.woken || r.waiting || sync.Differ(r.issue, merged)
	r.issue, r.changed, r.moved = merged, true, r.moved || moved
}

func (s *store) writeIssues(ctx context.Context, tx pgx.Tx, rows []*issueRow) error {
	var changed documents
	var updated []*time.Time
	var moved, wakes []bool
	var woken []string
	var seen sightings
	for _, row := range rows {
		if row.woken && !row.changed {
			woken = append(woken, row.requestID)
		}
		if len(row.news) > 0 {
			seen.add(row.requestID, strings.Join(row.news, "; "))
		}
		if row.strayed {
			_, err := tx.Exec(ctx, "UPDATE links AS l SET strays = $3, "+dueNow+" WHERE scope = $1 AND request_id = $2",
				s.scope, row.requestID, cleanAll(row.strays))
			if err != nil {
				return err
			}
		}
		if !row.changed {
			continue
		}
		if err := changed.add(row.requestID, row.issue, ""); err != nil {
			return err
		}
		updated, moved, wakes = append(updated, toNull(row.issue.Updated)), append(moved, row.moved), append(wakes, row.woken)
	}
	if len(changed.ids) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE links AS l SET issue = c.issue::json, issue_updated = c.updated, urgent = l.urgent OR c.moved,
				seq = l.seq + c.wakes::int,
				due = CASE WHEN c.wakes THEN LEAST(l.due, now()) ELSE l.due END,
				due_set = CASE WHEN c.wakes THEN now() ELSE l.due_set END,
				attempts = CASE WHEN c.wakes THEN 0 ELSE l.attempts END, parked = l.parked AND NOT c.wakes
			FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::bool[], $6::bool[])
				AS c (id, issue, updated, moved, wakes)
			WHERE l.scope = $1 AND l.request_id = c.id`, s.scope, changed.ids, changed.contents, updated, moved, wakes)
		if err != nil {
			return err
		}
	}
	if len(woken) > 0 {
		const wake = "UPDATE links SET due = now(), due_set = now() WHERE scope = $1 AND request_id = ANY($2)"
		if _, err := tx.Exec(ctx, wake, s.scope, woken); err != nil {
			return err
		}
	}
	return s.appendSightings(ctx, tx, sideJira, seen)
}

// raiseCursor moves the cursor forward, never back.
const raiseCursor = `
	hit AS (
		INSERT INTO cursors AS c (scope, position) SELECT $1, $3::timestamptz FROM fence
		ON CONFLICT (scope) DO UPDATE SET position = excluded.position WHERE c.position < excluded.position RETURNING 1)`

// SuspectIssues implements sync.Store. A row that is suspect already stays as it is, as in
// SuspectRequests.
func (s *store) SuspectIssues(ctx context.Context, issueIDs []string, urgent bool) error {
	if len(issueIDs) == 0 {
		return nil
	}
	op := fmt.Sprintf("mark %d issues that may be gone", len(issueIDs))
	_, err := s.write(ctx, op, `
		suspect AS (
			SELECT request_id FROM links
			WHERE scope = $1 AND issue_id = ANY($3) AND NOT suspect_issue AND (settled_at IS NULL OR issue_gone) AND `+held+`
			ORDER BY request_id FOR UPDATE),
		hit AS (
			UPDATE links AS l SET suspect_issue = true, urgent = l.urgent OR $4, `+dueNow+`
			FROM suspect WHERE l.scope = $1 AND l.request_id = suspect.request_id RETURNING 1)`, issueIDs, urgent)
	return err
}

// RecoverIssues implements sync.Store. Polls call it with issues that nearly always have their
// rows, so it looks before it takes hold of the term.
func (s *store) RecoverIssues(ctx context.Context, issues []sync.Issue, due time.Time, apart time.Duration) error {
	if len(issues) == 0 {
		return nil
	}
	op := fmt.Sprintf("make rows for %d issues", len(issues))
	now := s.db.config.Now()
	var lost documents
	issueIDs, dues := make([]string, len(issues)), make([]time.Duration, len(issues))
	for n, issue := range issues {
		id := clean(issue.RequestID)
		issueIDs[n], dues[n] = clean(issue.ID), due.Sub(now)+time.Duration(n)*apart
		if err := lost.add(id, sync.Request{ID: id, State: sync.StatePending}, ""); err != nil {
			return failure(op, err)
		}
	}
	var some bool
	err := s.read(ctx, op, func(batch *pgx.Batch) {
		batch.Queue(anyRowlessQuery, s.scope, issueIDs, lost.ids).QueryRow(func(row pgx.Row) error { return row.Scan(&some) })
	})
	if err != nil || !some {
		return err
	}
	_, err = s.write(ctx, op, `
		hit AS (
			INSERT INTO links (scope, request_id, seq, request, state, due, due_set, begun, begun_at, suspect_request)
			SELECT DISTINCT ON (c.id) $1, c.id, 1, c.request::json, '', now() + c.due, now(), $3, now(), true
			FROM unnest($4::text[], $5::text[], $6::interval[], $7::text[]) AS c (id, request, due, issue_id)
			WHERE NOT `+namedBySome+` AND `+held+`
			ORDER BY c.id, c.due
			ON CONFLICT DO NOTHING RETURNING 1)`, sync.EffectCreate, lost.ids, lost.contents, dues, issueIDs)
	return err
}

// namedBySome tells whether a row names the issue c.issue_id, be it of another scope: two clusters
// may share a project, and neither agent takes up what is the other's.
const namedBySome = `EXISTS (
	SELECT FROM links AS o WHERE o.scope = ANY(ARRAY(SELECT name FROM leadership)) AND o.issue_id = c.issue_id)`

// anyRowlessQuery tells whether one of the issues ($2) that name requests ($3, in the same order)
// has no row.
const anyRowlessQuery = `
	SELECT EXISTS (
		SELECT FROM unnest($2::text[], $3::text[]) AS c (issue_id, request_id)
		WHERE NOT ` + namedBySome + `
			AND NOT EXISTS (SELECT FROM links WHERE scope = $1 AND links.request_id = c.request_id))`
