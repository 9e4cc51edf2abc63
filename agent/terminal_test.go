package agent

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
	require.False(t, newTerminal(new(bytes.Buffer), nil).colour)
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer file.Close()
	require.False(t, newTerminal(file, nil).colour)
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	require.NoError(t, err)
	defer device.Close()
	require.True(t, newTerminal(device, []string{"TERM=xterm", "NO_COLOR="}).colour)
	require.False(t, newTerminal(device, []string{"NO_COLOR=1"}).colour)
	require.False(t, newTerminal(device, []string{"TERM=dumb"}).colour)
}

func TestTimesAreToldAsPeopleTellThem(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "now", 300 * time.Millisecond: "now", 90 * time.Second: "in 90 s", 3 * time.Minute: "in 3 min", 5 * time.Hour: "in 5 h", 72 * time.Hour: "in 3 d",
		-3 * time.Second: "3 s ago", -100 * time.Hour: "4 d ago",
	} {
		require.Equal(t, want, since(now.Add(d), now))
	}
	require.Equal(t, "never", since(time.Time{}, now))
}

func TestProgressIsALineEveryFewSecondsWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Now()
	p := newProgress(&out, "comparing requests")
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
	p := newProgress(&out, "step")
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
