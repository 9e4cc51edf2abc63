package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

const (
	// project and field are those of jirasim.Example.
	project = "OPS"
	field   = "customfield_10042"

	// approvers is the Jira group whose members may decide: bob and alice are in it, mallory is
	// not.
	approvers = "approvers"

	// agentAccount is the account of the agent in Jira.
	agentAccount = "agent"

	// approver may log in to the simulated Jira with this password, for the visitor's own calls.
	approver         = "bob"
	approverUsername = "bob@example.com"
	approverPassword = "bob"

	anyPort = "127.0.0.1:0"

	// identityLifetime is longer than anybody leaves a demo running.
	identityLifetime = 30 * 24 * time.Hour
	// databaseTime leaves room for the download of a PostgreSQL on a slow line.
	databaseTime = 10 * time.Minute
	// patience bounds each wait for the agents, which takes seconds at most.
	patience = 60 * time.Second
	// stopTime is above the 5 s in which the agent promises to stop.
	stopTime = 10 * time.Second
)

// world is all that runs: both sides, the database and the agents. It is empty at first, and close
// takes down what is up.
type world struct {
	screen *screen
	story  *narrator

	// Where the simulators and the page listen; empty: at any free port.
	teleportAddr, jiraAddr, boardAddr string

	dir         string // all files but PostgreSQL's
	binary      string
	jira        *jirasim.Server
	jiraURL     string
	teleport    *teleportsim.Server
	database    *pgtest.Server
	databaseURL string
	slots       []*slot // of the replicas; complete once start has returned
	logged      agentLog
	board       *board

	undo []func() error // in the order of the doing
}

// start brings everything up and returns when the first agent leads and the second stands by.
func (w *world) start(ctx context.Context, agent string) (err error) {
	if w.dir, err = os.MkdirTemp("", "teleport-jira-agent-demo-"); err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	w.undo = append(w.undo, func() error { return os.RemoveAll(w.dir) })

	if w.binary = agent; agent == "" {
		w.screen.say("demo", "builds the agent, which takes some minutes the first time")
		if w.binary, err = replica.Build(ctx, w.dir); err != nil {
			return err
		}
	}
	if err := w.startDatabase(ctx); err != nil {
		return err
	}
	if err := w.startTeleport(); err != nil {
		return err
	}
	if err := w.startJira(); err != nil {
		return err
	}
	w.story = newNarrator(w.screen, w.jira, w.teleport)
	w.undo = append(w.undo, w.story.follow())
	if err := w.startAgents(ctx); err != nil {
		return err
	}
	return w.startBoard()
}

func (w *world) startDatabase(ctx context.Context) error {
	w.screen.say("demo", "starts a throwaway PostgreSQL (fetched first, if this machine has none)")
	ctx, cancel := context.WithTimeout(ctx, databaseTime)
	defer cancel()
	server, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		return err
	}
	w.undo = append(w.undo, server.Close)
	w.database = server
	w.databaseURL = server.URL("postgres")
	return nil
}

func (w *world) startTeleport() (err error) {
	if w.teleport, err = teleportsim.New(teleportsim.Config{AuditExpiry: true}); err != nil {
		return fmt.Errorf("simulate Teleport: %w", err)
	}
	if err := w.teleport.Start(cmp.Or(w.teleportAddr, anyPort)); err != nil {
		return fmt.Errorf("simulate Teleport: %w", err)
	}
	w.undo = append(w.undo, w.teleport.Close)
	w.screen.say("demo", "simulates Teleport's Auth Service at "+w.teleport.Addr())
	return w.teleport.WriteIdentity(w.identity(), teleportsim.IdentityOptions{Lifetime: identityLifetime})
}

func (w *world) identity() string { return filepath.Join(w.dir, "identity") }

func (w *world) startJira() error {
	cfg := jirasim.Example(jirasim.Cloud)
	for i := range cfg.Users {
		cfg.Users[i].HideEmail = false // that Alice is the requester shows by her address
	}
	cfg.Credentials = append(
		cfg.Credentials,
		jirasim.Credential{User: approver, Username: approverUsername, Token: approverPassword},
	)
	w.jira = jirasim.New(cfg)
	url, stop, err := w.jira.StartAt(cmp.Or(w.jiraAddr, anyPort))
	if err != nil {
		return fmt.Errorf("simulate Jira: %w", err)
	}
	w.jiraURL = url
	w.undo = append(w.undo, func() error { stop(); return nil })
	w.screen.say("demo", "simulates Jira Cloud at "+w.jiraURL)
	return nil
}

// startAgents starts the second replica after the first leads, so that it is known which does what.
func (w *world) startAgents(ctx context.Context) error {
	w.screen.say("demo", "starts two replicas of the agent")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i, ready := range []string{"leading", "standing by"} {
		s := &slot{name: fmt.Sprintf("agent %d", i+1), world: w}
		w.slots = append(w.slots, s)
		w.undo = append(w.undo, s.close)
		if err := s.start(); err != nil {
			return err
		}
		agent, _, _ := s.now()
		if _, err := agent.WaitLog(ctx, ready); err != nil {
			return fmt.Errorf("an agent does not come up: %w", err)
		}
	}
	return nil
}

// environ is the whole configuration of an agent. Polls are tight and the lease is short, so that
// nobody waits for the demo.
func (w *world) environ() []string {
	return []string{
		"TELEPORT_ADDR=" + w.teleport.Addr(),
		"TELEPORT_IDENTITY_FILE=" + w.identity(),
		"JIRA_URL=" + w.jiraURL,
		"JIRA_USERNAME=" + jirasim.AgentUsername,
		"JIRA_API_TOKEN=" + jirasim.AgentToken,
		"JIRA_PROJECT=" + project,
		"DATABASE_URL=" + w.databaseURL,
		"POLICY_APPROVER_GROUPS=" + approvers,
		"SYNC_POLL_SCHEDULE=@every 1s",
		"SYNC_IDLE_SCHEDULE=@every 1s", // a decided card may be moved, too
		"LEADER_LEASE=5s",
		"ADMIN_LISTEN_ADDR=127.0.0.1:0",
		"HOME=" + w.dir, // no ~/.pgpass of the visitor's
	}
}

// waitLog waits until one of the agents logs the message with these fields, or has done so.
func (w *world) waitLog(ctx context.Context, message string, pairs ...string) error {
	for seen := 0; ; {
		changed := w.logged.changed.next()
		alive := slices.ContainsFunc(w.slots, func(s *slot) bool { _, running, _ := s.now(); return running })
		lines := w.logged.all()
		for ; seen < len(lines); seen++ {
			if lines[seen].Is(message, pairs...) {
				return nil
			}
		}
		if !alive {
			return fmt.Errorf("%q %v: no agent runs any more, and none has logged it", message, pairs)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%q %v: no agent logs it: %w", message, pairs, ctx.Err())
		}
	}
}

// printLogs shows how the agents' logs end.
func (w *world) printLogs(lines int) {
	for _, s := range w.slots {
		agent, _, _ := s.now()
		if agent == nil {
			continue
		}
		log := agent.Lines()
		w.screen.print(fmt.Sprintf("The last lines of the log of %s:\n", s.name))
		for _, line := range log[max(0, len(log)-lines):] {
			w.screen.print("  " + line.Text + "\n")
		}
		w.screen.print("\n")
	}
}

// close takes everything down, the last started first.
func (w *world) close() error {
	var errs []error
	for _, undo := range slices.Backward(w.undo) {
		errs = append(errs, undo())
	}
	w.undo = nil
	return errors.Join(errs...)
}
