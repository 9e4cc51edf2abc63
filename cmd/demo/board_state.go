package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// snapshot is all that the page shows, as it is at one moment. Times are RFC 3339; lags are in
// milliseconds.
type snapshot struct {
	Now      time.Time      `json:"now"`
	Touring  bool           `json:"touring"` // the tour acts by itself, until the visitor does
	Columns  []string       `json:"columns"`
	Actors   []string       `json:"actors"`
	Cards    []card         `json:"cards"`    // oldest first
	Requests []requestShown `json:"requests"` // newest first
	Replicas []replicaShown `json:"replicas"`
	Broken   []string       `json:"broken"` // sides
	Lag      lag            `json:"lag"`
	Story    []storyLine    `json:"story"`
}

// card is an issue.
type card struct {
	Key      string    `json:"key"`
	Status   string    `json:"status"`
	Request  string    `json:"request"` // ID; empty for an issue that is about none
	Summary  string    `json:"summary"`
	Created  time.Time `json:"created"`
	MovedBy  string    `json:"movedBy"` // empty until somebody has moved it
	MovedAt  time.Time `json:"movedAt"`
	PutBack  *putBack  `json:"putBack"`  // nil unless the last move was the answer to one that counted for nothing
	Comments []remark  `json:"comments"` // oldest first
	History  []change  `json:"history"`  // oldest first
}

// putBack says whose move the agent has undone, and why.
type putBack struct {
	Who    string `json:"who"`
	To     string `json:"to"` // where the person had moved it
	Reason string `json:"reason"`
}

type remark struct {
	Who  string    `json:"who"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

type change struct {
	Who  string    `json:"who"`
	From string    `json:"from"`
	To   string    `json:"to"`
	At   time.Time `json:"at"`
}

// requestShown is an access request, also one that Teleport has deleted since.
type requestShown struct {
	ID      string     `json:"id"`
	User    string     `json:"user"`
	Roles   []string   `json:"roles"`
	Reason  string     `json:"reason"`
	State   string     `json:"state"` // pending, approved, denied, promoted or expired
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"` // nil once nobody waits for it
	By      string     `json:"by"`      // who resolved it, and for whom
	Because string     `json:"because"`
	Reviews []remark   `json:"reviews"`
	Issue   string     `json:"issue"` // key; empty while there is none

	decided time.Time // by the agent, for a person of Jira
}

// replicaShown is a slot with its process.
type replicaShown struct {
	Name    string   `json:"name"`
	Running bool     `json:"running"`
	Frozen  bool     `json:"frozen"`
	PID     int      `json:"pid"`
	Health  health   `json:"health"`
	Log     []string `json:"log"` // how it ends
}

// lag is how long each direction took the last time (-1: never yet), and since when somebody waits
// now (nil: nobody does).
type lag struct {
	Issue           int64      `json:"issue"` // request made → its issue exists
	IssueWaiting    *time.Time `json:"issueWaiting"`
	Decision        int64      `json:"decision"` // issue moved → the request's state in Teleport
	DecisionWaiting *time.Time `json:"decisionWaiting"`
}

// shownLog is how many lines of a replica's log the page shows.
const shownLog = 6

// refusalIntro begins each of the agent's comments on a move that counts for nothing; on a card
// there is only room for what follows it.
const refusalIntro = "This move does not decide the Access Request, and nothing was changed in Teleport. "

func (b *board) snapshot() snapshot {
	w := b.world
	s := snapshot{
		Now: time.Now(), Columns: []string{"To Do", "Pending", "Approved", "Denied", "Expired"}, Actors: actors(),
		Cards: []card{}, Broken: []string{}, Story: w.screen.kept(),
	}
	issues := w.jira.Issues()
	for _, issue := range issues {
		s.Cards = append(s.Cards, newCard(issue))
	}
	requests := requestsShown(w.teleport, s.Cards)
	s.Lag = lagOf(requests, s.Cards)
	slices.Reverse(requests)
	s.Requests = requests

	b.mu.Lock()
	defer b.mu.Unlock()
	s.Touring = b.takeOver != nil
	for _, side := range []string{sideJira, sideDatabase} {
		if b.broken[side] {
			s.Broken = append(s.Broken, side)
		}
	}
	lines := w.logged.all()
	for _, slot := range w.slots {
		p, running, frozen := slot.now()
		shown := replicaShown{Name: slot.name, Running: running, Frozen: frozen, Log: logEnd(lines, slot.name)}
		if running {
			shown.PID = p.PID()
		}
		if said := b.health[slot.name]; running && !frozen && said.process == p {
			shown.Health = said
		}
		s.Replicas = append(s.Replicas, shown)
	}
	return s
}

// newCard is what the page shows of an issue.
func newCard(i jirasim.Issue) card {
	c := card{
		Key: i.Key, Status: i.Status.Name, Request: i.Text(field), Summary: i.Text("summary"), Created: i.Created,
		Comments: []remark{}, History: []change{},
	}
	for _, comment := range i.Comments {
		c.Comments = append(c.Comments, remark{Who: comment.Author, Text: unmarked(comment.Body), At: comment.Created})
	}
	for _, entry := range i.History {
		for _, item := range entry.Items {
			if item.Field == "status" {
				c.History = append(c.History, change{Who: entry.Author, From: item.FromString, To: item.ToString, At: entry.At})
			}
		}
	}
	if n := len(c.History); n > 0 {
		c.MovedBy, c.MovedAt = c.History[n-1].Who, c.History[n-1].At
	}
	c.PutBack = c.undone()
	return c
}

