package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// logged is what a logger with this configuration, but for the output, writes to its file.
func logged(t *testing.T, c LogConfig, write func(*zap.Logger)) []byte {
	t.Helper()
	c.Output = filepath.Join(t.TempDir(), "agent.log")
	log, err := NewLogger(c)
	require.NoError(t, err)
	write(log)
	require.NoError(t, log.Sync())
	content, err := os.ReadFile(c.Output)
	require.NoError(t, err)
	return content
}

func TestLogIsOneJSONObjectPerLineAndHasNoStack(t *testing.T) {
	t.Parallel()
	content := logged(t, LogConfig{Severity: "info", Format: "json"}, func(log *zap.Logger) {
		log.Debug("below the severity")
		log.Error(
			"call failed",
			zap.String("issue_key", "ACCESS-1"),
			zap.Error(errors.New("boom")),
			zap.Duration("after", 90*time.Second),
		)
	})
	require.Equal(t, 1, bytes.Count(content, []byte("\n")))
	var line map[string]any
	require.NoError(t, json.Unmarshal(content, &line))
	at, err := time.Parse("2006-01-02T15:04:05.000Z0700", fmt.Sprint(line["ts"]))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	delete(line, "ts")
	require.Equal(
		t,
		map[string]any{"level": "error", "msg": "call failed", "issue_key": "ACCESS-1", "error": "boom", "after": "1m30s"},
		line,
	)
}

func TestConsoleLogIsForPeople(t *testing.T) {
	t.Parallel()
	content := logged(
		t,
		LogConfig{Severity: "debug", Format: "console"},
		func(log *zap.Logger) { log.Debug("polled", zap.Int("issues", 3)) },
	)
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\S+\tDEBUG\tpolled\t\{"issues": 3\}\n$`, string(content))
}

func TestLogFileIsAppendedTo(t *testing.T) {
	t.Parallel()
	path := write(t, "agent.log", "before\n")
	log, err := NewLogger(LogConfig{Output: path, Severity: "info", Format: "json"})
	require.NoError(t, err)
	log.Info("after")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, `^before\n.*"after".*\n$`, string(content))
}

func TestUnwritableLogFileIsAProblemOfItsVariable(t *testing.T) {
	t.Parallel()
	_, err := NewLogger(LogConfig{Output: "/nowhere/agent.log", Severity: "info", Format: "json"})
	var all Problems
	require.ErrorAs(t, err, &all)
	require.EqualError(
		t,
		err,
		"LOG_OUTPUT: cannot be written: open /nowhere/agent.log: no such file or directory; example: stderr",
	)
}
