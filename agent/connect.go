package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
	"teleport-jira-agent/sync/teleport"
)

const (
	firstWait = time.Second
	maxWait   = 15 * time.Second
	// remindEvery is how often a side that still does not answer, in the same way, is logged again.
	remindEvery = time.Minute
)

// connect reaches Teleport, Jira and PostgreSQL, all at the same time, and waits for those that do
// not answer. Its error is permanent: a refusal that no waiting mends.
func (p *process) connect(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.await(ctx, "teleport", p.connectTeleport) })
	group.Go(func() error { return p.await(ctx, "jira", p.connectJira) })
	group.Go(func() error { return p.await(ctx, "postgresql", p.connectDatabase) })
	err := group.Wait()
	if err != nil && p.db != nil {
		p.db.Close()
	}
	return err
}

// await tries until try succeeds, fails permanently, or ctx ends.
func (p *process) await(ctx context.Context, side string, try func(context.Context) error) error {
	p.ready.waitFor(side, errors.New("not connected yet"))
	var lastText string
	var lastLog time.Time
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := try(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			p.ready.reached(side)
			p.log.Info("connected", zap.String("to", side))
			return nil
		case !retryable(err):
			return fmt.Errorf("cannot start: %w", err)
		}
		p.ready.waitFor(side, err)
		if text := err.Error(); text != lastText || time.Since(lastLog) >= remindEvery {
			p.log.Warn("waiting; this replica is not ready", zap.String("for", side), zap.Error(err))
			lastText, lastLog = text, time.Now()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
	}
}

// retryable reports whether waiting may mend a failed connect.
func retryable(err error) bool {
	var side *sync.Error
	if errors.As(err, &side) {
		return !side.Permanent
	}
	return db.Retryable(err)
}

func (p *process) connectTeleport(ctx context.Context) error {
	cfg := p.cfg.teleport()
	cfg.OnCall = p.metrics.teleportCalled
	cluster, err := teleport.Connect(ctx, cfg, p.log.Named("teleport"))
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.cluster, p.identity = cluster, newIdentityWatch(cluster.Expiry, p.log)
	p.mu.Unlock()
	p.metrics.watchIdentity(cluster.Expiry)
	p.ready.identityUntil(cluster.Expiry)
	p.log.Info("Teleport identity", zap.String("cluster", cluster.ClusterName()), zap.Time("expires", cluster.Expiry()))
	if sync.DecisionMode(p.cfg.Teleport.DecisionMode) == sync.ModeReview && !cluster.ReviewsOnBehalf() {
		p.log.Error("TELEPORT_DECISION_MODE=review needs Teleport "+teleport.ReviewsSince+" or newer: verdicts from Jira "+
			"will be refused and put back until Teleport is upgraded",
			zap.String("server_version", cluster.ServerVersion()))
	}
	return nil
}

func (p *process) connectJira(ctx context.Context) error {
	cfg := p.cfg.jira()
	cfg.OnCall = p.metrics.jiraCalled
	tracker, err := jira.Connect(ctx, cfg, p.log.Named("jira"))
	if err != nil {
		return err
	}
	p.tracker = tracker
	return nil
}

func (p *process) connectDatabase(ctx context.Context) error {
	if p.db == nil {
		cfg := p.cfg.database(instance(), p.log.Named("db"))
		cfg.OnStatement = p.metrics.stated
		database, err := db.Open(ctx, cfg)
		if err != nil {
			return err
		}
		p.db = database
	}
	if err := p.db.Migrate(ctx); err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	return nil
}

// teleport is the configuration in the words of the package teleport.
func (c *Config) teleport() teleport.Config {
	t := c.Teleport
	return teleport.Config{
		Addr:            t.Addr,
		IdentityFile:    t.IdentityFile,
		KeyFile:         t.ClientKey,
		CertFile:        t.ClientCrt,
		RootCAsFile:     t.RootCAs,
		RefreshIdentity: t.RefreshIdentity,
		UserTrait:       t.UserTrait,
	}
}

// jira is the configuration in the words of the package jira.
func (c *Config) jira() jira.Config {
	j := c.Jira
	return jira.Config{
		URL:            j.URL,
		BrowseURL:      j.BrowseURL,
		Username:       j.Username,
		Token:          j.APIToken.Value,
		CAFile:         j.CAFile,
		Project:        j.Project,
		IssueType:      j.IssueType,
		Deployment:     jira.Deployment(j.Deployment),
		RequestIDField: j.RequestIDField,
		Fields:         j.Fields,
		MaxRPS:         j.MaxRPS,
		Statuses:       slices.Concat(j.StatusPending, j.StatusApproved, j.StatusDenied, j.StatusExpired, j.StatusPromoted),
	}
}

// database is the configuration in the words of the package db.
func (c *Config) database(instance string, log *zap.Logger) db.Config {
	return db.Config{URL: c.Database.URL.Value, Instance: instance, Lease: c.Leader.Lease, Log: log}
}
