package teleportsim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
)

// Limits of Teleport's, from lib/services/access_request.go and access_request_cache.go at
// https://github.com/gravitational/teleport.
const (
	maxReasonBytes  = 4096
	maxResources    = 300
	defaultPageSize = 1000
	maxPageSize     = 16000
)

// listCache is the view that lists are served from: it takes up each write once the delay has
// passed.
type listCache struct {
	delay    time.Duration
	requests map[string]*types.AccessRequestV3
	queue    []cacheUpdate
	// names are the keys of requests in order; nil: to be sorted again. Pages of many requests
	// would take as long as all of them otherwise.
	names []string
}

type cacheUpdate struct {
	due     time.Time
	id      string
	request *types.AccessRequestV3 // nil for a deletion
}

func (c *listCache) enqueue(now time.Time, id string, request *types.AccessRequestV3) {
	c.queue = append(c.queue, cacheUpdate{due: now.Add(c.delay), id: id, request: request})
}

// view takes up what is due by now, in the order of the writes.
func (c *listCache) view(now time.Time) map[string]*types.AccessRequestV3 {
	for len(c.queue) > 0 && !c.queue[0].due.After(now) {
		update := c.queue[0]
		c.queue = c.queue[1:]
		if _, known := c.requests[update.id]; known != (update.request != nil) {
			c.names = nil
		}
		if update.request == nil {
			delete(c.requests, update.id)
		} else {
			c.requests[update.id] = update.request
		}
	}
	return c.requests
}

// sorted are the sort keys of the view in order, and the request of each. The keys must not be
// changed.
func (c *listCache) sorted(
	now time.Time,
	sort proto.AccessRequestSort,
) (keys []string, byKey map[string]*types.AccessRequestV3, err error) {
	key, err := sortKey(sort)
	if err != nil {
		return nil, nil, err
	}
	view := c.view(now)
	if sort == proto.AccessRequestSort_DEFAULT {
		if c.names == nil {
			c.names = slices.Sorted(maps.Keys(view))
		}
		return c.names, view, nil
	}
	byKey = make(map[string]*types.AccessRequestV3, len(view))
	for _, request := range view {
		byKey[key(request)] = request
	}
	return slices.Sorted(maps.Keys(byKey)), byKey, nil
}

// amend replaces every version that the view has or will take up, without a delay: for what changes
// by the clock alone.
func (c *listCache) amend(id string, request *types.AccessRequestV3) {
	if _, ok := c.requests[id]; ok {
		c.requests[id] = request
	}
	for i := range c.queue {
		if c.queue[i].id == id && c.queue[i].request != nil {
			c.queue[i].request = request
		}
	}
}

// SetCacheDelay changes how far lists trail. What waits already waits no longer than that from now
// on.
func (s *Server) SetCacheDelay(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.delay = delay
	latest := time.Now().Add(delay)
	for i := range s.cache.queue {
		if s.cache.queue[i].due.After(latest) {
			s.cache.queue[i].due = latest
		}
	}
}

// put checks, stores and announces a request. s.mu is held.
func (s *Server) put(request *types.AccessRequestV3) error {
	if err := validate(request); err != nil {
		return err
	}
	request.SetRevision(uuid.NewString())
	delete(s.kept, request.GetName())
	s.requests[request.GetName()] = request
	s.cache.enqueue(time.Now(), request.GetName(), request)
	s.fanOut(types.Event{Type: types.OpPut, Resource: request})
	s.notify()
	return nil
}

// remove deletes a request and announces it by name only. s.mu is held.
func (s *Server) remove(id string) {
	delete(s.requests, id)
	delete(s.kept, id)
	s.cache.enqueue(time.Now(), id, nil)
	s.fanOut(types.Event{Type: types.OpDelete, Resource: &types.ResourceHeader{
		Kind:     types.KindAccessRequest,
		Version:  types.V3,
		Metadata: types.Metadata{Name: id, Namespace: "default"},
	}})
	s.notify()
}

// validate is what Teleport checks before each write.
func validate(request *types.AccessRequestV3) error {
	if err := request.CheckAndSetDefaults(); err != nil {
		return trace.Wrap(err)
	}
	switch {
	case len(request.GetRequestReason()) > maxReasonBytes:
		return trace.BadParameter("access request reason is too long, max %v bytes", maxReasonBytes)
	case len(request.GetResolveReason()) > maxReasonBytes:
		return trace.BadParameter("access request resolve reason is too long, max %v bytes", maxReasonBytes)
	case len(request.GetRequestedResourceIDs()) > maxResources:
		return trace.BadParameter("access request contains too many resources, max %v", maxResources)
	}
	return nil
}

// visible makes the matcher for the requests that a caller may see: all, with list and read;
// otherwise the caller's own and those that the caller may review. Missing rights are no error
// here. s.mu is held.
func (s *Server) visible(caller string) func(*types.AccessRequestV3) bool {
	role := s.roles[caller]
	if role.check(types.KindAccessRequest, types.VerbList, types.VerbRead) == nil {
		return func(*types.AccessRequestV3) bool { return true }
	}
	return func(request *types.AccessRequestV3) bool {
		return request.GetUser() == caller || role.mayReview(caller, request)
	}
}

// list answers one page as the caller sees it. s.mu is held.
func (s *Server) list(
	caller string,
	query *proto.ListAccessRequestsRequest,
) (*proto.ListAccessRequestsResponse, error) {
	var filter types.AccessRequestFilter
	if query.Filter != nil {
		filter = *query.Filter
	}
	filter.Requester = caller
	visible := s.visible(caller)
	match := func(request *types.AccessRequestV3) bool { return filter.Match(request) && visible(request) }

	// A lookup by ID goes past the cache to the backend, shows what has expired, and knows neither
	// sort nor pages.
	if filter.ID != "" {
		page := &proto.ListAccessRequestsResponse{}
		if request, ok := s.requests[filter.ID]; ok && match(request) {
			page.AccessRequests = append(page.AccessRequests, clone(request))
		}
		return page, nil
	}
	now := s.now()
	return s.cache.page(time.Now(), query, func(request *types.AccessRequestV3) bool {
		expired := !request.Expiry().IsZero() && now.After(request.Expiry())
		return !expired && match(request)
	})
}

