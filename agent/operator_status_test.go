package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
)

func TestStatus_TellsTheLeaderFromStandbysWithSimilarNames(t *testing.T) {
	t.Parallel()
	standby := func(holder string, replicas ...string) string {
		return standbyRow(statusReport{Leader: &termReport{Holder: holder}, Replicas: replicas})[1].text
	}
	require.Equal(t, "host/12", standby("host/123", "host/12", "host/123"))
	require.Equal(t, "none", standby("host/12", "host/12"))
	long := strings.Repeat("h", cutName) + "/1"
	require.Equal(t, "none", standby(long, long[:cutName]), "PostgreSQL cuts long names")
}

// The leader polled until it stopped just now, and nothing had changed in Jira for days.
func TestStatus_DoesNotClaimThatAStoppedLeaderHadNotReadJira(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	o := db.Overview{
		Now: now, Epoch: 3, Since: now.Add(-50 * time.Hour), Cursor: now.Add(-49 * time.Hour),
		Loops: []db.Loop{{Name: sync.LoopPoll, Epoch: 3, Since: now.Add(-50 * time.Hour)}},
	}
	require.Contains(
		t,
		cursorRow(newStatusReport(db.Scope{}, o, nil))[1].text,
		"Jira is not read, since nobody leads, for 2 d at the most;",
	)
	o.Led, o.Loops[0].Problem = true, "down"
	require.Contains(t, cursorRow(newStatusReport(db.Scope{}, o, nil))[1].text, "Jira has not been read for 2 d;")
}

func TestExplain_TimelineIsNeverNull(t *testing.T) {
	t.Parallel()
	require.NotNil(t, (&story{}).timeline())
}
