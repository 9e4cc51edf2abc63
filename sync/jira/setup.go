package jira

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// The preconditions that setup looks after, by the names of their findings.
const (
	checkField       = "jira.field"
	checkSearchable  = "jira.field.searchable"
	checkContext     = "jira.field.context"
	checkScreen      = "jira.field.screen"
	checkStatuses    = "jira.statuses"
	checkTransitions = "jira.transitions"
)

// Setup is what the agent needs of a Jira project and the project lacks: the custom field for the
// request ID, with a searcher, with a context for the project and on its screens, beside the
// description; the statuses and the transitions between them.
//
// A plan only reads. Apply does what the token may do through Jira's API, one step after the other,
// and looks again after each, so that it is safe to repeat, to break off, and to run beside a
// person who does the same. The rest is told as a path of clicks.
type Setup struct {
	c        *Client
	statuses sync.Statuses
	seen     sight
	done     []string
}

// Step is one thing that Jira lacks.
type Step struct {
	// Check is the precondition that the step serves, as its Finding names it.
	Check string
	// What is done, as a command: `create the custom field "teleportAccessRequestId"`. No two steps
	// of a plan say the same.
	What string
	// ByToken: the configured token may do it, through Jira's API.
	ByToken bool
	// ByHand is the path of clicks that does it.
	ByHand string

	do func(context.Context) error
}

// PlanSetup looks what the Jira of cfg lacks, and changes nothing. It fails only where it cannot
// look: without an answer, with refused credentials, without the project. statuses are what
// JIRA_STATUS_* say.
func PlanSetup(ctx context.Context, cfg Config, statuses sync.Statuses, log *zap.Logger) (*Setup, error) {
	c, err := newClient(cfg, log)
	if err != nil {
		return nil, misconfigured("configure the Jira client", err)
	}
	s := &Setup{c: c, statuses: statuses}
	for _, look := range []func(context.Context) error{c.findDeployment, c.findSelf, s.look} {
		if err := look(ctx); err != nil {
			c.Close()
			return nil, lasting(err)
		}
	}
	return s, nil
}

// planSetup is PlanSetup with a client that knows its deployment and itself.
func (c *Client) planSetup(ctx context.Context, statuses sync.Statuses) (*Setup, error) {
	s := &Setup{c: c, statuses: statuses}
	return s, s.look(ctx)
}

// Close drops idle connections.
func (s *Setup) Close() { s.c.Close() }

// Steps are what is left to do, in the order in which it has to be done.
func (s *Setup) Steps() []Step { return s.steps() }

// Done is what Apply has done, in the words of Step.What.
func (s *Setup) Done() []string { return s.done }

// Findings are what was found at the last look, for all preconditions that setup looks after.
func (s *Setup) Findings() []sync.Finding { return s.findings() }

// errStillLacking is a step that Jira took and that shows no effect.
var errStillLacking = errors.New("Jira accepted it, but does not show it; run setup again in a minute")

// Apply does the steps that the token may do. report is told before each step what is about to be
// done, and after the last with an empty what. It stops at the first that fails; what was done
// stays done, and Apply can be called again.
func (s *Setup) Apply(ctx context.Context, report func(done, total int, what string)) error {
	tried := make(map[string]bool)
	for {
		step, left := s.next()
		report(len(s.done), len(s.done)+left, step.What)
		if left == 0 {
			return nil
		}
		if tried[step.What] {
			return s.failed(step, errStillLacking)
		}
		tried[step.What] = true
		err := step.do(ctx)
		// Whether it is done is for Jira to say: an answer can be lost, and another can have done
		// it.
		if lookErr := s.lookAgain(ctx); lookErr != nil {
			return s.failed(step, errors.Join(err, lookErr))
		}
		if !s.needs(step) {
			s.done = append(s.done, step.What)
			s.c.log.Info("changed the setup of jira", zap.String("step", step.What))
			continue
		}
		if err != nil {
			return s.failed(step, err)
		}
	}
}

func (s *Setup) failed(step Step, err error) error {
	return fmt.Errorf(
		"%s: %w; what was done before stays, and setup can be run again; by hand: %s",
		step.What,
		err,
		step.ByHand,
	)
}

// next is the first step that the token may do, and how many of those are left.
func (s *Setup) next() (first Step, left int) {
	for _, step := range s.steps() {
		if step.ByToken {
			if left == 0 {
				first = step
			}
			left++
		}
	}
	return first, left
}

func (s *Setup) needs(done Step) bool {
	for _, step := range s.steps() {
		if step.What == done.What {
			return true
		}
	}
	return false
}

// change makes a call that changes Jira's setup.
func (c *Client) change(ctx context.Context, r request) error {
	r.scope = sync.ScopeSide
	return c.write(ctx, r, func(context.Context) error { return nil }, nil)
}
