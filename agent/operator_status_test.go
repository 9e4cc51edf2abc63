package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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

func TestExplain_TimelineIsNeverNull(t *testing.T) {
	t.Parallel()
	require.NotNil(t, (&story{}).timeline())
}
