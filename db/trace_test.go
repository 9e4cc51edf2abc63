package db

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/pgtest"
)

func TestStatementsAreTold(t *testing.T) {
	t.Parallel()
	told := make(chan StatementInfo, 100)
	d, err := Open(t.Context(), Config{
		URL: always(pgtest.URL(t)), Instance: t.Name(), Lease: 10 * time.Second, Log: zap.NewNop(),
		OnStatement: func(s StatementInfo) { told <- s },
	})
	require.NoError(t, err)
	t.Cleanup(d.Close)
	_, err = d.pool.Exec(t.Context(), "SELECT 1") // behind those that set the session up
	require.NoError(t, err)
	for range len(told) {
		s := <-told
		require.NoError(t, s.Err)
		require.Positive(t, s.Duration)
	}
	_, err = d.pool.Exec(t.Context(), "SELECT * FROM nothing")
	require.Error(t, err)
	require.Len(t, told, 1)
	require.Equal(t, err, (<-told).Err)

	var batch pgx.Batch
	batch.Queue("SELECT 1")
	batch.Queue("SELECT 2")
	require.NoError(t, d.pool.SendBatch(t.Context(), &batch).Close())
	require.Len(t, told, 1, "a batch is one round trip")
	require.Positive(t, (<-told).Duration)
}
