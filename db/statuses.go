package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// sawQuery is one statement. A name that was seen before keeps its first time; the last one follows
// Jira's clock wherever that goes.
const sawQuery = `
	hit AS (
		INSERT INTO statuses AS s (scope, status_id, name, first_seen, last_seen)
		SELECT $1, seen.id, seen.name, $3, $3 FROM fence, unnest($4::text[], $5::text[]) AS seen (id, name)
		ON CONFLICT (scope, status_id, name) DO UPDATE SET last_seen = excluded.last_seen RETURNING 1)`

const namesQuery = "SELECT status_id, name, first_seen, last_seen FROM statuses WHERE scope = $1 ORDER BY " +
	"status_id, last_seen"

// SawStatuses implements sync.Store. It writes only what changed who is called how: a name that is
// still the last one of its status keeps its time.
func (s *store) SawStatuses(
	ctx context.Context,
	statuses []sync.Status,
	at time.Time,
) (names sync.StatusNames, err error) {
	const op = "record the names of statuses"
	if names, err = s.statusNames(ctx, op); err != nil {
		return nil, err
	}
	var ids, news []string
	for _, status := range statuses {
		id, name := clean(status.ID), clean(status.Name)
		if id != "" && !names.Latest(id, name) {
			ids, news = append(ids, id), append(news, name)
		}
	}
	if len(ids) == 0 {
		return names, nil
	}
	if _, err := s.write(ctx, op, sawQuery, at, ids, news); err != nil {
		return nil, err
	}
	return s.statusNames(ctx, op)
}

func (s *store) statusNames(ctx context.Context, op string) (names sync.StatusNames, err error) {
	err = s.read(ctx, op, func(batch *pgx.Batch) {
		batch.Queue(namesQuery, s.scope).Query(func(rows pgx.Rows) (err error) {
			names, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (n sync.StatusName, err error) {
				err = r.Scan(&n.ID, &n.Name, &n.First, &n.Last)
				n.First, n.Last = n.First.UTC(), n.Last.UTC()
				return n, err
			})
			return err
		})
	})
	return names, err
}
