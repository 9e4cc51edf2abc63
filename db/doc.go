// Package db keeps the agent's state in PostgreSQL 14 or newer: the Store of the engine, and the
// election of its leader.
//
// # What it promises
//
//   - Every row belongs to a Scope, the pair of Teleport cluster and Jira project. Agents of
//     different scopes can share a database and never see each other's rows.
//   - Of all replicas of a scope at most one leads. Each time that a replica wins, a new term
//     begins; its number is the epoch. Each transaction of a Store that writes locks the row of its
//     own term first. Once a later term has begun that row is no longer there and the transaction
//     changes nothing (sync.ErrNotLeader), however long its process was frozen. A term begins only
//     after the open transactions of the one before that write have ended. One that only reads
//     looks whether the row is there.
//   - A Term is a lease. It holds for ElectorConfig.Lease after the start of the last successful
//     heartbeat, by this process's own clock. PostgreSQL frees the lock of a silent session later
//     than that, after 1.5 leases, and a new leader that was not handed the leadership waits 1.1
//     leases more before it works. So at no moment do two replicas believe that they lead, whatever
//     ended the session of the first: a crash, a partition, an administrator.
//   - What a webhook said of an issue (DB.Hint) any replica may keep, at any time; it belongs to no
//     term. One row for each issue that a row of links names is all that it can come to. The leader
//     is told at once; what it was not told of is there when it looks.
//   - A View reads a scope for people, and marks rows as observers do: a worker that is at work on
//     one does not take the mark back. Both need no term.
//   - Facts and the agent's own work are kept in separate columns. Observers never overwrite what
//     the agent did, and Save never overwrites what a side said.
//
// # The states of a replica
//
//	    ┌──────────────── any error, the lease lost: close the session, back off ───────────────┐
//	    ▼                                                                                       │
//	connecting ──session verified──▶ standby ──lock won──▶ settling ──1.1 leases later──▶ leading
//	                                    │                                                    ▲
//	                                    └────────lock won, the last leader had resigned──────┘
//
// When the context ends, or the leader's work does, a leader resigns (marks its term, frees the
// lock, wakes the standbys) after its work has returned, and Run returns.
//
// # When things fail
//
// Without PostgreSQL, and without one that takes writes, nothing is done: the leader's lease ends,
// standbys reconnect with a jittered back-off for ever, and each change of condition is logged
// once. An Elector uses a connection of its own and closes it upon any doubt, since a session whose
// lock is in doubt may hold it unseen. It neither leads nor stands by on a read-only server, where
// advisory locks are granted beside those of the primary, and each heartbeat proves by a write that
// the server still takes them, nor behind a connection pooler, which hands one session to several
// clients.
//
// Two primaries that both take writes (split brain) have two locks; no protocol over the database
// can tell. What the agent does to Jira and Teleport is therefore safe to repeat.
//
// Errors are of type *Error, or wrap a condition of this package or of package sync. None contains
// the database URL.
package db
