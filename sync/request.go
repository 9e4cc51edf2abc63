package sync

import (
	"slices"
	"time"
)

// RequestState is the state of an Access Request as Teleport names it, in lower case.
type RequestState string

// The states of an Access Request. Promoted is set by Teleport alone, when a request is answered
// with membership in an access list.
const (
	StatePending  RequestState = "pending"
	StateApproved RequestState = "approved"
	StateDenied   RequestState = "denied"
	StatePromoted RequestState = "promoted"
)

// Resolved reports whether somebody decided the request.
func (s RequestState) Resolved() bool { return s != StatePending && s != "" }

// Request is what Teleport last said of an Access Request.
type Request struct {
	ID    string       `json:"id"`
	State RequestState `json:"state"`

	// User is the requester's Teleport user name: free text, often an e-mail address.
	User string `json:"user"`
	// Roles are the role names asked for.
	Roles []string `json:"roles,omitempty"`
	// Resources are the resource IDs asked for, each as "/cluster/kind/name[/sub]", with what its
	// use is narrowed to in brackets: "/prod/node/web (SSH logins: root)". An ID that could be read
	// as one with brackets is quoted.
	Resources []string `json:"resources,omitempty"`
	// Reason is the requester's own text.
	Reason string `json:"reason,omitempty"`
	// SuggestedReviewers are free text, and need not be Teleport users.
	SuggestedReviewers []string `json:"suggested_reviewers,omitempty"`

	Created time.Time `json:"created"`
	// Expires is when the request itself ends if nobody decides it (types.AccessRequest.Expiry).
	// A request past it must never be approved, though Teleport would let that pass.
	Expires time.Time `json:"expires"`
	// AccessExpires is when access that the request grants ends (GetAccessExpiry).
	AccessExpires time.Time `json:"access_expires"`

	// GrantedRoles are the roles of an approval that left out some of those asked for; empty when
	// it left out none.
	GrantedRoles []string `json:"granted_roles,omitempty"`
	// StartsAt is when approved access begins; zero for at once.
	StartsAt time.Time `json:"starts_at,omitzero"`
	// EndsAt is when approved access ends that was cut shorter than was asked for; zero when it was
	// not.
	EndsAt time.Time `json:"ends_at,omitzero"`

	// ApprovalsNeeded is how many approving reviews resolve the request at most: the largest of its
	// thresholds; 0 where it is not known.
	ApprovalsNeeded int `json:"approvals_needed,omitempty"`
	// OnlyInTeleport says why the request must not be approved from Jira: "it asks for long-term
	// access", "it has details that this release cannot read". Empty when it may be.
	OnlyInTeleport string `json:"only_in_teleport,omitempty"`

	// ResolveReason is the text given with the decision.
	ResolveReason string `json:"resolve_reason,omitempty"`
	// Reviews are in the order in which Teleport received them.
	Reviews []Review `json:"reviews,omitempty"`
	// PromotedTo is the title of the access list, for a promoted request.
	PromotedTo string `json:"promoted_to,omitempty"`
	// URL is the request's page in Teleport's web UI; empty where it is not known.
	URL string `json:"url,omitempty"`
}

// approvals counts the reviews that approve the request.
func (r Request) approvals() int {
	n := 0
	for _, review := range r.Reviews {
		if review.Verdict == StateApproved {
			n++
		}
	}
	return n
}

// reviewBy finds the review of one author.
func (r Request) reviewBy(author string) (Review, bool) {
	i := slices.IndexFunc(r.Reviews, func(review Review) bool { return review.Author == author })
	if i < 0 {
		return Review{}, false
	}
	return r.Reviews[i], true
}

// Review is one reviewer's verdict. Teleport takes one review per author and request.
type Review struct {
	Author  string       `json:"author"`
	Verdict RequestState `json:"verdict"` // StateApproved, StateDenied or StatePromoted
	Reason  string       `json:"reason,omitempty"`
	Created time.Time    `json:"created"`
}

// Decision is what the agent asks Teleport to set.
type Decision struct {
	State  RequestState // StateApproved or StateDenied
	Reason string
	// Delegator is written to Teleport's audit log as the one on whose behalf the agent acts:
	// "jira:<email>".
	Delegator string
	// Author is the Teleport user whose review it is, in ModeReview.
	Author string
}

// Event is one thing that a watch of Teleport tells: a request as it is now, or that one was
// deleted. A deletion carries nothing but the name, and does not say why: ask for the request by ID
// before believing it.
type Event struct {
	Request   *Request
	DeletedID string
}
