package sync

import (
	"slices"
	"strings"
)

// Known is what was looked up about the person who moved an issue, beside what the history
// says. What the policy does not ask for is not looked up, and empty.
type Known struct {
	// Groups are the names and the ids of the Jira groups that the person is in.
	Groups []string
	// GroupsHidden: the agent's account may not see who is in which group.
	GroupsHidden bool
	// Requester is the request's user in Teleport; zero where that cannot be read, or is no stored
	// user.
	Requester User
	// Users are the Teleport users who the person is, by trait or, where that is allowed, by e-mail
	// address.
	Users []User
	// UsersHidden: the agent's identity may not read users.
	UsersHidden bool
}

// What is objected to the person who moved an issue.
const (
	refusedApprover  = "approver"  // not among those who may decide
	refusedUnchecked = "unchecked" // it cannot be checked whether they are
	refusedSelf      = "self"      // the requester
	refusedTeleport  = "teleport"  // an approval that only Teleport can take
	refusedUnmapped  = "unmapped"  // nobody, or not exactly one user, in Teleport (ModeReview)
)

// Admit says whether the person behind a verdict may decide the request, in ModeReview also as
// whom. A refusal stays one.
func (p Policy) Admit(l Link, v Verdict, k Known) Verdict {
	if v.Decision == nil {
		return v
	}
	decision := *v.Decision
	if reason, text := p.unfit(l, v.Move.Author, k); reason != "" {
		return v.refused(reason, text)
	}
	if decision.State == StateApproved && l.Request.OnlyInTeleport != "" {
		return v.refused(
			refusedTeleport,
			"This request cannot be approved here: "+plain(l.Request.OnlyInTeleport)+". Please decide it in Teleport"+pageOf(
				l.Request,
			)+".",
		)
	}
	if p.Mode == ModeReview {
		if text := unmapped(v.Move.Author, k); text != "" {
			return v.refused(
				refusedUnmapped,
				text+" Somebody else has to decide it, or it is decided in Teleport"+pageOf(l.Request)+".",
			)
		}
		decision.Author = k.Users[0].Name
	}
	v.Decision = &decision
	return v
}

// unfit is the first rule that keeps this person from deciding this request; empty when none does.
func (p Policy) unfit(l Link, author Person, k Known) (reason, text string) {
	moved := "It was moved by " + called(author)
	if !p.approves(author, k.Groups) {
		switch {
		case len(p.ApproverGroups) > 0 && k.GroupsHidden:
			return refusedUnchecked, moved + ", and this agent's account may not see whether that is one of those who may " +
				"decide here. Whoever runs the agent has to grant it that; until then please decide the request in Teleport."
		case author.Email == "" && slices.ContainsFunc(p.Approvers, isAddress):
			return refusedApprover, moved + ", who is not known as one of those who may decide here; Jira does not show this " +
				"account's e-mail address. Somebody else has to decide it."
		}
		return refusedApprover, moved + ", who is not one of those who may decide here. Somebody else has to decide it."
	}
	if p.SelfApproval == SelfAllow {
		return "", ""
	}
	same, certain := isRequester(l.Request.User, author, k)
	switch {
	case same:
		return refusedSelf, moved + ", who made the request. Somebody else has to decide it."
	case p.SelfApproval == SelfStrict && !certain:
		return refusedSelf, moved + ", and it cannot be shown that this is not the requester, " + name(l.Request.User) +
			". Somebody whose e-mail address Jira shows has to decide it, or it is decided in Teleport."
	}
	return "", ""
}

// approves reports whether the person is one of those who may decide: all, where none are named.
func (p Policy) approves(author Person, groups []string) bool {
	if len(p.Approvers) == 0 && len(p.ApproverGroups) == 0 {
		return true
	}
	named := func(who string) bool {
		return author.Is(who) || author.Email != "" && strings.EqualFold(who, author.Email)
	}
	member := func(group string) bool {
		return slices.ContainsFunc(groups, func(of string) bool { return strings.EqualFold(of, group) })
	}
	return slices.ContainsFunc(p.Approvers, named) || slices.ContainsFunc(p.ApproverGroups, member)
}

func isAddress(who string) bool { return strings.Contains(who, "@") }

// isRequester tells whether the person is the requester, and whether that is certain. Two visible
// e-mail addresses settle it, and what Teleport's own users say; all else is a likeness, on which
// same leans to the safe side: "alice" and alice@example.com are taken for one person.
func isRequester(user string, p Person, k Known) (same, certain bool) {
	told := len(k.Requester.JiraIDs) > 0 || len(k.Users) == 1
	if slices.ContainsFunc(k.Requester.JiraIDs, p.Is) || len(k.Users) == 1 && k.Users[0].Name == user {
		return true, true
	}
	same, certain = alike(user, p)
	if told && !certain {
		return false, true
	}
	return same, certain
}

// alike compares a Teleport user name with what Jira shows of a person.
func alike(user string, p Person) (same, certain bool) {
	if strings.Contains(user, "@") && p.Email != "" {
		return strings.EqualFold(user, p.Email), true
	}
	for _, name := range []string{p.Email, localPart(p.Email), p.Name, localPart(p.Name), p.AccountID} {
		if name != "" && (strings.EqualFold(name, user) || strings.EqualFold(name, localPart(user))) {
			return true, false
		}
	}
	return false, false
}

func localPart(address string) string {
	local, _, _ := strings.Cut(address, "@")
	return local
}

// unmapped says why it is not known as which Teleport user the person acts; empty when it is.
func unmapped(author Person, k Known) string {
	switch who := called(author); {
	case k.UsersHidden:
		return "It was moved by " + who + ", and this agent may not look up who that is in Teleport."
	case len(k.Users) == 0:
		return "It was moved by " + who + ", and no user in Teleport is known to be that person."
	case len(k.Users) > 1:
		return "It was moved by " + who + ", and more than one user in Teleport is said to be that person."
	}
	return ""
}
