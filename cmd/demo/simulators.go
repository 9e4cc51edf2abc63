package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// Where the simulators listen for agents that somebody else starts, as docker-compose.yml does.
const (
	teleportAddr = "127.0.0.1:3025"
	jiraAddr     = "127.0.0.1:8090"
)

// askAgain is how long people rest between two requests.
const askAgain = 20 * time.Second

// simulate runs both sides alone, for agents that somebody else starts with the credentials that it
// writes into w.dir: identity and jira-api-token. Until ctx ends people ask for access and approve
// it, one request after the other, and what happens is told.
func simulate(ctx context.Context, w *world, pace time.Duration) error {
	defer func() { _ = w.close() }()
	if err := w.startTeleport(); err != nil {
		return err
	}
	if err := w.startJira(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, "jira-api-token"), []byte(jirasim.AgentToken+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the token: %w", err)
	}
	w.story = newNarrator(w.screen, w.jira, w.teleport)
	w.undo = append(w.undo, w.story.follow())
	for ctx.Err() == nil {
		if err := w.askAndApprove(ctx, pace); err != nil {
			return err
		}
	}
	return nil
}

// askAndApprove is one request's life, which takes as long as the agents do. It returns nil when
// ctx ends.
func (w *world) askAndApprove(ctx context.Context, pace time.Duration) error {
	v := visits()[0]
	id, err := w.teleport.CreateRequest(v.request)
	if err != nil {
		return err
	}
	issue, err := w.jira.WaitIssue(
		ctx,
		func(i jirasim.Issue) bool { return i.Text(field) == id && i.Status.Name == "Pending" },
	)
	if err != nil {
		return unlessOver(ctx, err)
	}
	hesitate(ctx, pace)
	if err := v.act(w, id, issue.Key); err != nil {
		return err
	}
	err = w.teleport.Wait(ctx, func(t *teleportsim.Server) bool { return t.State(id) == types.RequestState_APPROVED })
	hesitate(ctx, max(askAgain, pace))
	return unlessOver(ctx, err)
}

// unlessOver is err, but nothing once ctx has ended: that waits end then is no failure.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // see above
	}
	return err
}
