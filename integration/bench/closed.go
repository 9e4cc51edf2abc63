package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
)

const (
	// closedLinks are how many requests were settled before; openBeside are those that are not.
	closedLinks, openBeside = 1_000_000, 50
	// rounds is how often each query is asked.
	rounds = 200
)

// closedScope is what the rows of this measurement belong to.
var closedScope = db.Scope{Cluster: "example.teleport.sh", Project: project}

// closedTable is a database with closed and open links.
type closedTable struct {
	db    *db.DB
	store sync.Store
	open  []sync.Link
}

// closed is what a million closed links do to the engine's queries: each is asked of two tables
// that have the same open links, in turns.
func closed(ctx context.Context, b *bench) ([]figure, error) {
	empty, err := b.closedTable(ctx, "empty", 0)
	if err != nil {
		return nil, err
	}
	defer empty.db.Close()
	full, err := b.closedTable(ctx, "full", closedLinks)
	if err != nil {
		return nil, err
	}
	defer full.db.Close()
	var all []figure
	for _, q := range engineQueries() {
		var inEmpty, inFull times
		for n := range rounds {
			for _, side := range []struct {
				table *closedTable
				took  *times
			}{{empty, &inEmpty}, {full, &inFull}} {
				start := time.Now()
				if err := q.ask(ctx, side.table, n); err != nil {
					return nil, fmt.Errorf("%s: %w", q.name, err)
				}
				*side.took = append(*side.took, time.Since(start))
			}
		}
		all = append(all, figure{
			Name:  "1,000,000 closed: " + q.name,
			Value: inFull.quantile(0.5) / inEmpty.quantile(0.5),
			Unit:  "times none closed",
			Bound: new(1.5),
			Note:  fmt.Sprintf("median %.3g ms; with none closed %.3g ms", inFull.quantile(0.5), inEmpty.quantile(0.5)),
		})
	}
	return all, nil
}

// engineQuery is a method of sync.Store that the engine calls again and again. n counts the calls.
type engineQuery struct {
	name string
	ask  func(ctx context.Context, t *closedTable, n int) error
}

func engineQueries() []engineQuery {
	requests := func(t *closedTable) (some []sync.Request) {
		for _, l := range t.open[:10] {
			some = append(some, l.Request)
		}
		return some
	}
	issues := func(t *closedTable) (some []sync.Issue) {
		for _, l := range t.open[:10] {
			some = append(some, l.Issue)
		}
		return some
	}
	long := time.Now().Add(-90 * 24 * time.Hour)
	return []engineQuery{
		{"Due", func(ctx context.Context, t *closedTable, _ int) error {
			_, _, err := t.store.Due(ctx, time.Now(), 16, nil)
			return err
		}},
		{"Open", func(ctx context.Context, t *closedTable, _ int) error {
			_, err := t.store.Open(ctx, "", 500)
			return err
		}},
		{"PendingIssues", func(ctx context.Context, t *closedTable, _ int) error {
			_, _, err := t.store.PendingIssues(ctx, 50)
			return err
		}},
		{"Cursor", func(ctx context.Context, t *closedTable, _ int) error { _, err := t.store.Cursor(ctx); return err }},
		{"ObserveRequests, unchanged", func(ctx context.Context, t *closedTable, _ int) error {
			return t.store.ObserveRequests(ctx, requests(t))
		}},
		{"ObserveIssues, unchanged", func(ctx context.Context, t *closedTable, _ int) error {
			return t.store.ObserveIssues(ctx, issues(t), time.Time{})
		}},
		{"ObserveIssues, one changed", func(ctx context.Context, t *closedTable, _ int) error {
			changed := issues(t)[:1]
			changed[0].Updated = time.Now()
			return t.store.ObserveIssues(ctx, changed, time.Time{})
		}},
		{"RecoverIssues, all known", func(ctx context.Context, t *closedTable, _ int) error {
			return t.store.RecoverIssues(ctx, issues(t), time.Now(), 0)
		}},
		{"Learn, unchanged", func(ctx context.Context, t *closedTable, n int) error {
			l := t.open[n%openBeside]
			_, err := t.store.Learn(ctx, l, sync.Seen{Issue: &l.Issue})
			return err
		}},
		{"Save", func(ctx context.Context, t *closedTable, n int) error {
			_, err := t.store.Save(
				ctx,
				t.open[n%openBeside],
				sync.Activity{At: time.Now(), Action: "check", Outcome: "ok", Cause: "a measurement"},
			)
			return err
		}},
		{"Hints", func(ctx context.Context, t *closedTable, _ int) error {
			_, _, err := t.store.Hints(ctx, 25)
			return err
		}},
		{"Stats", func(ctx context.Context, t *closedTable, _ int) error {
			_, err := t.store.Stats(ctx, time.Now())
			return err
		}},
		{"Prune, nothing old", func(ctx context.Context, t *closedTable, _ int) error {
			_, err := t.store.Prune(ctx, long)
			return err
		}},
	}
}

