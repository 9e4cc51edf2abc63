package main

import (
	"context"
	"errors"
	"log/slog"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"teleport-jira-agent/agent"
)

// failure is the error of a command that was understood and could not be carried out.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// operation is what an operator's command asks of the agent's package, with the configuration of
// the replicas.
type operation func(ctx context.Context, o *agent.Operator, args []string) error

// operates makes a command an operator's: it gets the flags that all of these have, and what it is
// run with.
func operates(cmd *cobra.Command, environ []string, do operation) *cobra.Command {
	var file string
	var asJSON bool
	cmd.Flags().StringVar(&file, "config", "", "TOML `FILE` with settings")
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer with JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		cfg, err := agent.Load(file, environ)
		if err != nil {
			return err
		}
		slog.SetDefault(slog.New(slog.DiscardHandler)) // Teleport's client library logs beside what a command answers
		err = do(
			ctx,
			agent.NewOperator(
				cfg,
				agent.OperatorOptions{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(), JSON: asJSON, Environ: environ},
			),
			args,
		)
		switch {
		case errors.Is(err, agent.ErrFindings):
			return errTold
		case err != nil:
			return failure{err}
		}
		return nil
	}
	return cmd
}

func newStatus(environ []string) *cobra.Command {
	return operates(&cobra.Command{
		Use:   "status",
		Short: "Tells who leads, how far Jira is read, and what is open or stuck",
		Long: "Tells who leads, how far Jira is read, how many requests are open, and which are parked or delayed and " +
			"why. It asks PostgreSQL alone.",
		Args: cobra.NoArgs,
	}, environ, func(ctx context.Context, o *agent.Operator, _ []string) error { return o.Status(ctx) })
}

func newExplain(environ []string) *cobra.Command {
	return operates(&cobra.Command{
		Use:   "explain REQUEST-ID|ISSUE-KEY",
		Short: "Tells the whole story of one request",
		Long: "Tells the whole story of one request: how it stands in Teleport and in Jira, what happened on both sides " +
			"and what the agent did about it, each error, " +
			"what the policy makes of the issue's status, and what comes next and when. A side that does not answer is told " +
			"of as it was last recorded. The exit code is 1 for a request that is not known.",
		Args: named(cobra.ExactArgs(1)),
	}, environ, func(ctx context.Context, o *agent.Operator, args []string) error { return o.Explain(ctx, args[0]) })
}

func newQueue(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Shows parked and delayed requests, tries them now, or gives up on one",
		Long: "A request is delayed while a step that failed waits to be tried again, and parked when repeating cannot " +
			"help until something changes: then it is " +
			"tried again at a change, and once a day.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("queue: say what to do: list, retry or drop")
			}
			return errors.New("queue: " + args[0] + " is none of list, retry, drop")
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args refuses all
	}
	cmd.AddCommand(
		operates(&cobra.Command{
			Use:   "list [REQUEST-ID|ISSUE-KEY]",
			Short: "Shows the parked and delayed requests, those that are tried again soonest first",
			Args:  named(cobra.MaximumNArgs(1)),
		}, environ, func(ctx context.Context, o *agent.Operator, args []string) error {
			return o.QueueList(ctx, optional(args))
		}),
		operates(&cobra.Command{
			Use:   "retry [REQUEST-ID|ISSUE-KEY]",
			Short: "Tries a request now, or all that are parked or delayed",
			Long: "Tries a request now, or all that are parked or delayed where none is named. A request that was dropped " +
				"is taken up again. The leader does it.",
			Args: named(cobra.MaximumNArgs(1)),
		}, environ, func(ctx context.Context, o *agent.Operator, args []string) error {
			return o.QueueRetry(ctx, optional(args))
		}),
		operates(&cobra.Command{
			Use:   "drop REQUEST-ID|ISSUE-KEY",
			Short: "Gives up on a request that is parked or delayed",
			Long: "Gives up on a request that is parked or delayed. Nothing more is done about it: its issue stays as it is, " +
				"and moves of it decide nothing. In Teleport " +
				"nothing changes. `queue retry` takes it up again.",
			Args: named(cobra.ExactArgs(1)),
		}, environ, func(ctx context.Context, o *agent.Operator, args []string) error { return o.QueueDrop(ctx, args[0]) }),
	)
	return cmd
}

// named refuses an empty name, which a script passes whose variable is not set: to leave the name
// out means all requests.
func named(number cobra.PositionalArgs) cobra.PositionalArgs {
	return cobra.MatchAll(number, func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return errors.New(cmd.CommandPath() + ": the name of the request is empty")
		}
		return nil
	})
}

// optional is the only argument, or empty.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func newReconcile(environ []string) *cobra.Command {
	var dryRun bool
	cmd := operates(&cobra.Command{
		Use:   "reconcile",
		Short: "Compares both sides now, and has the leader mend what disagrees",
		Long: "Compares Teleport and Jira now, lists what disagrees and what is done about it, and hands that to the " +
			"leader. With --dry-run it only lists. " +
			"The exit code is 0 when both sides could be compared, whether or not they agree.",
		Args: cobra.NoArgs,
	}, environ, func(ctx context.Context, o *agent.Operator, _ []string) error { return o.Reconcile(ctx, dryRun) })
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only list")
	return cmd
}

func newCheck(environ []string) *cobra.Command {
	return operates(&cobra.Command{
		Use:   "check",
		Short: "Verifies every precondition on Teleport, Jira and PostgreSQL",
		Long: "Verifies every precondition on Teleport, Jira and PostgreSQL, one line each with the remedy, and changes " +
			"nothing: rights to write are tried on what " +
			"does not exist, or with what is refused. The exit code is 0 when all hold (✓; ! is to look at) and 1 when " +
			"something fails (✗).",
		Args: cobra.NoArgs,
	}, environ, func(ctx context.Context, o *agent.Operator, _ []string) error { return o.Check(ctx) })
}

func newSetup(environ []string) *cobra.Command {
	var apply bool
	cmd := operates(&cobra.Command{
		Use:   "setup",
		Short: "Tells what Jira lacks, and with --apply does it; prints the Teleport role",
		Long: "Tells what the Jira project lacks: the custom field, its searcher, its context, its place on the screens; " +
			"the statuses and transitions. With --apply it does " +
			"what the token may do, for which the account needs to administer Jira; the rest is told as a path of clicks. It " +
			"prints the role, user, bot and tbot " +
			"configuration for the configured decision mode, to be created in Teleport. It can be run again. The exit code " +
			"is 1 while something is missing.",
		Args: cobra.NoArgs,
	}, environ, func(ctx context.Context, o *agent.Operator, _ []string) error { return o.Setup(ctx, apply) })
	cmd.Flags().BoolVar(&apply, "apply", false, "do what the token may do")
	return cmd
}
