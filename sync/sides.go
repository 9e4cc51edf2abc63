package sync

import (
	"context"
	"time"
)

// Cluster is Teleport, as the engine needs it. Every method gives each remote call its own deadline
// within the one of ctx, and returns *Error. Safe for concurrent use.
type Cluster interface {
	// Watch returns once Teleport has confirmed the watch (OpInit). Nothing that happened before is
	// told: call Requests after it, and apply both in any order.
	Watch(ctx context.Context) (Watch, error)

	// Requests calls page for each page of all requests that Teleport lists: those that are not
	// past their Expires.
	Requests(ctx context.Context, page func([]Request) error) error

	// Request reads one request from Teleport's backend, past any cache. ErrNotFound when it is
	// gone, and without the right to list: see ListRight.
	Request(ctx context.Context, id string) (Request, error)

	// Listed reports whether Teleport lists the request, which it does until the request is past
	// its expiry by Teleport's own clock. A list may trail by a second or so. Without the right to
	// list nothing is ever listed.
	Listed(ctx context.Context, id string) (bool, error)

	// ListRight says what an empty list, and a request that is not found by ID, are worth. An error
	// means that Teleport did not answer.
	ListRight(ctx context.Context) (ListRight, error)

	// Decide sets the state of a request. Teleport has no precondition on the call and lets a
	// denial overwrite an approval: the caller reads the request immediately before.
	Decide(ctx context.Context, id string, d Decision) error

	// Users finds users. An error that is ErrForbidden means that this identity may not read them.
	Users(ctx context.Context, q UserQuery) ([]User, error)

	// Review submits a review by its author, on whose behalf this identity acts, and returns the
	// request as it then is: still pending if it takes more reviews. Teleport itself checks the
	// author's right. ErrReviewUnsupported, ErrReviewDenied and ErrReviewed mean that it refused,
	// ErrChanged that the request was resolved before, ErrNotFound that it is gone.
	Review(ctx context.Context, requestID string, r Review) (Request, error)

	// Claim writes into the plugin data of a pending request, by compare-and-swap, that an issue is
	// about to be made for it by who knows the mark, and after which issue key; that is empty where
	// none is known. mine is true when the claim has this mark, now or since an earlier call, and
	// no issue yet. Otherwise ref is the issue that the plugin data names, or zero when it names
	// none (somebody's claim whose create was never finished). ErrNotFound when the request is
	// gone.
	Claim(ctx context.Context, r Request, mark, after string) (ref IssueRef, mine bool, err error)

	// Reclaim puts mark and after on a claim that has none or others, unless it names an issue:
	// then ErrChanged.
	Reclaim(ctx context.Context, requestID, mark, after string) error

	// Linked reads the plugin data; zero when there is none.
	Linked(ctx context.Context, requestID string) (PluginData, error)

	// Link writes the issue's id and key into the plugin data, unless it names another issue: then
	// ErrChanged. Repeating it is harmless.
	Link(ctx context.Context, requestID string, ref IssueRef) error

	// Resolve writes the resolution ("approved", "denied", "expired", "promoted"), its reason and
	// the count of reviews into the plugin data, which is expected to name the issue ref; what else
	// it says is kept. Nothing is written, and nil returned, when the plugin data or the request is
	// gone. Repeating it is harmless.
	Resolve(ctx context.Context, requestID string, ref IssueRef, resolution, reason string, reviews int) error
}

// ListRight tells whether this identity may list all Access Requests. Without the right Teleport
// answers lists, and look-ups by ID, with the identity's own requests, which are none, and with no
// error (https://github.com/gravitational/teleport/issues/34438).
type ListRight string

// What is known of the right.
const (
	ListRightUnknown ListRight = ""        // Teleport does not say
	ListRightGranted ListRight = "granted" // what is not found is not there
	ListRightLacking ListRight = "lacking" // what is not found may well be there
)

