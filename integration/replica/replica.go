// Package replica builds the agent's binary and runs it as a process of its own, for tests and the
// demo.
//
// A Replica is what an operator has: a process with an environment, signals, an exit code, an admin
// listener and a log. All waiting is for lines of its log or for its end, never for time to pass. A
// process that is still running when Close is called is killed.
package replica

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Build compiles the agent of the module that the working directory is in and returns the binary's
// path inside dir. flags are added to go build, such as "-race".
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	path := filepath.Join(dir, "teleport-jira-agent")
	args := append([]string{"build", "-o", path}, flags...)
	out, err := exec.CommandContext(ctx, "go", append(args, "teleport-jira-agent/cmd/teleport-jira-agent")...).
		CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// Line is one line of a replica's JSON log; Fields is nil for a line that is none, such as a
// configuration problem.
type Line struct {
	Text   string
	Fields map[string]any
}

// Is reports whether the line has the message and, in pairs after it, fields with these values.
func (l Line) Is(message string, pairs ...string) bool {
	if l.Fields["msg"] != message {
		return false
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if fmt.Sprint(l.Fields[pairs[i]]) != pairs[i+1] {
			return false
		}
	}
	return true
}

// Replica is a started process.
type Replica struct {
	Name string
	cmd  *exec.Cmd

	mu      sync.Mutex
	lines   []Line
	changed chan struct{} // closed at the next line, or at the end
	ended   bool
	done    chan struct{}
}

// Start runs the binary's start command with exactly this environment. onLine, if not nil, is told
// each line of the log.
func Start(name, binary string, env []string, onLine func(Line)) (*Replica, error) {
	return Run(name, binary, env, onLine, "start")
}

// Run is Start with a command line of the caller's. Its log is what it writes to standard output
// and standard error.
func Run(name, binary string, env []string, onLine func(Line), args ...string) (*Replica, error) {
	r := &Replica{Name: name, cmd: exec.Command(binary, args...), changed: make(chan struct{}), done: make(chan struct{})}
	r.cmd.Env = env
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at a terminal is for the caller alone
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.cmd.Stdout, r.cmd.Stderr = write, write
	if err := r.cmd.Start(); err != nil {
		return nil, errors.Join(err, read.Close(), write.Close())
	}
	write.Close()
	go r.read(read, onLine)
	return r, nil
}

func (r *Replica) read(log io.ReadCloser, onLine func(Line)) {
	defer log.Close()
	lines := bufio.NewReader(log)
	for {
		text, err := lines.ReadString('\n')
		if text = strings.TrimSuffix(text, "\n"); text != "" {
			line := Line{Text: text}
			_ = json.Unmarshal([]byte(text), &line.Fields) // a line that is no JSON has no fields
			if onLine != nil {
				onLine(line)
			}
			r.mu.Lock()
			r.lines = append(r.lines, line)
			r.tell()
			r.mu.Unlock()
		}
		if err != nil {
			break
		}
	}
	_ = r.cmd.Wait() // the exit code is kept in ProcessState
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.tell()
	close(r.done)
}

// tell wakes all who wait. The caller holds mu.
func (r *Replica) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Lines is the log so far.
func (r *Replica) Lines() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines[:len(r.lines):len(r.lines)]
}

// Log is the log so far, as text.
func (r *Replica) Log() string {
	var b strings.Builder
	for _, line := range r.Lines() {
		b.WriteString(line.Text + "\n")
	}
	return b.String()
}

// WaitLine waits for a line that matches, the past ones included, and returns the first. It fails
// when the process ends without one.
func (r *Replica) WaitLine(ctx context.Context, match func(Line) bool) (Line, error) {
	for next := 0; ; {
		r.mu.Lock()
		lines, changed, ended := r.lines, r.changed, r.ended
		r.mu.Unlock()
		for ; next < len(lines); next++ {
			if match(lines[next]) {
				return lines[next], nil
			}
		}
		if ended {
			return Line{}, fmt.Errorf("%s ended without the line", r.Name)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Line{}, fmt.Errorf("%s: no such line: %w", r.Name, ctx.Err())
		}
	}
}

// WaitLog is WaitLine by message and fields.
func (r *Replica) WaitLog(ctx context.Context, message string, pairs ...string) (Line, error) {
	line, err := r.WaitLine(ctx, func(l Line) bool { return l.Is(message, pairs...) })
	if err != nil {
		return line, fmt.Errorf("%q %v: %w", message, pairs, err)
	}
	return line, nil
}

// AdminURL waits until the admin listener is open and returns its base URL.
func (r *Replica) AdminURL(ctx context.Context) (string, error) {
	line, err := r.WaitLog(ctx, "admin listener")
	if err != nil {
		return "", err
	}
	return "http://" + fmt.Sprint(line.Fields["addr"]), nil
}

// Get asks the admin listener.
func (r *Replica) Get(ctx context.Context, path string) (code int, body string, err error) {
	base, err := r.AdminURL(ctx)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// PID is the process's number.
func (r *Replica) PID() int { return r.cmd.Process.Pid }

// Signal sends a signal. A process that has ended takes none, which is no error.
func (r *Replica) Signal(s os.Signal) error {
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", r.Name, err)
	}
	return nil
}

// Wait waits for the end and returns the exit code, -1 for a process that a signal killed.
func (r *Replica) Wait(ctx context.Context) (code int, err error) {
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s still runs: %w", r.Name, ctx.Err())
	}
}

// Stop asks the process to end with SIGTERM and waits for it.
func (r *Replica) Stop(ctx context.Context) (code int, err error) {
	if err := r.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return r.Wait(ctx)
}

// Kill ends the process with SIGKILL, without a last word, and waits until it is gone.
func (r *Replica) Kill() {
	_ = r.Signal(syscall.SIGKILL) // it is gone already if this fails
	<-r.done
}