// closedTable makes a database as this release's migrations do, and fills it.
func (b *bench) closedTable(ctx context.Context, name string, closedRows int) (*closedTable, error) {
	if err := b.postgres.CreateDatabase(ctx, name); err != nil {
		return nil, err
	}
	url := b.postgres.URL(name)
	d, err := db.Open(
		ctx,
		db.Config{URL: func() string { return url }, Instance: "bench", Lease: 10 * time.Second, Log: zap.NewNop()},
	)
	if err != nil {
		return nil, err
	}
	t := &closedTable{db: d, store: d.Store(closedScope, 1)}
	if err := d.Migrate(ctx); err != nil {
		d.Close()
		return nil, err
	}
	if err := askDatabase(ctx, url, func(conn *pgx.Conn) error { return fillClosed(ctx, conn, closedRows) }); err != nil {
		d.Close()
		return nil, err
	}
	if t.open, err = t.store.Open(ctx, "", openBeside); err != nil {
		d.Close()
		return nil, err
	}
	return t, nil
}

func fillClosed(ctx context.Context, conn *pgx.Conn, closedRows int) error {
	scope, now := closedScope.String(), time.Now()
	request, issue := closedFacts(0, now)
	request.State = sync.StateApproved
	for _, statement := range []struct {
		text string
		args []any
	}{
		{"INSERT INTO leadership (name, epoch, term, holder, resigned) VALUES ($1, 1, gen_random_uuid(), 'bench', " +
			"false)", []any{scope}},
		{"INSERT INTO cursors (scope, position) VALUES ($1, now())", []any{scope}},
		{`INSERT INTO links (scope, request_id, seq, request, state, issue, issue_updated, issue_id, issue_key, linked,
			placed, resolved, settled_at)
			SELECT $1, gen_random_uuid()::text, 5, $2::json, 'approved', $3::json, now(), (10000000 + n)::text, 'OPS-' || n,
				true, true, 'approved', now() - n * interval '5 seconds'
			FROM generate_series(1, $4::int) AS n`, []any{scope, request, issue, closedRows}},
		{`INSERT INTO activity (scope, request_id, at, epoch, action, outcome, cause, attempt)
			SELECT scope, request_id, settled_at, 1, 'settle', 'ok', 'both sides say approved', 1 FROM links
				WHERE settled_at IS NOT NULL LIMIT 100000`, nil},
	} {
		if _, err := conn.Exec(ctx, statement.text, statement.args...); err != nil {
			return err
		}
	}
	for n := range openBeside {
		request, issue := closedFacts(n, now)
		_, err := conn.Exec(ctx, `
			INSERT INTO links (scope, request_id, seq, request, state, issue, issue_updated, issue_id, issue_key, linked,
				placed, due)
			VALUES ($1, $2, 3, $3, 'pending', $4, $5, $6, $7, true, true, $8)`,
			scope, request.ID, request, issue, issue.Updated, issue.ID, issue.Key, request.Expires)
		if err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "VACUUM (ANALYZE)")
	return err
}

// closedFacts are what both sides say of the request with a number.
func closedFacts(n int, now time.Time) (sync.Request, sync.Issue) {
	id := fmt.Sprintf("019a0000-0000-7000-8000-%012d", n)
	return sync.Request{
		ID:            id,
		State:         sync.StatePending,
		User:          "alice@example.com",
		Roles:         []string{"db-admin"},
		Reason:        "on call this week",
		Created:       now,
		Expires:       now.Add(10 * time.Hour),
		AccessExpires: now.Add(10 * time.Hour),
	}, sync.Issue{
		ID:        fmt.Sprint(20000 + n),
		Key:       fmt.Sprintf("OPS-9%06d", n),
		Project:   project,
		Type:      "Task",
		Status:    sync.Status{ID: "10301", Name: "Pending"},
		RequestID: id,
		Updated:   now.Truncate(time.Millisecond),
		Archived:  sync.NotArchived,
	}
}
