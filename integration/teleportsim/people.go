package teleportsim

import (
	"cmp"
	"time"

	"github.com/google/uuid"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// requestableRole stands for the roles that Teleport works out for a request that names only
// resources.
const requestableRole = "access"

// adminRole is what people have who act through tctl or the web UI: everything that the rules of
// requests allow.
func adminRole() Role { return Role{ReviewRoles: []string{"*"}} }

// Request is what a person asks for.
type Request struct {
	// User is the requester; required.
	User string
	// Roles asked for. Needed unless Resources are: Teleport works out the roles that those need.
	Roles     []string
	Resources []types.ResourceID
	Reason    string
	// SuggestedReviewers are free text.
	SuggestedReviewers []string
	SystemAnnotations  map[string][]string

	// Age is how long ago the request was made.
	Age time.Duration
	// TTL is how long the request waits for a decision; Config.RequestTTL by default, and never
	// longer than AccessTTL. A negative one makes a request that is past its expiry from the start,
	// and stays until Expire or ExpireDue.
	TTL time.Duration
	// AccessTTL is how long the access lasts, from now; Config.AccessTTL by default. Without more
	// said it ends with the requester's certificate: TshLifetime for tsh, TctlLifetime for tctl.
	AccessTTL time.Duration

	// Approvals and Denials are how many reviews resolve the request; one by default.
	Approvals, Denials uint32

	// ResourceAccess are resources asked for with what their use is narrowed to, as newer clients
	// send them in the place of Resources.
	ResourceAccess []ResourceAccess
	// Kind is ShortTerm by default on servers that know reviews on behalf of users, and not set on
	// older ones.
	Kind RequestKind
	// Unknown are the bytes of fields of the request's spec that the client module does not know.
	Unknown []byte
}

// How long the access lasts that is asked for with tsh, whose certificates end then, and with tctl.
const (
	TshLifetime  = 24 * time.Hour
	TctlLifetime = 30 * time.Hour
)

// RequestKind is AccessRequestKind, which the client module does not know.
type RequestKind uint64

// The kinds of requests.
const (
	ShortTerm RequestKind = 1
	LongTerm  RequestKind = 2
)

// fieldRequestKind is the number of RequestKind in AccessRequestSpecV3. Field 25, the grouping of
// long-term requests, is written through Request.Unknown; field 26 is in resources.go.
// https://github.com/gravitational/teleport/blob/4360df994235a5909aec73f9dd33685c40830df8/api/proto/teleport/legacy/types/types.proto
const fieldRequestKind protowire.Number = 24

// unknownFields are the bytes of a request's newer fields.
func (s *Server) unknownFields(r Request) []byte {
	kind := r.Kind
	if kind == 0 && s.reviewsOnBehalf {
		kind = ShortTerm
	}
	var raw []byte
	if kind != 0 {
		raw = protowire.AppendVarint(protowire.AppendTag(raw, fieldRequestKind, protowire.VarintType), uint64(kind))
	}
	for _, access := range r.ResourceAccess {
		raw = append(raw, access.encode()...)
	}
	return append(raw, r.Unknown...)
}

// CreateRequest files a request and returns its ID, a UUID of version 7 as Teleport makes them.
func (s *Server) CreateRequest(r Request) (id string, err error) {
	unique, err := uuid.NewV7()
	if err != nil {
		return "", trace.Wrap(err)
	}
	if len(r.Roles) == 0 && len(r.Resources)+len(r.ResourceAccess) > 0 {
		r.Roles = []string{requestableRole}
	}
	created, err := types.NewAccessRequestWithResources(unique.String(), r.User, r.Roles, r.Resources)
	if err != nil {
		return "", trace.Wrap(err)
	}
	request := created.(*types.AccessRequestV3)
	request.SetRequestReason(r.Reason)
	request.SetSuggestedReviewers(r.SuggestedReviewers)
	request.SetSystemAnnotations(r.SystemAnnotations)
	request.SetThresholds(
		[]types.AccessReviewThreshold{{Name: "default", Approve: max(r.Approvals, 1), Deny: max(r.Denials, 1)}},
	)
	mapping := make(map[string]types.ThresholdIndexSets, len(r.Roles))
	for _, role := range request.GetRoles() {
		mapping[role] = types.ThresholdIndexSets{Sets: []types.ThresholdIndexSet{{Indexes: []uint32{0}}}}
	}
	request.SetRoleThresholdMapping(mapping)
	request.Spec.XXX_unrecognized = s.unknownFields(r)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.setTimes(request, r)
	if err := s.put(request); err != nil {
		return "", err
	}
	s.kept[request.GetName()] = r.TTL < 0
	s.record(AuditEvent{
		Type:      AuditCreate,
		RequestID: request.GetName(),
		User:      r.User,
		UserKind:  s.userKind(r.User),
		Expires:   request.Expiry(),
		State:     request.GetState(),
		Reason:    r.Reason,
		Roles:     request.GetRoles(),
	})
	return request.GetName(), nil
}

// setTimes fills in the three times of a request: its creation, the end of the access that it would
// grant, and its own end. s.mu is held.
func (s *Server) setTimes(request *types.AccessRequestV3, r Request) {
	now := s.now()
	accessTTL, ttl := s.cfg.AccessTTL, s.cfg.RequestTTL
	if r.AccessTTL != 0 {
		accessTTL = r.AccessTTL
	}
	if r.TTL != 0 {
		ttl = r.TTL
	}
	request.SetCreationTime(now.Add(-r.Age))
	request.SetAccessExpiry(now.Add(accessTTL))
	request.SetMaxDuration(now.Add(accessTTL))
	request.SetSessionTLL(now.Add(accessTTL))
	setExpiry(request, now.Add(min(ttl, accessTTL)))
}

// setExpiry sets the end of a pending request where Teleport keeps it: among the metadata. A
// decision moves it to the spec.
func setExpiry(request *types.AccessRequestV3, at time.Time) {
	if !request.GetState().IsPending() {
		request.SetExpiry(at)
		return
	}
	request.Spec.ResourceExpiry = nil
	request.Metadata.SetExpiry(at)
}

// Approve is "tctl requests approve" by an administrator: it resolves the request whatever its
// thresholds. An empty by is tctl on the Auth Service's own host.
func (s *Server) Approve(id, by, reason string) error {
	return s.ApproveLess(id, by, reason, Narrowing{})
}

// Narrowing is what an approval grants less than was asked for; what is zero is granted as asked.
type Narrowing struct {
	// Roles are granted in place of all, as with "tctl requests approve --roles".
	Roles []string
	// StartsAt is when the access begins, as with "tctl requests approve --assume-start-time".
	StartsAt time.Time
	// EndsAt is when the access ends.
	EndsAt time.Time
}

// ApproveLess is Approve for less than was asked for.
func (s *Server) ApproveLess(id, by, reason string, n Narrowing) error {
	update := types.AccessRequestUpdate{RequestID: id, State: types.RequestState_APPROVED, Reason: reason, Roles: n.Roles}
	if !n.StartsAt.IsZero() {
		update.AssumeStartTime = &n.StartsAt
	}
	return s.decide(by, update, n.EndsAt)
}

// Deny is "tctl requests deny" by an administrator. It overrides an approval.
func (s *Server) Deny(id, by, reason string) error {
	update := types.AccessRequestUpdate{RequestID: id, State: types.RequestState_DENIED, Reason: reason}
	return s.decide(by, update, time.Time{})
}

func (s *Server) decide(by string, update types.AccessRequestUpdate, endsAt time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if request, ok := s.requests[update.RequestID]; ok && by != "" && request.GetUser() == by {
		return trace.AccessDenied("directly updating the state of your own access requests is not permitted")
	}
	return s.applyState(cmp.Or(by, s.hostName()), "", update, endsAt)
}

// Review is a review in the web UI by somebody who may review all roles. approve false is a denial.
func (s *Server) Review(id, author string, approve bool, reason string) error {
	state := types.RequestState_DENIED
	if approve {
		state = types.RequestState_APPROVED
	}
	return s.review(id, types.AccessReview{Author: author, ProposedState: state, Reason: reason})
}

// Promote answers a request with membership in an access list.
func (s *Server) Promote(id, by, accessListTitle string) error {
	return s.review(id, types.AccessReview{
		Author:        by,
		ProposedState: types.RequestState_PROMOTED,
		AccessList:    &types.PromotedAccessList{Name: uuid.NewString(), Title: accessListTitle},
	})
}

func (s *Server) review(id string, review types.AccessReview) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.applyReview(id, review, adminRole(), "")
	return err
}

