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
	created     time.Time // by the true clock, as all times here
	changed     time.Time // when the present version came to be
	there       time.Time // when Jira finished creating it
	since       time.Time // when it was created by Jira's clock
	description string
	lagging     []memVersion // earlier versions, oldest first
	archived    bool         // read by id, not found and not changed; the issue itself does not tell
}

// memVersion is an issue as it was from a time on.
type memVersion struct {
	Issue
	changed time.Time
}

var errRefused = errors.New("HTTP 400")

// memTracker is Jira: a workflow in which each status reaches each other unless it has arrows, a
// search index that lags, and keys that are given out one after the other, as ids are here.
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

	// Levers. Change them under mu, or before anything runs.
	arrows     map[string][]Status             // by name, where each status leads; nil: each to each other
	has        []Status                        // of the workflow
	explored   map[string]bool                 // by name: where the arrows were seen
	ahead      time.Duration                   // of Jira's clock
	frozen     time.Time                       // since when the index stands still; zero: it does not
	dataCenter bool                            // bulk reads come from the index, and say so
	absent     func(op string, id string) bool // answers 404 for an issue that is there
	finish     func() time.Duration            // how late a create is finished, its answer being lost; zero: at once
	untraced   bool                            // keys cannot all be looked at
	lastKey    int                             // the highest that an answer has shown
}

// clock is Jira's.
func (t *memTracker) clock() time.Time { return time.Now().Add(t.ahead) }

// pull changes levers.
func (t *memTracker) pull(change func(*memTracker)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t)
}

// skipKeys lets so many keys go to issues of others, which this account may or may not see, or to
// none.
func (t *memTracker) skipKeys(n int) { t.pull(func(t *memTracker) { t.lastID += n }) }

// find is an issue that Jira has, and shows to the operation.
func (t *memTracker) find(op, id string) *memIssue {
	i := t.issues[id]
	if i == nil || time.Now().Before(i.there) || t.absent != nil && t.absent(op, id) {
		return nil
	}
	return i
}

// each are the issues that Jira has.
func (t *memTracker) each(do func(id string, i *memIssue)) {
	for id, i := range t.issues {
		if !time.Now().Before(i.there) {
			do(id, i)
		}
	}
}

// tells is an issue as an answer shows it.
func (t *memTracker) tells(i Issue) Issue {
	i.AsOf = t.clock().Truncate(time.Second)
	n, _ := strconv.Atoi(i.ID)
	t.lastKey = max(t.lastKey, n)
	return i
}

// lead lets statuses lead to others alone: "Backlog": {todoStatus}. The workflow has those that are
// named.
func (t *memTracker) lead(arrows map[string][]Status, has ...Status) {
	t.pull(func(t *memTracker) { t.arrows, t.has, t.explored = arrows, has, make(map[string]bool) })
}

// offered are where the transitions from a status lead.
func (t *memTracker) offered(from Status) []Status {
	to := t.arrows[from.Name]
	if t.arrows == nil {
		to = t.has
	}
	return slices.DeleteFunc(slices.Clone(to), func(s Status) bool { return t.dead[s.Name] })
}

// flow is what the adapter knows of the workflow.
func (t *memTracker) flow(from Status) Workflow {
	return Workflow{Offered: t.offered(from), Statuses: t.has, Seen: func(s Status) ([]Status, bool) {
		return t.offered(s), t.arrows == nil || t.explored[s.Name]
	}}
}

// memMemory is what the adapter remembers of the workflow, right or wrong.
type memMemory struct {
	initial Status          // where an issue was that nobody had moved
	known   map[string]bool // the statuses, by id, in which transitions were once offered
	astray  func() bool     // whether a remembered transition now leads elsewhere
}

var agentAccount = Person{AccountID: "acc-agent", Active: true, Agent: true, DisplayName: "Agent"}

func newMemTracker() *memTracker {
	return &memTracker{issues: make(map[string]*memIssue), lastID: 10_000, initial: todoStatus, has: allStatuses}
}

var allStatuses = []Status{pendingStatus, approvedStatus, deniedStatus, expiredStatus, todoStatus}

// Statuses that stand for nothing.
var (
	backlogStatus = Status{ID: "90", Name: "Backlog"}
	reviewStatus  = Status{ID: "91", Name: "In review"}
)

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

// hide takes an issue out of the agent's sight.
func (t *memTracker) hide(id string) *memIssue {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.issues[id]
	delete(t.issues, id)
	return i
}

// show brings it back.
func (t *memTracker) show(i *memIssue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.issues[i.Issue.ID] = i
}

// archive takes an issue into the archive, or out of it.
func (t *memTracker) archive(id string, archived bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.issues[id].archived = archived
}

