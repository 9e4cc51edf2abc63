package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.uber.org/zap"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync/teleport"
)

// Operator carries out an operator's commands, next to the replicas or without any. Each method is one command: it writes its answer, for people or as
// JSON, and returns an error that is one line if it could not.
type Operator struct {
	cfg  *Config
	opts OperatorOptions
	term *terminal
}

// OperatorOptions are what the commands need beside the configuration.
type OperatorOptions struct {
	Out     io.Writer // the answer
	Err     io.Writer // progress, and remarks beside the answer
	JSON    bool      // the answer is for programs
	Environ []string  // as os.Environ returns it
}

// NewOperator returns an operator of the agents with this configuration.
func NewOperator(cfg *Config, opts OperatorOptions) *Operator {
	return &Operator{cfg: cfg, opts: opts, term: newTerminal(opts.Out, opts.Environ)}
}

// answerJSON writes the answer for programs.
func (o *Operator) answerJSON(answer any) error {
	encoder := json.NewEncoder(o.opts.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(answer)
}

// open connects to PostgreSQL alone. The caller closes the database.
func (o *Operator) open(ctx context.Context) (*db.DB, error) {
	database, err := db.Open(ctx, o.cfg.database(db.CommandInstance+instance(), zap.NewNop()))
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return database, nil
}

// view connects to PostgreSQL and finds the scope: that of the Jira project and of the Teleport cluster that the credentials are for. Where these cannot
// be read it is the only one that has been led.
func (o *Operator) view(ctx context.Context) (view *db.View, scope db.Scope, stop func(), err error) {
	database, err := o.open(ctx)
	if err != nil {
		return nil, scope, nil, err
	}
	defer func() {
		if err != nil {
			database.Close()
		}
	}()
	scopes, err := database.Scopes(ctx, o.cfg.Jira.Project)
	if err != nil {
		return nil, scope, nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	cluster, err := teleport.ClusterOf(o.cfg.teleport())
	switch {
	case err == nil:
		scope = db.Scope{Cluster: cluster, Project: o.cfg.Jira.Project}
	case len(scopes) == 0:
		return nil, scope, nil, fmt.Errorf("no agent has led for project %s in this database yet, and which Teleport cluster is meant is not known: %w", o.cfg.Jira.Project, err)
	case len(scopes) == 1:
		scope = scopes[0]
	default:
		names := make([]string, len(scopes))
		for i, s := range scopes {
			names[i] = s.Cluster
		}
		return nil, scope, nil, fmt.Errorf("project %s is used with the Teleport clusters %s, and which is meant is not known: %w",
			o.cfg.Jira.Project, strings.Join(names, ", "), err)
	}
	return database.View(scope), scope, database.Close, nil
}

// sides connects to Jira and Teleport, both at once, as a replica does. What could not be reached is nil, and in the error of its side.
func (o *Operator) sides(ctx context.Context) (p *process, teleportErr, jiraErr error) {
	p = &process{cfg: o.cfg, log: zap.NewNop(), ready: newReadiness(), metrics: newMetrics("", o.cfg.Sync)}
	reached := make(chan error, 1)
	go func() { reached <- p.connectTeleport(ctx) }()
	jiraErr = p.connectJira(ctx)
	return p, <-reached, jiraErr
}

// closeSides ends what sides has opened.
func (p *process) closeSides() {
	if p.cluster != nil {
		p.cluster.Close()
	}
	if p.tracker != nil {
		p.tracker.Close()
	}
}

// errUnknown means that nothing is known under a name.
var errUnknown = errors.New("unknown")

// leads reports whether somebody leads at the moment of the overview.
func leads(o db.Overview) bool { return o.Led && o.Epoch > 0 && !o.Resigned }

// nobodyLeads is what a command says beside its answer where nobody would carry it out.
func nobodyLeads(o db.Overview) string {
	if leads(o) {
		return ""
	}
	return "nobody leads at the moment (" + cmp.Or(o.Holder, "nobody ever") + " did last): it is done as soon as a replica does"
}

// ErrFindings means that check or setup found something that has to change, and has said what.
var ErrFindings = errors.New("something has to change")
