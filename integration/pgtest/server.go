package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"

	"teleport-jira-agent/integration/heldport"
)

// Options are what a caller may want different about a server.
type Options struct {
	// Settings are added to the server's, as name and value.
	Settings map[string]string
	// Log receives the server's log; nil discards it.
	Log io.Writer
}

// Mode is how a server is stopped.
type Mode syscall.Signal

const (
	// Fast ends all sessions and shuts down in good order.
	Fast = Mode(syscall.SIGINT)
	// Immediate is a crash: the server recovers from its log when it starts again.
	Immediate = Mode(syscall.SIGQUIT)
)

// superuser is the role that the server is created with.
const superuser = "postgres"

// Server is a PostgreSQL server that this process started. Its methods are safe for concurrent use.
type Server struct {
	options  Options
	dir      string // all its files
	bin      string
	port     *heldport.Port
	password string
	account  *account
	primary  *Server   // the one whose standby this was made as; nil: none
	watchdog io.Closer // closing it ends the watchdog, which stops the server and removes dir

	mu      sync.Mutex
	process *postmaster // nil while it is stopped
}

// Start creates a server and returns once it takes connections. Close it when done; otherwise it
// ends with this process.
func Start(ctx context.Context, options Options) (_ *Server, err error) {
	s := &Server{options: options, password: randomHex(16)}
	if s.account, err = unprivileged(); err != nil {
		return nil, err
	}
	if err := s.found(); err != nil {
		return nil, err
	}
	if err := s.create(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Standby creates a hot standby of the server, which follows it until it is promoted (SELECT
// pg_promote()) or closed. The server is stopped while its files are copied. Close the standby
// first.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	standby := &Server{options: s.options, password: s.password, account: s.account, bin: s.bin, primary: s}
	if err := standby.found(); err != nil {
		return nil, err
	}
	if err := standby.copy(ctx); err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// copy makes the files of a standby out of its primary's and starts it.
func (s *Server) copy(ctx context.Context) error {
	if err := s.primary.Stop(ctx, Fast); err != nil {
		return err
	}
	err := errors.Join(os.CopyFS(s.data(), os.DirFS(s.primary.data())),
		os.Chmod(s.data(), 0o700),
		os.WriteFile(filepath.Join(s.data(), "standby.signal"), nil, 0o600), s.account.own(s.dir))
	if err != nil {
		return fmt.Errorf("copy PostgreSQL's files: %w", err)
	}
	if err := s.primary.Start(ctx); err != nil {
		return err
	}
	return s.Start(ctx)
}

// found makes the directory of a server, the watchdog that removes it, and holds its port.
func (s *Server) found() (err error) {
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return fmt.Errorf("create a directory for PostgreSQL: %w", err)
	}
	if err := s.account.own(s.dir); err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	if s.watchdog, err = watch(s.dir, s.account); err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	if s.port, err = heldport.Any(); err != nil {
		return errors.Join(err, s.watchdog.Close())
	}
	return nil
}

// create makes the database cluster and starts it.
func (s *Server) create(ctx context.Context) (err error) {
	if s.bin, err = binaries(ctx, s.dir); err != nil {
		return err
	}
	passwordFile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(s.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write PostgreSQL's password file: %w", err)
	}
	if err := s.account.own(s.dir); err != nil {
		return err
	}
	initdb := s.command(ctx, "initdb", "--pgdata", s.data(), "--username", superuser, "--pwfile", passwordFile,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	var output tail
	initdb.Stdout, initdb.Stderr = &output, &output
	if err := initdb.Run(); err != nil {
		return fmt.Errorf("create a PostgreSQL cluster with %s: %w", initdb.Path, describe(err, output.String()))
	}
	return s.Start(ctx)
}

// URL returns the URL of one of the server's databases, as its superuser. A new server has the
// database "postgres".
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port.Number())), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// CreateDatabase creates an empty database.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// Start starts a stopped server again, on the same port and with the same data, and returns once it
// takes connections. The port is held while the server is stopped.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil && !s.process.ended() {
		return errors.New("start PostgreSQL: it is running")
	}
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(s.port.Number()), "unix_socket_directories": "",
		"fsync": "off", "full_page_writes": "off", // commits still outlive a killed server, though not a killed machine
		"max_connections": "300", "shared_buffers": "64MB", "max_wal_size": "1GB", "lc_messages": "C",
	}
	if s.primary != nil {
		settings["primary_conninfo"] = fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s",
			s.primary.port.Number(), superuser, s.password)
	}
	for name, value := range s.options.Settings {
		settings[name] = value
	}
	if err := s.port.GiveWay(); err != nil {
		return err
	}
	args := []string{"-D", s.data()}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	process, err := launch(ctx, s.command(context.WithoutCancel(ctx), "postgres", args...), s.options.Log)
	if err != nil {
		return fmt.Errorf("start PostgreSQL on port %d: %w", s.port.Number(), err)
	}
	s.process = process
	return nil
}

// Stop stops the server and returns when it has ended. Its data stay, and Start brings it back.
func (s *Server) Stop(ctx context.Context, mode Mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	if err := s.process.stop(ctx, syscall.Signal(mode)); err != nil {
		return fmt.Errorf("stop PostgreSQL on port %d: %w", s.port.Number(), err)
	}
	s.process = nil
	return nil
}

// Restart stops the server and starts it again.
func (s *Server) Restart(ctx context.Context, mode Mode) error {
	if err := s.Stop(ctx, mode); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Pause freezes the whole server, as if its machine stood still: connections stay open and nothing
// answers.
func (s *Server) Pause(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return errors.New("pause PostgreSQL: it is stopped")
	}
	if err := s.process.pause(ctx, s.URL("postgres")); err != nil {
		return fmt.Errorf("pause PostgreSQL on port %d: %w", s.port.Number(), err)
	}
	return nil
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return errors.New("resume PostgreSQL: it is stopped")
	}
	if err := s.process.resume(); err != nil {
		return fmt.Errorf("resume PostgreSQL on port %d: %w", s.port.Number(), err)
	}
	return nil
}

// Close stops the server, whatever state it is in, and removes its files. Its port stays held for
// as long as the Server is in use, so that nobody else answers there.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watchdog.Close()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command prepares one of PostgreSQL's programs, away from the terminal so that Ctrl-C does not
// reach it.
func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "PGOPTIONS=", "PGDATA=")
	cmd.SysProcAttr = s.account.attributes()
	return cmd
}