// writable finds an issue for a change by the agent.
func (t *memTracker) writable(id, op string) (*memIssue, error) {
	switch i := t.find(op, id); {
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
	i := t.born()
	i.Issue = Issue{
		ID:        id,
		Key:       "ACCESS-" + id,
		Project:   "ACCESS",
		Status:    t.initial,
		RequestID: requestID,
		Updated:   t.clock(),
	}
	t.issues[id] = i
	t.transition(i, p, to)
	return id
}

func (t *memTracker) transition(i *memIssue, p Person, to Status) {
	move := Move{ID: strconv.Itoa(len(i.Moves) + 1), Author: p, At: t.clock(), From: i.Issue.Status, To: to}
	i.Moves = append(i.Moves, move)
	t.touch(i, func() { i.Issue.Status = to })
}

func (t *memTracker) touch(i *memIssue, edit func()) {
	i.lagging = append(i.lagging, memVersion{i.Issue, i.changed})
	last := i.Issue.Updated
	edit()
	i.Issue.Updated, i.changed = t.clock(), time.Now()
	if t.ahead == 0 && !i.Issue.Updated.After(last) {
		i.Issue.Updated = last.Add(time.Millisecond)
	}
}

// born is an issue that is there at once.
func (t *memTracker) born() *memIssue {
	return &memIssue{created: time.Now(), changed: time.Now(), since: t.clock()}
}

// of returns copies of the issues that carry the request's ID.
func (t *memTracker) of(requestID string) []Detail {
	return t.where(func(i Issue) bool { return i.RequestID == requestID })
}

// madeFor returns copies of the issues that the agent made for a request, whatever their field
// holds now.
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
	if !t.frozen.IsZero() {
		lag = max(lag, time.Since(t.frozen))
	}
	if reconcile {
		lag = 0
	}
	shown, ok := t.before(i, lag)
	shown.FromIndex = true
	return shown, ok
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
	shown := memVersion{i.Issue, i.changed}
	for n := len(i.lagging) - 1; n >= 0 && shown.changed.After(horizon); n-- {
		shown = i.lagging[n]
	}
	return shown.Issue, true
}

// shown is the same for a read by id: that an issue exists is never late.
func (t *memTracker) shown(i *memIssue, lag time.Duration) Issue {
	issue, ok := t.before(i, lag)
	switch {
	case ok:
		return issue
	case len(i.lagging) > 0:
		return i.lagging[0].Issue
	}
	return i.Issue
}

func (t *memTracker) Now(context.Context) (time.Time, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clock(), nil
}

