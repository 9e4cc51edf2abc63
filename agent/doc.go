// Package agent is the process: what an operator starts, configures, asks and stops.
//
// Run promises that
//
//   - it starts with whatever is there: Teleport, Jira and PostgreSQL are connected to at the same
//     time, and those that do not answer are waited for. Only what waiting cannot mend ends it:
//     refused credentials, a project or field that is not there;
//
//   - this replica then stands for election and, in each term that it wins, runs the engine of
//     package sync;
//
//   - every goroutine belongs to it and ends with it. When ctx ends, running steps are finished or
//     abandoned within seconds, the leadership is handed over, and it returns nil;
//
//   - with the webhook on, each replica takes webhooks from the start on, standbys too: one is
//     answered with 200 when it is kept for whoever leads, and with 503 while it cannot be, so that
//     Jira sends it again. With the webhook off nothing listens for them;
//
//   - /healthz says that the process works, /readyz whether it can do its part (a standby's part is
//     to stand by), /metrics the rest.
//
//     connecting ──all three answer──▶ standby ◀──term lost── leader
//     │                              └────────term won──────▶ │
//     └── refused: error                       ctx ends: hand over, nil
//
// An Operator carries out the commands of a person beside the replicas: it reads the database, and
// asks both sides where that helps. It leads nothing, and leaves to the leader whatever is to be
// done.
//
// Losing PostgreSQL ends the term, and with it all work, until it is back. Losing Jira or Teleport
// makes the leader unready and pauses its work; another leader would fare no better.
package agent
