package teleportsim

import (
	"strings"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// submitReview is ServerWithRoles.SubmitAccessReview, check by check. s.mu is held.
// https://github.com/gravitational/teleport/blob/master/lib/auth/auth_with_roles.go
func (s *Server) submitReview(caller string, submission types.AccessReviewSubmission) (*types.AccessRequestV3, error) {
	review := submission.Review
	if review.ProposedState.IsPromoted() {
		return nil, trace.BadParameter("state promoted can be only set when promoting to access list")
	}
	if review.Author == "" {
		review.Author = caller
	}
	onBehalf := s.reviewsOnBehalf && saysOnBehalf(review.XXX_unrecognized)
	review.XXX_unrecognized = nil // what the server does not know it does not store
	if onBehalf {
		return s.submitReviewFor(caller, submission.RequestID, review)
	}
	if review.Author != caller {
		return nil, trace.AccessDenied("user %q cannot submit reviews on behalf of %q", caller, review.Author)
	}
	role := s.roles[caller]
	if len(role.ReviewRoles) == 0 {
		return nil, trace.AccessDenied("user %q cannot submit reviews", caller)
	}
	return s.applyReview(submission.RequestID, review, role, "")
}

// submitReviewFor is what becomes of a review that says to be on behalf of its author: the caller
// needs the rule for that author, and no right to review of its own; the author needs the right to
// review, and must be a person. s.mu is held. https://github.com/gravitational/teleport/pull/66230
func (s *Server) submitReviewFor(caller, id string, review types.AccessReview) (*types.AccessRequestV3, error) {
	if !s.roles[caller].maySubmitFor(review.Author) {
		return nil, trace.AccessDenied("user %q cannot submit reviews on behalf of %q", caller, review.Author)
	}
	author, ok := s.users[review.Author]
	if !ok {
		return nil, errNoUser(review.Author)
	}
	if author.IsBot() {
		return nil, trace.AccessDenied("user %q cannot review request %q", review.Author, id)
	}
	role := s.roles[review.Author]
	if len(role.ReviewRoles) == 0 {
		return nil, trace.AccessDenied("user %q cannot submit reviews", review.Author)
	}
	review.XXX_unrecognized = markSubmitted(caller)
	return s.applyReview(id, review, role, caller)
}

// Fields of AccessReview that are newer than the client module.
const (
	fieldSubmittedBy protowire.Number = 11 // string, filled in by the server
	fieldOnBehalf    protowire.Number = 12 // bool submitted_on_behalf_of_author
)

// saysOnBehalf reads the flag among fields that the client module does not know; the last one
// counts.
func saysOnBehalf(raw []byte) bool {
	said := false
	for len(raw) > 0 {
		number, wire, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return false
		}
		raw = raw[n:]
		if number == fieldOnBehalf && wire == protowire.VarintType {
			value, _ := protowire.ConsumeVarint(raw)
			said = protowire.DecodeBool(value)
		}
		if n = protowire.ConsumeFieldValue(number, wire, raw); n < 0 {
			return false
		}
		raw = raw[n:]
	}
	return said
}

// markSubmitted are the bytes that a newer server stores with a review on somebody's behalf.
func markSubmitted(by string) []byte {
	raw := protowire.AppendString(protowire.AppendTag(nil, fieldSubmittedBy, protowire.BytesType), by)
	return protowire.AppendVarint(
		protowire.AppendTag(raw, fieldOnBehalf, protowire.VarintType),
		protowire.EncodeBool(true),
	)
}

// applyReview adds a review and, when it meets a threshold, resolves the request. submittedBy is
// empty for a review by its author. s.mu is held.
// https://github.com/gravitational/teleport/blob/master/lib/services/access_request.go
func (s *Server) applyReview(
	id string,
	review types.AccessReview,
	role Role,
	submittedBy string,
) (*types.AccessRequestV3, error) {
	if err := (types.AccessReviewSubmission{RequestID: id, Review: review}).Check(); err != nil {
		return nil, trace.Wrap(err)
	}
	stored, ok := s.requests[id]
	if !ok {
		return nil, trace.NotFound("cannot apply review to access request %q (not found)", id)
	}
	if !role.mayReview(review.Author, stored) {
		return nil, trace.AccessDenied("user %q cannot review request %q", review.Author, id)
	}
	if err := checkReview(stored, review); err != nil {
		return nil, err
	}
	if review.Created.IsZero() {
		review.Created = s.now()
	}
	review.ThresholdIndexes = []uint32{0}

	request := clone(stored)
	request.SetReviews(append(request.GetReviews(), review))
	if review.AssumeStartTime != nil {
		err := types.ValidateAssumeStartTime(*review.AssumeStartTime, request.GetAccessExpiry(), request.GetCreationTime())
		if err != nil {
			return nil, trace.Wrap(err)
		}
		request.SetAssumeStartTime(*review.AssumeStartTime)
	}
	if meetsThreshold(request, review.ProposedState) {
		if err := request.SetState(review.ProposedState); err != nil {
			return nil, trace.Wrap(err)
		}
		request.SetResolveReason(review.Reason)
		if review.AccessList != nil {
			request.SetPromotedAccessListName(review.GetAccessListName())
			request.SetPromotedAccessListTitle(review.GetAccessListTitle())
		}
		request.SetExpiry(request.GetAccessExpiry())
	}
	if err := s.put(request); err != nil {
		return nil, err
	}
	s.record(AuditEvent{
		Type:          AuditReview,
		RequestID:     id,
		State:         request.GetState(),
		ProposedState: review.ProposedState,
		Reason:        review.Reason,
		Reviewer:      review.Author,
		SubmittedBy:   submittedBy,
	})
	return clone(request), nil
}

// checkReview is what is wrong with a review whoever writes it.
func checkReview(request *types.AccessRequestV3, review types.AccessReview) error {
	if !review.ProposedState.IsResolved() {
		return trace.BadParameter("invalid state proposal: %s (expected approval/denial)", review.ProposedState)
	}
	for _, earlier := range request.GetReviews() {
		if earlier.Author == review.Author {
			return trace.AccessDenied("user %q has already reviewed this request", review.Author)
		}
	}
	if len(review.Roles) != 0 && len(review.Roles) != len(request.GetRoleThresholdMapping()) {
		return trace.NotImplemented("role subselection is not yet supported in reviews, try omitting role list")
	}
	if len(review.Annotations) != 0 {
		return trace.NotImplemented("annotations are not yet supported in reviews, try omitting annotations field")
	}
	if request.GetState().IsResolved() {
		return trace.AccessDenied("the access request has been already %s", strings.ToLower(request.GetState().String()))
	}
	return nil
}

// meetsThreshold reports whether the reviews suffice for the state that the newest of them
// proposes. Requests of this simulation have exactly one threshold. A promotion needs none.
func meetsThreshold(request *types.AccessRequestV3, proposed types.RequestState) bool {
	if proposed.IsPromoted() {
		return true
	}
	var count uint32
	for _, review := range request.GetReviews() {
		if review.ProposedState == proposed {
			count++
		}
	}
	threshold := request.GetThresholds()[0]
	if proposed.IsApproved() {
		return count >= threshold.Approve
	}
	return count >= threshold.Deny
}
