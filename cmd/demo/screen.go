package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Escape sequences of ECMA-48, "select graphic rendition".
const (
	reset   = "\x1b[0m"
	bold    = "\x1b[1m"
	dim     = "\x1b[2m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	blue    = "\x1b[34m"
	magenta = "\x1b[35m"
	cyan    = "\x1b[36m"
)

const (
	// whoWidth fits the longest name of a speaker, "Teleport".
	whoWidth = 8
	// margin is where the text of a line begins: after "  12.3s  Teleport  ".
	margin = 9 + whoWidth + 2
	// lineWidth keeps lines readable, and whole on a terminal that is not narrower.
	lineWidth = 110
)

// screen prints lines of what happens, each with the seconds since the start and who it is about.
// It is safe for concurrent use.
type screen struct {
	colour bool
	began  time.Time

	said bell // at each line of the story

	mu    sync.Mutex
	out   io.Writer
	story []storyLine // how the story goes on; of a long one only the end
	lines int         // how many lines the story has had
}

// storyLine is a line of the story as the page shows it.
type storyLine struct {
	Number int       `json:"number"` // from 1
	At     time.Time `json:"at"`
	Who    string    `json:"who"` // empty: a title
	Text   string    `json:"text"`
}

// keptLines is how much of the story is kept for the page.
const keptLines = 80

func newScreen(out io.Writer, colour bool) *screen {
	return &screen{out: out, colour: colour, began: time.Now()}
}

// coloured reports whether escape sequences may be written to the file: to a terminal whose user
// does not object.
func coloured(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// title prints a line that stands by itself.
func (s *screen) title(text string) {
	s.keep("", text)
	s.print("\n" + s.paint(bold, text) + "\n\n")
}

// say prints a line of the story.
func (s *screen) say(who, text string) {
	s.keep(who, text)
	clock := fmt.Sprintf("%6.1fs", time.Since(s.began).Seconds())
	name := fmt.Sprintf("%-*s", whoWidth, who)
	s.print(s.paint(dim, clock) + "  " + s.paint(colourOf(who), name) + "  " + wrap(text) + "\n")
}

func (s *screen) keep(who, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines++
	s.story = append(s.story, storyLine{Number: s.lines, At: time.Now(), Who: who, Text: text})
	s.story = s.story[max(0, len(s.story)-keptLines):]
	s.said.ring()
}

// kept is the end of the story.
func (s *screen) kept() []storyLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]storyLine{}, s.story...)
}

// print writes text as it is. A reader who has gone away is no reason to stop before everything is
// cleaned up.
func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.out, text)
}

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return colour + text + reset
}

func colourOf(who string) string {
	switch who {
	case "Jira":
		return blue
	case "Teleport":
		return magenta
	case "agent 1":
		return green
	case "agent 2":
		return cyan
	}
	return yellow
}

// wrap breaks a text between words and indents what follows the first line.
func wrap(text string) string {
	var b strings.Builder
	column := margin
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", margin))
			column = margin
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
