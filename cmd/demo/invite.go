package main

import (
	"context"
	"fmt"
	"strings"

	"teleport-jira-agent/integration/teleportsim"
)

// approval is the id of the transition to Approved in jirasim.Example.
const approval = "21"

// invite leaves a request undecided and says how to decide it, and where to look.
func invite(ctx context.Context, w *world) error {
	w.story.title("Your turn: one more request waits for a decision")
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request := teleportsim.Request{User: "frank@example.com", Roles: []string{"billing-export"}, Reason: "month-end report"}
	_, issue, err := ask(waiting, w, request)
	if err != nil {
		return err
	}
	login := approverUsername + ":" + approverPassword
	rest := w.jiraURL + "/rest/api/2/issue/" + issue.Key

	var b strings.Builder
	entry := func(what, command string) { fmt.Fprintf(&b, "  %s\n    %s\n\n", what, w.screen.paint(bold, command)) }
	b.WriteByte('\n')
	entry("Approve it as "+approver+"; what follows is told here:",
		fmt.Sprintf(`curl -u %s -H 'Content-Type: application/json' -d '{"transition":{"id":"%s"}}' %s/transitions`, login, approval, rest))
	entry("The issue, as Jira shows it:", fmt.Sprintf("curl -s -u %s %s", login, rest))
	for i, agent := range w.agents {
		admin, err := agent.AdminURL(waiting)
		if err != nil {
			return err
		}
		entry(fmt.Sprintf("Agent %d: role and health, figures, log:", i+1),
			fmt.Sprintf("curl -s %s/readyz; curl -s %s/metrics; tail -f %s", admin, admin, w.logFile(agent.Name)))
	}
	entry("What the agents keep:", fmt.Sprintf("psql '%s' -c 'SELECT at, action, outcome, cause FROM activity ORDER BY id'", w.databaseURL))
	entry("Kill the leader; the other takes over:", fmt.Sprintf("kill -9 %d", w.agents[0].PID()))
	b.WriteString("Everything stays up until Ctrl-C.\n\n")
	w.screen.print(b.String())
	return nil
}
