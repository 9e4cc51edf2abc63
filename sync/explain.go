package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Assess says in words what the policy makes of an issue as it stands, freshly read. It looks up
// what the policy asks about the person who moved it, and changes nothing.
func Assess(ctx context.Context, p Policy, c Cluster, t Tracker, l Link, d Detail) (string, error) {
	status, target := d.Issue.Status, OutcomeOf(l)
	shown, known := p.Meaning(status)
	switch {
	case target != OutcomePending && p.Shows(status, target):
		return "The issue shows what Teleport says: " + string(target) + ".", nil
	case target != OutcomePending && !known:
		return fmt.Sprintf("Teleport says %s. The status %q is configured for nothing: the issue stays there if it has "+
			"shown the outcome before.", target, status.Name), nil
	case target == OutcomePending && !known:
		return fmt.Sprintf("The status %q decides nothing. %s", status.Name, p.whoDecides()), nil
	case shown == target:
		return "Nobody has decided yet. " + p.whoDecides(), nil
	}
	v, err := p.Judge(l, d)
	if errors.Is(err, ErrUndecided) {
		return fmt.Sprintf("Jira's history does not show yet who moved the issue to %q; until it does, nothing is "+
			"concluded.", status.Name), nil
	}
	if err != nil {
		return "", err
	}
	if v.Decision != nil {
		who, err := inquiry{Policy: p, Cluster: c, Tracker: t}.about(ctx, l, v.Move.Author)
		if err != nil {
			return "", fmt.Errorf("look up who moved issue %s: %w", d.Issue.Key, err)
		}
		v = p.Admit(l, v, who)
	}
	if v.Decision == nil {
		return fmt.Sprintf("Refused (%s), %s: %s The issue is put back.", v.Reason, v.moved(), v.Refusal), nil
	}
	what := "Teleport is told " + string(v.Decision.State)
	if p.Mode == ModeReview {
		what = "that is a review by " + v.Decision.Author + ": " + string(v.Decision.State)
	}
	return fmt.Sprintf(
		"Admitted, %s: %s, on behalf of %s, reason %q.",
		v.moved(),
		what,
		v.Decision.Delegator,
		v.Decision.Reason,
	), nil
}

// whoDecides says whose move of an issue counts.
func (p Policy) whoDecides() string {
	if p.Mode == ModeNotify {
		return "Jira only shows requests here (TELEPORT_DECISION_MODE=notify): they are decided in Teleport."
	}
	who := "Whoever may move the issue decides"
	var named []string
	if len(p.Approvers) > 0 {
		named = append(named, strings.Join(p.Approvers, ", "))
	}
	if len(p.ApproverGroups) > 0 {
		named = append(named, "members of "+strings.Join(p.ApproverGroups, ", "))
	}
	if len(named) > 0 {
		who = "Those who decide: " + strings.Join(named, "; ")
	}
	switch p.SelfApproval {
	case SelfDeny:
		who += ", but not the requester"
	case SelfStrict:
		who += ", but not who might be the requester"
	case SelfAllow:
	}
	if p.Mode == ModeReview {
		who += "; it counts as the review of the person's own user in Teleport"
	}
	return who + ". A move to " + quotedNames(p.Statuses[OutcomeApproved]) + " approves, to " +
		quotedNames(p.Statuses[OutcomeDenied]) + " denies."
}

func quotedNames(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, " or ")
}

// Outlook is what comes next for a request.
type Outlook struct {
	// Text says it in one or two sentences.
	Text string
	// At is when the agent looks next by itself; zero: only when something changes.
	At time.Time
	// Steps are what is left to do, in order.
	Steps []Action
}

// Expect tells what comes next for the request of a row, as far as its facts tell. Retention is how
// long settled rows are kept.
func Expect(l Link, p Policy, now time.Time, retention time.Duration) Outlook {
	o := Outlook{At: l.Due, Steps: Plan(l, p, now)}
	switch {
	case l.Dropped:
		o.Text = "Nothing more is done: an operator gave up on the request. `queue retry " + l.RequestID + "` takes it up " +
			"again."
	case !l.SettledAt.IsZero() && len(o.Steps) == 0:
		o.Text = "Nothing is left to do: both sides agreed at " + stamp(l.SettledAt) + ". The row is kept until " +
			stamp(l.SettledAt.Add(retention)) + "."
	case l.Parked:
		o.Text = "Parked: repeating cannot help until something changes, in Jira, in Teleport or in the " +
			"configuration. Then `queue retry " + l.RequestID + "`; by itself it is tried again at " +
			stamp(l.Due) + "."
	case IsDryRun(l):
		o.Text = "A dry run writes nothing, and looks again at " + stamp(l.Due) + "."
	case l.LastError != "" && l.Due.After(now):
		o.Text = fmt.Sprintf(
			"Attempt %d comes at %s; `queue retry %s` makes it come now.",
			l.Attempts+1,
			stamp(l.Due),
			l.RequestID,
		)
	case len(o.Steps) > 0 && (l.Due.IsZero() || l.Due.After(now)):
		o.Text = "Looked at again at " + cmp.Or(stamp(l.Due), "the next change") + "."
	case len(o.Steps) > 0:
		o.Text = "Due now: the leader does it next."
	case OutcomeOf(l) == OutcomePending:
		o.Text = "It waits for a decision, in Jira or in Teleport, until it expires at " + stamp(l.Request.Expires) + "."
	case !l.Issue.Assumed.IsZero():
		o.Text = fmt.Sprintf("The agent moved the issue to %q. A poll that shows it there settles the request; otherwise "+
			"it is read at %s.", l.Issue.Status.Name, stamp(l.Due))
	default:
		o.Text = "It is due: the leader looks at it next."
	}
	return o
}
