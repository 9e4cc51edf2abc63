// Package sync keeps Teleport's Access Requests and their Jira issues in agreement. It is the heart
// of the agent: all rules are here, and nothing here knows SQL, HTTP or gRPC. What it needs of the
// outside are the interfaces Store, Tracker (Jira), Cluster (Teleport) and Lease.
//
// The two sides change without asking each other, so nothing here reacts to a change. Instead:
//
//	observe   watch, list, poll, sweep and the reads that webhooks hint at record what each side said in one row per
//	          request (Link); a row whose facts changed is due
//	plan      Plan, a pure function, says what is left to do about a row
//	act       one worker per row does it step by step, each effect safe to repeat
//	record    each step is saved before the next, with a line of activity
//
// An event, a poll, a sweep or a webhook only says "look at this request again": missing one costs
// time, never correctness, and seeing one twice costs nothing.
//
// # What is promised
//
//   - A pending request gets one issue. The row and Teleport's plugin data say that a create is
//     about to happen before it does, and after which issue key. After a lost answer the issue is
//     looked for among the keys that Jira has given out since, past its search index; none is made
//     before a slow create had its time.
//   - Nothing is concluded from one word of a side, and every conclusion is taken back when the
//     side says otherwise (doubt.go). Deadlines are judged by the clock of the side that owns them.
//   - An issue is taken to the first configured status that its workflow leads to, through others
//     where it must be, and never through one that stands for a decision while the request is
//     pending (Way).
//   - A request is decided only by a person who moved the issue that the row names, as the issue's
//     history says at that moment (Judge), and whom the policy admits (Admit); and only while
//     Teleport says, at that moment, that it is pending and not past its expiry, and its plugin
//     data names the same issue. What cannot be looked up decides nothing. In ModeReview the
//     verdict is the person's own review and Teleport counts it; the agent never falls back from
//     one mode to another.
//   - Teleport's final state wins. An issue that disagrees is moved to agree.
//   - Without its database the agent goes on from what both sides hold: Teleport's list and plugin
//     data, the issues that the agent made, and its own comments on them, which tell how a request
//     ended that Teleport has forgotten.
//   - What Teleport's own Jira plugin left is taken over: its issues are found, given the field,
//     and told only what it did not tell them.
//   - In a dry run nothing is written to either side, and what would have been is told.
//   - What an operator dropped is left alone, whatever either side says, until the operator takes
//     it up again.
//   - A step that fails holds up neither its neighbours nor the cursor: its row is due again later,
//     after 5 s doubling to 15 min with jitter. A failure that repeating cannot mend parks the row
//     until a fact changes; it is tried again after 10 min doubling to a day. While a whole side is
//     in trouble all work waits, and no row counts it as its own failure.
//
// # Life of a row
//
//	             claim, create                 moved by a person: Judge
//	no issue ───────────────────▶ pending ────────── Admit ──────────▶ decided in Teleport
//	   │  ▲                         │  ▲  refused: comment, put back        │
//	   │  │ not found in time       │  └──────────────────────              │
//	   ▼  │                         │ approved, denied, promoted, expired   │
//	uncertain: find                 ▼                                       ▼
//	                             resolved: comment, move, plugin data ─▶ settled
//
// A settled row stays until it is pruned: its issue is put back if somebody moves it to a status
// that stands for another outcome.
//
// Where the code differs from the first design: a transition never marks "begun", because it is
// safe to repeat as it is; only creates and comments leave a mark (Work.Begun). Under Pending,
// where a person may act at any moment, an issue is moved only from a fresh read (Tracker.Move). To
// the status of an outcome, which is final wherever the issue is, it may be moved by what other
// issues have shown of the workflow (Tracker.Drive), and be taken for being there until Jira shows
// it (Issue.Assumed); it is settled only then. So is an issue that was just made taken for being
// where such issues begin. That saves half of the calls to Jira, which are what there is least of.
package sync
