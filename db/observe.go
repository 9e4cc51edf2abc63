package db

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// dueNow is what an observation that changed a fact does to the queue: the row is due at once,
// unless it already was, and whatever delayed it is forgotten.
const dueNow = "seq = l.seq + 1, due = LEAST(l.due, now()), due_set = now(), attempts = 0, parked = false"

// ObserveRequests implements sync.Store.
func (s *store) ObserveRequests(ctx context.Context, requests []sync.Request) error {
	return s.recordRequests(ctx, requests, false)
}

// Recover implements sync.Store.
func (s *store) Recover(ctx context.Context, requests []sync.Request) error {
	return s.recordRequests(ctx, requests, true)
}

// recordRequests looks first, since most of what is seen is known: only what is new is worth a
// lock, behind which the rows are read again.
func (s *store) recordRequests(ctx context.Context, requests []sync.Request, recovering bool) error {
	if len(requests) == 0 {
		return nil
	}
	op := fmt.Sprintf("record what Teleport said of %d requests", len(requests))
	ids := make([]string, len(requests))
	for i, r := range requests {
		ids[i] = r.ID
	}
	var known map[string]*requestRow
	err := s.read(ctx, op, func(batch *pgx.Batch) {
		batch.Queue(requestsQuery, s.scope, ids).Query(func(rows pgx.Rows) (err error) {
			known, err = requestRows(rows)
			return err
		})
	})
	if err != nil || !mergeRequests(known, requests, recovering) {
		return err
	}
	return s.fenced(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, requestsQuery+forUpdate, s.scope, ids)
		if err != nil {
			return err
		}
		recorded, err := requestRows(rows)
		if err != nil {
			return err
		}
		mergeRequests(recorded, requests, recovering)
		return s.writeRequests(ctx, tx, recorded)
	})
}

// mergeRequests merges what was seen into the rows, and adds those that are to be made. It reports
// whether that is anything new.
func mergeRequests(recorded map[string]*requestRow, requests []sync.Request, recovering bool) (news bool) {
	for _, seen := range requests {
		row, ok := recorded[seen.ID]
		switch {
		case ok:
			merged, changed := sync.MergeRequest(row.request, seen)
			back := row.gone && !row.suspect && seen.State == sync.StatePending
			switch {
			case back: // it may be an old word; the worker asks
				row.suspect = true
				row.news = append(row.news, "seen again")
			case changed:
				row.news = append(row.news, sync.DescribeRequest(row.request, merged))
			default:
				continue
			}
			row.request = merged
		case recovering:
			recorded[seen.ID] = &requestRow{id: seen.ID, request: seen, fresh: true, begun: sync.EffectCreate}
		case seen.State == sync.StatePending:
			recorded[seen.ID] = &requestRow{id: seen.ID, request: seen, fresh: true}
		default:
			continue
		}
		news = true
	}
	return news
}

// requestRow is what ObserveRequests knows of a row.
type requestRow struct {
	id      string
	request sync.Request
	gone    bool // it is concluded that Teleport no longer has it
	suspect bool
	fresh   bool // there is no such row yet
	begun   string
	news    []string // what is new in a row that there is
}

// Rows that are observed are read in one order, in which they are locked too.
const (
	requestsQuery = "SELECT request_id, request, gone, suspect_request FROM links WHERE scope = $1 AND request_id = " +
		"ANY($2) ORDER BY request_id"
	forUpdate = " FOR UPDATE"
)

func requestRows(rows pgx.Rows) (map[string]*requestRow, error) {
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (*requestRow, error) {
		var row requestRow
		err := r.Scan(&row.id, &row.request, &row.gone, &row.suspect)
		return &row, err
	})
	recorded := make(map[string]*requestRow, len(found))
	for _, row := range found {
		recorded[row.id] = row
	}
	return recorded, err
}

// writeRequests writes rows in the order of their IDs, as they were locked.
func (s *store) writeRequests(ctx context.Context, tx pgx.Tx, rows map[string]*requestRow) error {
	var fresh, changed documents
	var begun, suspect []string
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
		if row.suspect {
			suspect = append(suspect, id)
		}
	}
	if len(fresh.ids) > 0 {
		tag, err := tx.Exec(ctx, `
			INSERT INTO links (scope, request_id, seq, request, state, due, due_set, begun, begun_at)
			SELECT $1, c.id, 1, c.request::json, c.state, now(), now(), c.begun, CASE WHEN c.begun <> '' THEN now() END
			FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS c (id, request, state, begun)
			ON CONFLICT DO NOTHING`, s.scope, fresh.ids, fresh.contents, fresh.extracts, begun)
		if err != nil {
			return err
		}
		if tag.RowsAffected() < int64(len(fresh.ids)) {
			return errConflict // another observer made the row meanwhile; what it saw has to be merged
		}
	}
	if len(changed.ids) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE links AS l SET request = c.request::json, state = c.state,
				suspect_request = l.suspect_request OR l.request_id = ANY($5), `+dueNow+`
			FROM unnest($2::text[], $3::text[], $4::text[]) AS c (id, request, state)
			WHERE l.scope = $1 AND l.request_id = c.id`, s.scope, changed.ids, changed.contents, changed.extracts, list(suspect))
		if err != nil {
			return err
		}
	}
	return s.appendSightings(ctx, tx, sideTeleport, seen)
}

// Who said something, in the activity.
const (
	sideTeleport = "teleport"
	sideJira     = "jira"
)

// sightings are what observers found new, by request.
type sightings struct{ ids, news []string }

func (o *sightings) add(requestID, news string) {
	o.ids, o.news = append(o.ids, requestID), append(o.news, clean(news))
}

// appendSightings appends what one side said to the activity of its requests, and logs it.
func (s *store) appendSightings(ctx context.Context, tx pgx.Tx, side string, seen sightings) error {
	if len(seen.ids) == 0 {
		return nil
	}
	for i, id := range seen.ids {
		s.logSighting(id, side, seen.news[i])
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO activity (scope, request_id, at, epoch, action, outcome, cause, attempt)
		SELECT $1, c.id, now(), $2, 'observe', c.news, $3, 0 FROM unnest($4::text[], $5::text[]) AS c (id, news)`,
		s.scope, s.epoch, side, seen.ids, seen.news)
	return err
}

func (s *store) logSighting(requestID, side, news string) {
	s.db.config.Log.Info(
		"observed",
		zap.String("request_id", requestID),
		zap.String("side", side),
		zap.String("news", news),
	)
}

// SuspectRequests implements sync.Store. A row that is suspect already stays as it is: it was made
// due then, and may wait for its next attempt.
func (s *store) SuspectRequests(ctx context.Context, requestIDs []string) error {
	if len(requestIDs) == 0 {
		return nil
	}
	op := fmt.Sprintf("mark %d requests that may be gone", len(requestIDs))
	_, err := s.write(ctx, op, `
		suspect AS (
			SELECT request_id FROM links
			WHERE scope = $1 AND request_id = ANY($3) AND NOT gone AND NOT suspect_request AND settled_at IS NULL AND `+held+`
			ORDER BY request_id FOR UPDATE),
		hit AS (
			UPDATE links AS l SET suspect_request = true, `+dueNow+`
			FROM suspect WHERE l.scope = $1 AND l.request_id = suspect.request_id RETURNING 1)`, requestIDs)
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