// page answers the matching requests, from the query's start key up to its limit.
func (c *listCache) page(
	now time.Time,
	query *proto.ListAccessRequestsRequest,
	match func(*types.AccessRequestV3) bool,
) (*proto.ListAccessRequestsResponse, error) {
	limit := int(query.Limit)
	if limit == 0 {
		limit = defaultPageSize
	}
	if limit < 0 { // crashes the real server
		return nil, trace.BadParameter("page size of %d is negative", limit)
	}
	if limit > maxPageSize {
		return nil, trace.BadParameter("page size of %d is too large", limit)
	}
	keys, byKey, err := c.sorted(now, query.Sort)
	if err != nil {
		return nil, err
	}
	if query.Descending {
		keys = slices.Clone(keys)
		slices.Reverse(keys)
	}
	if query.StartKey != "" {
		from, _ := slices.BinarySearchFunc(keys, query.StartKey, func(key, start string) int {
			if query.Descending {
				return strings.Compare(start, key)
			}
			return strings.Compare(key, start)
		})
		keys = keys[from:]
	}
	page := &proto.ListAccessRequestsResponse{}
	for _, k := range keys {
		if len(page.AccessRequests) == limit {
			page.NextKey = k
			break
		}
		if request := byKey[k]; match(request) {
			page.AccessRequests = append(page.AccessRequests, clone(request))
		}
	}
	return page, nil
}

// sortKey makes the key that a page's requests are ordered and continued by.
func sortKey(sort proto.AccessRequestSort) (func(*types.AccessRequestV3) string, error) {
	switch sort {
	case proto.AccessRequestSort_DEFAULT:
		return (*types.AccessRequestV3).GetName, nil
	case proto.AccessRequestSort_CREATED:
		return func(r *types.AccessRequestV3) string {
			return r.GetCreationTime().UTC().Format(time.RFC3339) + "/" + r.GetName()
		}, nil
	case proto.AccessRequestSort_STATE:
		return func(r *types.AccessRequestV3) string { return r.GetState().String() + "/" + r.GetName() }, nil
	default:
		return nil, trace.BadParameter("unsupported access request sort index '%v'", sort)
	}
}

// setState is ServerWithRoles.SetAccessRequestState, check by check. s.mu is held.
// https://github.com/gravitational/teleport/blob/master/lib/auth/auth_with_roles.go
func (s *Server) setState(caller, delegator string, update types.AccessRequestUpdate) error {
	if err := s.roles[caller].check(types.KindAccessRequest, types.VerbUpdate); err != nil {
		return err
	}
	if update.State.IsPromoted() {
		return trace.BadParameter("state promoted can be only set when promoting to access list")
	}
	stored, ok := s.requests[update.RequestID]
	if !ok || !s.visible(caller)(stored) {
		return trace.NotFound("cannot set state of access request %q (not found)", update.RequestID)
	}
	if stored.GetUser() == caller {
		return trace.AccessDenied("directly updating the state of your own access requests is not permitted")
	}
	return s.applyState(caller, delegator, update, time.Time{})
}

// applyState is the backend's part: it knows no users, no expiry and no precondition. The access
// ends at endsAt, unless that is zero. s.mu is held.
// https://github.com/gravitational/teleport/blob/master/lib/services/local/dynamic_access.go
func (s *Server) applyState(by, delegator string, update types.AccessRequestUpdate, endsAt time.Time) error {
	if err := update.Check(); err != nil {
		return trace.Wrap(err)
	}
	stored, ok := s.requests[update.RequestID]
	if !ok {
		return trace.NotFound("cannot set state of access request %q (not found)", update.RequestID)
	}
	request := clone(stored)
	if err := request.SetState(update.State); err != nil {
		return trace.Wrap(err)
	}
	request.SetResolveReason(update.Reason)
	request.SetResolveAnnotations(update.Annotations)
	if len(update.Roles) > 0 {
		for _, role := range update.Roles {
			if !slices.Contains(request.GetRoles(), role) {
				return trace.BadParameter("role %q not in original request, overrides must be a subset of original role list", role)
			}
		}
		request.SetRoles(update.Roles)
	}
	if update.AssumeStartTime != nil {
		err := types.ValidateAssumeStartTime(*update.AssumeStartTime, request.GetAccessExpiry(), request.GetCreationTime())
		if err != nil {
			return trace.Wrap(err)
		}
		request.SetAssumeStartTime(*update.AssumeStartTime)
	}
	if !endsAt.IsZero() {
		request.SetAccessExpiry(endsAt)
	}
	if update.State.IsApproved() {
		request.SetExpiry(request.GetAccessExpiry())
	}
	if err := s.put(request); err != nil {
		return err
	}
	s.record(AuditEvent{
		Type:      AuditUpdate,
		RequestID: update.RequestID,
		State:     update.State,
		Reason:    update.Reason,
		Roles:     update.Roles,
		UpdatedBy: by,
		Delegator: delegator,
		Expires:   request.Expiry(),

		UserKind:     s.userKind(by),
		Impersonator: s.impersonator(by),
	})
	return nil
}

// clone copies a stored request for a reader or a writer of its own.
func clone(request *types.AccessRequestV3) *types.AccessRequestV3 {
	return request.Copy().(*types.AccessRequestV3)
}
