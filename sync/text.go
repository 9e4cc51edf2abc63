package sync

import (
	"fmt"
	"strings"
	"time"
)

// Limits of Jira in characters, which it counts in UTF-16 units.
const (
	maxSummary = 255
	// maxQuote bounds one quoted text of a person in its escaped form, and maxList one list (roles,
	// resources, suggested reviewers): a description or comment takes 32,767.
	maxQuote = 14_000
	maxList  = 5_000
	maxItem  = 256 // of one user name or role, before it is escaped
	// maxResource is maxItem for a resource ID with what its use is narrowed to, which must not be
	// cut off unseen.
	maxResource = 2_000
)

// draft is the issue for a request.
func draft(r Request, mode DecisionMode) Draft {
	return Draft{RequestID: r.ID, Summary: summary(r), Description: description(r, mode)}
}

func summary(r Request) string {
	asked := strings.Join(r.Roles, ", ")
	if asked == "" {
		asked = strings.Join(r.Resources, ", ")
	}
	return cut(oneLine(r.User+" requested "+asked), maxSummary)
}

func description(r Request, mode DecisionMode) string {
	var b strings.Builder
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, "*%s:* %s\n", label, value)
		}
	}
	line("User", name(r.User))
	line("Roles", listed(r.Roles, ", ", maxItem))
	line("Resources", listed(r.Resources, `\\`, maxResource))
	line("Reason", plainLines(r.Reason))
	line("Suggested reviewers", listed(r.SuggestedReviewers, ", ", maxItem))
	line("Request ID", plain(r.ID))
	line("Requested", stamp(r.Created))
	line("Request expires", stamp(r.Expires))
	line("Access would end", stamp(r.AccessExpires))
	if r.URL != "" {
		line("Link", "["+r.URL+"]")
	}
	b.WriteString("\n" + instructions(r, mode))
	return b.String()
}

// instructions tell an approver what moving the issue does.
func instructions(r Request, mode DecisionMode) string {
	if mode == ModeNotify {
		return "This issue only shows the request. Please decide it in Teleport; the issue follows."
	}
	text := "Move this issue to an approved or denied status to decide the request. "
	if mode == ModeReview {
		text = "Move this issue to an approved or denied status to review the request as your user in Teleport. "
	}
	if r.OnlyInTeleport != "" {
		text = "This request cannot be approved here: " + plain(r.OnlyInTeleport) +
			". Please approve it in Teleport. To deny it, move this issue to a denied status. "
	}
	return text + "To give a reason, first write a comment with a line such as _Reason: on call this week_."
}

// listed shows the first items of a list, each cut to the limit, and how many more there are.
func listed(items []string, separator string, limit int) string {
	var shown []string
	size := 0
	for i, item := range items {
		text := plain(cut(item, limit))
		if size += len(text) + len(separator); size > maxList {
			shown = append(shown, fmt.Sprintf("and %d more, see Teleport", len(items)-i))
			break
		}
		shown = append(shown, text)
	}
	return strings.Join(shown, separator)
}

// stamp shows a time to the second in UTC, with its colons kept from the wiki renderer.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func reviewText(r Review) string {
	text := fmt.Sprintf("*%s* reviewed the request in Teleport: *%s*.", name(r.Author), r.Verdict)
	return withReason(text, r.Reason)
}

func resolutionText(l Link, o Outcome) string {
	switch o {
	case OutcomeExpired:
		if l.Retracted > 0 {
			return "Now the Access Request has *ended* without a decision. Please make a new one if access is still needed."
		}
		return "The Access Request has *expired* or was deleted before anybody decided it. Please make a new one if " +
			"access is still needed."
	case OutcomePromoted:
		text := "The Access Request was *promoted* to membership in an access list"
		if l.Request.PromotedTo != "" {
			text += ": " + name(l.Request.PromotedTo)
		}
		return withReason(text+".", l.Request.ResolveReason)
	default:
		text := fmt.Sprintf("The Access Request is *%s*.", o)
		if o == OutcomeApproved {
			text += narrowingText(l.Request)
		}
		return withReason(text, l.Request.ResolveReason)
	}
}

// retractionText takes a closing comment back.
const retractionText = "Teleport says that the Access Request is still *pending*; that it had expired was a mistake. " +
	"This issue is open again, and moving it decides the request."

// narrowingText says what an approval grants less than was asked for; each sentence begins with a
// space.
func narrowingText(r Request) string {
	text := ""
	if len(r.GrantedRoles) > 0 {
		text += " Not all roles that were asked for are granted, only: " + listed(r.GrantedRoles, ", ", maxItem) + "."
	}
	if !r.StartsAt.IsZero() {
		text += " Access begins at " + stamp(r.StartsAt) + "."
	}
	if !r.EndsAt.IsZero() {
		text += " Access ends sooner than was asked for, at " + stamp(r.EndsAt) + "."
	}
	return text
}

func refusalText(v Verdict) string {
	return "This move does not decide the Access Request, and nothing was changed in Teleport. " + v.Refusal
}

// pageOf is where in Teleport to decide a request, as the end of a sentence; empty where that is
// not known.
func pageOf(r Request) string {
	if r.URL == "" {
		return ""
	}
	return ": [" + r.URL + "]"
}

// progressText answers a move that became a review and did not resolve the request.
func progressText(r Request, d Decision) string {
	text := fmt.Sprintf(
		"The review by %s counts in Teleport (%s), and the request is still pending",
		name(d.Author),
		d.State,
	)
	if approvals := r.approvals(); d.State == StateApproved && approvals < r.ApprovalsNeeded {
		text += fmt.Sprintf(": %d of %d approvals", approvals, r.ApprovalsNeeded)
	}
	return text + ". So this issue is back under its pending status, for the next reviewer."
}

func strayText(key string, duplicate bool) string {
	if duplicate {
		return "This issue was made twice for one Access Request. The request's issue is " + key + "; this one is closed."
	}
	return "This issue holds the ID of an Access Request that is not its own. The request's issue is " + key +
		". Moving this one decides nothing."
}

func withReason(text, reason string) string {
	if strings.TrimSpace(reason) == "" {
		return text
	}
	return text + "\n\nReason given: " + plainLines(reason)
}
