package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	stdsync "sync"
	"time"
)

// The two sides and the store in memory, with the rules that matter to the engine. Under testing/synctest their clock is the bubble's.

var errLost = errors.New("the answer was lost")

// faults decides what becomes of a call: before makes it fail without an effect, after makes its answer be lost.
type faults struct {
	mu     stdsync.Mutex
	before func(op string) error
	after  func(op string) error
	delay  func() time.Duration // how long a call takes before it has its effect
	calls  map[string]int
}

func (f *faults) set(before, after func(op string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *faults) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *faults) enter(ctx context.Context, side, op string) error {
	if ctx.Err() != nil {
		return &Error{Side: side, Op: op, Scope: ScopeSide, Err: ctx.Err()}
	}
	f.mu.Lock()
	if f.calls == nil {
		f.calls = make(map[string]int)
	}
	f.calls[op]++
	before, delay := f.before, f.delay
	f.mu.Unlock()
	if delay != nil {
		time.Sleep(delay()) // synctest's clock
	}
	if before == nil {
		return nil
	}
	return before(op)
}

func (f *faults) leave(side, op string) error {
	f.mu.Lock()
	after := f.after
	f.mu.Unlock()
	if after == nil {
		return nil
	}
	if err := after(op); err != nil {
		return &Error{Side: side, Op: op, Scope: ScopeSide, Uncertain: true, Err: err}
	}
	return nil
}

// once returns a fault that strikes the first call of an operation only.
func once(op string, err error) func(string) error {
	var struck bool
	return func(seen string) error {
		if struck || seen != op {
			return nil
		}
		struck = true
		return err
	}
}

// memCluster is Teleport.
type memCluster struct {
	faults
	mu       stdsync.Mutex
	requests map[string]*Request
	plugin   map[string]map[string]string
	watches  []*memWatch
	decided  []string         // "id state delegator" of each call that had an effect
	slowList func() []Request // what a list answers in place of what there is
}

func newMemCluster() *memCluster {
	return &memCluster{requests: make(map[string]*Request), plugin: make(map[string]map[string]string)}
}

// change is what people do in Teleport.
func (c *memCluster) change(id string, edit func(*Request)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edit(c.requests[id])
	c.tell(Event{Request: clone(c.requests[id])})
}

func (c *memCluster) add(r Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[r.ID] = clone(&r)
	c.tell(Event{Request: clone(&r)})
}

func (c *memCluster) remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.requests, id)
	c.tell(Event{DeletedID: id})
}

func (c *memCluster) tell(e Event) {
	for _, w := range c.watches {
		w.events <- e
	}
}

func (c *memCluster) breakWatches() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watches {
		close(w.broken)
	}
	c.watches = nil
}

func (c *memCluster) get(id string) Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *clone(c.requests[id])
}

func clone(r *Request) *Request {
	copied := *r
	copied.Reviews = slices.Clone(r.Reviews)
	return &copied
}

type memWatch struct {
	events chan Event
	broken chan struct{}
}

