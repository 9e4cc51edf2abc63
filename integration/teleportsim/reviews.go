package teleportsim

import (
	"strings"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
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
	if review.Author != caller {
		return nil, trace.AccessDenied("user %q cannot submit reviews on behalf of %q", caller, review.Author)
	}
	role := s.roles[caller]
	if len(role.ReviewRoles) == 0 {
		return nil, trace.AccessDenied("user %q cannot submit reviews", caller)
	}
	return s.applyReview(submission.RequestID, review, role)
}

// applyReview adds a review and, when it meets a threshold, resolves the request. s.mu is held.
// https://github.com/gravitational/teleport/blob/master/lib/services/access_request.go
func (s *Server) applyReview(id string, review types.AccessReview, role Role) (*types.AccessRequestV3, error) {
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
		review.Created = time.Now()
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

// meetsThreshold reports whether the reviews suffice for the state that the newest of them proposes. Requests of
// this simulation have exactly one threshold. A promotion needs none.
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
