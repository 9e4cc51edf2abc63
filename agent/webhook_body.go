package agent

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	stdsync "sync"
	"time"

	"teleport-jira-agent/sync"
)

const (
	// maxBody is the size, in bytes, of the largest body that is taken: Jira sends none above.
	maxBody = 25 << 20
	// maxHeld bounds, in bytes, all bodies that are held at once: two of the largest and hundreds
	// of usual ones. A buffer that grows leaves as much again behind for the garbage collector.
	// When it is used up, the body that has been on its way for the longest time is let go.
	maxHeld = 64 << 20
	// firstBuffer, in bytes, holds a usual body; it doubles as more comes, so that who sends slowly
	// holds twice what was sent at most.
	firstBuffer = 32 << 10
)

// signature is a SHA-256 HMAC, as it came.
type signature []byte

// signatureIn takes the one signature of a request out of its header, which may come twice if both
// are equal. Jira's is the method of WebSub, of which no other than sha256 is taken:
// https://www.w3.org/TR/websub/#signing-content
func signatureIn(header http.Header) (signature, bool) {
	var one signature
	for _, value := range header.Values("X-Hub-Signature") {
		text, method := strings.CutPrefix(value, "sha256=")
		mac, err := hex.DecodeString(text)
		if !method || err != nil || len(mac) != sha256.Size || one != nil && !bytes.Equal(one, mac) {
			return nil, false
		}
		one = mac
	}
	return one, one != nil
}

// of reports, in the same time whatever the signature is, whether it is that of a body. Without a
// secret it never is.
func (s signature) of(body []byte, secret string) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hmac.Equal(mac.Sum(nil), s) && secret != ""
}

// discard reads on for a sender that would hear its refusal only after it has sent what it has; not
// without end.
func discard(r *http.Request) {
	if r.Header.Get("Expect") == "" { // else it waits to be asked
		_, _ = io.CopyN(io.Discard, r.Body, maxBody) // it may break off
	}
}

// bodies are those that are being received. Their memory is bounded, and neither a slow sender nor
// a crowd of them keeps it from others.
type bodies struct {
	most int

	mu   stdsync.Mutex
	held int
	all  []*body // the one that was begun first is first
}

// body is one of them.
type body struct {
	content []byte
	from    *bodies
	giveUp  func() // ends a read that waits
	size    int    // what it counts for; the capacity of content
	dropped bool   // it gave way to others
}

func (b *bodies) open(giveUp func()) *body {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := &body{from: b, giveUp: giveUp}
	b.all = append(b.all, x)
	return x
}

// close must be called before the request's handler returns: giveUp is not called afterwards.
func (b *bodies) close(x *body) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(x)
}

func (b *bodies) remove(x *body) {
	if i := slices.Index(b.all, x); i >= 0 {
		b.all = slices.Delete(b.all, i, i+1)
		b.held -= x.size
	}
}

// grant lets a body hold so many bytes, at the cost of older ones where there is no room. It
// returns false for a body that has to give way itself.
func (b *bodies) grant(x *body, size int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !x.dropped && b.held+size-x.size > b.most {
		oldest := b.all[0] // there is one, if only x itself
		oldest.dropped = true
		b.remove(oldest)
		if oldest != x {
			oldest.giveUp()
		}
	}
	if x.dropped {
		return false
	}
	b.held += size - x.size
	x.size = size
	return true
}

// read reads the whole body.
func (x *body) read(from io.Reader) *refusal {
	dropped := &refusal{code: http.StatusServiceUnavailable, why: "too much at a time; please send it again"}
	for {
		if len(x.content) == cap(x.content) {
			size := min(max(2*cap(x.content), firstBuffer), maxBody+1)
			if !x.from.grant(x, size) {
				return dropped
			}
			x.content = append(make([]byte, 0, size), x.content...)
		}
		n, err := from.Read(x.content[len(x.content):cap(x.content)])
		x.content = x.content[:len(x.content)+n]
		switch {
		case len(x.content) > maxBody:
			return &refusal{code: http.StatusRequestEntityTooLarge, why: "the body is too large"}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && x.gaveWay():
			return dropped
		case err != nil:
			return &refusal{code: noAnswer, why: "the body did not come to its end", err: err}
		}
	}
}

func (x *body) gaveWay() bool {
	x.from.mu.Lock()
	defer x.from.mu.Unlock()
	return x.dropped
}

// hint is what a webhook tells: that there is something new about an issue, and perhaps since when.
type hint struct {
	issueID string      // empty when it is about something else
	claimed time.Time   // when the issue changed last, by Jira's clock; zero: it does not say
	author  sync.Person // who changed it; only what tells people apart is filled
}

// by reports whether the webhook tells of a change by this person. It is for leaving out what the
// agent itself did and knows: who lies about that is not heard.
func (h hint) by(p sync.Person) bool { return h.author.ID() != "" && h.author.ID() == p.ID() }

// besideTheIssue matches the events that are not changes of the issue itself. The issue within
// their bodies is seconds to minutes older than the event, so that its time of change says nothing
// about it.
var besideTheIssue = regexp.MustCompile(`comment|delete|worklog|attachment|link`)

// maxDigits are those of the largest id that fits into 64 bits.
const maxDigits = 19

// hintIn takes the hint out of a body; ok is false for one that is not JSON. All that is not as
// Jira writes it counts as not said: https://developer.atlassian.com/cloud/jira/platform/webhooks/
func hintIn(body []byte) (h hint, ok bool) {
	if !json.Valid(body) {
		return hint{}, false
	}
	var event struct {
		Event string `json:"webhookEvent"`
		Type  string `json:"issue_event_type_name"`
		User  struct {
			AccountID string `json:"accountId"`
			Name      string `json:"name"`
			Key       string `json:"key"`
		} `json:"user"`
		Issue struct {
			ID     json.RawMessage `json:"id"` // a number in quotation marks
			Fields struct {
				Updated string `json:"updated"`
			} `json:"fields"`
		} `json:"issue"`
	}
	_ = json.Unmarshal(body, &event) // what has another type than it should stays empty
	h.issueID = strings.Trim(string(event.Issue.ID), `"`)
	if strings.Trim(h.issueID, "0123456789") != "" || len(h.issueID) > maxDigits {
		return hint{}, true
	}
	h.author = sync.Person{AccountID: event.User.AccountID, Name: event.User.Name, Key: event.User.Key}
	at, err := time.Parse("2006-01-02T15:04:05Z0700", event.Issue.Fields.Updated)
	if err == nil && !besideTheIssue.MatchString(event.Event+" "+event.Type) {
		h.claimed = at.UTC()
	}
	return h, true
}
