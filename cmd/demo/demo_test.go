package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/replica"
)

// output keeps what the demo prints, and calls seen once the text has appeared in it.
type output struct {
	text string
	seen func()

	mu      sync.Mutex
	printed bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.printed.Write(p)
	if o.seen != nil && strings.Contains(o.printed.String(), o.text) {
		o.seen()
		o.seen = nil
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.printed.String()
}

func TestDemo(t *testing.T) {
	t.Parallel()
	agent, err := replica.Build(t.Context(), t.TempDir())
	require.NoError(t, err)

	t.Run("tells each way that a request ends, and leaves nothing behind", func(t *testing.T) {
		t.Parallel()
		out := new(output)
		w := &world{screen: newScreen(out, false)}
		require.NoError(t, show(t.Context(), w, options{agent: agent, once: true}), out)
		require.DirExists(t, w.dir)
		require.NoError(t, w.close())
		requireNothingLeft(t, w)

		story := strings.Join(strings.Fields(out.String()), " ")
		require.NotContains(t, story, "\x1b")
		require.NotContains(t, story, "error: ")
		for _, told := range []string{
			"agent 1 leads",
			"agent 2 stands by",
			`Teleport alice@example.com asks for db-admin: "on call this week"`,
			"Jira the agent makes issue OPS-1",
			"Jira bob moves OPS-1 from Pending to Approved",
			`db-admin is approved by jira-agent on behalf of jira:bob@example.com, "covers the night shift"`,
			"agent 1 is done with OPS-1: both sides say approved",
			"Teleport dave@example.com reviews carol's request for prod-root: denied",
			"Jira the agent moves OPS-2 from Pending to Denied",
			"agent 1 is done with OPS-2: both sides say denied",
			"the expiry service deletes erin's request for backup-reader",
			"Jira the agent moves OPS-3 from Pending to Expired",
			"agent 1 is done with OPS-3: both sides say expired",
			"all three requests have ended",
			"agent 1 has stopped with exit code 0",
			"agent 2 has stopped with exit code 0",
		} {
			at := strings.Index(story, told)
			require.GreaterOrEqual(t, at, 0, "%q is not told, or too early, in:\n%s", told, out)
			if !strings.Contains(told, "has stopped") { // the agents stop in no certain order
				story = story[at:]
			}
		}
	})

	t.Run("stays up with an invitation until it is interrupted", func(t *testing.T) {
		t.Parallel()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		out := &output{text: "Everything stays up until Ctrl-C", seen: interrupt}
		require.NoError(t, run(ctx, out, options{agent: agent}), out)
		page := regexp.MustCompile(`Open (http://127\.0\.0\.1:\d+/) in a browser`).FindStringSubmatch(out.String())
		require.Len(t, page, 2, out)
		require.Equal(t, 2, strings.Count(out.String(), page[1]), "at the start and at the end of the tour")
		for _, told := range []string{"/rest/api/2/issue/OPS-1", "/readyz", "/metrics", "psql ", "has stopped with exit " +
			"code 0"} {
			require.Contains(t, out.String(), told)
		}
	})

	t.Run("cleans up when it is interrupted in the middle", func(t *testing.T) {
		t.Parallel()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		out := &output{text: "issue OPS-1", seen: interrupt}
		w := &world{screen: newScreen(out, false)}
		require.ErrorIs(t, show(ctx, w, options{agent: agent, once: true, pace: time.Hour}), context.Canceled)
		require.NoError(t, w.close())
		requireNothingLeft(t, w)
	})
}

func TestFailureSaysWhatAndShowsTheLogs(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "agent")
	require.NoError(t, os.WriteFile(broken, []byte("#!/bin/sh\necho out of order >&2\nexit 3\n"), 0o700))
	out := new(output)
	require.Error(t, run(t.Context(), out, options{agent: broken, once: true}))
	require.Contains(t, out.String(), "The demo failed: an agent does not come up")
	require.Contains(t, out.String(), "has stopped with exit code 3")
	require.Contains(t, out.String(), "The last lines of the log of agent 1:\n  out of order\n")
}

func requireNothingLeft(t *testing.T, w *world) {
	t.Helper()
	require.NoDirExists(t, w.dir)
	require.Len(t, w.slots, 2)
	for _, s := range w.slots {
		agent, _, _ := s.now()
		code, err := agent.Wait(t.Context())
		require.NoError(t, err)
		require.Zero(t, code)
	}
}
