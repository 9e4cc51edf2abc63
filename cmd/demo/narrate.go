package main

import (
	"cmp"
	"context"
	"fmt"
	"html"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// narrator tells what happens in both simulators and what the agents say of it. Whoever makes it
// speak, it first tells everything that has happened until then, in the order of the happening.
type narrator struct {
	screen   *screen
	jira     *jirasim.Server
	teleport *teleportsim.Server

	mu      sync.Mutex
	issues  map[string]jirasim.Issue // by id, as last told
	audited int                      // how many of Teleport's audit events are told
	asked   map[string]string        // request ID → how it is called here
}

// news is one thing that happened.
type news struct {
	at        time.Time
	who, text string
}

func newNarrator(s *screen, jira *jirasim.Server, teleport *teleportsim.Server) *narrator {
	return &narrator{
		screen: s, jira: jira, teleport: teleport,
		issues: make(map[string]jirasim.Issue), asked: make(map[string]string),
	}
}

// follow tells each change of a simulator at once, until stop is called.
func (n *narrator) follow() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var followers sync.WaitGroup
	followers.Go(func() {
		for ctx.Err() == nil {
			changed := n.jira.Changed()
			n.catchUp()
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	})
	followers.Go(func() {
		for told := 0; ctx.Err() == nil; {
			// Its only error is the end of the context.
			_ = n.teleport.Wait(ctx, func(t *teleportsim.Server) bool { return len(t.Audit("")) > told })
			told = n.catchUp()
		}
	})
	return func() error {
		cancel()
		followers.Wait()
		return nil
	}
}

// catchUp tells what is new in both simulators, and returns how much of Teleport's audit log has
// been told.
func (n *narrator) catchUp() (audited int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tellNews()
	return n.audited
}

// title begins a new part of the story.
func (n *narrator) title(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tellNews()
	n.screen.title(text)
}

// agentSays tells what a line of an agent's log means, if it is worth telling.
func (n *narrator) agentSays(name string, l replica.Line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tellNews()
	if text := n.meaning(l); text != "" {
		n.screen.say(name, text)
	}
}

// agentEnded tells how a process has ended.
func (n *narrator) agentEnded(name string, code int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tellNews()
	if code == -1 {
		n.screen.say(name, "was killed")
		return
	}
	n.screen.say(name, fmt.Sprintf("has stopped with exit code %d", code))
}

// tellNews tells what is new in both simulators. The caller holds mu.
func (n *narrator) tellNews() {
	var all []news
	for _, issue := range n.jira.Issues() {
		all = append(all, issueNews(n.issues[issue.ID], issue)...)
		n.issues[issue.ID] = issue
	}
	audit := n.teleport.Audit("")
	for _, event := range audit[n.audited:] {
		all = append(all, n.auditNews(event))
	}
	n.audited = len(audit)
	slices.SortStableFunc(all, func(a, b news) int { return a.at.Compare(b.at) })
	for _, item := range all {
		n.screen.say(item.who, item.text)
	}
}

// issueNews is what has happened to an issue since it was told; a zero Issue has never been. Of one
// millisecond the comments come first, as people and the agent explain a move before they make it.
func issueNews(told, now jirasim.Issue) []news {
	var all []news
	add := func(at time.Time, format string, args ...any) {
		all = append(all, news{at: at, who: "Jira", text: fmt.Sprintf(format, args...)})
	}
	if told.ID == "" {
		add(now.Created, "%s makes issue %s: %q", person(now.Creator), now.Key, now.Text("summary"))
	}
	for _, comment := range now.Comments[len(told.Comments):] {
		add(comment.Created, "%s comments on %s: %s", person(comment.Author), now.Key, quote(comment.Body))
	}
	for _, change := range now.History[len(told.History):] {
		for _, item := range change.Items {
			if item.Field == "status" {
				add(change.At, "%s moves %s from %s to %s", person(change.Author), now.Key, item.FromString, item.ToString)
			}
		}
	}
	return all
}

// auditNews is an event of Teleport's audit log in plain words.
func (n *narrator) auditNews(e teleportsim.AuditEvent) news {
	request := n.asked[e.RequestID]
	state := strings.ToLower(e.State.String())
	var text string
	switch e.Type {
	case teleportsim.AuditCreate:
		requester, _, _ := strings.Cut(e.User, "@")
		n.asked[e.RequestID] = requester + "'s request for " + strings.Join(e.Roles, ", ")
		text = fmt.Sprintf("%s asks for %s: %s", e.User, strings.Join(e.Roles, ", "), quote(e.Reason))
	case teleportsim.AuditReview:
		text = fmt.Sprintf(
			"%s reviews %s: %s%s",
			e.Reviewer,
			request,
			strings.ToLower(e.ProposedState.String()),
			because(e.Reason),
		)
		if e.State != types.RequestState_PENDING {
			text += "; so it is " + state
		}
	case teleportsim.AuditUpdate:
		text = fmt.Sprintf("%s is %s by %s", request, state, e.UpdatedBy)
		if e.Delegator != "" {
			text += " on behalf of " + e.Delegator
		}
		text += because(e.Reason)
	case teleportsim.AuditExpire:
		text = "the expiry service deletes " + request
	case teleportsim.AuditDelete:
		text = request + " is deleted"
	}
	return news{at: e.At, who: "Teleport", text: text}
}

// meaning is a line of an agent's log in plain words. It is empty for what the simulators show
// better or nobody needs to know.
func (n *narrator) meaning(l replica.Line) string {
	request := n.asked[fmt.Sprint(l.Fields["request_id"])]
	switch {
	case l.Is("leading"):
		return "leads: it alone writes to Jira and Teleport"
	case l.Is("standing by"):
		return "stands by, to take over when the leader is gone"
	case l.Is("lock won; waiting until the lease of the leader before has ended"):
		return fmt.Sprintf(
			"has PostgreSQL's lock, and waits %v so that the lease of the leader before has surely ended",
			l.Fields["wait"],
		)
	case l.Is("no longer leading", "handed_over", "true"):
		return "gives up the lead, so that another can take over at once"
	case l.Is("done", "action", "check"):
		return "asks Teleport by ID whether it still has " + request
	case l.Is("done", "action", "link"):
		return fmt.Sprintf("notes %v in Teleport's plugin data of %s", l.Fields["issue_key"], request)
	case l.Is("done", "action", "settle"):
		return fmt.Sprintf("is done with %v: %v", l.Fields["issue_key"], l.Fields["cause"])
	case l.Is("move refused"):
		return fmt.Sprintf("refuses the move of %v, and puts it back", l.Fields["issue_key"])
	case l.Fields == nil:
		return l.Text // no log line: a problem of the configuration, or a crash
	case l.Fields["level"] == "warn" || l.Fields["level"] == "error":
		return strings.TrimSpace(
			fmt.Sprintf("%v: %v %v", l.Fields["level"], l.Fields["msg"], cmp.Or(l.Fields["error"], any(""))),
		)
	}
	return ""
}

func person(name string) string {
	switch name {
	case "agent":
		return "the agent"
	case "":
		return "somebody"
	}
	return name
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ", " + quote(reason)
}

// quote shows a text of a person's, or of the agent's in wiki markup, on one line.
func quote(text string) string {
	return `"` + strings.Join(strings.Fields(unmarked(text)), " ") + `"`
}

// unmarked is a text without the wiki markup that the agent uses.
func unmarked(text string) string {
	return html.UnescapeString(strings.NewReplacer("*", "", `\\`, " ").Replace(text))
}
