// Package jirasim is a strict simulator of the part of Jira's REST API (version 2) that a polling
// agent uses, for tests and demonstrations. It speaks as Jira Cloud or as Jira Data Center and
// refuses what the real one refuses: unknown fields, texts that are too long, transitions that the
// workflow does not offer, JQL it does not know, missing permissions, wrong credentials, too many
// calls.
//
// What it promises:
//
//   - Everything is in memory, deterministic and safe for concurrent use. Each call takes effect
//     whole or not at all.
//   - Issues are read as they are now; searches read them as they were one index lag ago, as Jira's
//     do, except for the ids in reconcileIssues (Cloud).
//   - A Server is an http.Handler. Start listens on 127.0.0.1; after stop it can listen on the same
//     address again with everything it knew, so a test can make Jira unreachable.
//   - People act through Go methods (Move, Comment, SetField, …) under the rules of the workflow
//     and of their permissions; automation acts past them (ForceStatus).
//   - Administrators act through the API, as Jira lets them (fields, contexts, screens), and past
//     it through Go methods (AddStatus, AddFieldToScreen, …).
//   - Each change is told to a registered webhook, signed, in the order in which the network takes
//     it (SetWebhook).
//   - Faults happen on demand: see Fault. Every call is counted: see Calls and Summary.
//
// Where Jira's behaviour is not documented, the stricter reading is taken. JQL that Jira knows but
// the simulator does not is refused with status 400 and a message that begins with "jirasim:".
//
// Sources: https://developer.atlassian.com/cloud/jira/platform/rest/v2/,
// https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile,
// https://developer.atlassian.com/cloud/jira/platform/rate-limiting/,
// https://docs.atlassian.com/software/jira/docs/api/REST/latest/.
package jirasim
