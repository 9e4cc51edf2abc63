package sync

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUndecided means that Jira's history does not yet show how the issue came to its status;
// nothing may be concluded.
var ErrUndecided = errors.New("the issue's history does not show the move to its present status yet")

// Verdict is what follows from an issue's status: a decision to bring to Teleport, or a refusal to
// be said on the issue.
type Verdict struct {
	// Decision is nil when the move is refused.
	Decision *Decision
	// Refusal says in plain words who was refused, why, and what to do instead.
	Refusal string
	// Reason is the kind of refusal, for metrics: one of the refused constants.
	Reason string
	// Move is the history entry that put the issue into its present status; zero when the history
	// has none.
	Move Move
	// Status is the one that the issue was judged in.
	Status Status
	// MoveID tells this move from all others of the issue.
	MoveID string
}

// refused is the verdict with an objection in place of its decision.
func (v Verdict) refused(reason, text string) Verdict {
	v.Decision, v.Reason, v.Refusal = nil, reason, text
	return v
}

// moved says which move it is about, for the log of activity.
func (v Verdict) moved() string {
	who := cmp.Or(v.Move.Author.Email, v.Move.Author.ID(), "nobody known")
	return "moved to " + v.Status.Name + " by " + who
}

// refusalKey marks the one comment that answers a refused move.
func (v Verdict) refusalKey() string { return "refused:" + v.MoveID }

// What the history alone objects to a move.
const (
	refusedResolved     = "resolved"     // Teleport has settled the request
	refusedMode         = "notify"       // ModeNotify
	refusedStatus       = "status"       // to a status that decides nothing
	refusedRenamed      = "renamed"      // to a status that meant something else then
	refusedProject      = "project"      // of an issue that was moved out of the project
	refusedUnattributed = "unattributed" // by nobody known
	refusedAgent        = "agent"        // by the agent's own account
	refusedApp          = "app"          // by an app or an automation rule
	refusedBulk         = "bulk"         // by a change of something else, which moved the issue along
	refusedInactive     = "inactive"     // by an account that is not active
)

// Judge reads a freshly read issue, whose status disagrees with Teleport, for the request of its
// row. The person is the author of the history entry that put the issue into its present status,
// and no one else. A verdict with a decision still has to pass Admit.
func (p Policy) Judge(l Link, d Detail) (Verdict, error) {
	move, found := lastMove(d.Moves, d.Issue.Status)
	if found && !sameStatus(move.To, d.Issue.Status) {
		return Verdict{}, ErrUndecided
	}
	v := Verdict{Move: move, Status: d.Issue.Status, MoveID: move.ID}
	if !found {
		v.MoveID = "status:" + d.Issue.Status.ID
	}
	shown, sure := p.Statuses.Outcome(d.Issue.Status)
	then, _ := p.Statuses.Outcome(v.Move.To)
	if !sure { // it had another name before, which the history confirms or not
		if shown = then; then == "" {
			return Verdict{}, fmt.Errorf("%w: status %q had another name before, and the issue's history does not show that "+
				"one; configure the present name, or the status's id %s", ErrUnconfirmed, d.Issue.Status.Name, d.Issue.Status.ID)
		}
	}
	if found && then == "" && p.Names.calledSo(d.Issue.Status, move.At) {
		then = shown // the history has the name in another language
	}
	if reason, text := p.objection(l, d, v, shown, then); reason != "" {
		return v.refused(reason, text), nil
	}
	v.Decision = &Decision{
		State:     RequestState(shown),
		Reason:    reasonFrom(d.Comments, move.Author),
		Delegator: delegator(move.Author),
	}
	return v, nil
}

