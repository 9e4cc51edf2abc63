package integration

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
)

// The clocks of processes cannot be set from outside, that of PostgreSQL can be hidden. What
// replicas do whose clocks differ is tested in package db.

// sql runs statements in the system's database.
func (s *system) sql(statements ...string) {
	s.t.Helper()
	ctx := context.WithoutCancel(s.ctx)
	conn, err := pgx.Connect(ctx, s.database)
	require.NoError(s.t, err)
	defer conn.Close(ctx)
	for _, statement := range statements {
		_, err := conn.Exec(ctx, statement)
		require.NoError(s.t, err, statement)
	}
}

// The functions are found before PostgreSQL's own.
func TestAPostgreSQLWhoseClockIsHoursOffDelaysNothing(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]string{"ahead": "5 hours", "behind": "-5 hours"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, on{deployment: jirasim.Cloud, jira: unlimited})
			database, err := pgx.ParseConfig(s.database)
			require.NoError(t, err)
			const offset = "CREATE FUNCTION off.%[1]s() RETURNS timestamptz LANGUAGE sql STABLE " +
				"RETURN pg_catalog.%[1]s() + interval '%[2]s'"
			s.sql("CREATE SCHEMA off", fmt.Sprintf(offset, "now", by), fmt.Sprintf(offset, "clock_timestamp", by),
				"ALTER DATABASE "+database.Database+" SET search_path = off, pg_catalog")
			a := s.start("a", promptly)
			first := s.request()
			issue := s.issueIn(first, "Pending")
			require.Equal(t, 1, s.number(s.database, "SELECT count(*) FROM off.leadership "+
				"WHERE abs(EXTRACT(EPOCH FROM renewed_at - pg_catalog.now())) > 3600"))
			s.stops(a, syscall.SIGTERM)
			s.start("b", promptly)
			require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
			s.settled(first, "approved")
			second := s.request()
			require.NoError(t, s.jira.Move(s.issueIn(second, "Pending").Key, "bob", "Denied"))
			s.settled(second, "denied")
		})
	}
}

func TestAServerWhoseClockLagsDoesNotDelayWhatTheOneBeforePutOff(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud, jira: unlimited})
	a := s.start("a", promptly)
	id := s.request()
	s.issueIn(id, "Pending")
	s.linked(a, id)
	s.stops(a, syscall.SIGTERM)
	// Something is left to do, and was put off by a clock that was an hour ahead of the present
	// one.
	s.sql("UPDATE links SET linked = false, due = now() + interval '1 hour', due_set = now() + interval '1 hour'")

	b := s.start("b", promptly)
	s.linked(b, id)
}
