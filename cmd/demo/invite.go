package main

import (
	"context"
	"fmt"
	"strings"

	"teleport-jira-agent/integration/teleportsim"
)

// leaveRequest makes a request that the visitor may decide.
func leaveRequest(w *world) error {
	w.story.title("Your turn: one more request waits for a decision")
	_, err := w.teleport.CreateRequest(
		teleportsim.Request{User: "frank@example.com", Roles: []string{"billing-export"}, Reason: "month-end report"},
	)
	return err
}

// invite says where to act, and where to look at what the page does not show.
func invite(w *world) {
	ctx, cancel := context.WithTimeout(context.Background(), healthTime)
	defer cancel()
	login := approverUsername + ":" + approverPassword
	var b strings.Builder
	entry := func(what, command string) { fmt.Fprintf(&b, "  %s\n    %s\n\n", what, w.screen.paint(bold, command)) }
	b.WriteByte('\n')
	entry("Decide it, break things and watch, in a browser:", w.board.url)
	entry(
		"An issue, as Jira's REST interface shows it:",
		fmt.Sprintf("curl -s -u %s %s/rest/api/2/issue/%s-1", login, w.jiraURL, project),
	)
	for _, s := range w.slots {
		look := "tail -f " + s.logFile()
		if p, running, frozen := s.now(); running && !frozen {
			if admin, err := p.AdminURL(ctx); err == nil { // else the visitor has just restarted it
				look = fmt.Sprintf("curl -s %s/readyz; curl -s %s/metrics; %s", admin, admin, look)
			}
		}
		entry(strings.ToUpper(s.name[:1])+s.name[1:]+": role and health, figures, log:", look)
	}
	entry("What the agents keep:", fmt.Sprintf("psql '%s' -c 'SELECT at, action, outcome, cause FROM activity ORDER BY "+
		"id'", w.databaseURL))
	b.WriteString("Everything stays up until Ctrl-C.\n\n")
	w.screen.print(b.String())
}
