// Command teleport-jira-agent keeps Teleport Access Requests and Jira issues in agreement.
//
// Each command has a file of its own here: it reads flags and configuration, makes one call, and
// ends. The exit code is 0 when that went well, 1 when it failed, and 2 when the command line or
// the configuration is wrong; then standard error has one line for each thing that is wrong. A
// running agent logs why it failed; other failures are one line on standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // of the command line or the configuration
)

// version and commit are set by the linker: -ldflags "-X main.version=v1.2.3 -X main.commit=abc".
var (
	version = "v0.1.0"
	commit  = ""
)

// errTold ends a command that has told already, in its log or its answer, what is wrong.
var errTold = errors.New("told already")

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRoot(environ)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var failed failure
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errTold):
		return exitFailure
	case errors.As(err, &failed):
		_, _ = fmt.Fprintln(stderr, oneLine(failed))
		return exitFailure
	}
	// What is left is about the command line or the configuration: cobra's own errors have no type.
	_, _ = fmt.Fprintln(stderr, err)
	return exitUsage
}

// oneLine is the text of an error, which may quote what others wrote, without what a terminal would
// obey.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ReplaceAll(err.Error(), "\n", "; "))
}

func newRoot(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "teleport-jira-agent",
		Short: "Keeps Teleport Access Requests and Jira issues in agreement",
		Long: "Keeps Teleport Access Requests and Jira issues in agreement: each pending request gets an issue, a person " +
			"moves the issue, Teleport follows; what happens in Teleport shows on the issue.",
		SilenceErrors:      true, // run prints them, on one line
		SilenceUsage:       true,
		DisableSuggestions: true, // they would take further lines
		CompletionOptions:  cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(
		newStart(environ),
		newCheck(environ),
		newSetup(environ),
		newStatus(environ),
		newExplain(environ),
		newQueue(environ),
		newReconcile(environ),
		newConfigure(),
		newVersion(),
	)
	root.SetHelpCommand(newHelp(root))
	return root
}

// newHelp replaces cobra's help command, which takes an unknown topic for a success.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Tells about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			topic, _, err := root.Find(args)
			if err != nil {
				return err
			}
			topic.InitDefaultHelpFlag() // else it is missing from the list of flags
			return topic.Help()
		},
	}
}
