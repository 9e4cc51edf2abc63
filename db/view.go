package db

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/sync"
)

// View is what the agents keep of one scope, for people who ask without leading; all times are the
// server's, but those of Jira and Teleport. It reads, and marks rows for the leader to take up
// (mark.go); it never does the leader's work.
type View struct {
	db    *DB
	scope Scope
}

// View returns the view of a scope.
func (d *DB) View(scope Scope) *View { return &View{db: d, scope: scope} }

// Overview is how a scope stands at one moment. Its times are by the server's clock, but the
// cursor, which is by Jira's.
type Overview struct {
	Now time.Time
	// Epoch, Holder and Since are those of the latest term; Epoch is zero where nobody has led yet.
	// A term that Resigned is over.
	Epoch    int64
	Holder   string
	Since    time.Time
	Resigned bool
	// Led: a session holds the leader's lock at this moment.
	Led bool
	// Replicas are the instances that stand by or lead.
	Replicas []string
	// Cursor is the latest time, by Jira's clock, up to which all is recorded; zero before the
	// first poll.
	Cursor time.Time
	Loops  []Loop
	sync.Stats
	// Delayed are rows that failed and are tried again later; those that are not are Parked in
	// Stats.
	Delayed int
}

// Loop is how one of the leader's loops goes.
type Loop struct {
	Name    string
	Epoch   int64 // of the leader who said so
	Problem string
	Since   time.Time
}

// delayed are rows of which something failed that is to be tried again, which then are due some
// time: also settled ones, whose issue was moved since. What a dry run leaves undone did not fail.
var delayed = fmt.Sprintf(
	"due IS NOT NULL AND (parked OR last_error <> '' AND NOT starts_with(last_error, '%s'))",
	sync.DryRunError,
)

// Scopes are those of a Jira project that an agent has led: one for each Teleport cluster whose
// requests it shows, nearly always one. Project keys have no slash.
func (d *DB) Scopes(ctx context.Context, project string) (all []Scope, err error) {
	op := "find the clusters of project " + project
	err = (&View{db: d}).read(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT name FROM leadership WHERE right(name, length($1) + 1) = '/' || $1 ORDER BY "+
			"name", project)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Scope, error) {
			name, err := pgx.RowTo[string](row)
			return Scope{Cluster: strings.TrimSuffix(name, "/"+project), Project: project}, err
		})
		return err
	})
	return all, err
}

// read runs do in one transaction that writes nothing, with the tables of this release.
func (v *View) read(ctx context.Context, op string, do func(context.Context, pgx.Tx) error) error {
	return v.within(ctx, op, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, do)
}

func (v *View) within(
	ctx context.Context,
	op string,
	options pgx.TxOptions,
	do func(context.Context, pgx.Tx) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, v.db.callTime)
	defer cancel()
	return failure(op, pgx.BeginTxFunc(ctx, v.db.pool, options, func(tx pgx.Tx) error {
		_, newest, err := embedded()
		if err != nil {
			return err
		}
		switch version, err := schemaVersion(ctx, tx); {
		case err != nil:
			return err
		case version == 0:
			return ErrNoSchema
		case version < newest:
			return fmt.Errorf("%w (their version is %d, this program's %d)", ErrOlderSchema, version, newest)
		case version > newest:
			return fmt.Errorf("%w (its version is %d, this program's %d)", ErrNewerSchema, version, newest)
		}
		return do(ctx, tx)
	}))
}

