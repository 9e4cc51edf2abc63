package db

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// dueNow is what an observation that changed a fact does to the queue: the row is due at once, unless it already was, and whatever
// delayed it is forgotten. $3 is now, by this process's clock, since that is the clock which Due is asked with.
const dueNow = "seq = l.seq + 1, due = LEAST(l.due, $3), attempts = 0, parked = false"

// ObserveRequests implements sync.Store.
func (s *store) ObserveRequests(ctx context.Context, requests []sync.Request) error {
	return s.recordRequests(ctx, requests, false)
}

// Recover implements sync.Store.
func (s *store) Recover(ctx context.Context, requests []sync.Request) error {
	return s.recordRequests(ctx, requests, true)
}

// RecoverIssues implements sync.Store.
func (s *store) RecoverIssues(ctx context.Context, issues []sync.Issue, due time.Time, apart time.Duration) error {
	if len(issues) == 0 {
		return nil
	}
	op := fmt.Sprintf("make rows for %d issues", len(issues))
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		var lost documents
		issueIDs, dues := make([]string, len(issues)), make([]time.Time, len(issues))
		for n, issue := range issues {
			id := clean(issue.RequestID)
			issueIDs[n], dues[n] = clean(issue.ID), due.Add(time.Duration(n)*apart)
			if err := lost.add(id, sync.Request{ID: id, State: sync.StatePending}, ""); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO links (scope, request_id, seq, request, state, due, begun, begun_at, suspect_request)
			SELECT DISTINCT ON (c.id) $1, c.id, 1, c.request::json, '', c.due, $3, $2::timestamptz, true
			FROM unnest($4::text[], $5::text[], $6::timestamptz[], $7::text[]) AS c (id, request, due, issue_id)
			WHERE NOT EXISTS (SELECT 1 FROM links WHERE scope = $1 AND links.issue_id = c.issue_id)
			ORDER BY c.id, c.due
			ON CONFLICT DO NOTHING`, s.scope, time.Now(), sync.EffectCreate, lost.ids, lost.contents, dues, issueIDs)
		return err
	})
}

func (s *store) recordRequests(ctx context.Context, requests []sync.Request, recovering bool) error {
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
				if merged, changed := sync.MergeRequest(row.request, seen); changed {
					row.news = append(row.news, sync.DescribeRequest(row.request, merged))
					row.request = merged
				}
			case seen.PastExpiry(time.Now()): // too late for an issue
			case recovering:
				recorded[seen.ID] = &requestRow{id: seen.ID, request: seen, fresh: true, begun: sync.EffectCreate}
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
	begun   string
	news    []string // what is new in a row that there is
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
	var begun []string
	var seen sightings
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		row := rows[id]
		var err error
		switch {
		case row.fresh:
			err = fresh.add(id, row.request, string(row.request.State))
			begun = append(begun, row.begun)
			seen.add(id, "new, "+string(row.request.State))
		case len(row.news) > 0:
			err = changed.add(id, row.request, string(row.request.State))
			seen.add(id, strings.Join(row.news, "; "))
		}
		if err != nil {
			return err
		}
	}
	now := time.Now()
	if len(fresh.ids) > 0 {
		tag, err := tx.Exec(ctx, `
			INSERT INTO links (scope, request_id, seq, request, state, due, begun, begun_at)
			SELECT $1, c.id, 1, c.request::json, c.state, $2::timestamptz, c.begun, CASE WHEN c.begun <> '' THEN $2::timestamptz END
			FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS c (id, request, state, begun)
			ON CONFLICT DO NOTHING`, s.scope, now, fresh.ids, fresh.contents, fresh.extracts, begun)
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
			FROM unnest($2::text[], $4::text[], $5::text[]) AS c (id, request, state)
			WHERE l.scope = $1 AND l.request_id = c.id`, s.scope, changed.ids, now, changed.contents, changed.extracts)
		if err != nil {
			return err
		}
	}
	return s.appendSightings(ctx, tx, sideTeleport, seen, now)
}

// Who said something, in the activity, and that a request is no longer there.
const (
	sideTeleport = "teleport"
	sideJira     = "jira"
	newsGone     = "gone"
)

// sightings are what observers found new, by request.
type sightings struct{ ids, news []string }

func (o *sightings) add(requestID, news string) {
	o.ids, o.news = append(o.ids, requestID), append(o.news, clean(news))
}

