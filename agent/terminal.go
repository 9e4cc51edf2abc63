package agent

import (
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// paint is an escape sequence of ECMA-48, "select graphic rendition"; empty: none.
type paint string

const (
	plainPaint paint = ""
	bold       paint = "\x1b[1m"
	dim        paint = "\x1b[2m"
	red        paint = "\x1b[31m"
	green      paint = "\x1b[32m"
	yellow     paint = "\x1b[33m"
	paintReset       = "\x1b[0m"
)

// terminal writes for people: aligned, with times as they are told, and coloured only where the
// output is a terminal whose user does not object (https://no-color.org). What other people wrote
// is shown without its control characters, which a terminal would obey.
type terminal struct {
	out    io.Writer
	colour bool
	err    error // the first that out had; nothing is written after it
}

func newTerminal(out io.Writer, environ []string) *terminal {
	colour := isTerminal(out, environ)
	for _, variable := range environ {
		if name, value, _ := strings.Cut(variable, "="); name == "NO_COLOR" && value != "" {
			colour = false
		}
	}
	return &terminal{out: out, colour: colour}
}

// isTerminal reports whether the output is a terminal that obeys escape sequences.
func isTerminal(out io.Writer, environ []string) bool {
	file, ok := out.(*os.File)
	if !ok || slices.Contains(environ, "TERM=dumb") {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (t *terminal) print(text string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.out, text)
	}
}

func (t *terminal) printf(format string, args ...any) { t.print(fmt.Sprintf(format, args...)) }

func (t *terminal) painted(p paint, text string) string {
	if !t.colour || p == plainPaint {
		return text
	}
	return string(p) + text + paintReset
}

// title begins a part of the page.
func (t *terminal) title(text string) { t.print("\n" + t.painted(bold, text) + "\n") }

// cell is one place of a table.
type cell struct {
	text  string
	paint paint
}

// table writes rows in columns, each as wide as its widest cell; the last one is left as long as it
// is.
func (t *terminal) table(rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for n, c := range row {
			c.text = harmless(c.text)
			row[n] = c
			if n == len(widths) {
				widths = append(widths, 0)
			}
			widths[n] = max(widths[n], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for n, c := range row {
			b.WriteString(t.painted(c.paint, c.text))
			if n < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[n]-utf8.RuneCountInString(c.text)+2))
			}
		}
		t.print(strings.TrimRight(b.String(), " ") + "\n")
	}
}

// legible makes one line of a text that somebody else wrote, perhaps in Jira's markup with the
// references that the agent itself writes there.
func legible(text string) string {
	return strings.Join(strings.Fields(harmless(html.UnescapeString(text))), " ")
}

// harmless is a text without what a terminal would obey, line breaks among that: also IDs and names
// of statuses are other people's words.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// brief is legible text within a width in characters.
func brief(text string, width int) string {
	runes := []rune(legible(text))
	if len(runes) <= width {
		return string(runes)
	}
	return string(runes[:width-1]) + "…"
}

// clock is a moment as logs and Teleport tell it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// since says how long ago a moment was, or in how long it will be.
func since(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 0 && -d < time.Second, d >= 0 && d < time.Second:
		return "now"
	case d < 0:
		return "in " + length(-d)
	}
	return length(d) + " ago"
}

// length is a duration in the unit that people would use.
func length(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= 2*unit.size {
			return fmt.Sprintf("%.0f %s", math.Floor(float64(d)/float64(unit.size)), unit.name)
		}
	}
	return fmt.Sprintf("%.0f s", math.Ceil(d.Seconds()))
}