// objection is the first rule that forbids to take the move as a verdict whoever the person is;
// empty when none does.
func (p Policy) objection(l Link, d Detail, v Verdict, shown, then Outcome) (reason, text string) {
	pending := p.Statuses[OutcomePending][0]
	author := v.Move.Author
	switch target := OutcomeOf(l); {
	case target != OutcomePending:
		return refusedResolved, "Teleport has already settled this request (" + string(target) + "), and that is final. " +
			"If access is still wanted, or no longer, please act in Teleport."
	case p.Mode == ModeNotify:
		return refusedMode, "Requests are only shown here. Please decide it in Teleport" + pageOf(l.Request) + "."
	case shown != OutcomeApproved && shown != OutcomeDenied:
		return refusedStatus, "The request is still pending in Teleport. Only a move to an approved or denied status " +
			"decides it."
	case d.Issue.Project != p.Project:
		return refusedProject, "This issue was moved out of the project " + p.Project +
			", and only people of that project decide. " +
			"Please move it back, or decide the request in Teleport."
	case author.ID() == "":
		return refusedUnattributed, "Jira's history does not say who moved this issue. A person has to move it from " +
			plain(pending) + "."
	case author.Agent:
		return refusedAgent, "The account of this agent never decides. A person has to move the issue."
	case v.Move.Generator != "":
		return refusedApp, "It was moved by " + name(v.Move.Generator) +
			", an app or an automation rule, and not by a person. A person has to move it."
	case movedAlong(v.Move) != "":
		return refusedBulk, "It was not moved to this status by itself: the same change was of its " +
			plain(movedAlong(v.Move)) +
			". A person has to move it again from " + plain(pending) + "."
	case author.App:
		return refusedApp, "It was moved by an app or an automation rule, not by a person. A person has to move it."
	case !author.Active:
		return refusedInactive, "It was moved by " + called(author) + ", whose account is not active."
	case then != shown:
		return refusedRenamed, "When " + called(author) + " moved it, this status was called " + name(v.Move.To.Name) +
			", which decides nothing. A person has to move it again from " + plain(pending) + "."
	}
	return "", ""
}

// bulkFields are the fields, by id or by name, whose change moves an issue to another status though
// nobody decided that: a new workflow, another issue type or another project maps the statuses of
// many issues at once.
// https://support.atlassian.com/jira-cloud-administration/docs/work-with-issue-workflows/
var bulkFields = []string{"workflow", "issuetype", "issue type", "project", "key", "migration"}

// movedAlong is the field by whose change the issue was moved along; empty when it was moved by
// itself.
func movedAlong(m Move) string {
	for _, field := range m.Beside {
		if slices.ContainsFunc(bulkFields, func(f string) bool { return strings.EqualFold(f, field) }) {
			return field
		}
	}
	return ""
}

// lastMove is the newest of the moves, which are sorted by their times, of an issue that is in this
// status. Where Jira's clock was set back between two of them the numbers of the entries tell their
// order: if in that order each move begins where the one before ended and the last one leads here,
// and in the order of times not.
func lastMove(moves []Move, present Status) (last Move, found bool) {
	if len(moves) == 0 {
		return Move{}, false
	}
	leadsHere := func(order []Move) bool { return isChain(order) && sameStatus(order[len(order)-1].To, present) }
	if !leadsHere(moves) {
		numbered := slices.Clone(moves)
		slices.SortStableFunc(numbered, func(a, b Move) int { return cmp.Compare(numberOf(a.ID), numberOf(b.ID)) })
		if leadsHere(numbered) {
			moves = numbered
		}
	}
	return moves[len(moves)-1], true
}

// isChain reports whether each move begins where the one before ended.
func isChain(moves []Move) bool {
	for i := 1; i < len(moves); i++ {
		if !sameStatus(moves[i-1].To, moves[i].From) {
			return false
		}
	}
	return true
}

// sameStatus compares by id; by name only where the history lacks the id.
func sameStatus(a, b Status) bool {
	if a.ID != "" && b.ID != "" {
		return a.ID == b.ID
	}
	return a.Name != "" && strings.EqualFold(a.Name, b.Name)
}

// delegator is how Teleport's audit log names a person of Jira, in the form of Teleport's own Jira
// plugin.
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

// reasonFrom is the text that a person gave for the move: out of the newest of that person's
// comments with a line "Reason: …" or "Resolution: …", the rest of the line, or the text below it
// where the line ends there. A comment that not everybody sees is not quoted into Teleport, nor
// from there into the open.
func reasonFrom(newestFirst []Comment, author Person) string {
	for _, c := range newestFirst {
		if c.Author.ID() != author.ID() || c.Edited || c.Restricted || c.Key != "" {
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
