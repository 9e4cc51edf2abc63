package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	stdsync "sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
	"teleport-jira-agent/sync/teleport"
)

// stopTime is how long a clean stop may take; what still runs then is abandoned, which is as safe
// as a crash.
const stopTime = 4500 * time.Millisecond

// process is one replica: what it is configured to do, what it is connected to, and how it is.
type process struct {
	cfg     *Config
	opts    Options
	log     *zap.Logger
	ready   *readiness
	metrics *metrics
	webhook *webhook      // nil when it is off
	hinted  chan struct{} // holds a value when there may be a new hint in the database
	asked   chan struct{} // holds a value when an operator wants both sides compared

	mu       stdsync.Mutex // guards cluster and identity, which a reload may ask for while Run still connects
	cluster  *teleport.Client
	identity *identityWatch
	tracker  *jira.Client
	db       *db.DB
}

// Run is the agent: it connects to Teleport, Jira and PostgreSQL, waiting for those that do not
// answer, then stands by for or holds the leadership until ctx ends. It returns nil after a clean
// stop, and an error for what only an operator can mend.
func Run(ctx context.Context, cfg *Config, opts Options) error {
	p := &process{
		cfg:    cfg,
		opts:   opts,
		log:    opts.Log,
		ready:  newReadiness(),
		hinted: make(chan struct{}, 1),
		asked:  make(chan struct{}, 1),
	}
	p.metrics = newMetrics(opts.Version, cfg.Sync)
	p.metrics.watchReadiness(p.ready)
	p.log.Info("starting", zap.String("version", opts.Version), zap.String("teleport", cfg.Teleport.Addr),
		zap.String("jira", cfg.Jira.URL), zap.String("project", cfg.Jira.Project), zap.String("instance", instance()))
	p.log.Info(
		"who may decide",
		zap.String("mode", cfg.Teleport.DecisionMode),
		zap.String("self_approval", cfg.Policy.SelfApproval),
		zap.Bool("whoever_may_move_the_issue", len(cfg.Policy.Approvers)+len(cfg.Policy.ApproverGroups) == 0),
		zap.Int("approvers", len(cfg.Policy.Approvers)),
		zap.Strings("approver_groups", cfg.Policy.ApproverGroups),
	)
	for _, warning := range cfg.Warnings {
		p.log.Warn(warning)
	}
	if p.ready.dryRun = cfg.Sync.DryRun; cfg.Sync.DryRun {
		p.log.Warn("dry run: nothing is written to Jira or Teleport; lines with \"would\" say what would have been done")
	}
	var err error
	if p.webhook, err = newWebhook(cfg.Webhook, p.metrics.webhookAnswered, p.log.Named("webhook")); err != nil {
		return err
	}
	if p.webhook != nil {
		p.metrics.watchCertificate(p.webhook.pair.expires)
	}

	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	p.log.Info("stopping")
	select {
	case err := <-done:
		return err
	case <-time.After(stopTime):
		p.log.Warn("not everything stopped in time; abandoned", zap.Duration("after", stopTime))
		return nil
	}
}

