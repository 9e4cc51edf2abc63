package agent

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// progressRedraw is how often, at most, the line of progress on a terminal is drawn anew.
	progressRedraw = 100 * time.Millisecond
	// progressLine is how often a line is written where there is no terminal.
	progressLine = 5 * time.Second
	// progressBegin is how much of the work is done before an estimate is worth anything.
	progressBegin = 0.02
)

// progress tells how far a long piece of work has come: on a terminal as one line that is drawn
// anew, elsewhere as a line every few seconds. Work that is shorter is told of on a terminal alone.
// It is safe for concurrent use.
type progress struct {
	out      io.Writer
	terminal bool
	what     string
	now      func() time.Time

	mu          sync.Mutex
	began, told time.Time
	drawn       bool
}

func newProgress(out io.Writer, environ []string, what string) *progress {
	now := time.Now()
	return &progress{out: out, terminal: isTerminal(out, environ), what: what, now: time.Now, began: now, told: now}
}

// at tells that so much is done; total is zero where it is not known.
func (p *progress) at(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	every := progressLine
	if p.terminal {
		every = progressRedraw
	}
	if now.Sub(p.told) < every {
		return
	}
	p.told = now
	text := p.what + ": " + tally(done, total, now.Sub(p.began))
	if p.terminal {
		p.drawn = true
		_, _ = fmt.Fprintf(p.out, "\r\x1b[K%s", text) // progress is nothing to fail for
		return
	}
	_, _ = fmt.Fprintln(p.out, text)
}

// end takes the line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		_, _ = io.WriteString(p.out, "\r\x1b[K")
		p.drawn = false
	}
}

// tally says how far the work is, and how long the rest will take if it goes on as it did.
func tally(done, total int, took time.Duration) string {
	if total == 0 {
		return fmt.Sprint(done)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d", done, total)
	part := float64(done) / float64(total)
	if part >= progressBegin && done < total {
		rest := time.Duration(float64(took) * (1 - part) / part)
		b.WriteString(", about " + length(rest) + " to go")
	}
	return b.String()
}