// appendSightings appends what one side said to the activity of its requests, and logs it.
func (s *store) appendSightings(ctx context.Context, tx pgx.Tx, side string, seen sightings, now time.Time) error {
	if len(seen.ids) == 0 {
		return nil
	}
	for i, id := range seen.ids {
		s.logSighting(id, side, seen.news[i])
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO activity (scope, request_id, at, epoch, action, outcome, cause, attempt)
		SELECT $1, c.id, $2, $3, 'observe', c.news, $4, 0 FROM unnest($5::text[], $6::text[]) AS c (id, news)`,
		s.scope, now, s.epoch, side, seen.ids, seen.news)
	return err
}

func (s *store) logSighting(requestID, side, news string) {
	s.db.config.Log.Info("observed", zap.String("request_id", requestID), zap.String("side", side), zap.String("news", news))
}

// SuspectRequests implements sync.Store. A row that is suspect already stays as it is: it was made due then, and may wait for its next attempt.
func (s *store) SuspectRequests(ctx context.Context, requestIDs []string) error {
	if len(requestIDs) == 0 {
		return nil
	}
	op := fmt.Sprintf("mark %d requests that may be gone", len(requestIDs))
	_, err := s.write(ctx, op, `
		suspect AS (
			SELECT request_id FROM links
			WHERE scope = $1 AND request_id = ANY($4) AND NOT gone AND NOT suspect_request AND settled_at IS NULL AND `+held+`
			ORDER BY request_id FOR UPDATE),
		hit AS (
			UPDATE links AS l SET suspect_request = true, `+dueNow+`
			FROM suspect WHERE l.scope = $1 AND l.request_id = suspect.request_id RETURNING 1)`, time.Now(), requestIDs)
	return err
}

// ObserveIssues implements sync.Store.
func (s *store) ObserveIssues(ctx context.Context, issues []sync.Issue, cursor time.Time) error {
	switch {
	case len(issues) == 0 && cursor.IsZero():
		return nil
	case len(issues) == 0:
		_, err := s.write(ctx, "raise the cursor", raiseCursor, cursor)
		return err
	}
	op := fmt.Sprintf("record what Jira said of %d issues", len(issues))
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		err := s.recordIssues(ctx, tx, issues)
		if err == nil && !cursor.IsZero() {
			_, err = s.writeBy(ctx, tx, raiseCursor, cursor)
		}
		return err
	})
}

// issueRow is what ObserveIssues knows of a row.
type issueRow struct {
	requestID string
	issueID   string // empty while the row has no issue
	issue     sync.Issue
	strays    []string

	changed bool
	news    []string
	strayed bool // a stray is new
}

// lockIssuesQuery finds the rows that name one of the issues ($2), and those whose request one of the issues names ($3).
const lockIssuesQuery = `
	SELECT request_id, COALESCE(issue_id, ''), issue, strays FROM links
	WHERE scope = $1 AND issue_id = ANY($2) OR scope = $1 AND request_id = ANY($3)
	ORDER BY request_id FOR UPDATE`

// recordIssues merges into the rows that name the issues, wakes those that wait for one, and notes those that have another.
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
		err := r.Scan(&row.requestID, &row.issueID, &issue, &row.strays)
		if issue != nil {
			row.issue = *issue
		}
		return &row, err
	})
	if err != nil {
		return err
	}
	byIssue, byRequest := make(map[string]*issueRow), make(map[string]*issueRow)
	for _, row := range found {
		byRequest[row.requestID] = row
		if row.issueID != "" {
			byIssue[row.issueID] = row
		}
	}
	var woken []string
	for _, seen := range issues {
		row, named := byIssue[seen.ID], byRequest[seen.RequestID]
		switch {
		case row != nil:
			row.merge(seen)
		case named == nil:
		case named.issueID == "":
			woken = append(woken, seen.RequestID)
		case !slices.Contains(named.strays, seen.ID):
			named.strays, named.strayed = append(named.strays, seen.ID), true
			named.news = append(named.news, "issue "+seen.Key+" holds the request's ID, too")
		}
	}
	return s.writeIssues(ctx, tx, found, woken)
}

func (r *issueRow) merge(seen sync.Issue) {
	merged, changed := sync.MergeIssue(r.issue, seen)
	if !changed {
		return
	}
	if news := sync.DescribeIssue(r.issue, merged); news != "" {
		r.news = append(r.news, news)
	}
	r.issue, r.changed = merged, true
}

func (s *store) writeIssues(ctx context.Context, tx pgx.Tx, rows []*issueRow, woken []string) error {
	var changed documents
	var updated []*time.Time
	var seen sightings
	now := time.Now()
	for _, row := range rows {
		if len(row.news) > 0 {
			seen.add(row.requestID, strings.Join(row.news, "; "))
		}
		if row.strayed {
			_, err := tx.Exec(ctx, "UPDATE links AS l SET strays = $4, "+dueNow+" WHERE scope = $1 AND request_id = $2",
				s.scope, row.requestID, now, cleanAll(row.strays))
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
		updated = append(updated, toNull(row.issue.Updated))
	}
	if len(changed.ids) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE links AS l SET issue = c.issue::json, issue_updated = c.updated, `+dueNow+`
			FROM unnest($2::text[], $4::text[], $5::timestamptz[]) AS c (id, issue, updated)
			WHERE l.scope = $1 AND l.request_id = c.id`, s.scope, changed.ids, now, changed.contents, updated)
		if err != nil {
			return err
		}
	}
	if len(woken) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE links SET due = $2 WHERE scope = $1 AND request_id = ANY($3) AND (due IS NULL OR due > $2)`, s.scope, now, woken)
		if err != nil {
			return err
		}
	}
	return s.appendSightings(ctx, tx, sideJira, seen, now)
}

// raiseCursor moves the cursor forward, never back.
const raiseCursor = `
	hit AS (
		INSERT INTO cursors AS c (scope, position) SELECT $1, $3::timestamptz FROM fence
		ON CONFLICT (scope) DO UPDATE SET position = excluded.position WHERE c.position < excluded.position RETURNING 1)`

// SuspectIssues implements sync.Store. A row that is suspect already stays as it is, as in SuspectRequests.
func (s *store) SuspectIssues(ctx context.Context, issueIDs []string) error {
	if len(issueIDs) == 0 {
		return nil
	}
	op := fmt.Sprintf("mark %d issues that may be gone", len(issueIDs))
	_, err := s.write(ctx, op, `
		suspect AS (
			SELECT request_id FROM links
			WHERE scope = $1 AND issue_id = ANY($4) AND NOT suspect_issue AND settled_at IS NULL AND `+held+`
			ORDER BY request_id FOR UPDATE),
		hit AS (
			UPDATE links AS l SET suspect_issue = true, `+dueNow+`
			FROM suspect WHERE l.scope = $1 AND l.request_id = suspect.request_id RETURNING 1)`, time.Now(), issueIDs)
	return err
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