// run owns every goroutine of the process: the first error ends them all.
func (p *process) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.serveAdmin(ctx) })
	group.Go(func() error { return p.serveWebhook(ctx) })
	group.Go(func() error { return p.reload(ctx) })
	group.Go(func() error {
		if err := p.connect(ctx); err != nil {
			return err
		}
		defer p.close()
		if p.webhook != nil {
			p.webhook.connected(p.keepHint)
		}
		work, workCtx := errgroup.WithContext(ctx)
		work.Go(func() error { return p.cluster.Run(workCtx) })
		work.Go(func() error { p.identity.run(workCtx); return nil })
		work.Go(func() error { return p.elect(workCtx) })
		return work.Wait()
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// scope is what the replica works on, once Teleport is connected.
func (p *process) scope() db.Scope {
	return db.Scope{Cluster: p.cluster.ClusterName(), Project: p.cfg.Jira.Project}
}

// keepHint stores what a webhook told, for whichever replica leads. What the agent did itself is
// recorded already.
func (p *process) keepHint(ctx context.Context, h hint) error {
	if h.by(p.tracker.Self()) {
		return nil
	}
	noted, err := p.db.Hint(ctx, p.scope(), h.issueID, h.claimed)
	if err == nil {
		p.log.Debug(
			"webhook",
			zap.String("issue_id", h.issueID),
			zap.Time("claims", h.claimed),
			zap.Bool("of_a_request", noted),
		)
	}
	return err
}

// elect stands for election and runs the engine in each term that this replica wins.
func (p *process) elect(ctx context.Context) error {
	scope := p.scope()
	elector, err := db.NewElector(db.ElectorConfig{
		URL:      p.cfg.Database.URL.Value,
		Scope:    scope,
		Instance: instance(),
		Lease:    p.cfg.Leader.Lease,
		Log:      p.log.Named("leader"),
		OnState:  p.electorChanged,
		OnHint:   func() { leave(p.hinted) },
		OnAsk:    func() { leave(p.asked) },
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	p.warnOfNeighbours(ctx, scope)
	return elector.Run(ctx, func(ctx context.Context, term *db.Term) error { return p.lead(ctx, scope, term) })
}

// warnOfNeighbours tells of other agents on the same cluster. That none could be looked for stops
// nothing: the election waits for PostgreSQL anyway.
func (p *process) warnOfNeighbours(ctx context.Context, scope db.Scope) {
	others, err := p.db.Neighbours(ctx, scope)
	if err != nil {
		p.log.Warn("it is not known whether another agent works on this cluster", zap.Error(err))
	}
	for _, other := range others {
		p.log.Warn("another agent works on this cluster: both take up its requests",
			zap.Stringer("other", other.Scope), zap.String("holder", other.Holder), zap.String("remedy", db.NeighboursRemedy))
	}
}

// leave leaves a value, unless the last one was not seen yet.
func leave(told chan struct{}) {
	select {
	case told <- struct{}{}:
	default:
	}
}

// lead runs the engine for one term.
func (p *process) lead(ctx context.Context, scope db.Scope, term *db.Term) error {
	store := p.db.Store(scope, term.Epoch)
	p.ready.engine.Reset()
	engine := &sync.Engine{
		Settings: p.cfg.settings(),
		Store:    store,
		Cluster:  p.cluster,
		Tracker:  p.tracker,
		Lease:    term,
		Health:   p.ready.engine,
		Observer: p.metrics,
		Log:      p.log.Named("sync").With(zap.Int64("epoch", term.Epoch)),
		Hinted:   p.hinted,
		Asked:    p.asked,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.metrics.watchQueue(ctx, store) })
	group.Go(func() error { return engine.Run(ctx) })
	return group.Wait() // sync.ErrNotLeader is for the elector to know: this replica stands for election again
}

// settings are the configuration in the engine's words.
func (c *Config) settings() sync.Settings {
	j, s := c.Jira, c.Sync
	return sync.Settings{
		Policy: sync.Policy{
			Mode:    sync.DecisionMode(c.Teleport.DecisionMode),
			Project: j.Project,
			Statuses: sync.Statuses{
				sync.OutcomePending:  j.StatusPending,
				sync.OutcomeApproved: j.StatusApproved,
				sync.OutcomeDenied:   j.StatusDenied,
				sync.OutcomeExpired:  j.StatusExpired,
				sync.OutcomePromoted: j.StatusPromoted,
			},
			SelfApproval:   sync.SelfApproval(c.Policy.SelfApproval),
			Approvers:      c.Policy.Approvers,
			ApproverGroups: c.Policy.ApproverGroups,
			EmailFallback:  c.Teleport.UserEmailFallback,
		},
		Poll:        s.PollSchedule,
		Idle:        s.IdleSchedule,
		Sweep:       s.SweepSchedule,
		Lookback:    s.Lookback,
		Retention:   s.Retention,
		Concurrency: s.Concurrency,
		DryRun:      s.DryRun,
	}
}

// reload re-reads credentials and TLS files when the operator asks. Secrets in files need no
// asking: they are read again when the file changes.
func (p *process) reload(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.opts.Reload:
		}
		if p.webhook != nil {
			if err := p.webhook.pair.reload(); err != nil {
				p.log.Error("reload failed; the old TLS certificate stays in use", zap.Error(err))
			}
		}
		p.mu.Lock()
		cluster, identity := p.cluster, p.identity
		p.mu.Unlock()
		if cluster == nil {
			continue // not connected yet: the files are read when it connects
		}
		if err := cluster.Reload(); err != nil {
			p.log.Error("reload failed; the old Teleport credentials stay in use", zap.Error(err))
			continue
		}
		identity.reloaded()
		p.log.Info("reloaded", zap.Time("identity_expires", cluster.Expiry()))
	}
}

// close ends the connections, in the reverse order of their making.
func (p *process) close() {
	p.db.Close()
	p.cluster.Close()
}

// instance names this replica to people: in logs, in the leadership row and as PostgreSQL's
// application name.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}