// PluginData is what Teleport's plugin data says of a request. It outlives the request: Teleport
// keeps it until an hour after the access that was asked for would have ended.
type PluginData struct {
	// Claimed: there is plugin data. Without it no issue was ever begun for a request that is still
	// pending.
	Claimed bool
	// Issue is the one that it names; zero when it names none.
	Issue IssueRef
	// Resolution is how the request ended, as a plugin wrote once it had told the issue; empty
	// before.
	Resolution Outcome
	// Mark is who claimed the request (Cluster.Claim); empty where Teleport's own plugin did, which
	// leaves none. After is the latest issue key that was known then: the request's issue has a
	// later one. Empty where none was known.
	Mark, After string
}

// Watch is an open stream of events.
type Watch interface {
	// Next waits for the next event. Any error means that the watch is broken and events may be
	// missing: close it, open another and list again.
	Next(ctx context.Context) (Event, error)
	Close() error
}

// Query bounds a search for issues of the configured project whose custom field is filled.
type Query struct {
	// Since is the lower bound of Issue.Updated. There is no upper bound: it would hide the newest
	// issues.
	Since time.Time
	// Reconcile are ids of issues whose newest version must be seen by the search even if the index
	// lags, where Jira offers that (Cloud; the adapter uses at most the first 50).
	Reconcile []string
}

// Tracker is Jira, as the engine needs it. Every method gives each remote call its own deadline
// within the one of ctx, waits for the shared pace, and returns *Error. Safe for concurrent use.
type Tracker interface {
	// Now is Jira's clock, to the second at least.
	Now(ctx context.Context) (time.Time, error)

	// Search calls page for each page of issues, those changed longest ago first on Cloud. The
	// index may lag: what it does not show may exist, and what it shows may be old.
	Search(ctx context.Context, q Query, page func([]Issue) error) error

	// Issues reads issues by id, in as few calls as Jira offers. Those that Jira does not show are
	// absent from the result; order is not kept. Archived is filled in where Jira lets that be
	// told. What only a search index says of an issue is marked FromIndex, and may be old.
	Issues(ctx context.Context, ids []string) ([]Issue, error)

	// Latest is Issues for few of them, always past the search index: what it shows is what Jira
	// itself knows at that moment.
	Latest(ctx context.Context, ids []string) ([]Issue, error)

	// Read reads one issue with its status history and its comments, past the search index.
	// ErrNotFound when it is gone or invisible.
	Read(ctx context.Context, id string) (Detail, error)

	// Find searches the project's issues whose custom field is exactly the request ID, with
	// Property and ByAgent filled, oldest (lowest id) first. The index may lag: an empty answer
	// proves nothing until it had time to catch up.
	Find(ctx context.Context, requestID string) ([]Issue, error)

	// LastKey is the latest issue key of the project that any answer has shown, or, before the
	// first, that a search shows; with the number 0 where it shows none. What is made from now on
	// has a later one.
	LastKey(ctx context.Context) (string, error)

	// Trace looks, past the search index, for issues that the agent's account made for the request:
	// among those whose keys Jira has given out after the key after, or, where that is empty, since
	// the time since by Jira's clock, which may have been set. Property and ByAgent are filled,
	// oldest first. complete is false when not all of these keys could be looked at; then an issue
	// may exist that was not found. A create that Jira has not finished yet is not found either.
	Trace(ctx context.Context, requestID, after string, since time.Time) (found []Issue, complete bool, err error)

	// Statuses are those of the project's workflows, as they are called now in the account's
	// language.
	Statuses(ctx context.Context) ([]Status, error)

	// Inherited searches the project's issues that Teleport's own plugin made under this account
	// and left without the custom field, with Property and ByAgent filled, oldest first: for one
	// request, by its ID in the description, or for none all that are now in one of the statuses.
	// The index may lag.
	Inherited(ctx context.Context, requestID string, statuses []string) ([]Issue, error)

	// Groups are the names and the ids of the groups that a person is in, perhaps as they were some
	// seconds ago. An error that is ErrForbidden means that this account may not see that.
	Groups(ctx context.Context, p Person) ([]string, error)

	// Create makes an issue. commit is called when all waiting is over, immediately before the call
	// is sent; if it returns an error nothing is sent and that error is returned. An Error with
	// Uncertain set means that the issue may exist. Jira's answer names only id and key: the status
	// of the result is the one that issues began in lately (Issue.Assumed), or zero.
	Create(ctx context.Context, d Draft, commit func(context.Context) error) (Issue, error)

	// Move takes an issue one transition along the way (Way.Next). It reads the issue first:
	// already in one of way.To is success without an effect; a status other than from, unless that
	// is zero, is ErrChanged. commit is called immediately before a transition is sent, with the
	// status that it leads to; if it returns an error nothing is sent and that error is returned.
	// ErrNoTransition when nothing leads on. The result has the status that the issue is in now,
	// which is one of way.To when it has arrived.
	Move(ctx context.Context, id string, from Status, way Way, commit func(context.Context, Status) error) (Issue, error)

	// Drive is Move from whatever status the issue is in now. seen is what was last seen of it:
	// where it is known which transition leads from there to the end of the way, it may be sent
	// without a read, and the status of the result is Assumed then. After a call that may have
	// moved the issue it is read before another.
	Drive(ctx context.Context, seen Issue, way Way, commit func(context.Context, Status) error) (Issue, error)

	// SetRequestID writes the custom field of an issue. commit is as in Create.
	SetRequestID(ctx context.Context, id, requestID string, commit func(context.Context) error) error

	// Comments reads all comments of an issue, newest first.
	Comments(ctx context.Context, id string) ([]Comment, error)

	// Comment adds a comment that carries key as the agent's own mark. commit is as in Create.
	Comment(ctx context.Context, id, key, body string, commit func(context.Context) error) error
}

