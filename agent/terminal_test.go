package agent

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/db"
)

func TestTextOfOthersCannotCommandATerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":                             "plain",
		"\x1b[31mred\x1b[0m \a":             "[31mred[0m",
		"two\nlines\tand\u00a0more":         "two lines and more",
		"right\u202eleft \u200bzero":        "rightleft zero",
		"refused: &#42;bold&#42; &amp; all": "refused: *bold* & all",
		"&#27;[2J":                          "[2J",
		"broken \xff utf":                   "broken \uFFFD utf",
	} {
		require.Equal(t, want, legible(text), "%q", text)
	}
	require.Equal(t, "abc…", brief("abcdef", 4))
	require.Equal(t, "abcd", brief("abcd", 4))
}

func TestNoTextOnAPageCommandsTheTerminal(t *testing.T) {
	t.Parallel()
	const evil = "\x1b]0;mine\a\x1b[31m\u009b2J\u202e\r\nnext"
	var out bytes.Buffer
	term := newTerminal(&out, nil)
	term.queue([]requestReport{{RequestID: evil, IssueKey: evil, State: "parked", Error: evil}}, time.Now())
	d := disagreement{
		RequestID: evil,
		IssueKey:  evil,
		Teleport:  evil,
		Jira:      evil,
		Steps:     []stepReport{{Action: evil, Cause: evil}},
		Verdict:   evil,
		Error:     evil,
	}
	term.reconciliation(reconciliation{Disagreements: []disagreement{d}, Led: true}, db.Overview{Holder: "host/1"})
	term.explanation(explanation{
		RequestID: evil,
		Teleport:  teleportReport{State: evil, User: evil, Reason: evil, ResolveReason: evil, URL: evil},
		Jira: &jiraReport{
			Key:    evil,
			Status: evil,
			URL:    evil,
		},
		Mapping:     mappingReport{State: evil, LastError: evil},
		Verdict:     evil,
		Next:        nextReport{What: evil, Steps: []stepReport{{Action: evil, Cause: evil}}},
		Unavailable: []string{evil},
		Timeline:    []timelineReport{{Source: evil, Who: evil, What: evil}},
	}, time.Now())
	text := out.String()
	for _, refused := range []string{"\x1b", "\a", "\r", "\u009b", "\u202e", "\nnext"} {
		require.NotContains(t, text, refused, text)
	}
	require.Contains(t, text, "next")
}

func TestTablesAreAlignedWithAndWithoutColour(t *testing.T) {
	t.Parallel()
	rows := [][]cell{{{"a", red}, {"b", dim}}, {{"wide ✓", plainPaint}, {"c", green}}, {{}, {"", bold}}}
	var out bytes.Buffer
	(&terminal{out: &out}).table(rows)
	require.Equal(t, "a       b\nwide ✓  c\n\n", out.String())
	out.Reset()
	(&terminal{out: &out, colour: true}).table(rows)
	require.Contains(t, out.String(), "\x1b[31ma\x1b[0m       \x1b[2mb\x1b[0m\nwide ✓  \x1b[32mc\x1b[0m\n")
}

func TestColourIsForTerminalsWhoseUserDoesNotObject(t *testing.T) {
	t.Parallel()
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	require.NoError(t, err)
	defer device.Close()
	require.True(t, newTerminal(device, []string{"TERM=xterm", "NO_COLOR="}).colour)
	require.False(t, newTerminal(device, []string{"TERM=xterm", "NO_COLOR=1"}).colour)
	require.False(t, newTerminal(device, []string{"TERM=dumb"}).colour)
	require.False(t, newTerminal(&bytes.Buffer{}, nil).colour)
	require.True(t, newProgress(device, []string{"TERM=xterm", "NO_COLOR=1"}, "comparing").terminal)
	require.False(t, newProgress(device, []string{"TERM=dumb"}, "comparing").terminal, "it would show the escapes")
}

func TestTimesAreToldInTheUnitThatPeopleUse(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		0: "now", 999 * time.Millisecond: "now", -999 * time.Millisecond: "now", time.Second: "1 s ago",
		-1500 * time.Millisecond: "in 2 s",
		119 * time.Second:        "119 s ago", 2 * time.Minute: "2 min ago", 119*time.Minute + 59*time.Second: "119 min ago",
		-2 * time.Hour:                "in 2 h",
		47*time.Hour + 59*time.Minute: "47 h ago", 48 * time.Hour: "2 d ago", -24 * 90 * time.Hour: "in 90 d",
	} {
		require.Equal(t, want, since(now.Add(-ago), now))
	}
	require.Equal(t, "never", since(time.Time{}, now))
}

func TestProgressIsALineEveryFewSecondsWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Now()
	p := newProgress(&out, nil, "comparing requests")
	p.now = func() time.Time { return now }
	p.began, p.told = now, now
	p.at(1, 100)
	require.Empty(t, out.String(), "work that takes no time is not told of")
	now = now.Add(progressLine)
	p.at(10, 100)
	p.at(11, 100)
	require.Equal(t, "comparing requests: 10 of 100, about 45 s to go\n", out.String())
	p.end()
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func TestProgressOnATerminalIsOneLineThatGoesAway(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Now()
	p := newProgress(&out, nil, "step")
	p.terminal, p.now = true, func() time.Time { return now }
	p.began, p.told = now, now
	for n := range 3 {
		now = now.Add(progressRedraw)
		p.at(n, 3)
	}
	p.end()
	require.NotContains(t, out.String(), "\n")
	require.True(t, strings.HasSuffix(out.String(), "\r\x1b[K"))
	require.Contains(t, out.String(), "step: 2 of 3, about 1 s to go")
}