// advisory picks the advisory locks of a key with two halves ($2, $3) out of pg_locks.
// https://www.postgresql.org/docs/current/view-pg-locks.html
const advisory = `locktype = 'advisory' AND granted AND classid = $2::int4::oid
	AND objid = $3::int4::oid AND objsubid = 2
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

const overviewQuery = `
	SELECT COALESCE(l.epoch, 0), COALESCE(l.holder, ''), l.acquired_at, COALESCE(l.resigned, false), c.position,
		EXISTS (SELECT 1 FROM pg_locks WHERE ` + advisory + `),
		(SELECT count(*) FROM links WHERE scope = $1 AND NOT parked AND %s)
	FROM (SELECT $1::text AS name) AS s LEFT JOIN leadership AS l USING (name) LEFT JOIN cursors AS c ON c.scope = s.name`

// Overview tells how the scope stands.
func (v *View) Overview(ctx context.Context) (o Overview, err error) {
	err = v.read(ctx, "read how "+v.scope.String()+" stands", func(ctx context.Context, tx pgx.Tx) error {
		if err := v.counts(ctx, tx, &o); err != nil {
			return err
		}
		rows, err := tx.Query(
			ctx,
			"SELECT loop, epoch, problem, since FROM conditions WHERE scope = $1 ORDER BY loop",
			v.scope.String(),
		)
		if err != nil {
			return err
		}
		if o.Loops, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Loop]); err != nil {
			return err
		}
		rows, err = tx.Query(ctx, `
			SELECT DISTINCT substr(application_name, length($1) + 1) FROM pg_stat_activity JOIN pg_locks USING (pid)
			WHERE datname = current_database() AND starts_with(application_name, $1) AND `+advisory+` ORDER BY 1`,
			application+"/", memberClass, v.scope.number())
		if err != nil {
			return err
		}
		o.Replicas, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return o, err
}

// counts reads the parts of an overview that are one row each.
func (v *View) counts(ctx context.Context, tx pgx.Tx, o *Overview) error {
	var since, cursor *time.Time
	err := tx.QueryRow(ctx, fmt.Sprintf(overviewQuery, delayed), v.scope.String(), lockClass, v.scope.number()).
		Scan(&o.Epoch, &o.Holder, &since, &o.Resigned, &cursor, &o.Led, &o.Delayed)
	if err != nil {
		return err
	}
	o.Stats, o.Now, err = reading(byServer).scanStats(tx.QueryRow(ctx, statsQuery, v.scope.String(), time.Duration(0)))
	o.Now, o.Since, o.Cursor = o.Now.UTC(), fromNull(since), fromNull(cursor)
	return err
}

// CommandInstance begins the instance name (Config.Instance) of a process that is no replica but an
// operator's command.
const CommandInstance = "command "

// Queue returns the parked and the delayed rows, those that are tried again soonest first; at most
// limit, all where that is zero.
func (v *View) Queue(ctx context.Context, limit int) ([]sync.Link, error) {
	query := "SELECT " + linkColumns + " FROM links WHERE scope = $1 AND " + delayed + " ORDER BY parked, due, request_id"
	if limit > 0 {
		query += fmt.Sprintf(" LIMIT %d", limit)
	}
	return v.links(ctx, "read the parked and delayed requests", query)
}

// Find returns the row of a request by its ID, or by the key or the id of its issue. Without one
// the error is sync.ErrNotFound.
func (v *View) Find(ctx context.Context, name string) (sync.Link, error) {
	op := fmt.Sprintf("find %q among the requests of %s", name, v.scope)
	for _, where := range []string{
		"request_id = $2", "issue_key <> '' AND issue_key = upper($2)",
		"issue_id = $2", "upper(issue ->> 'key') = upper($2)",
	} {
		found, err := v.links(
			ctx,
			op,
			"SELECT "+linkColumns+" FROM links WHERE scope = $1 AND "+where+" ORDER BY settled_at DESC NULLS FIRST LIMIT 1",
			name,
		)
		switch {
		case err != nil:
			return sync.Link{}, err
		case len(found) > 0:
			return found[0], nil
		}
	}
	return sync.Link{}, failure(op, sync.ErrNotFound)
}

// Of returns the rows of requests by their IDs.
func (v *View) Of(ctx context.Context, requestIDs []string) ([]sync.Link, error) {
	return v.links(ctx, "read the rows of requests", "SELECT "+linkColumns+` FROM links
		WHERE scope = $1 AND request_id = ANY($2) ORDER BY request_id`, list(requestIDs))
}

// Open returns up to limit unsettled rows in order of request ID, those after the given one.
func (v *View) Open(ctx context.Context, after string, limit int) ([]sync.Link, error) {
	return v.links(ctx, "read the open requests", openQuery, after, limit)
}

// links runs a query for whole rows whose $1 is the scope.
func (v *View) links(ctx context.Context, op, query string, args ...any) (found []sync.Link, err error) {
	err = v.read(ctx, op, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, append([]any{v.scope.String()}, args...)...)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, reading(byServer).scanLink)
		return err
	})
	return found, err
}

// Record is a line of a request's activity, with the term that it was written in.
type Record struct {
	sync.Activity
	Epoch int64
}

// Activity returns what was seen and done about a request, in order.
func (v *View) Activity(ctx context.Context, requestID string) (all []Record, err error) {
	err = v.read(ctx, "read the activity of request "+requestID, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT at, action, outcome, cause, attempt, epoch FROM activity WHERE scope = $1 AND "+
			"request_id = $2 ORDER BY id", v.scope.String(), requestID)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Record, err error) {
			err = row.Scan(&a.At, &a.Action, &a.Outcome, &a.Cause, &a.Attempt, &a.Epoch)
			return a, err
		})
		return err
	})
	return all, err
}