func (c *memCluster) Watch(ctx context.Context) (Watch, error) {
	if err := c.enter(ctx, "teleport", "watch"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &memWatch{events: make(chan Event, 10_000), broken: make(chan struct{})}
	c.watches = append(c.watches, w)
	return w, nil
}

func (w *memWatch) Next(ctx context.Context) (Event, error) {
	select {
	case e := <-w.events:
		return e, nil
	case <-w.broken:
		return Event{}, &Error{Side: "teleport", Op: "watch", Scope: ScopeSide, Err: errLost}
	case <-ctx.Done():
		return Event{}, ctx.Err()
	}
}

func (w *memWatch) Close() error { return nil }

func (c *memCluster) Requests(ctx context.Context, page func([]Request) error) error {
	if err := c.enter(ctx, "teleport", "list"); err != nil {
		return err
	}
	if c.slowList != nil {
		return page(c.slowList())
	}
	c.mu.Lock()
	var all []Request
	for _, r := range c.requests {
		if r.Expires.IsZero() || time.Now().Before(r.Expires) {
			all = append(all, *clone(r))
		}
	}
	c.mu.Unlock()
	return page(all)
}

func (c *memCluster) Request(ctx context.Context, id string) (Request, error) {
	if err := c.enter(ctx, "teleport", "request"); err != nil {
		return Request{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.requests[id]; r != nil {
		return *clone(r), nil
	}
	return Request{}, &Error{Side: "teleport", Op: "request", Err: ErrNotFound}
}

func (c *memCluster) Decide(ctx context.Context, id string, d Decision) error {
	if err := c.enter(ctx, "teleport", "decide"); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.requests[id]
	if r == nil {
		return &Error{Side: "teleport", Op: "decide", Permanent: true, Err: ErrNotFound}
	}
	if r.State == StateDenied && d.State != StateDenied { // Teleport's own rule; it lets a denial overwrite an approval
		return &Error{Side: "teleport", Op: "decide", Permanent: true, Err: errors.New("already denied")}
	}
	r.State, r.ResolveReason = d.State, d.Reason
	c.decided = append(c.decided, fmt.Sprintf("%s %s %s", id, d.State, d.Delegator))
	c.tell(Event{Request: clone(r)})
	return c.leave("teleport", "decide")
}

func (c *memCluster) Claim(ctx context.Context, r Request, mark string) (IssueRef, bool, error) {
	if err := c.enter(ctx, "teleport", "claim"); err != nil {
		return IssueRef{}, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if data := c.plugin[r.ID]; data != nil {
		return IssueRef{ID: data["issue_id"], Key: data["issue_key"]}, data["issue_id"] == "" && data["claim"] == mark, nil
	}
	if c.requests[r.ID] == nil {
		return IssueRef{}, false, &Error{Side: "teleport", Op: "claim", Err: ErrNotFound}
	}
	c.plugin[r.ID] = map[string]string{"user": r.User, "claim": mark}
	return IssueRef{}, true, c.leave("teleport", "claim")
}

func (c *memCluster) Reclaim(ctx context.Context, id, mark string) error {
	if err := c.enter(ctx, "teleport", "reclaim"); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.requests[id] == nil:
		return &Error{Side: "teleport", Op: "reclaim", Err: ErrNotFound}
	case c.plugin[id]["issue_id"] != "":
		return &Error{Side: "teleport", Op: "reclaim", Err: ErrChanged}
	case c.plugin[id] == nil:
		c.plugin[id] = make(map[string]string)
	}
	c.plugin[id]["claim"] = mark
	return c.leave("teleport", "reclaim")
}

func (c *memCluster) Linked(ctx context.Context, id string) (IssueRef, bool, error) {
	if err := c.enter(ctx, "teleport", "linked"); err != nil {
		return IssueRef{}, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return IssueRef{ID: c.plugin[id]["issue_id"], Key: c.plugin[id]["issue_key"]}, c.plugin[id] != nil, nil
}

func (c *memCluster) Link(ctx context.Context, id string, ref IssueRef) error {
	if err := c.enter(ctx, "teleport", "link"); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	data := c.plugin[id]
	if data == nil {
		return &Error{Side: "teleport", Op: "link", Err: ErrNotFound}
	}
	if has := data["issue_id"]; has != "" && has != ref.ID {
		return &Error{Side: "teleport", Op: "link", Err: ErrChanged}
	}
	data["issue_id"], data["issue_key"] = ref.ID, ref.Key
	return c.leave("teleport", "link")
}

func (c *memCluster) Resolve(ctx context.Context, id, resolution, _ string, _ int) error {
	if err := c.enter(ctx, "teleport", "resolve"); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if data := c.plugin[id]; data != nil {
		data["resolution"] = resolution
	}
	return c.leave("teleport", "resolve")
}

// memIssue is an issue with its history, as Jira keeps it.
type memIssue struct {
	Detail
	created time.Time
	lagging []Issue // earlier versions, oldest first
}

// memTracker is Jira: a workflow in which each status reaches each other, and a search index that lags.
type memTracker struct {
	faults
	mu      stdsync.Mutex
	issues  map[string]*memIssue
	deleted []Detail
	lastID  int
	initial Status
	lag     time.Duration
	dead    map[string]bool // statuses that no transition leads to, by name
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

// remove deletes an issue.
func (t *memTracker) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deleted = append(t.deleted, t.issues[id].Detail)
	delete(t.issues, id)
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
	if reconcile || t.lag == 0 {
		return i.Issue, true
	}
	horizon := time.Now().Add(-t.lag)
	if i.created.After(horizon) {
		return Issue{}, false
	}
	shown := i.Issue
	for n := len(i.lagging) - 1; n >= 0 && shown.Updated.After(horizon); n-- {
		shown = i.lagging[n]
	}
	return shown, true
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
			found = append(found, i.Issue)
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
	d.Moves = slices.Clone(d.Moves)
	d.Comments = slices.Clone(d.Comments)
	slices.Reverse(d.Comments)
	return d, nil
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

func (t *memTracker) Create(ctx context.Context, d Draft, commit func(context.Context) error) (Issue, error) {
	if err := commit(ctx); err != nil {
		return Issue{}, err
	}
	if err := t.enter(ctx, "jira", "create"); err != nil {
		return Issue{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastID++
	id := strconv.Itoa(t.lastID)
	i := &memIssue{created: time.Now()}
	i.Issue = Issue{
		ID: id, Key: "ACCESS-" + id, Project: "ACCESS", Status: t.initial, RequestID: d.RequestID,
		Property: d.RequestID, ByAgent: true, Updated: time.Now(),
	}
	t.issues[id] = i
	return Issue{ID: id, Key: i.Issue.Key}, t.leave("jira", "create")
}

func (t *memTracker) Move(ctx context.Context, id string, from Status, to []string, commit func(context.Context) error) (Issue, error) {
	if err := t.enter(ctx, "jira", "move"); err != nil {
		return Issue{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.issues[id]
	switch {
	case i == nil:
		return Issue{}, &Error{Side: "jira", Op: "move", Permanent: true, Err: ErrNotFound}
	case slices.ContainsFunc(to, i.Issue.Status.Is):
		return i.Issue, nil
	case from != Status{} && !sameStatus(from, i.Issue.Status):
		return Issue{}, &Error{Side: "jira", Op: "move", Err: ErrChanged}
	}
	for _, want := range to {
		for _, s := range allStatuses {
			if s.Is(want) && !t.dead[s.Name] {
				if err := commit(ctx); err != nil {
					return Issue{}, err
				}
				t.transition(i, agentAccount, s)
				return i.Issue, t.leave("jira", "move")
			}
		}
	}
	return Issue{}, &Error{Side: "jira", Op: "move", Permanent: true, Err: ErrNoTransition}
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
	i := t.issues[id]
	if i == nil {
		return &Error{Side: "jira", Op: "set field", Permanent: true, Err: ErrNotFound}
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
	i := t.issues[id]
	if i == nil {
		return &Error{Side: "jira", Op: "comment", Permanent: true, Err: ErrNotFound}
	}
	t.say(i, agentAccount, key, body)
	return t.leave("jira", "comment")
}

func (t *memTracker) say(i *memIssue, author Person, key, body string) {
	i.Comments = append(i.Comments, Comment{ID: strconv.Itoa(len(i.Comments)), Author: author, Key: key, Body: body, Created: time.Now()})
	t.touch(i, func() {})
}
