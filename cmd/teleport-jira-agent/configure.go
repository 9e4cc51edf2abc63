package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"teleport-jira-agent/agent"
)

func newConfigure() *cobra.Command {
	var format, from string
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Prints a commented sample configuration, or converts one of Teleport's own Jira plugin",
		Long: "Prints a commented sample configuration with every variable, its default and its meaning: as environment " +
			"variables, as the TOML file that " +
			"`start --config` reads, or as values of the Helm chart. Needs no variable itself.\n\n" +
			"With --from it prints what a TOML file of Teleport's own Jira plugin says in that format, and on standard error " +
			"what of it has no equal. Secrets are not " +
			"printed; the output says where to put them.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := agent.Format(format)
			switch f {
			case agent.FormatEnv, agent.FormatTOML, agent.FormatHelm:
			default:
				return fmt.Errorf("--format must be env, toml or helm, is %q", format)
			}
			if !cmd.Flags().Changed("from") {
				_, err := fmt.Fprint(cmd.OutOrStdout(), agent.Sample(f))
				return err
			}
			text, warnings, err := agent.Convert(from, f)
			if err != nil {
				return err
			}
			if len(warnings) > 0 {
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), strings.Join(warnings, "\n"))
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "env", "`FORMAT` of the output: env, toml or helm")
	cmd.Flags().StringVar(&from, "from", "", "TOML `FILE` to convert")
	return cmd
}
