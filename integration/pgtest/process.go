package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// account is the user that PostgreSQL runs as; nil is the user of this process.
type account struct{ uid, gid int }

// unprivileged returns another account to run as if this process is root, for PostgreSQL refuses to
// run as root.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(found.Uid)
		gid, errGID := strconv.Atoi(found.Gid)
		if errUID == nil && errGID == nil {
			return &account{uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and this machine has neither a user postgres nor " +
		"nobody: run as an ordinary user, or set TEST_DATABASE_URL")
}

func (a *account) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true}
	if a != nil {
		attributes.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attributes
}

// own gives a folder and all that is in it to the account.
func (a *account) own(dir string) error {
	if a == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, a.uid, a.gid)
		}
		if err != nil {
			return fmt.Errorf("give PostgreSQL's files to its user: %w", err)
		}
		return nil
	})
}

// postmaster is a running server process.
type postmaster struct {
	process *os.Process
	exited  chan struct{} // closed once it has ended

	paused []int // the processes that pause has stopped
}

// readyLine is what the server logs once it takes connections, a standby read-only ones;
// lc_messages=C keeps it in English.
const readyLine = "database system is ready to accept"

// launch starts the server and waits until it says that it is ready.
func launch(ctx context.Context, cmd *exec.Cmd, log io.Writer) (*postmaster, error) {
	if log == nil {
		log = io.Discard
	}
	output, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &postmaster{process: cmd.Process, exited: make(chan struct{})}
	var last tail
	ready := make(chan struct{})
	go func() {
		defer close(p.exited)
		lines := bufio.NewScanner(io.TeeReader(output, io.MultiWriter(&last, log)))
		for announced := false; lines.Scan(); {
			if !announced && strings.Contains(lines.Text(), readyLine) {
				announced = true
				close(ready)
			}
		}
		io.Copy(log, output) //nolint:errcheck // after a line too long for the scanner the rest is only drained
		cmd.Wait()           //nolint:errcheck // how it ended is in its log
	}()

	select {
	case <-ready:
		return p, nil
	case <-p.exited:
		return nil, describe(errors.New("the server ended at once"), last.String())
	case <-ctx.Done():
		p.signal(syscall.SIGQUIT) //nolint:errcheck // it is being given up
		return nil, describe(ctx.Err(), last.String())
	}
}

func (p *postmaster) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *postmaster) signal(s syscall.Signal) error {
	if err := p.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *postmaster) stop(ctx context.Context, s syscall.Signal) error {
	if err := errors.Join(p.resume(), p.signal(s)); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause stops the parent first, so that no process is added while the others are looked up over an
// open session.
func (p *postmaster) pause(ctx context.Context, databaseURL string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.PgConn().Conn().Close() // a frozen backend would not take part in a proper close
	if err := p.freeze(p.process.Pid); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity")
	if err != nil {
		return errors.Join(err, p.resume())
	}
	children, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return errors.Join(err, p.resume())
	}
	for _, pid := range children {
		if err := p.freeze(pid); err != nil {
			return errors.Join(err, p.resume())
		}
	}
	return nil
}

func (p *postmaster) freeze(pid int) error {
	err := syscall.Kill(pid, syscall.SIGSTOP)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("freeze process %d: %w", pid, err)
	}
	p.paused = append(p.paused, pid)
	return nil
}

func (p *postmaster) resume() error {
	var errs []error
	for _, pid := range p.paused {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("resume process %d: %w", pid, err))
		}
	}
	p.paused = nil
	return errors.Join(errs...)
}

// watchdogScript waits for the end of its input, which comes when the process that started it ends.
// Then it stops the server whose directory is $1, frozen or not, and removes the directory. It
// waits for the server's own sign of its end: in a container without a reaper a process that ended
// can be seen for ever.
const watchdogScript = `
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
	kill -QUIT "$pid"
	kill -CONT "$pid"
	for child in $(ps -A -o pid=,ppid= | awk -v parent="$pid" '$2 == parent { print $1 }'); do kill -CONT "$child"; done
	waited=0
	while [ -e "$1/data/postmaster.pid" ] && [ "$waited" -lt 100 ]; do sleep 0.1; waited=$((waited + 1)); done
fi 2>/dev/null
rm -rf "$1"
`

// watchdog is the far end of the pipe at which the script waits.
type watchdog struct {
	pipe  io.Closer
	ended chan struct{}
}

func watch(dir string, a *account) (*watchdog, error) {
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "pgtest-watchdog", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = a.attributes()
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL's watchdog: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL's watchdog: %w", err)
	}
	w := &watchdog{pipe: pipe, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		cmd.Wait() //nolint:errcheck // it reports nothing
	}()
	return w, nil
}

// Close lets the script do its work, and waits for its end.
func (w *watchdog) Close() error {
	w.pipe.Close() // closing a pipe twice is all that can fail
	<-w.ended
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailSize is enough for the lines in which a program says why it gave up.
const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
