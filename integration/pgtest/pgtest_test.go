package pgtest_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/heldport"
	"teleport-jira-agent/integration/pgtest"
)

// victimEnv tells a copy of this test binary to start a server, say where, and wait to be killed.
const victimEnv = "PGTEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victimEnv) == "" {
		os.Exit(m.Run())
	}
	server, err := pgtest.Start(context.Background(), pgtest.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(server.URL("postgres"))
	select {}
}

func TestURL_GivesEachTestADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	first, second := connect(t, pgtest.URL(t)), connect(t, pgtest.URL(t))
	_, err := first.Exec(ctx, "CREATE TABLE mine ()")
	require.NoError(t, err)

	var exists bool
	require.NoError(t, second.QueryRow(ctx, "SELECT to_regclass('mine') IS NOT NULL").Scan(&exists))
	require.False(t, exists)
}

//nolint:tparallel // what follows the inner test is to run after it
func TestURL_DropsTheDatabaseWhenTheTestEnds(t *testing.T) {
	t.Parallel()
	var inner string
	t.Run("inner", func(t *testing.T) {
		inner = pgtest.URL(t)
		connect(t, inner) // still connected when the test ends
	})
	_, err := pgx.Connect(t.Context(), inner)
	require.ErrorContains(t, err, "does not exist")
}

func TestServer_KeepsPortAndDataThroughStopAndStart(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]pgtest.Mode{"fast": pgtest.Fast, "immediate": pgtest.Immediate} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			server := start(t)
			require.NoError(t, server.CreateDatabase(ctx, "board"))
			before := server.URL("board")
			_, err := connect(t, before).Exec(ctx, "CREATE TABLE kept ()")
			require.NoError(t, err)

			require.NoError(t, server.Stop(ctx, mode))
			_, err = pgx.Connect(ctx, before)
			require.Error(t, err, "a stopped server takes no connections")
			require.NoError(t, server.Start(ctx))
			require.Error(t, server.Start(ctx), "it is running already")
			_, err = connect(t, before).Exec(ctx, "TABLE kept")
			require.NoError(t, err)

			require.NoError(t, server.Restart(ctx, mode))
			require.Equal(t, before, server.URL("board"))
			connect(t, before)
		})
	}
}

func TestServer_AnswersNobodyWhilePaused(t *testing.T) {
	t.Parallel()
	server := start(t)
	open := connect(t, server.URL("postgres"))
	require.NoError(t, server.Pause(t.Context()))

	answer := make(chan error, 1)
	go func() {
		_, err := open.Exec(context.Background(), "SELECT 1")
		answer <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := pgx.Connect(ctx, server.URL("postgres"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, answer, "an open session hangs too")

	require.NoError(t, server.Resume())
	require.NoError(t, <-answer)
}

func TestServer_CanBeClosedWhilePaused(t *testing.T) {
	t.Parallel()
	server := start(t)
	require.NoError(t, server.Pause(t.Context()))
	require.NoError(t, server.Close())
	_, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.ErrorContains(t, err, "refused")
}

func TestServer_EndsWithTheProcessThatStartedIt(t *testing.T) {
	t.Parallel()
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), victimEnv+"=1", "TMPDIR="+sharedTempDir(t))
	out, err := victim.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, victim.Start())
	var line string
	_, err = fmt.Fscanln(out, &line)
	require.NoError(t, err)
	conn := connect(t, line)
	var dir string
	require.NoError(t, conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&dir))

	require.NoError(t, victim.Process.Kill())
	victim.Wait() //nolint:errcheck // it was killed

	_, err = conn.WaitForNotification(t.Context())
	require.Error(t, err, "the session ends with the server")
	address, err := url.Parse(line)
	require.NoError(t, err)
	var held *heldport.Port // once the server is gone, so that nobody else answers there
	require.Eventually(t, func() bool {
		if held == nil {
			held, _ = heldport.At(address.Host)
		}
		_, dialErr := pgx.Connect(t.Context(), line)
		_, statErr := os.Stat(strings.TrimSuffix(dir, "/data"))
		return dialErr != nil && strings.Contains(dialErr.Error(), "refused") && os.IsNotExist(statErr)
	}, 20*time.Second, 50*time.Millisecond, "server at %s and its files in %s must be gone", address.Host, dir)
}

// sharedTempDir is a directory that the unprivileged user may enter, unlike those of t.TempDir.
func sharedTempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "pgtest-victim-") //nolint:usetesting // see above
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func start(t *testing.T) *pgtest.Server {
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

func connect(t *testing.T, databaseURL string) *pgx.Conn {
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
