package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"teleport-jira-agent/agent"
)

func newStart(environ []string) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Runs the agent until SIGTERM or SIGINT",
		Long: "Runs the agent until SIGTERM or SIGINT; a second one ends it at once. SIGHUP re-reads identity, token and " +
			"TLS files. Any number of replicas can run; one leads.\n\n" +
			"Configured by environment variables, and by a TOML file in the format of Teleport's own Jira plugin, over which " +
			"they win. Required:\n  " +
			strings.Join(agent.Required(), "\n  ") + "\n\n" +
			"`teleport-jira-agent configure` prints them all.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return start(cmd.Context(), file, environ)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "TOML `FILE` with settings")
	return cmd
}

func start(ctx context.Context, file string, environ []string) error {
	reload, stopReload := onHangup()
	defer stopReload()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// After the first signal the next one has its usual effect: it ends the process at once.
	context.AfterFunc(ctx, stop)

	cfg, err := agent.Load(file, environ)
	if err != nil {
		return err
	}
	log, err := agent.NewLogger(cfg.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // a terminal cannot be synced, which is no failure
	cfg.LogSecretsTo(log)
	// Teleport's client library logs its tries to connect by itself, beside the agent's log and in
	// another form.
	slog.SetDefault(slog.New(slog.DiscardHandler))

	err = agent.Run(ctx, cfg, agent.Options{Log: log, Version: version, Reload: reload})
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	log.Error("agent failed", zap.Error(err))
	return errTold
}

// onHangup delivers a value for SIGHUP; several in quick succession may count as one. It never
// closes the channel.
func onHangup() (reload <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	out, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out, func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