// undone is the person's move that the agent's last one has undone; nil if that was none such.
func (c card) undone() *putBack {
	n := len(c.History)
	if n < 2 || c.History[n-1].Who != agentAccount || c.History[n-2].Who == agentAccount {
		return nil
	}
	move := c.History[n-2]
	for _, comment := range slices.Backward(c.Comments) {
		if reason, refused := strings.CutPrefix(comment.Text, refusalIntro); refused && comment.Who == agentAccount &&
			!comment.At.Before(move.At) {
			return &putBack{Who: move.Who, To: move.To, Reason: reason}
		}
	}
	return nil
}

// requestsShown is every request that there ever was, oldest first, out of the audit log, and out
// of the backend while it is there.
func requestsShown(t *teleportsim.Server, cards []card) []requestShown {
	all := []requestShown{}
	at := make(map[string]int)
	for _, e := range t.Audit("") {
		if e.Type == teleportsim.AuditCreate {
			at[e.RequestID] = len(all)
			all = append(all, requestShown{
				ID:      e.RequestID,
				User:    e.User,
				Roles:   e.Roles,
				Reason:  e.Reason,
				State:   "pending",
				Created: e.At,
				Reviews: []remark{},
			})
			continue
		}
		all[at[e.RequestID]].apply(e)
	}
	for i := range all {
		r := &all[i]
		if stored := t.Request(r.ID); stored != nil && r.State == "pending" {
			expires := stored.Expiry()
			r.Expires = &expires
		}
		if c := slices.IndexFunc(cards, func(c card) bool { return c.Request == r.ID }); c >= 0 {
			r.Issue = cards[c].Key
		}
	}
	return all
}

// apply is what an event after the creation means to the request.
func (r *requestShown) apply(e teleportsim.AuditEvent) {
	switch e.Type {
	case teleportsim.AuditCreate: // the request begins with it
	case teleportsim.AuditReview:
		verdict := strings.ToLower(e.ProposedState.String())
		r.Reviews = append(r.Reviews, remark{Who: e.Reviewer, Text: verdict + because(e.Reason), At: e.At})
		if e.State != types.RequestState_PENDING {
			r.State, r.By, r.Because = strings.ToLower(e.State.String()), e.Reviewer, e.Reason
		}
	case teleportsim.AuditUpdate:
		r.State, r.By, r.Because = strings.ToLower(e.State.String()), e.UpdatedBy, e.Reason
		if e.Delegator != "" {
			r.By = e.Delegator
			r.decided = e.At
		}
	case teleportsim.AuditExpire, teleportsim.AuditDelete:
		if r.State == "pending" { // one that was decided keeps its verdict on the board, too
			r.State = "expired"
		}
	}
}

// lagOf measures both directions in what the simulators saw.
func lagOf(requests []requestShown, cards []card) lag {
	l := lag{Issue: -1, Decision: -1}
	byRequest := make(map[string]card, len(cards))
	for _, c := range cards {
		byRequest[c.Request] = c
	}
	var lastDecided time.Time
	for _, r := range requests {
		c, exists := byRequest[r.ID]
		if !exists {
			if r.State == "pending" && l.IssueWaiting == nil {
				l.IssueWaiting = &r.Created
			}
			continue
		}
		l.Issue = max(0, c.Created.Sub(r.Created).Milliseconds()) // Jira keeps milliseconds
		if moved := c.verdictBefore(r.decided); !moved.IsZero() && r.decided.After(lastDecided) {
			lastDecided, l.Decision = r.decided, max(0, r.decided.Sub(moved).Milliseconds())
		}
		waits := r.State == "pending" && (c.Status == "Approved" || c.Status == "Denied") && c.MovedBy != agentAccount
		if waits && (l.DecisionWaiting == nil || c.MovedAt.Before(*l.DecisionWaiting)) {
			l.DecisionWaiting = &c.MovedAt
		}
	}
	return l
}

// verdictBefore is when a person last moved the card before that time; zero if nobody did.
func (c card) verdictBefore(decided time.Time) time.Time {
	for _, move := range slices.Backward(c.History) {
		if move.Who != agentAccount && move.At.Before(decided) {
			return move.At
		}
	}
	return time.Time{}
}

// logEnd is how a replica's log ends, each line cut down to what it says.
func logEnd(lines []logLine, name string) []string {
	end := []string{}
	for _, l := range slices.Backward(lines) {
		if l.agent != name {
			continue
		}
		if end = append(end, l.short()); len(end) == shownLog {
			break
		}
	}
	slices.Reverse(end)
	return end
}

// short is the time, the message and the fields that tell most.
func (l logLine) short() string {
	text := l.Text
	if l.Fields != nil {
		text = fmt.Sprint(l.Fields["msg"])
		for _, name := range []string{"action", "news", "issue_key", "cause", "epoch", "wait", "addr", "error"} {
			if value, there := l.Fields[name]; there && value != "" {
				text += fmt.Sprintf(" %s=%v", name, value)
			}
		}
	}
	return l.at.Format(time.TimeOnly) + " " + text
}
