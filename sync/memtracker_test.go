package sync

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	stdsync "sync"
	"time"
)

// memIssue is an issue with its history, as Jira keeps it.
type memIssue struct {
	Detail
	created     time.Time
	description string
	lagging     []Issue // earlier versions, oldest first
	archived    bool    // read by id, not found and not changed; the issue itself does not tell
}

var errRefused = errors.New("HTTP 400")

// memTracker is Jira: a workflow in which each status reaches each other, and a search index that lags.
type memTracker struct {
	faults
	mu      stdsync.Mutex
	issues  map[string]*memIssue
	deleted []Detail
	lastID  int
	initial Status
	lag     time.Duration       // of the search index
	stale   time.Duration       // of reads of issues without their history
	late    time.Duration       // of what reads of issues with their history show of moves
	groups  map[string][]string // by account id; nil: this account may not see them
	dead    map[string]bool     // statuses that no transition leads to, by name
	poison  string              // a text that the database does not take; empty: it takes all
	memory  *memMemory          // nil: nothing is remembered of how issues move
}

// memMemory is what the adapter remembers of the workflow, right or wrong.
type memMemory struct {
	initial Status          // where an issue was that nobody had moved
	known   map[string]bool // the statuses, by id, in which transitions were once offered
	astray  func() bool     // whether a remembered transition now leads elsewhere
}

var agentAccount = Person{AccountID: "acc-agent", Active: true, Agent: true, DisplayName: "Agent"}

func newMemTracker() *memTracker {
	return &memTracker{issues: make(map[string]*memIssue), lastID: 10_000, initial: todoStatus}
}

var allStatuses = []Status{pendingStatus, approvedStatus, deniedStatus, expiredStatus, todoStatus}

// person moves an issue, as on the board.
func (t *memTracker) person(id string, p Person, to Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.transition(t.issues[id], p, to)
}

// setDead lets no transition lead to these statuses from now on.
func (t *memTracker) setDead(names ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dead = make(map[string]bool)
	for _, name := range names {
		t.dead[name] = true
	}
}

// begin lets new issues begin in another status.
func (t *memTracker) begin(in Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.initial = in
}

// remove deletes an issue.
func (t *memTracker) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deleted = append(t.deleted, t.issues[id].Detail)
	delete(t.issues, id)
}

// archive takes an issue into the archive, or out of it.
func (t *memTracker) archive(id string, archived bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.issues[id].archived = archived
}

// writable finds an issue for a change by the agent.
func (t *memTracker) writable(id, op string) (*memIssue, error) {
	switch i := t.issues[id]; {
	case i == nil:
		return nil, &Error{Side: "jira", Op: op, Permanent: true, Err: ErrNotFound}
	case i.archived:
		return nil, &Error{Side: "jira", Op: op, Permanent: true, Err: errRefused}
	default:
		return i, nil
	}
}

// setField lets somebody edit the custom field.
func (t *memTracker) setField(id, requestID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.issues[id]
	t.touch(i, func() { i.Issue.RequestID = requestID })
}

// forge makes an issue by hand with a request's ID in its field, and moves it.
func (t *memTracker) forge(requestID string, p Person, to Status) (id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastID++
	id = strconv.Itoa(t.lastID)
	i := &memIssue{created: time.Now()}
	i.Issue = Issue{ID: id, Key: "ACCESS-" + id, Project: "ACCESS", Status: t.initial, RequestID: requestID, Updated: time.Now()}
	t.issues[id] = i
	t.transition(i, p, to)
	return id
}

func (t *memTracker) transition(i *memIssue, p Person, to Status) {
	move := Move{ID: strconv.Itoa(len(i.Moves) + 1), Author: p, At: time.Now(), From: i.Issue.Status, To: to}
	i.Moves = append(i.Moves, move)
	t.touch(i, func() { i.Issue.Status = to })
}

