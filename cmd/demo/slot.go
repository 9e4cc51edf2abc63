package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"teleport-jira-agent/integration/replica"
)

// slot is the place of one replica. Its name and its log file stay, while processes in it are
// killed, frozen and started again. A frozen process takes no signal but SIGCONT and SIGKILL, so
// whatever ends it thaws or kills it.
type slot struct {
	name  string
	world *world

	// acting is held by whoever starts, stops or freezes the process, which may take seconds.
	acting sync.Mutex
	closed bool

	mu      sync.Mutex // guards what follows, for a moment each time
	process *process   // the newest; nil before the first
}

// process is one life of a replica.
type process struct {
	*replica.Replica
	told   chan struct{} // closed once the end has been told
	frozen bool          // guarded by slot.mu
}

// running reports whether the process has not ended yet. A frozen one runs.
func (p *process) running() bool {
	select {
	case <-p.told:
		return false
	default:
		return true
	}
}

// now is the newest process and whether it runs, and is frozen.
func (s *slot) now() (p *process, running, frozen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil, false, false
	}
	running = s.process.running()
	return s.process, running, running && s.process.frozen
}

// start starts a process in a slot without one.
func (s *slot) start() error {
	s.acting.Lock()
	defer s.acting.Unlock()
	return s.launch()
}

// launch is start for who holds acting.
func (s *slot) launch() error {
	if s.closed {
		return fmt.Errorf("start %s: the demo is ending", s.name)
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", s.name, err)
	}
	agent, err := replica.Start(s.name, s.world.binary, s.world.environ(), func(l replica.Line) {
		fmt.Fprintln(log, l.Text)
		s.world.logged.add(s.name, l)
		s.world.story.agentSays(s.name, l)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", s.name, err), log.Close())
	}
	p := &process{Replica: agent, told: make(chan struct{})}
	go func() {
		code, _ := agent.Wait(context.Background()) // fails only if the context ends
		_ = log.Close()                             // every line was written when it came
		s.world.story.agentEnded(s.name, code)
		close(p.told)
		s.world.logged.changed.ring()
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = p
	return nil
}

// kill ends the process with SIGKILL, frozen or not.
func (s *slot) kill() error {
	return s.signal(syscall.SIGKILL, false)
}

// freeze stops the process where it is, as a machine that stands still would: its connections stay
// open, and nothing answers.
func (s *slot) freeze() error {
	return s.signal(syscall.SIGSTOP, true)
}

// thaw lets a frozen process go on.
func (s *slot) thaw() error {
	return s.signal(syscall.SIGCONT, false)
}

func (s *slot) signal(signal syscall.Signal, frozen bool) error {
	s.acting.Lock()
	defer s.acting.Unlock()
	p, running, was := s.now()
	switch {
	case !running:
		return fmt.Errorf("%s does not run: start it first", s.name)
	case signal == syscall.SIGSTOP && was:
		return fmt.Errorf("%s is frozen already", s.name)
	case signal == syscall.SIGCONT && !was:
		return fmt.Errorf("%s is not frozen", s.name)
	}
	if err := p.Signal(signal); err != nil {
		return err
	}
	s.mu.Lock()
	p.frozen = frozen
	s.mu.Unlock()
	switch signal {
	case syscall.SIGKILL:
		<-p.told
	case syscall.SIGSTOP:
		s.world.screen.say(s.name, "is frozen: it keeps its connections and answers nothing")
	default:
		s.world.screen.say(s.name, "is thawed, and goes on where it stood")
	}
	return nil
}

// restart ends the process, if one runs, and starts another.
func (s *slot) restart() error {
	s.acting.Lock()
	defer s.acting.Unlock()
	if err := s.end(); err != nil {
		return err
	}
	return s.launch()
}

// close ends the process for good.
func (s *slot) close() error {
	s.acting.Lock()
	defer s.acting.Unlock()
	s.closed = true
	return s.end()
}

// end asks the process to end, and kills it if it does not.
func (s *slot) end() error {
	p, running, frozen := s.now()
	if !running {
		return nil
	}
	defer func() { <-p.told }()
	if frozen {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			return err
		}
		s.mu.Lock()
		p.frozen = false
		s.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	_, err := p.Stop(ctx)
	if err != nil {
		p.Kill()
	}
	return err
}

func (s *slot) logFile() string {
	return filepath.Join(s.world.dir, strings.ReplaceAll(s.name, " ", "-")+".log")
}

// logLine is a line that a replica has logged.
type logLine struct {
	agent string
	at    time.Time
	replica.Line
}

// agentLog is what all replicas have logged, in all their lives.
type agentLog struct {
	changed bell // at each line, and at each end of a process

	mu    sync.Mutex
	lines []logLine
}

func (l *agentLog) add(agent string, line replica.Line) {
	l.mu.Lock()
	l.lines = append(l.lines, logLine{agent: agent, at: time.Now(), Line: line})
	l.mu.Unlock()
	l.changed.ring()
}

// all are the lines so far.
func (l *agentLog) all() []logLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[:len(l.lines):len(l.lines)]
}

// bell wakes all who wait for something to change. The zero bell is ready.
type bell struct {
	mu   sync.Mutex
	rung chan struct{}
}

// next is closed when the bell rings the next time.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}