func (t *memTracker) Search(ctx context.Context, q Query, page func([]Issue) error) error {
	if err := t.enter(ctx, "jira", "search"); err != nil {
		return err
	}
	t.mu.Lock()
	var found []Issue
	t.each(func(id string, i *memIssue) {
		if shown, ok := t.indexed(i, !t.dataCenter && slices.Contains(q.Reconcile, id)); ok && shown.RequestID != "" &&
			!shown.Updated.Before(q.Since) {
			shown.Archived = NotArchived
			found = append(found, t.tells(shown))
		}
	})
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
		if i := t.find("issues", id); i != nil {
			shown := i.Issue
			if indexed, ok := t.indexed(i, false); ok && t.dataCenter {
				shown = indexed
			}
			if shown.Archived = NotArchived; i.archived {
				shown.Archived = Archived
			}
			found = append(found, t.tells(shown))
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
		if i := t.find("latest", id); i != nil {
			found = append(found, t.tells(t.shown(i, t.stale)))
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
	i := t.find("read", id)
	if i == nil {
		return Detail{}, &Error{Side: "jira", Op: "read", Err: ErrNotFound}
	}
	d := i.Detail
	d.Issue = t.tells(t.shown(i, t.late))
	d.Moves = slices.Clone(d.Moves)
	if t.late > 0 {
		horizon := t.clock().Add(-t.late)
		d.Moves = slices.DeleteFunc(d.Moves, func(m Move) bool { return m.At.After(horizon) })
	}
	slices.SortStableFunc(d.Moves, func(a, b Move) int { return a.At.Compare(b.At) }) // as the adapter does
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
	t.each(func(_ string, i *memIssue) {
		if shown, ok := t.indexed(i, false); ok && shown.RequestID == requestID {
			found = append(found, t.tells(shown))
		}
	})
	slices.SortFunc(found, func(a, b Issue) int { return compareIDs(a.ID, b.ID) })
	return found, nil
}

func (t *memTracker) LastKey(context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return "ACCESS-" + strconv.Itoa(t.lastKey), nil
}

func (t *memTracker) Trace(ctx context.Context, requestID, after string, since time.Time) ([]Issue, bool, error) {
	if err := t.enter(ctx, "jira", "trace"); err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, first, _ := strings.Cut(after, "-")
	var found []Issue
	t.each(func(id string, i *memIssue) {
		inRange := after != "" && compareIDs(id, first) > 0 || after == "" && !i.since.Before(since)
		if inRange && i.Issue.ByAgent && i.Issue.Property == requestID && t.find("trace", id) != nil {
			found = append(found, t.tells(i.Issue))
		}
	})
	slices.SortFunc(found, func(a, b Issue) int { return compareIDs(a.ID, b.ID) })
	return found, !t.untraced, nil
}

func (t *memTracker) Statuses(context.Context) ([]Status, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.has, nil
}

// Inherited finds, like Find, no issue that the index does not show yet.
func (t *memTracker) Inherited(ctx context.Context, requestID string, statuses []string) ([]Issue, error) {
	if err := t.enter(ctx, "jira", "inherited"); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Issue
	t.each(func(_ string, i *memIssue) {
		shown, ok := t.indexed(i, false)
		wanted := requestID != "" && shown.Property == requestID ||
			requestID == "" && slices.ContainsFunc(statuses, shown.Status.Is)
		if ok && wanted && shown.RequestID == "" && shown.Property != "" && shown.ByAgent {
			found = append(found, t.tells(shown))
		}
	})
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
	if t.finish != nil {
		if late := t.finish(); late > 0 {
			i.there = time.Now().Add(late)
			return Issue{}, &Error{Side: "jira", Op: "create", Uncertain: true, Err: errors.New("HTTP 502")}
		}
	}
	told := Issue{
		ID:        i.Issue.ID,
		Key:       i.Issue.Key,
		Project:   i.Issue.Project,
		RequestID: d.RequestID,
		Property:  d.RequestID,
		ByAgent:   true,
	}
	if t.memory != nil && t.memory.initial != (Status{}) {
		told.Status, told.Assumed = t.memory.initial, time.Now()
	}
	return t.tells(told), t.leave("jira", "create")
}

// made is a new issue by the agent.
func (t *memTracker) made(requestID string) *memIssue {
	t.lastID++
	id := strconv.Itoa(t.lastID)
	i := t.born()
	i.Issue = Issue{
		ID: id, Key: "ACCESS-" + id, Project: "ACCESS", Status: t.initial, RequestID: requestID,
		Property: requestID, ByAgent: true, Updated: t.clock(),
	}
	t.issues[id] = i
	return i
}

func (t *memTracker) Move(
	ctx context.Context,
	id string,
	from Status,
	way Way,
	commit func(context.Context, Status) error,
) (Issue, error) {
	if err := t.enter(ctx, "jira", "move"); err != nil {
		return Issue{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, err := t.writable(id, "move")
	switch {
	case err != nil:
		return Issue{}, err
	case way.Arrived(i.Issue.Status):
		return t.tells(i.Issue), nil
	case from != Status{} && !sameStatus(from, i.Issue.Status):
		return Issue{}, &Error{Side: "jira", Op: "move", Err: ErrChanged}
	}
	if t.memory != nil {
		t.memory.known[i.Issue.Status.ID] = true
	}
	if t.explored != nil {
		t.explored[i.Issue.Status.Name] = true
	}
	flow := t.flow(i.Issue.Status)
	s, ok := way.Next(i.Issue.Status, flow)
	if !ok {
		way.Visited = nil
		_, more := way.Next(i.Issue.Status, flow)
		return Issue{}, &Error{Side: "jira", Op: "move", Permanent: !more, Err: ErrNoTransition}
	}
	if err := commit(ctx, s); err != nil {
		return Issue{}, err
	}
	t.transition(i, agentAccount, s)
	return t.tells(i.Issue), t.leave("jira", "move")
}

// Drive sends a transition that is remembered where the issue was seen. Jira refuses it if the
// issue is in its status already, and otherwise carries it out wherever the issue is: it may be a
// global one.
func (t *memTracker) Drive(
	ctx context.Context,
	seen Issue,
	way Way,
	commit func(context.Context, Status) error,
) (Issue, error) {
	t.mu.Lock()
	known := t.memory != nil && t.memory.known[seen.Status.ID]
	s, ok := way.Next(seen.Status, t.flow(seen.Status))
	t.mu.Unlock()
	if !known || !ok || !way.Arrived(s) {
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
	i.Comments = append(
		i.Comments,
		Comment{ID: strconv.Itoa(len(i.Comments)), Author: author, Key: key, Body: body, Created: t.clock()},
	)
	t.touch(i, func() {})
}
