package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	stdsync "sync"
	"time"
)

// memCluster is Teleport.
type memCluster struct {
	faults
	mu       stdsync.Mutex
	requests map[string]*Request
	plugin   map[string]map[string]string
	watches  []*memWatch
	// decided has "id state delegator" of each call that had an effect; a review's has its author in
	// place of the delegator.
	decided  []string
	users    []User           // nil: this identity may not read them
	onBehalf bool             // reviews on behalf of users are taken
	slowList func() []Request // what a list answers in place of what there is
	right    ListRight        // lacking: lists and look-ups by ID show nothing, without an error
	blind    bool             // the same, though the right is said to be granted
	offset   time.Duration    // how far its clock is ahead
}

func newMemCluster() *memCluster {
	return &memCluster{
		requests: make(map[string]*Request),
		plugin:   make(map[string]map[string]string),
		right:    ListRightGranted,
	}
}

// change is what people do in Teleport.
func (c *memCluster) change(id string, edit func(*Request)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edit(c.requests[id])
	c.tell(Event{Request: clone(c.requests[id])})
}

// setPluginData overwrites what the plugin data of a request names, as only somebody with the right
// to may.
func (c *memCluster) setPluginData(id, issueID, issueKey string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plugin[id]["issue_id"], c.plugin[id]["issue_key"] = issueID, issueKey
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

// forget removes a request of which no watch tells.
func (c *memCluster) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.requests, id)
}

// lie lets the cluster answer otherwise from now on.
func (c *memCluster) lie(edit func(*memCluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edit(c)
}

// hides reports whether look-ups show nothing. c.mu is held.
func (c *memCluster) hides() bool { return c.blind || c.right == ListRightLacking }

// lists reports whether a list shows the request, by the cluster's own clock. c.mu is held.
func (c *memCluster) lists(r *Request) bool {
	return r != nil && !c.hides() && (r.Expires.IsZero() || time.Now().Add(c.offset).Before(r.Expires))
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

// created is when a request was made, by the cluster's clock; zero for one that is gone.
func (c *memCluster) created(id string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.requests[id]; r != nil {
		return r.Created
	}
	return time.Time{}
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
		if c.lists(r) {
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
	if r := c.requests[id]; r != nil && !c.hides() {
		return *clone(r), nil
	}
	return Request{}, &Error{Side: "teleport", Op: "request", Err: ErrNotFound}
}

func (c *memCluster) Listed(ctx context.Context, id string) (bool, error) {
	if err := c.enter(ctx, "teleport", "listed"); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lists(c.requests[id]), nil
}

func (c *memCluster) ListRight(ctx context.Context) (ListRight, error) {
	if err := c.enter(ctx, "teleport", "list right"); err != nil {
		return ListRightUnknown, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.right, nil
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

func (c *memCluster) Users(ctx context.Context, q UserQuery) ([]User, error) {
	if err := c.enter(ctx, "teleport", "users"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users == nil {
		return nil, &Error{Side: "teleport", Op: "users", Permanent: true, Err: ErrForbidden}
	}
	return slices.DeleteFunc(slices.Clone(c.users), func(u User) bool {
		return u.Name != q.Name && (q.JiraID == "" || !slices.Contains(u.JiraIDs, q.JiraID))
	}), nil
}

func (c *memCluster) Review(ctx context.Context, id string, review Review) (Request, error) {
	if err := c.enter(ctx, "teleport", "review"); err != nil {
		return Request{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.requests[id]
	var refused error
	switch {
	case !c.onBehalf:
		refused = ErrReviewUnsupported
	case r == nil:
		refused = ErrNotFound
	case r.User == review.Author:
		refused = ErrReviewDenied
	case slices.ContainsFunc(r.Reviews, func(earlier Review) bool { return earlier.Author == review.Author }):
		refused = ErrReviewed
	case r.State != StatePending:
		refused = ErrChanged
	}
	if refused != nil {
		return Request{}, &Error{Side: "teleport", Op: "review", Permanent: true, Err: refused}
	}
	r.Reviews = append(slices.Clone(r.Reviews), review)
	if review.Verdict == StateDenied || r.approvals() >= max(1, r.ApprovalsNeeded) {
		r.State, r.ResolveReason = review.Verdict, review.Reason
	}
	c.decided = append(c.decided, fmt.Sprintf("%s %s %s", id, review.Verdict, review.Author))
	c.tell(Event{Request: clone(r)})
	return *clone(r), c.leave("teleport", "review")
}

func (c *memCluster) Claim(ctx context.Context, r Request, mark, after string) (IssueRef, bool, error) {
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
	c.plugin[r.ID] = map[string]string{"user": r.User, "claim": mark, "after": after}
	return IssueRef{}, true, c.leave("teleport", "claim")
}

func (c *memCluster) Reclaim(ctx context.Context, id, mark, after string) error {
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
	c.plugin[id]["claim"], c.plugin[id]["after"] = mark, after
	return c.leave("teleport", "reclaim")
}

func (c *memCluster) Linked(ctx context.Context, id string) (PluginData, error) {
	if err := c.enter(ctx, "teleport", "linked"); err != nil {
		return PluginData{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	data := c.plugin[id]
	return PluginData{
		Claimed:    data != nil,
		Issue:      IssueRef{ID: data["issue_id"], Key: data["issue_key"]},
		Resolution: Outcome(data["resolution"]),
		Mark:       data["claim"],
		After:      data["after"],
	}, nil
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

func (c *memCluster) Resolve(ctx context.Context, id string, _ IssueRef, resolution, _ string, _ int) error {
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
