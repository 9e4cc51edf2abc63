package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

const (
	// field is the request ID's, of jirasim.Example.
	field = "customfield_10042"
	// patience ends a measurement that is stuck.
	patience = 10 * time.Minute
)

// bench is what all measurements share: the agent's binary and a PostgreSQL.
type bench struct {
	dir      string
	binary   string
	postgres *pgtest.Server
	rigs     int
}

func newBench(ctx context.Context) (*bench, error) {
	dir, err := os.MkdirTemp("", "teleport-jira-agent-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir}
	if b.binary, err = replica.Build(ctx, dir); err != nil {
		return nil, errors.Join(err, b.close())
	}
	if b.postgres, err = pgtest.Start(ctx, pgtest.Options{}); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) close() error {
	var err error
	if b.postgres != nil {
		err = b.postgres.Close()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// rig is one Jira, one Teleport, one database and one replica that leads.
type rig struct {
	ctx      context.Context
	jira     *jirasim.Server
	jiraURL  string
	teleport *teleportsim.Server
	agent    *replica.Replica
	cloud    bool
	undo     []func()
}

// setting is what differs from one rig to another.
type setting struct {
	deployment jirasim.Deployment // Cloud by default
	initial    string             // status in which issues begin; "To Do" by default
	onCall     func(jirasim.Call)
	env        []string
	polls      bool // some have to have been made
}

// rig starts all of it, and returns when the agent leads and has looked at both sides.
func (b *bench) rig(ctx context.Context, s setting) (_ *rig, err error) {
	r := &rig{}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithTimeout(ctx, patience)
	r.undo = append(r.undo, cancel)
	b.rigs++
	database, home := fmt.Sprintf("rig%d", b.rigs), filepath.Join(b.dir, fmt.Sprint(b.rigs))
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	if err := b.postgres.CreateDatabase(r.ctx, database); err != nil {
		return nil, err
	}
	if s.deployment == "" {
		s.deployment = jirasim.Cloud
	}
	r.cloud = s.deployment == jirasim.Cloud
	cfg := jirasim.Example(s.deployment)
	cfg.RateLimit, cfg.LimitIssueWrites = jirasim.RateLimit{}, false
	polled := make(chan struct{}, 1)
	cfg.OnCall = func(c jirasim.Call) {
		if s.onCall != nil {
			s.onCall(c)
		}
		select {
		case polled <- struct{}{}:
		default:
		}
	}
	if s.initial != "" {
		cfg.Initial = s.initial
	}
	r.jira = jirasim.New(cfg)
	url, stop := r.jira.Start()
	r.jiraURL = url
	r.undo = append(r.undo, stop)
	if r.teleport, err = teleportsim.New(teleportsim.Config{}); err != nil {
		return nil, err
	}
	if err := r.teleport.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	r.undo = append(r.undo, r.teleport.Stop)
	identity := filepath.Join(home, "identity")
	if err := r.teleport.WriteIdentity(identity, teleportsim.IdentityOptions{}); err != nil {
		return nil, err
	}
	r.agent, err = replica.Start("agent", b.binary, append([]string{
		"TELEPORT_ADDR=" + r.teleport.Addr(), "TELEPORT_IDENTITY_FILE=" + identity,
		"JIRA_URL=" + url, "JIRA_USERNAME=" + jirasim.AgentUsername, "JIRA_API_TOKEN=" + jirasim.AgentToken, "JIRA_PROJECT=OPS",
		"JIRA_MAX_RPS=1000", "DATABASE_URL=" + b.postgres.URL(database), "SYNC_POLL_SCHEDULE=@every 1s", "ADMIN_LISTEN_ADDR=", "HOME=" + home,
	}, s.env...), nil)
	if err != nil {
		return nil, err
	}
	r.undo = append(r.undo, r.agent.Kill)
	for _, loop := range []string{"teleport list", "jira poll", "sweep"} {
		if err := r.logs("working", "loop", loop); err != nil {
			return nil, err
		}
	}
	// The first polls may have come before the list, and are then as after a lost database.
	for r.polls() < 3 && s.polls {
		select {
		case <-polled:
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		}
	}
	return r, nil
}

// polls is how often Jira was searched.
func (r *rig) polls() int {
	return r.jira.CallCount("POST search/jql") + r.jira.CallCount("POST search")
}

func (r *rig) close() {
	for _, undo := range slices.Backward(r.undo) {
		undo()
	}
}

// logs waits until the agent has logged a line.
func (r *rig) logs(message string, pairs ...string) error {
	if _, err := r.agent.WaitLog(r.ctx, message, pairs...); err != nil {
		lines := strings.Split(r.agent.Log(), "\n")
		return fmt.Errorf("%w\n%s", err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return nil
}

func (r *rig) request(ttl time.Duration) (id string, err error) {
	return r.teleport.CreateRequest(teleportsim.Request{User: "alice@example.com", Roles: []string{"db-admin"}, Reason: "on call this week", TTL: ttl})
}

// issue waits until the request has one.
func (r *rig) issue(id string) (jirasim.Issue, error) {
	return r.jira.WaitIssue(r.ctx, func(i jirasim.Issue) bool { return i.Text(field) == id })
}

// pending makes a request, and waits until the agent has done all that it does about a pending one.
func (r *rig) pending(ttl time.Duration) (id, issueKey string, err error) {
	if id, err = r.request(ttl); err != nil {
		return "", "", err
	}
	if err := r.logs("done", "action", "link", "request_id", id); err != nil {
		return "", "", err
	}
	issue, err := r.issue(id)
	return id, issue.Key, err
}

// counted are the calls to both sides since the last reset, but for what goes on anyway: polls, pings, the watch.
func (r *rig) counted() (jira, teleport map[string]int) {
	jira = make(map[string]int)
	for route, summary := range r.jira.Summary() {
		jira[route] = summary.Count
	}
	delete(jira, "POST search/jql")
	if !r.cloud {
		delete(jira, "POST search")
	}
	teleport = r.teleport.Calls()
	delete(teleport, "Ping")
	delete(teleport, "WatchEvents")
	return jira, teleport
}

func (r *rig) reset() {
	r.jira.ResetCalls()
	r.teleport.ResetCalls()
}