func (t *memTracker) touch(i *memIssue, edit func()) {
	i.lagging = append(i.lagging, i.Issue)
	edit()
	i.Issue.Updated = time.Now()
	if last := i.lagging[len(i.lagging)-1].Updated; !i.Issue.Updated.After(last) {
		i.Issue.Updated = last.Add(time.Millisecond)
	}
}

// of returns copies of the issues that carry the request's ID.
func (t *memTracker) of(requestID string) []Detail {
	return t.where(func(i Issue) bool { return i.RequestID == requestID })
}

// madeFor returns copies of the issues that the agent made for a request, whatever their field holds now.
func (t *memTracker) madeFor(requestID string) []Detail {
	return t.where(func(i Issue) bool { return i.ByAgent && i.Property == requestID })
}

func (t *memTracker) where(match func(Issue) bool) []Detail {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Detail
	for _, i := range t.issues {
		if match(i.Issue) {
			d := i.Detail
			d.Comments, d.Moves = slices.Clone(d.Comments), slices.Clone(d.Moves)
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b Detail) int { return compareIDs(a.Issue.ID, b.Issue.ID) })
	return found
}

func compareIDs(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return x - y
}

// indexed is an issue as the search index shows it.
func (t *memTracker) indexed(i *memIssue, reconcile bool) (Issue, bool) {
	if i.archived {
		return Issue{}, false
	}
	lag := t.lag
	if reconcile {
		lag = 0
	}
	return t.before(i, lag)
}

// before is an issue as it was some time ago.
func (t *memTracker) before(i *memIssue, lag time.Duration) (Issue, bool) {
	if lag == 0 {
		return i.Issue, true
	}
	horizon := time.Now().Add(-lag)
	if i.created.After(horizon) {
		return Issue{}, false
	}
	shown := i.Issue
	for n := len(i.lagging) - 1; n >= 0 && shown.Updated.After(horizon); n-- {
		shown = i.lagging[n]
	}
	return shown, true
}

// shown is the same for a read by id: that an issue exists is never late.
func (t *memTracker) shown(i *memIssue, lag time.Duration) Issue {
	issue, ok := t.before(i, lag)
	switch {
	case ok:
		return issue
	case len(i.lagging) > 0:
		return i.lagging[0]
	}
	return i.Issue
}

func (t *memTracker) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (t *memTracker) Search(ctx context.Context, q Query, page func([]Issue) error) error {
	if err := t.enter(ctx, "jira", "search"); err != nil {
		return err
	}
	t.mu.Lock()
	var found []Issue
	for id, i := range t.issues {
		if shown, ok := t.indexed(i, slices.Contains(q.Reconcile, id)); ok && shown.RequestID != "" && !shown.Updated.Before(q.Since) {
			shown.Archived = NotArchived
			found = append(found, shown)
		}
	}
	t.mu.Unlock()
	return page(found)
}

func (t *memTracker) Issues(ctx context.Context, ids []string) ([]Issue, error) {
	if err := t.enter(ctx, "jira", "issues"); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Issue
	for _, id := range ids {
		if i := t.issues[id]; i != nil {
			shown := i.Issue
			if shown.Archived = NotArchived; i.archived {
				shown.Archived = Archived
			}
			found = append(found, shown)
		}
	}
	return found, nil
}

func (t *memTracker) Latest(ctx context.Context, ids []string) ([]Issue, error) {
	if err := t.enter(ctx, "jira", "latest"); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Issue
	for _, id := range ids {
		if i := t.issues[id]; i != nil {
			found = append(found, t.shown(i, t.stale))
		}
	}
	return found, nil
}

