package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"teleport-jira-agent/db"
	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
	"teleport-jira-agent/sync/teleport"
)

// seedAge is how old seeded requests and issues are: behind every poll's look-back.
const seedAge = 2 * time.Hour

// clock is Jira's, which is set back while the seeded issues are made.
type clock struct{ behind atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(-time.Duration(c.behind.Load())) }

// seeded are both sides and a database that agree on so many pending requests, and no agent. The
// agent that is measured has run before, on empty sides: it migrated the database by itself,
// whichever release it is.
func (b *bench) seeded(ctx context.Context, s setting, requests int) (_ *rig, err error) {
	var c clock
	s.now, s.initial = c.now, "Pending"
	r, err := b.sides(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if err := r.lead(s.env...); err != nil {
		return nil, err
	}
	if _, err := r.agent.Stop(r.ctx); err != nil {
		return nil, err
	}
	c.behind.Store(int64(seedAge))
	ids, err := r.seedSides(requests)
	c.behind.Store(0)
	if err != nil {
		return nil, err
	}
	return r, r.seedRows(ids)
}

// seedSides makes the requests and their issues, as the agent would have. It returns the issues'
// ids.
func (r *rig) seedSides(requests int) (ids []string, err error) {
	for range requests {
		id, err := r.teleport.CreateRequest(teleportsim.Request{
			User:   "alice@example.com",
			Roles:  []string{"db-admin"},
			Reason: "on call this week",
			Age:    seedAge,
			TTL:    10 * time.Hour,
		})
		if err != nil {
			return nil, err
		}
		issue, err := r.jira.CreateIssue("agent", map[string]any{
			"summary": "Access request by alice@example.com: db-admin", field: id,
			"description": "*User:* alice@example.com\n*Roles:* db-admin\n*Reason:* on call this week\n*Request:* " + id,
		}, map[string]any{"teleportAccessRequestId": id})
		if err != nil {
			return nil, err
		}
		ids = append(ids, issue.ID)
	}
	r.jira.ResetCalls()
	return ids, nil
}

// seedRows records both sides as the agent would have: it is the agent's own adapters that read
// them.
func (r *rig) seedRows(issueIDs []string) error {
	requests, scope, err := r.readRequests()
	if err != nil {
		return err
	}
	issues, err := r.readIssues(issueIDs)
	if err != nil {
		return err
	}
	rows := make([][]any, 0, len(issues))
	for _, issue := range issues {
		request, known := requests[issue.RequestID]
		if !known {
			return fmt.Errorf("issue %s is of request %q, which Teleport does not list", issue.Key, issue.RequestID)
		}
		rows = append(
			rows,
			[]any{
				scope,
				request.ID,
				3,
				request,
				string(request.State),
				issue,
				issue.Updated,
				issue.ID,
				issue.Key,
				true,
				true,
				request.Expires,
			},
		)
	}
	if len(rows) != len(requests) {
		return fmt.Errorf("%d issues were read, and %d requests", len(rows), len(requests))
	}
	columns := []string{
		"scope",
		"request_id",
		"seq",
		"request",
		"state",
		"issue",
		"issue_updated",
		"issue_id",
		"issue_key",
		"linked",
		"placed",
		"due",
	}
	return askDatabase(r.ctx, r.bench.postgres.URL(r.database), func(conn *pgx.Conn) error {
		if _, err := conn.CopyFrom(r.ctx, pgx.Identifier{"links"}, columns, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
		// As if a poll had just ended: else the first one is as after a lost database.
		_, err := conn.Exec(r.ctx, "INSERT INTO cursors (scope, position) VALUES ($1, now()) ON CONFLICT (scope) DO "+
			"UPDATE SET position = excluded.position", scope)
		if err != nil {
			return err
		}
		_, err = conn.Exec(r.ctx, "VACUUM (ANALYZE) links") // as PostgreSQL would have, some time after
		return err
	})
}

func (r *rig) readRequests() (requests map[string]sync.Request, scope string, err error) {
	cluster, err := teleport.Connect(
		r.ctx,
		teleport.Config{Addr: r.teleport.Addr(), IdentityFile: r.identity},
		zap.NewNop(),
	)
	if err != nil {
		return nil, "", err
	}
	defer cluster.Close()
	requests = make(map[string]sync.Request)
	err = cluster.Requests(r.ctx, func(page []sync.Request) error {
		for _, request := range page {
			requests[request.ID] = request
		}
		return nil
	})
	return requests, db.Scope{Cluster: cluster.ClusterName(), Project: project}.String(), err
}

// readIssues are the issues as polls found them: not archived.
func (r *rig) readIssues(ids []string) ([]sync.Issue, error) {
	tracker, err := jira.Connect(r.ctx, jira.Config{
		URL:            r.jiraURL,
		Username:       jirasim.AgentUsername,
		Token:          func() string { return jirasim.AgentToken },
		Project:        project,
		IssueType:      "Task",
		Deployment:     jira.Auto,
		RequestIDField: field,
		MaxRPS:         1e6,
	}, zap.NewNop())
	if err != nil {
		return nil, err
	}
	defer tracker.Close()
	var all []sync.Issue
	for some := range slices.Chunk(ids, 1000) {
		issues, err := tracker.Latest(r.ctx, some)
		if err != nil {
			return nil, err
		}
		for _, issue := range issues {
			issue.Archived = sync.NotArchived
			all = append(all, issue)
		}
	}
	return all, nil
}

// undisturbed fails if the agent found anything to do about what was seeded: then what was measured
// is that.
func (r *rig) undisturbed() error {
	for _, line := range r.agent.Lines() {
		if line.Is("observed") || line.Is("done") || line.Is("not done") {
			return fmt.Errorf("the agent was to find nothing to do: %s", line.Text)
		}
	}
	return nil
}
