package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the version",
		Long:  "Prints the version, the commit it was built from, and the version of Go. Needs no variable.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(
				cmd.OutOrStdout(),
				"teleport-jira-agent %s git:%s %s\n",
				version,
				revision(),
				runtime.Version(),
			)
			return err
		},
	}
}

// revision is the commit that the linker was told, else the one that the Go command recorded.
func revision() string {
	const unknown = "unknown"
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return cmp.Or(s.Value, unknown)
		}
	}
	return unknown
}