// Lease is the right to write to Jira and Teleport, held by the leading replica.
type Lease interface {
	// Check returns ErrNotLeader unless the lease is certainly held at this moment, by this
	// process's clock. It does no I/O.
	Check() error
}

// Store keeps links and cursors, and appends to a row's activity what changed in it. Each method
// writes what is new in one transaction, fenced by the term of the leader that it was made for, and
// nothing where nothing is: it returns ErrNotLeader, and changes nothing, once another term has
// begun. Safe for concurrent use.
//
// The agent's own times (Due, BegunAt, SettledAt, Activity.At) mean the same moment to all
// replicas, however far their clocks are apart: a Store takes and returns them by the clock of its
// caller's process, and keeps them by one clock of its own. If that is set back, what it put off is
// due.
type Store interface {
	// ObserveRequests records what Teleport said: for each request it merges into the row
	// (MergeRequest), and creates a row for a pending request that has none. A row that changed
	// gets its Seq raised and is due at once, unparked. One whose request is Gone, and is seen
	// pending, becomes suspect: what was seen may be old.
	ObserveRequests(ctx context.Context, requests []Request) error

	// Recover is ObserveRequests after the database was lost: every request that has no row gets
	// one, as if a create had just been begun, so that its issue is looked for.
	Recover(ctx context.Context, requests []Request) error

	// RecoverIssues makes a row for the request ID of each issue that no row names, unless there is
	// one, as if its create had just been begun and its request might be gone: both are looked for.
	// The row of the first issue is due then, each further one's so much later. Until its request
	// is found none counts as pending.
	RecoverIssues(ctx context.Context, issues []Issue, due time.Time, apart time.Duration) error

	// Learn records what the worker of a row has just read, and returns l with the facts of the row
	// as they are now. What it has read itself is no news to the worker: if no other fact had
	// changed since l was read, its Seq is the row's new one, so that Save takes it for made upon
	// all that is known. Else its Seq stays what it was.
	Learn(ctx context.Context, l Link, seen Seen) (Link, error)

	// SuspectRequests marks rows whose request may be gone: due at once, to be asked for by ID.
	// Rows that are settled, gone, suspect already or unknown are left alone. What lists and events
	// say does not lift the mark, since it may be older; Save does.
	SuspectRequests(ctx context.Context, requestIDs []string) error

	// ObserveIssues records what Jira said of issues that a row names, by issue id (MergeIssue). A
	// row is due at once if that makes a difference to it (Differ), if it failed before, or if its
	// request is resolved and it waits to be settled; and urgent if the issue's status had been
	// another. An issue that no row names makes the row of its RequestID due if that row still has
	// no issue; otherwise it is noted among the Strays of that row, which is due if it is new
	// there. If cursor is not zero, the cursor is raised to it in the same transaction; it never
	// falls.
	ObserveIssues(ctx context.Context, issues []Issue, cursor time.Time) error

	// SuspectIssues is SuspectRequests by the id of an issue that may be gone, or there again: rows
	// whose issue is gone are marked though they are settled. The rows are urgent, too, if a person
	// may have done something: not when a sweep misses issues, which may be all of them.
	SuspectIssues(ctx context.Context, issueIDs []string, urgent bool) error

	// Hints returns up to limit hints that are due, those due longest first, and how long it is
	// until another one will be; zero when none waits.
	Hints(ctx context.Context, limit int) (due []Hint, next time.Duration, err error)

	// Heeded records that the issues of hints were looked at: each hint goes, or waits for another
	// look. One that a webhook renewed since it was read stays due.
	Heeded(ctx context.Context, hints []Heeded) error

	// Cursor is the latest time, by Jira's clock, up to which everything that Jira's index showed
	// is recorded. Zero before the first poll.
	Cursor(ctx context.Context) (time.Time, error)

	// Due returns the rows that are due at now, which is the present by this process's clock, the
	// urgent ones before all others, of each the longest due first, at most limit, without those in
	// skip. next is when the next row falls due that is neither among them nor in skip; zero when
	// none will, and when limit rows are due, since more may be.
	Due(ctx context.Context, now time.Time, limit int, skip []string) (due []Link, next time.Time, err error)

	// EndDryRun makes the rows due that a dry run has put off: those whose LastError begins with
	// DryRunError.
	EndDryRun(ctx context.Context) error

	// Save records the agent's own part of the row (Link.Work) and appends to its activity. Facts
	// are not touched, but for the issue below. If a fact changed since l was read (Seq differs),
	// the row stays due, urgent and suspect as the observer made it, else it is no longer urgent;
	// if an operator dropped the request since, or took it up again, SettledAt stays as it is, too.
	// One fact comes with the agent's own part: when the row gets its issue and l.Issue is that
	// issue, what l.Issue says of it is recorded, which is no change of a fact. It returns the row
	// as it is now; where no fact changed since l was read, that is l.
	Save(ctx context.Context, l Link, done ...Activity) (Link, error)

	// Open returns up to limit rows that are unsettled, or whose issue is gone, in order of request
	// ID, those after the given one.
	Open(ctx context.Context, after string, limit int) ([]Link, error)

	// PendingIssues returns up to limit ids of issues whose request is pending, those longest
	// unseen in motion last; pending is whether any request is, with or without issue.
	PendingIssues(ctx context.Context, limit int) (ids []string, pending bool, err error)

	// Prune deletes rows that were settled before the given time, with their activity, and returns
	// how many. A clock that runs ahead, this process's or the Store's, makes it delete none.
	Prune(ctx context.Context, settledBefore time.Time) (int, error)

	// SawStatuses records under which names Jira shows statuses now, by its clock, and returns all
	// names that were ever seen.
	SawStatuses(ctx context.Context, statuses []Status, at time.Time) (StatusNames, error)

	// Condition records how one of the engine's loops goes, for those who ask the database: since
	// when it works (problem is empty), or fails and why. What did not change keeps its time.
	Condition(ctx context.Context, loop, problem string) error

	// Stats counts rows, for metrics and readiness.
	Stats(ctx context.Context, now time.Time) (Stats, error)
}

// Stats are counts of rows.
type Stats struct {
	Open      int // unsettled
	Pending   int // whose request is pending
	Due       int // due now
	Parked    int
	OldestDue time.Time // zero when none is due
}
