package db

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jackc/pgx/v5"
)

// TestQueries_UseIndexesBesideManyClosedRows asks PostgreSQL how it would run the queries of the
// hot paths.
func TestQueries_UseIndexesBesideManyClosedRows(t *testing.T) {
	t.Parallel()
	d, _ := newStore(t)
	exec(t, d, `INSERT INTO links (scope, request_id, seq, request, state, issue_id, issue, issue_updated, settled_at)
		SELECT $1, 'closed' || n, 3, '{}', 'approved', 'c' || n, '{}', now(), now() FROM generate_series(1, 100000) AS n`,
		board.String())
	exec(t, d, `INSERT INTO links (scope, request_id, seq, request, state, issue_id, due, parked)
		SELECT $1, 'open' || n, 3, '{}', 'pending', 'o' || n, now() + n * interval '1 second', n % 10 = 0
			FROM generate_series(-50, 50) AS n`, board.String())
	exec(
		t,
		d,
		`INSERT INTO hints (scope, issue_id, due) SELECT $1, issue_id, now() + interval '1 hour' FROM links`,
		board.String(),
	)
	exec(t, d, "UPDATE hints SET due = now() WHERE issue_id LIKE 'o%'")
	exec(t, d, "ANALYZE links, hints")

	ids := []string{"open1", "open2", "closed3"}
	for name, test := range map[string]struct {
		query string
		args  []any
		index string
	}{
		"due":            {dueQuery, []any{board.String(), time.Duration(0), ids, 16}, "links_due"},
		"next due":       {nextDueQuery, []any{board.String(), time.Duration(0), ids}, "links_due"},
		"open":           {openQuery, []any{board.String(), "open2", 500}, "links_open"},
		"pending issues": {pendingIssuesQuery, []any{board.String(), 50}, "links_pending"},
		"any pending":    {anyPendingQuery, []any{board.String()}, "links_pending"},
		"issues":         {issuesQuery + forUpdate, []any{board.String(), ids, ids}, "links_issue"},
		"requests":       {requestsQuery, []any{board.String(), ids}, "links_pkey"},
		"any rowless":    {anyRowlessQuery, []any{board.String(), ids, ids}, "links_issue"},
		"due hints":      {dueHintsQuery, []any{board.String(), 10}, "hints_due"},
		"next hint":      {nextHintQuery, []any{board.String()}, "hints_due"},
		"any old":        {anyOldQuery, []any{board.String(), time.Now().Add(-time.Hour), -time.Hour}, "links_settled"},
		"prune": {
			fenceCTE + ", " + pruneQuery + " SELECT count(*) FROM hit",
			[]any{board.String(), int64(1), time.Now().Add(-time.Hour), -time.Hour},
			"links_settled",
		},
		"stats":  {statsQuery, []any{board.String(), time.Duration(0)}, "links_parked"},
		"hasten": {hastenLinksQuery, []any{board.String(), setBackBy}, "links_due"},
	} {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			plan := explain(t, d, mode, "EXPLAIN "+test.query, test.args...)
			require.Contains(t, plan, test.index, "%s, %s:\n%s", name, mode, plan)
			// Of leadership there is one row for each scope.
			others := strings.ReplaceAll(plan, "Seq Scan on leadership", "")
			require.NotContains(t, others, "Seq Scan", "%s, %s:\n%s", name, mode, plan)
		}
	}
}

// TestDue_ReadsNoMoreThanItReturnsHoweverManyRowsAreDue counts the rows that PostgreSQL takes into
// its hands.
func TestDue_ReadsNoMoreThanItReturnsHoweverManyRowsAreDue(t *testing.T) {
	t.Parallel()
	d, _ := newStore(t)
	exec(t, d, `INSERT INTO links (scope, request_id, seq, request, state, due, urgent)
		SELECT $1, 'open' || n, 3, '{}', 'pending', now() + (n - 50000) * interval '1 second', n % 10 = 0
			FROM generate_series(1, 55000) AS n`, board.String())
	exec(t, d, "VACUUM ANALYZE links")
	const limit = 16
	skip := []string{"open1", "open10", "open20", "closed"}
	rows := regexp.MustCompile(`actual rows=([0-9.]+) loops=|Rows Removed by [A-Za-z ]+: ([0-9]+)`)
	for name, test := range map[string]struct {
		query string
		args  []any
	}{
		"due":      {dueQuery, []any{board.String(), time.Duration(0), skip, limit}},
		"next due": {nextDueQuery, []any{board.String(), time.Duration(0), skip}},
	} {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			plan := explain(t, d, mode, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) "+test.query, test.args...)
			require.Equal(t, 2, strings.Count(plan, "using links_due"), "%s, %s:\n%s", name, mode, plan)
			counted := rows.FindAllStringSubmatch(plan, -1)
			require.NotEmpty(t, counted, plan)
			for _, match := range counted {
				n, err := strconv.ParseFloat(match[1]+match[2], 64)
				require.NoError(t, err)
				require.LessOrEqual(t, n, 2.0*limit, "%s, %s:\n%s", name, mode, plan)
			}
		}
	}
}

// explain returns what PostgreSQL says of how it runs a query.
func explain(t *testing.T, d *DB, mode, query string, args ...any) string {
	t.Helper()
	conn, err := d.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "SELECT set_config('plan_cache_mode', $1, false)", mode)
	require.NoError(t, err)
	rows, err := conn.Query(t.Context(), query, args...)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}
