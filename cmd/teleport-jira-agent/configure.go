package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"teleport-jira-agent/agent"
)

func newConfigure() *cobra.Command {
	var format, from string
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Prints a commented sample configuration",
		Long: "Prints a commented sample configuration with every variable, its default and its meaning. Needs no variable itself.\n\n" +
			"The formats toml and helm, and --from, which converts a file of Teleport's own Jira plugin, are not available in this release; `start --config` reads such a file as it is.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case from != "":
				return fmt.Errorf("--from is not available in this release; `start --config %s` reads the file as it is", from)
			case format == "toml" || format == "helm":
				return fmt.Errorf("--format %s is not available in this release; example: --format env", format)
			case format != "env":
				return fmt.Errorf("--format must be env, is %q", format)
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), agent.Sample())
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "env", "`FORMAT` of the sample: env")
	cmd.Flags().StringVar(&from, "from", "", "TOML `FILE` to convert")
	return cmd
}
