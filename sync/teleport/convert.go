package teleport

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/sync"
)

// maxReason is what Teleport takes as a resolve reason, in bytes
// (https://github.com/gravitational/teleport/blob/master/lib/services/access_request.go,
// ValidateAccessRequest).
const maxReason = 4096

// convert puts an Access Request into the agent's own form. Its roles are those asked for, also
// where fewer were granted. webURL is the base of links to Teleport's web UI; without it the
// request has no link.
func convert(r types.AccessRequest, webURL string) sync.Request {
	out := sync.Request{
		ID:                 r.GetName(),
		State:              convertState(r.GetState()),
		User:               clean(r.GetUser()),
		Roles:              cleaned(r.GetOriginalRoles()),
		Reason:             clean(r.GetRequestReason()),
		SuggestedReviewers: cleaned(r.GetSuggestedReviewers()),
		Created:            r.GetCreationTime().UTC(),
		Expires:            r.Expiry().UTC(),
		AccessExpires:      r.GetAccessExpiry().UTC(),
		ApprovalsNeeded:    approvalsNeeded(r.GetThresholds()),
		ResolveReason:      clean(r.GetResolveReason()),
		PromotedTo:         clean(promotedTo(r)),
	}
	out.Resources, out.OnlyInTeleport = details(r)
	if out.State == sync.StateApproved {
		narrowed(&out, r)
	}
	for _, review := range r.GetReviews() {
		out.Reviews = append(out.Reviews, sync.Review{
			Author:  clean(review.Author),
			Verdict: convertState(review.ProposedState),
			Reason:  clean(review.Reason),
			Created: review.Created.UTC(),
		})
	}
	if webURL != "" {
		out.URL = webURL + "/web/requests/" + url.PathEscape(out.ID)
	}
	return out
}

// narrowed fills in what an approval granted less than was asked for. Teleport sets the end that
// was asked for as the maximum duration too, which an approval leaves alone; older versions do not.
func narrowed(out *sync.Request, r types.AccessRequest) {
	for _, role := range out.Roles {
		if granted := cleaned(r.GetRoles()); !slices.Contains(granted, role) {
			out.GrantedRoles = granted
			break
		}
	}
	if start := r.GetAssumeStartTime(); start != nil {
		out.StartsAt = start.UTC()
	}
	if asked := r.GetMaxDuration(); !asked.IsZero() && r.GetAccessExpiry().Before(asked) {
		out.EndsAt = out.AccessExpires
	}
}

// approvalsNeeded is the most approvals that any of the thresholds asks for.
func approvalsNeeded(thresholds []types.AccessReviewThreshold) int {
	most := 0
	for _, t := range thresholds {
		most = max(most, int(t.Approve))
	}
	return most
}

// convertState names a state. One that this version does not know stays empty, which sync takes as
// undecided.
func convertState(s types.RequestState) sync.RequestState {
	switch s {
	case types.RequestState_PENDING:
		return sync.StatePending
	case types.RequestState_APPROVED:
		return sync.StateApproved
	case types.RequestState_DENIED:
		return sync.StateDenied
	case types.RequestState_PROMOTED:
		return sync.StatePromoted
	default:
		return ""
	}
}

// promotedTo is the access list's title, or its name where it has none.
func promotedTo(r types.AccessRequest) string {
	if title := r.GetPromotedAccessListTitle(); title != "" {
		return title
	}
	return r.GetPromotedAccessListName()
}

// cleaned is nil for an empty list, so that a request reads the same whichever way it came.
func cleaned(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, clean(s))
	}
	return out
}

// clean replaces what the other sides refuse: bytes that are no UTF-8 (protobuf) and NUL
// (PostgreSQL).
func clean(s string) string {
	const replacement = string(utf8.RuneError)
	return strings.ReplaceAll(strings.ToValidUTF8(s, replacement), "\x00", replacement)
}

// cut cleans s and shortens it to at most limit bytes, between two characters; the cut is marked
// with an ellipsis.
func cut(s string, limit int) string {
	const ellipsis = "…"
	s = clean(s)
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
