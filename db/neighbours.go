package db

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// neighbourTime is after how long without a sign of its leader an agent counts as gone.
const neighbourTime = time.Hour

// Neighbour is another agent that works on the same Teleport cluster. Both take up every request of
// it.
type Neighbour struct {
	Scope  Scope
	Holder string // the replica that led last
}

// NeighboursRemedy is what to do about neighbours.
const NeighboursRemedy = "let one agent serve each Teleport cluster, with as many replicas as you like: " +
	"each agent takes up every request of its cluster. Stop the other one"

// String says who it is and what that means.
func (n Neighbour) String() string {
	return fmt.Sprintf("another agent works on the Teleport cluster %s, for the project %s (replica %s)",
		n.Scope.Cluster, n.Scope.Project, n.Holder)
}

// Neighbours are the agents of other projects in this database that lead for the same cluster, or
// did within the last hour and did not resign.
func (d *DB) Neighbours(ctx context.Context, scope Scope) (all []Neighbour, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.callTime)
	defer cancel()
	all, err = neighbours(ctx, d.pool, scope)
	return all, failure("look for other agents of the cluster "+scope.Cluster, err)
}

func neighbours(ctx context.Context, by querier, scope Scope) (all []Neighbour, err error) {
	rows, err := by.Query(ctx, `
		SELECT name, holder FROM leadership
		WHERE starts_with(name, $1 || '/') AND name <> $2 AND NOT resigned
			AND renewed_at > now() - $3::interval ORDER BY name`,
		scope.Cluster, scope.String(), neighbourTime)
	if err != nil {
		return nil, err
	}
	all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (n Neighbour, err error) {
		var name string
		err = row.Scan(&name, &n.Holder)
		n.Scope = Scope{Cluster: scope.Cluster, Project: strings.TrimPrefix(name, scope.Cluster+"/")}
		return n, err
	})
	return all, err
}