func (t *memTracker) Read(ctx context.Context, id string) (Detail, error) {
	if err := t.enter(ctx, "jira", "read"); err != nil {
		return Detail{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.issues[id]
	if i == nil {
		return Detail{}, &Error{Side: "jira", Op: "read", Err: ErrNotFound}
	}
	d := i.Detail
	d.Issue = t.shown(i, t.late)
	horizon := time.Now().Add(-t.late)
	d.Moves = slices.DeleteFunc(slices.Clone(d.Moves), func(m Move) bool { return m.At.After(horizon) })
	d.Comments = slices.Clone(d.Comments)
	slices.Reverse(d.Comments)
	if t.memory != nil && len(d.Moves) == 0 && d.Issue.ByAgent {
		t.memory.initial = d.Issue.Status
	}
	return d, nil
}

func (t *memTracker) Groups(ctx context.Context, p Person) ([]string, error) {
	if err := t.enter(ctx, "jira", "groups"); err != nil {
		return nil, err
	}
	if t.groups == nil {
		return nil, &Error{Side: "jira", Op: "groups", Permanent: true, Err: ErrForbidden}
	}
	return t.groups[p.ID()], nil
}

func (t *memTracker) Find(ctx context.Context, requestID string) ([]Issue, error) {
	if err := t.enter(ctx, "jira", "find"); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Issue
	for _, i := range t.issues {
		if shown, ok := t.indexed(i, false); ok && shown.RequestID == requestID {
			found = append(found, shown)
		}
	}
	slices.SortFunc(found, func(a, b Issue) int { return compareIDs(a.ID, b.ID) })
	return found, nil
}

func (t *memTracker) LastKey() string { return "" }

func (t *memTracker) Trace(context.Context, string, string, time.Time) ([]Issue, bool, error) {
	return nil, false, nil
}

func (t *memTracker) Statuses(context.Context) ([]Status, error) { return allStatuses, nil }

// Inherited finds, like Find, no issue that the index does not show yet.
func (t *memTracker) Inherited(ctx context.Context, requestID string, statuses []string) ([]Issue, error) {
	if err := t.enter(ctx, "jira", "inherited"); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Issue
	for _, i := range t.issues {
		shown, ok := t.indexed(i, false)
		wanted := requestID != "" && shown.Property == requestID || requestID == "" && slices.ContainsFunc(statuses, shown.Status.Is)
		if ok && wanted && shown.RequestID == "" && shown.Property != "" && shown.ByAgent {
			found = append(found, shown)
		}
	}
	slices.SortFunc(found, func(a, b Issue) int { return compareIDs(a.ID, b.ID) })
	return found, nil
}

func (t *memTracker) Create(ctx context.Context, d Draft, commit func(context.Context) error) (Issue, error) {
	if err := commit(ctx); err != nil {
		return Issue{}, err
	}
	if err := t.enter(ctx, "jira", "create"); err != nil {
		return Issue{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.storable("create", d.Summary+d.Description); err != nil {
		return Issue{}, err
	}
	i := t.made(d.RequestID)
	i.description = d.Description
	told := Issue{ID: i.Issue.ID, Key: i.Issue.Key, Project: i.Issue.Project, RequestID: d.RequestID, Property: d.RequestID, ByAgent: true}
	if t.memory != nil && t.memory.initial != (Status{}) {
		told.Status, told.Assumed = t.memory.initial, time.Now()
	}
	return told, t.leave("jira", "create")
}

// made is a new issue by the agent.
func (t *memTracker) made(requestID string) *memIssue {
	t.lastID++
	id := strconv.Itoa(t.lastID)
	i := &memIssue{created: time.Now()}
	i.Issue = Issue{
		ID: id, Key: "ACCESS-" + id, Project: "ACCESS", Status: t.initial, RequestID: requestID,
		Property: requestID, ByAgent: true, Updated: time.Now(),
	}
	t.issues[id] = i
	return i
}

func (t *memTracker) Move(ctx context.Context, id string, from Status, way Way, commit func(context.Context, Status) error) (Issue, error) {
	to := way.To
	if err := t.enter(ctx, "jira", "move"); err != nil {
		return Issue{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, err := t.writable(id, "move")
	switch {
	case err != nil:
		return Issue{}, err
	case slices.ContainsFunc(to, i.Issue.Status.Is):
		return i.Issue, nil
	case from != Status{} && !sameStatus(from, i.Issue.Status):
		return Issue{}, &Error{Side: "jira", Op: "move", Err: ErrChanged}
	}
	if t.memory != nil {
		t.memory.known[i.Issue.Status.ID] = true
	}
	s, ok := t.reachable(to)
	if !ok {
		return Issue{}, &Error{Side: "jira", Op: "move", Permanent: true, Err: ErrNoTransition}
	}
	if err := commit(ctx, s); err != nil {
		return Issue{}, err
	}
	t.transition(i, agentAccount, s)
	return i.Issue, t.leave("jira", "move")
}

func (t *memTracker) reachable(to []string) (Status, bool) {
	for _, want := range to {
		for _, s := range allStatuses {
			if s.Is(want) && !t.dead[s.Name] {
				return s, true
			}
		}
	}
	return Status{}, false
}

// Drive sends a transition that is remembered where the issue was seen. Jira refuses it if the issue is in its status already, and otherwise carries it out
// wherever the issue is: it may be a global one.
func (t *memTracker) Drive(ctx context.Context, seen Issue, way Way, commit func(context.Context, Status) error) (Issue, error) {
	to := way.To
	t.mu.Lock()
	known := t.memory != nil && t.memory.known[seen.Status.ID]
	t.mu.Unlock()
	s, ok := t.reachable(to)
	if !known || !ok {
		return t.Move(ctx, seen.ID, Status{}, way, commit)
	}
	if err := commit(ctx, s); err != nil {
		return seen, err
	}
	if err := t.enter(ctx, "jira", "drive"); err != nil {
		return seen, err
	}
	t.mu.Lock()
	i, err := t.writable(seen.ID, "drive")
	if err != nil || i.Issue.Status == s {
		t.mu.Unlock()
		return t.Move(ctx, seen.ID, Status{}, way, commit)
	}
	defer t.mu.Unlock()
	if seen.Status, seen.Assumed = s, time.Now(); t.memory.astray != nil && t.memory.astray() {
		s = todoStatus
		t.memory.known = make(map[string]bool) // as when the issue comes to where nothing is remembered
	}
	t.transition(i, agentAccount, s)
	return seen, t.leave("jira", "drive")
}

func (t *memTracker) SetRequestID(ctx context.Context, id, requestID string, commit func(context.Context) error) error {
	if err := commit(ctx); err != nil {
		return err
	}
	if err := t.enter(ctx, "jira", "set field"); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, err := t.writable(id, "set field")
	if err != nil {
		return err
	}
	t.touch(i, func() { i.Issue.RequestID = requestID })
	return t.leave("jira", "set field")
}

func (t *memTracker) Comments(ctx context.Context, id string) ([]Comment, error) {
	d, err := t.Read(ctx, id)
	return d.Comments, err
}

func (t *memTracker) Comment(ctx context.Context, id, key, body string, commit func(context.Context) error) error {
	if err := commit(ctx); err != nil {
		return err
	}
	if err := t.enter(ctx, "jira", "comment"); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, err := t.writable(id, "comment")
	if err != nil {
		return err
	}
	if err := t.storable("comment", body); err != nil {
		return err
	}
	t.say(i, agentAccount, key, body)
	return t.leave("jira", "comment")
}

// storable fails, as Jira does with a 500 while it answers all else, for a text that it does not
// take.
func (t *memTracker) storable(op, text string) error {
	if t.poison == "" || !strings.Contains(text, t.poison) {
		return nil
	}
	return &Error{Side: "jira", Op: op, Uncertain: true, Err: errors.New("HTTP 500")}
}

func (t *memTracker) say(i *memIssue, author Person, key, body string) {
	i.Comments = append(i.Comments, Comment{ID: strconv.Itoa(len(i.Comments)), Author: author, Key: key, Body: body, Created: time.Now()})
	t.touch(i, func() {})
}
