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
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/teleport"
)

// Operator carries out an operator's commands, next to the replicas or without any. Each method is
// one command: it writes its answer, for people or as JSON, and returns an error that is one line
// if it could not.
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

// withView connects to PostgreSQL and does something with the view of the scope that the
// configuration means. A failure of PostgreSQL names the variable.
func (o *Operator) withView(ctx context.Context, do func(*db.View, db.Scope) error) error {
	database, err := db.Open(ctx, o.cfg.database(db.CommandInstance+instance(), zap.NewNop()))
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	defer database.Close()
	scope, err := o.scope(ctx, database)
	if err == nil {
		err = do(database.View(scope), scope)
	}
	if db.Failed(err) {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	return err
}

// scope is that of the Jira project and of the Teleport cluster that the credentials are for. Where
// these cannot be read it is the only one that has been led.
func (o *Operator) scope(ctx context.Context, database *db.DB) (db.Scope, error) {
	project := o.cfg.Jira.Project
	scopes, err := database.Scopes(ctx, project)
	if err != nil {
		return db.Scope{}, err
	}
	cluster, err := teleport.ClusterOf(o.cfg.teleport())
	switch {
	case err == nil:
		return db.Scope{Cluster: cluster, Project: project}, nil
	case len(scopes) == 0:
		return db.Scope{}, fmt.Errorf("no agent has led for project %s in this database yet, and which Teleport cluster "+
			"is meant is not known: %w", project, err)
	case len(scopes) == 1:
		return scopes[0], nil
	}
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = s.Cluster
	}
	return db.Scope{}, fmt.Errorf("project %s is used with the Teleport clusters %s, and which is meant is not known: "+
		"%w", project, strings.Join(names, ", "), err)
}

// sides connects to Jira and Teleport, both at once, as a replica does. What could not be reached
// is nil, and in the error of its side.
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

// judged says what the policy makes of an issue, freshly read.
func (p *process) judged(ctx context.Context, l sync.Link, d sync.Detail) string {
	text, err := sync.Assess(ctx, p.cfg.settings().Policy, p.cluster, p.tracker, l, d)
	if err != nil {
		return untold + err.Error()
	}
	return text
}

// untold begins what is said in place of a verdict.
const untold = "It could not be told: "

// stepReport is a step that is left to do.
type stepReport struct {
	Action string `json:"action"`
	Cause  string `json:"cause"`
}

func stepReports(steps []sync.Action) []stepReport {
	reports := make([]stepReport, len(steps))
	for i, step := range steps {
		reports[i] = stepReport{Action: strings.TrimSpace(string(step.Kind) + " " + string(step.To)), Cause: step.Cause}
	}
	return reports
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
	return "nobody leads at the moment (" + cmp.Or(o.Holder, "nobody ever") +
		" did last): it is done as soon as a replica does"
}

// ErrFindings means that check or setup found something that has to change, and has said what.
var ErrFindings = errors.New("something has to change")
