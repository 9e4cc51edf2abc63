package sync

import (
	"errors"
	"strings"
)

// ErrUndecided means that Jira's history does not yet show how the issue came to its status; nothing may be concluded.
var ErrUndecided = errors.New("the issue's history does not show the move to its present status yet")

// Verdict is what follows from an issue's status: a decision to set in Teleport, or a refusal to be said on the issue.
type Verdict struct {
	// Decision is nil when the move is refused.
	Decision *Decision
	// Refusal says in plain words who was refused, why, and what to do instead.
	Refusal string
	// Reason is the kind of refusal, for metrics: "unattributed", "agent", "app", "inactive", "self", "project", "status" or "resolved".
	Reason string
	// MoveID tells this move from all others of the issue.
	MoveID string
}

// Judge decides what a freshly read issue, whose status disagrees with Teleport, means for the request of its row.
// The person is the author of the history entry that put the issue into its present status, and no one else.
func (p Policy) Judge(l Link, d Detail) (Verdict, error) {
	move, found := lastMove(d.Moves)
	if found && !sameStatus(move.To, d.Issue.Status) {
		return Verdict{}, ErrUndecided
	}
	v := Verdict{MoveID: move.ID}
	if !found {
		v.MoveID = "status:" + d.Issue.Status.ID
	}
	shown, _ := p.Statuses.Outcome(d.Issue.Status)

	v.Reason, v.Refusal = p.objection(l, d, move.Author, shown)
	if v.Reason == "" {
		v.Decision = &Decision{
			State:     RequestState(shown),
			Reason:    reasonFrom(d.Comments, move.Author),
			Delegator: delegator(move.Author),
		}
	}
	return v, nil
}

// objection is the first rule that forbids to take the author's move as a verdict; empty when none does.
func (p Policy) objection(l Link, d Detail, author Person, shown Outcome) (reason, text string) {
	pending := p.Statuses[OutcomePending][0]
	target := OutcomeOf(l)
	switch {
	case target != OutcomePending:
		return "resolved", "Teleport has already settled this request (" + string(target) + "), and that is final. " +
			"If access is still wanted, or no longer, please act in Teleport."
	case shown != OutcomeApproved && shown != OutcomeDenied:
		return "status", "The request is still pending in Teleport. Only a move to an approved or denied status decides it."
	case d.Issue.Project != p.Project:
		return "project", "This issue was moved out of the project " + p.Project + ", and only people of that project decide. " +
			"Please move it back, or decide the request in Teleport."
	case author.ID() == "":
		return "unattributed", "Jira's history does not say who moved this issue. A person has to move it from " + plain(pending) + "."
	case author.Agent:
		return "agent", "The account of this agent never decides. A person has to move the issue."
	case author.App:
		return "app", "It was moved by an app or an automation rule, not by a person. A person has to move it."
	case !author.Active:
		return "inactive", "It was moved by " + called(author) + ", whose account is not active."
	case p.SelfApproval == SelfAllow:
		return "", ""
	}
	same, certain := samePerson(l.Request.User, author)
	switch {
	case same:
		return "self", "It was moved by " + called(author) + ", who made the request. Somebody else has to decide it."
	case p.SelfApproval == SelfStrict && !certain:
		return "self", "It was moved by " + called(author) + ", and it cannot be shown that this is not the requester, " + name(l.Request.User) +
			". Somebody whose e-mail address Jira shows has to decide it, or it is decided in Teleport."
	}
	return "", ""
}

// lastMove is the newest of the moves, which are sorted oldest first.
func lastMove(moves []Move) (Move, bool) {
	if len(moves) == 0 {
		return Move{}, false
	}
	return moves[len(moves)-1], true
}

// sameStatus compares by id; by name only where the history lacks the id.
func sameStatus(a, b Status) bool {
	if a.ID != "" && b.ID != "" {
		return a.ID == b.ID
	}
	return a.Name != "" && strings.EqualFold(a.Name, b.Name)
}

// samePerson compares a Teleport user name with a Jira user. Two visible e-mail addresses settle it; all else is a
// likeness, on which same leans to the safe side: "alice" and alice@example.com are taken for one person.
func samePerson(user string, p Person) (same, certain bool) {
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

// delegator is how Teleport's audit log names a person of Jira, in the form of Teleport's own Jira plugin.
func delegator(p Person) string {
	if p.Email != "" {
		return "jira:" + p.Email
	}
	return "jira:" + p.ID()
}

// called is how a comment names a person.
func called(p Person) string {
	if p.DisplayName != "" {
		return name(p.DisplayName)
	}
	return name(p.ID())
}

// reasonFrom is the text that a person gave for the move: out of the newest of that person's comments with a line
// "Reason: …" or "Resolution: …", the rest of the line, or the text below it where the line ends there.
func reasonFrom(newestFirst []Comment, author Person) string {
	for _, c := range newestFirst {
		if c.Author.ID() != author.ID() || c.Edited || c.Key != "" {
			continue
		}
		if reason := reasonIn(c.Body); reason != "" {
			return reason
		}
	}
	return ""
}

func reasonIn(body string) string {
	lines := strings.Split(strings.ReplaceAll(body, "\r\n", "\n"), "\n")
	for i, line := range lines {
		label, rest, found := strings.Cut(line, ":")
		label = strings.ToLower(strings.TrimSpace(label))
		if !found || label != "reason" && label != "resolution" {
			continue
		}
		if rest = strings.TrimSpace(rest); rest == "" {
			rest = strings.TrimSpace(strings.Join(lines[i+1:], "\n"))
		}
		if rest != "" {
			return rest
		}
	}
	return ""
}

// refusalKey marks the one comment that answers a refused move.
func (v Verdict) refusalKey() string { return "refused:" + v.MoveID }
