// Package integration holds the end-to-end tests: the built binary against simulators that speak
// the real protocols, and a real PostgreSQL.
//
// The simulators are packages of their own, used by the demo as well: jirasim (Jira's REST API),
// teleportsim (Teleport's Auth Service), pgtest (a throwaway PostgreSQL) and replica (the agent as
// a process). None is linked into the agent. The ports of what is stopped and started again are held
// meanwhile (heldport).
//
// GUARANTEES.md lists what the program promises, with the tests that prove it.
package integration
