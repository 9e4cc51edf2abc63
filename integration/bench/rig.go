package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

const (
	// field is the request ID's, of jirasim.Example.
	field = "customfield_10042"
	// project is the key of jirasim.Example's first one.
	project = "OPS"
	// patience ends a measurement that is stuck.
	patience = 10 * time.Minute
)

// bench is what all measurements share: the agent's binary and a PostgreSQL.
type bench struct {
	dir      string
	binary   string
	verbose  bool
	postgres *pgtest.Server
	rigs     int
}

func newBench(ctx context.Context, o options) (*bench, error) {
	dir, err := os.MkdirTemp("", "teleport-jira-agent-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, binary: o.binary, verbose: o.verbose}
	if b.binary == "" {
		if b.binary, err = replica.Build(ctx, dir, "-trimpath"); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	// PostgreSQL's own housekeeping would come at times of its choice, and use transaction numbers.
	// What it would have done is done where it matters.
	settings := map[string]string{
		"shared_preload_libraries": "pg_stat_statements",
		"pg_stat_statements.max":   "5000",
		"autovacuum":               "off",
	}
	if b.postgres, err = pgtest.Start(ctx, pgtest.Options{Settings: settings}); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, b.prepareStatements(ctx)
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
	bench    *bench
	jira     *jirasim.Server
	jiraURL  string
	polls    atomic.Int64  // searches for what changed since the last reset
	polled   chan struct{} // told of each
	teleport *teleportsim.Server
	identity string // the agent's, a file
	home     string
	database string
	proxy    *proxy // nil: the agent talks to PostgreSQL itself
	agent    *replica.Replica
	cloud    bool
	undo     []func()
}

// setting is what differs from one rig to another.
type setting struct {
	deployment jirasim.Deployment // Cloud by default
	initial    string             // status in which issues begin; "To Do" by default
	now        func() time.Time   // Jira's clock
	onCall     func(jirasim.Call)
	env        []string
	polls      bool // some have to have been made
	proxied    bool // round trips to PostgreSQL are counted
}

// rig starts all of it, and returns when the agent leads and has looked at both sides.
func (b *bench) rig(ctx context.Context, s setting) (_ *rig, err error) {
	r, err := b.sides(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.polls { // also while nothing is pending
		s.env = slices.Concat([]string{"SYNC_IDLE_SCHEDULE=@every 1s"}, s.env)
	}
	if err := r.lead(s.env...); err != nil {
		r.close()
		return nil, err
	}
	if !s.polls {
		return r, nil
	}
	// The first polls may have come before the list, and are then as after a lost database.
	if err := r.morePolls(2); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// sides starts all but the agent.
func (b *bench) sides(ctx context.Context, s setting) (_ *rig, err error) {
	b.rigs++
	r := &rig{
		bench: b, polled: make(chan struct{}, 1), cloud: s.deployment != jirasim.DataCenter,
		database: fmt.Sprintf("rig%d", b.rigs), home: filepath.Join(b.dir, fmt.Sprint(b.rigs)),
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithTimeout(ctx, patience)
	r.undo = append(r.undo, cancel)
	if err := os.Mkdir(r.home, 0o700); err != nil {
		return nil, err
	}
	if err := b.postgres.CreateDatabase(r.ctx, r.database); err != nil {
		return nil, err
	}
	if s.proxied {
		if r.proxy, err = newProxy(b.postgres.URL(r.database)); err != nil {
			return nil, err
		}
		r.undo = append(r.undo, r.proxy.close)
	}
	r.startJira(s)
	if r.teleport, err = teleportsim.New(teleportsim.Config{}); err != nil {
		return nil, err
	}
	if err := r.teleport.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	r.undo = append(r.undo, r.teleport.Stop)
	r.identity = filepath.Join(r.home, "identity")
	return r, r.teleport.WriteIdentity(r.identity, teleportsim.IdentityOptions{})
}

func (r *rig) startJira(s setting) {
	cfg := jirasim.Example(cmp.Or(s.deployment, jirasim.Cloud))
	cfg.RateLimit, cfg.LimitIssueWrites = jirasim.RateLimit{}, false
	cfg.Now = s.now
	cfg.Initial = cmp.Or(s.initial, cfg.Initial)
	cfg.OnCall = func(c jirasim.Call) {
		if s.onCall != nil {
			s.onCall(c)
		}
		if !changesSearch.Match(c.Body) {
			return
		}
		r.polls.Add(1)
		select {
		case r.polled <- struct{}{}:
		default:
		}
	}
	r.jira = jirasim.New(cfg)
	url, stop := r.jira.Start()
	r.jiraURL = url
	r.undo = append(r.undo, stop)
}

// start starts the agent. Where env sets a variable again, the last one counts.
func (r *rig) start(env ...string) (err error) {
	url := r.bench.postgres.URL(r.database)
	if r.proxy != nil {
		url = r.proxy.url
	}
	r.agent, err = replica.Start("agent", r.bench.binary, slices.Concat([]string{
		"TELEPORT_ADDR=" + r.teleport.Addr(), "TELEPORT_IDENTITY_FILE=" + r.identity,
		"JIRA_URL=" + r.jiraURL, "JIRA_USERNAME=" + jirasim.AgentUsername, "JIRA_API_TOKEN=" +
			jirasim.AgentToken, "JIRA_PROJECT=" + project,
		"JIRA_MAX_RPS=1000", "DATABASE_URL=" + url, "SYNC_POLL_SCHEDULE=@every 1s", "ADMIN_LISTEN_ADDR=", "HOME=" + r.home,
	}, env), nil)
	if err == nil {
		r.undo = append(r.undo, r.agent.Kill)
	}
	return err
}

// lead starts the agent, and returns when it leads and has looked at both sides.
func (r *rig) lead(env ...string) error {
	if err := r.start(env...); err != nil {
		return err
	}
	for _, loop := range []string{"teleport list", "jira poll", "sweep"} {
		if err := r.logs("working", "loop", loop); err != nil {
			return err
		}
	}
	return nil
}

// changesSearch tells a poll's search from others, which do not ask when an issue changed.
var changesSearch = regexp.MustCompile(`updated (>|\\u003e)=`)

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
	return r.teleport.CreateRequest(
		teleportsim.Request{User: "alice@example.com", Roles: []string{"db-admin"}, Reason: "on call this week", TTL: ttl},
	)
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

// counted are the calls to both sides since the last reset, but for what goes on anyway: polls,
// pings, the watch.
func (r *rig) counted() (jira, teleport map[string]int) {
	jira = make(map[string]int)
	for route, summary := range r.jira.Summary() {
		jira[route] = summary.Count
	}
	searches := "POST search"
	if r.cloud {
		searches = "POST search/jql"
	}
	if jira[searches] -= int(r.polls.Load()); jira[searches] <= 0 {
		delete(jira, searches)
	}
	teleport = r.teleport.Calls()
	delete(teleport, "Ping")
	delete(teleport, "WatchEvents")
	return jira, teleport
}

func (r *rig) reset() {
	r.jira.ResetCalls()
	r.polls.Store(0)
	r.teleport.ResetCalls()
}