// PastExpiry lets a request's time run out without deleting it: lists hide it, a lookup by ID still
// finds it, and no event tells of it until Expire or ExpireDue.
func (s *Server) PastExpiry(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, ok := s.requests[id]
	if !ok {
		return trace.NotFound("cannot let access request %q expire (not found)", id)
	}
	request := clone(stored)
	setExpiry(request, s.now().Add(-time.Second))
	s.requests[id] = request
	s.kept[id] = true
	s.cache.amend(id, request)
	s.notify()
	return nil
}

// Expire lets a request's time run out and deletes it, as Teleport's expiry service does within a
// second.
func (s *Server) Expire(id string) error {
	if err := s.PastExpiry(id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(id)
	return nil
}

// ExpireDue is one scan of the expiry service: it deletes every request that is past its expiry,
// and says how many.
func (s *Server) ExpireDue() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expireDue(func(string) bool { return true })
}

// Delete is "tctl requests rm".
func (s *Server) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.requests[id]; !ok {
		return trace.NotFound("cannot delete access request %q (not found)", id)
	}
	s.remove(id)
	s.record(AuditEvent{Type: AuditDelete, RequestID: id})
	return nil
}

// SetPluginData writes a plugin's entry as if that plugin had; an empty value deletes its key.
func (s *Server) SetPluginData(id, plugin string, data map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updatePluginData(types.PluginDataUpdateParams{
		Kind: types.KindAccessRequest, Resource: id, Plugin: plugin, Set: data,
	})
}

// OutlivePluginData lets the time of what the plugins keep on a request run out. A row of a request
// that is gone is then never there again.
func (s *Server) OutlivePluginData(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if row := s.pluginDataRow(id); row != nil {
		row.SetExpiry(s.now().Add(-time.Second))
		s.pluginData[id] = row
		s.notify()
	}
}
