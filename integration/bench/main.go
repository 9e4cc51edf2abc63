// Command bench measures the built agent against the simulators, on one machine, and prints a table
// of figures, each beside its bound: what the agent costs Jira, Teleport, PostgreSQL and its
// machine.
//
//	bench [-binary FILE] [-json FILE] [-run REGEXP] [-v]
//
// With -binary it measures an agent that is built already, so that one bench compares two releases.
// The measurement "closed" calls the package db, and is always of the code that bench itself was
// built from.
//
// The simulators answer at once, unless a latency is set, and limit nothing, so that a figure is
// the agent's own work and waiting. Figures of time depend on the machine: compare those of one
// run, or the ratios. Counts do not.
//
// The exit code is 0 when all figures could be measured, whether or not they keep their bounds:
// these are for people to read.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"syscall"
	"text/tabwriter"
	"time"
)

// figure is one thing that is measured.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Bound is the most that Value may be; nil: none is set.
	Bound *float64 `json:"bound,omitempty"`
	// Note says what the value is made of.
	Note string `json:"note,omitempty"`
}

func (f figure) keeps() string {
	switch {
	case f.Bound == nil:
		return ""
	case f.Value <= *f.Bound:
		return "kept"
	}
	return "NOT kept"
}

// report is what is written with -json.
type report struct {
	At      time.Time `json:"at"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Binary  string    `json:"binary"`
	Figures []figure  `json:"figures"`
}

// measurement measures some figures that share their preparations.
type measurement struct {
	name string
	take func(ctx context.Context, b *bench) ([]figure, error)
}

// options are the command line.
type options struct {
	json, run, binary string
	verbose           bool
}

func main() {
	var o options
	flag.StringVar(&o.json, "json", "", "write the figures to `FILE`, too")
	flag.StringVar(&o.run, "run", "", "measure only what matches `REGEXP`")
	flag.StringVar(&o.binary, "binary", "", "measure the agent in `FILE`; without it, the agent is built")
	flag.BoolVar(&o.verbose, "v", false, "print the most expensive statements, too")
	flag.Parse()
	debug.SetGCPercent(
		400,
	) // what the simulators hold is seldom garbage, and to search it for some takes time from the agent
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx, os.Stdout, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, out io.Writer, o options) (err error) {
	only, err := regexp.Compile(o.run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, b.close()) }()
	r := report{
		At:     time.Now().UTC(),
		Go:     runtime.Version(),
		CPUs:   runtime.NumCPU(),
		Binary: cmp.Or(o.binary, "built from this tree"),
	}
	for _, m := range measurements() {
		if !only.MatchString(m.name) {
			continue
		}
		began := time.Now()
		figures, err := m.take(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Fprintf(os.Stderr, "measured: %s, in %s\n", m.name, time.Since(began).Round(time.Second))
		r.Figures = append(r.Figures, figures...)
	}
	printTable(out, r)
	if o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(text, '\n'), 0o600)
}

func printTable(out io.Writer, r report) {
	fmt.Fprintf(out, "%s, %d CPUs, %s, agent: %s\n\n", r.Go, r.CPUs, r.At.Format(time.RFC3339), r.Binary)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tVALUE\tUNIT\tBOUND\t\tNOTE")
	for _, f := range r.Figures {
		bound := ""
		if f.Bound != nil {
			bound = fmt.Sprintf("%.4g", *f.Bound)
		}
		fmt.Fprintf(w, "%s\t%.4g\t%s\t%s\t%s\t%s\n", f.Name, f.Value, f.Unit, bound, f.keeps(), f.Note)
	}
	w.Flush()
}

// measurements are all, from the cheapest on.
func measurements() []measurement {
	return []measurement{
		{"calls", calls},
		{"latency", latency},
		{"webhook", webhook},
		{"statements", statements},
		{"pending", waiting},
		{"backlog", backlogs},
		{"idle", idle},
		{"people first", peopleFirst},
		{"sweep", sweeps},
		{"closed", closed},
		{"open", open},
	}
}
