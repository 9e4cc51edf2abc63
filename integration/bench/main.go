// Command bench measures the built agent against the simulators, on one machine, and prints a table of figures, each beside its bound: what the agent costs Jira,
// Teleport, PostgreSQL and its machine.
//
//	bench [-json FILE] [-run REGEXP]
//
// The simulators answer at once, unless a latency is set, and limit nothing, so that a figure is the agent's own work and waiting. Figures of time depend on the machine:
// compare those of one run, or the ratios. Counts do not.
//
// The exit code is 0 when all figures could be measured, whether or not they keep their bounds: these are for people to read.
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
	"syscall"
	"text/tabwriter"
	"time"
)

// figure is one thing that is measured.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Bound is the most that Value may be; zero: none is set.
	Bound float64 `json:"bound,omitempty"`
	// Note says what the value is made of.
	Note string `json:"note,omitempty"`
}

func (f figure) keeps() string {
	switch {
	case f.Bound == 0:
		return ""
	case f.Value <= f.Bound:
		return "kept"
	}
	return "NOT kept"
}

// report is what is written with -json.
type report struct {
	At      time.Time `json:"at"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Figures []figure  `json:"figures"`
}

// measurement measures some figures that share their preparations.
type measurement struct {
	name string
	take func(ctx context.Context, b *bench) ([]figure, error)
}

func main() {
	jsonFile := flag.String("json", "", "write the figures to `FILE`, too")
	run := flag.String("run", "", "measure only what matches `REGEXP`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx, os.Stdout, *jsonFile, *run)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, out io.Writer, jsonFile, run string) (err error) {
	only, err := regexp.Compile(run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, b.close()) }()
	r := report{At: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU()}
	for _, m := range measurements() {
		if !only.MatchString(m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", m.name)
		figures, err := m.take(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.Figures = append(r.Figures, figures...)
	}
	printTable(out, r)
	if jsonFile == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(jsonFile, append(text, '\n'), 0o600)
}

func printTable(out io.Writer, r report) {
	fmt.Fprintf(out, "%s, %d CPUs, %s\n\n", r.Go, r.CPUs, r.At.Format(time.RFC3339))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tVALUE\tUNIT\tBOUND\t\tNOTE")
	for _, f := range r.Figures {
		bound := ""
		if f.Bound != 0 {
			bound = fmt.Sprintf("%.4g", f.Bound)
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
		{"backlog", backlogs},
		{"idle", idle},
	}
}
