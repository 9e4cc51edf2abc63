package sync

import (
	"strings"
	stdsync "sync"
)

// maxTextTries is how often a text is sent that Jira fails to store while it answers other calls.
// Then the issue or the comment is made without it: a database may lack a character, a filter
// before Jira may take the text for an attack.
const maxTextTries = 3

// untold stands for such a text.
const untold = "The text that belongs here cannot be stored in Jira. It is in Teleport."

// textRefused reports whether a create or a comment failed, without a clear refusal, in a way that
// concerns this request alone.
func textRefused(err error) bool {
	e := asError(err)
	return e.Side == "jira" && e.Scope == ScopeRequest && e.Uncertain
}

// unstored counts such failures in a row, by request. What is counted is forgotten at the end of
// the term.
type unstored struct {
	tries stdsync.Map
}

func (u *unstored) note(requestID string, err error) {
	switch {
	case err == nil:
		u.tries.Delete(requestID)
	case textRefused(err):
		u.tries.Store(requestID, u.count(requestID)+1)
	}
}

func (u *unstored) count(requestID string) int {
	n, _ := u.tries.Load(requestID)
	count, _ := n.(int)
	return count
}

// givenUp reports whether the request's text is to be left out.
func (u *unstored) givenUp(requestID string) bool { return u.count(requestID) >= maxTextTries }

// bareDraft is the draft for a request without its reason, in ASCII.
func bareDraft(r Request, mode DecisionMode) Draft {
	r.Reason = untold
	d := draft(r, mode)
	d.Summary, d.Description = ascii(d.Summary), ascii(d.Description)
	return d
}

// bareComment is the first paragraph of a comment, which is the agent's own, in ASCII.
func bareComment(body string) string {
	own, _, _ := strings.Cut(body, "\n\n")
	return ascii(own) + "\n\n" + untold
}

func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r > '~') {
			return '?'
		}
		return r
	}, text)
}
