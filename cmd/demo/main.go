// Command demo shows the agent at work on one machine, without an account or any configuration. It
// starts a throwaway PostgreSQL, a simulated Teleport, a simulated Jira and two replicas of the
// real agent as processes of their own; drives one request through each way that a request can end;
// tells in plain words what happens; and serves one page on which a visitor sees both sides and
// both replicas, and acts on them.
//
//	demo [AGENT]
//	demo simulators DIR
//
// AGENT is the path of the agent's binary. Without it the binary is built, for which the working
// directory must be in the module. The second form runs only the simulators, at fixed addresses,
// for agents that are started elsewhere with the credentials that it writes into DIR.
//
// What it tells is what was observed: changes in the two simulators and lines of the agents' logs.
// The tour only acts and waits. So what a visitor does, on the page, over Jira's REST interface or
// with a signal to an agent, is told just the same. The visitor's first act on the page ends the
// tour, unless the demo is to end with the tour.
//
// The page is served at a free port of 127.0.0.1, or at DEMO_ADDR.
//
// After the tour the demo stays up until Ctrl-C; with DEMO_ONCE=1 it ends. The exit code is 0, or 1
// if something did not happen in time; it then says what, and how the agents' logs end. However it
// ends, its processes and files end with it.
//
// Output is coloured on a terminal, unless NO_COLOR is set (https://no-color.org).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// readingTime is how long a person in the tour hesitates, for the sake of whoever reads along.
// Nothing depends on it.
const readingTime = time.Second

// options are what differs from one demo to another.
type options struct {
	agent  string        // path of the binary; empty: build it
	once   bool          // end after the tour
	colour bool          // escape sequences are understood
	pace   time.Duration // before each act of a person
	addr   string        // of the page; empty: any free port
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "simulators" {
		w := &world{
			screen:       newScreen(os.Stdout, coloured(os.Stdout)),
			dir:          os.Args[2],
			teleportAddr: teleportAddr,
			jiraAddr:     jiraAddr,
		}
		if err := simulate(untilInterrupted(), w, readingTime); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 2 {
		fmt.Fprintln(os.Stderr, "usage: demo [AGENT]\n       demo simulators DIR")
		os.Exit(2)
	}
	o := options{
		once:   os.Getenv("DEMO_ONCE") == "1",
		colour: coloured(os.Stdout),
		pace:   readingTime,
		addr:   os.Getenv("DEMO_ADDR"),
	}
	if len(os.Args) == 2 {
		o.agent = os.Args[1]
	}
	if run(untilInterrupted(), os.Stdout, o) != nil {
		os.Exit(1)
	}
}

// untilInterrupted ends when the demo is to end. A second Ctrl-C does not wait for the cleaning up.
// SIGPIPE, which says that nobody reads on, stays caught, so that the last words do not end the
// cleaning up.
func untilInterrupted() context.Context {
	read, _ := signal.NotifyContext(context.Background(), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(read, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx
}

// run is the demo from the first line to the last. What went wrong has been printed when it
// returns.
func run(ctx context.Context, out io.Writer, o options) error {
	s := newScreen(out, o.colour)
	s.title("teleport-jira-agent: a demonstration on this machine, gone when it ends")
	w := &world{screen: s, boardAddr: o.addr}
	err := show(ctx, w, o)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		s.title("Interrupted")
	default:
		s.title("The demo failed: " + err.Error())
		w.printLogs(20)
	}
	s.say("demo", "stopping the agents, both simulators and PostgreSQL")
	if closeErr := w.close(); closeErr != nil {
		s.title("Not everything could be cleaned up: " + closeErr.Error())
		err = errors.Join(err, closeErr)
	}
	return err
}

// show builds the world, takes the tour and stays. Once the tour is over, an interrupt is the
// ordinary end.
func show(ctx context.Context, w *world, o options) error {
	if err := w.start(ctx, o.agent); err != nil {
		return err
	}
	w.screen.title("Open " + w.board.url + " in a browser: the board, Teleport and both agents, to play with")
	if o.once {
		return takeTour(ctx, w, o.pace)
	}
	touring, takeOver := context.WithCancel(ctx)
	defer takeOver()
	w.board.touring(takeOver)
	err := takeTour(touring, w, o.pace)
	if err == nil {
		err = leaveRequest(w)
	}
	w.board.touring(nil)
	switch {
	case ctx.Err() != nil:
		return err
	case touring.Err() != nil:
		w.screen.title("You have taken over on the page, so the tour ends here")
	case err != nil:
		return err
	}
	invite(w)
	<-ctx.Done()
	return nil
}
