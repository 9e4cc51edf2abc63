package jirasim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Webhook is one that an administrator registered for all events of issues:
// https://developer.atlassian.com/cloud/jira/platform/webhooks/
type Webhook struct {
	URL    string
	Secret string
	// Client sends; nil: http.DefaultClient. It has to trust the receiver's certificate.
	Client *http.Client
	// RetryAfter is the pause before an attempt is repeated that was answered with 408, 409, 425,
	// 429 or 5xx, or not at all; zero: 5 min.
	RetryAfter time.Duration
}

// Delivery is one attempt to deliver an event.
type Delivery struct {
	Header http.Header
	Body   []byte
	Status int // of the answer; 0: there was none
	Err    error
}

const (
	// maxRetries is how often an event is sent again.
	maxRetries = 5
	usualRetry = 5 * time.Minute
)

// webhooks sends what happens, each event by itself and in no order.
type webhooks struct {
	mu         sync.Mutex
	registered *Webhook
	sending    context.Context
	stop       context.CancelFunc
	senders    *sync.WaitGroup
	deliveries []Delivery
	changed    chan struct{} // closed at the next delivery
}

// SetWebhook registers a webhook in place of the one before; nil: none. It returns when nothing is
// being sent to the one before any more.
func (s *Server) SetWebhook(w *Webhook) {
	h := &s.webhooks
	h.mu.Lock()
	stop, senders := h.stop, h.senders
	h.registered = w
	h.senders = new(sync.WaitGroup)
	h.sending, h.stop = context.WithCancel(context.Background())
	h.mu.Unlock()
	if stop != nil {
		stop()
		senders.Wait()
	}
}

// Deliveries are all attempts so far, in the order in which they ended.
func (s *Server) Deliveries() []Delivery {
	s.webhooks.mu.Lock()
	defer s.webhooks.mu.Unlock()
	return slices.Clone(s.webhooks.deliveries)
}

// WaitDelivery waits for an attempt that matches, the past ones included, and returns the first.
func (s *Server) WaitDelivery(ctx context.Context, match func(Delivery) bool) (Delivery, error) {
	h := &s.webhooks
	for {
		h.mu.Lock()
		at := slices.IndexFunc(h.deliveries, match)
		if at >= 0 {
			defer h.mu.Unlock()
			return h.deliveries[at], nil
		}
		if h.changed == nil {
			h.changed = make(chan struct{})
		}
		changed, n := h.changed, len(h.deliveries)
		h.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Delivery{}, fmt.Errorf("jirasim: no such delivery among %d: %w", n, ctx.Err())
		}
	}
}

// Sign is the signature of a body, as the header X-Hub-Signature carries it.
func (w Webhook) Sign(body []byte) string {
	mac := hmac.New(sha256.New, []byte(w.Secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// tell sends an event about an issue, whose version before is nil for one that is new; now is nil
// for one that was deleted. The caller holds the server's mu.
func (s *Server) tell(before, now *Issue) {
	h := &s.webhooks
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.registered == nil {
		return
	}
	body := encode(s.event(before, now))
	w, ctx := *h.registered, h.sending
	h.senders.Go(func() { h.deliver(ctx, w, body) })
}

// event is the body of a webhook, as the receiver may know everybody whom Jira hides from nobody.
func (s *Server) event(before, now *Issue) object {
	q := &request{Request: &http.Request{Host: s.address()}, user: &User{}}
	issue, name, kind := now, "jira:issue_updated", "issue_updated"
	author, o := "", object{}
	switch {
	case now == nil:
		issue, name, kind = before, "jira:issue_deleted", "issue_deleted"
	case before == nil:
		name, kind, author = "jira:issue_created", "issue_created", now.Creator
	case len(now.History) > len(before.History):
		change := now.History[len(now.History)-1]
		author = change.Author
		o["changelog"] = object{"id": change.ID, "items": s.changeJSON(q, change)["items"]}
		if slices.ContainsFunc(change.Items, func(i ChangeItem) bool { return i.FieldID == "status" }) {
			kind = "issue_generic"
		}
	case len(now.Comments) > len(before.Comments):
		comment := now.Comments[len(now.Comments)-1]
		kind, author = "issue_commented", comment.Author
		o["comment"] = s.commentJSON(q, now, comment, false)
	}
	o["timestamp"], o["webhookEvent"], o["issue_event_type_name"] = s.clock().UnixMilli(), name, kind
	if user := s.userJSON(q, author); user != nil {
		o["user"] = user
	}
	shown := s.issueJSON(q, issue, view{fields: []string{"*all"}, comments: s.cfg.Caps.InlineComments})
	if fields, ok := shown["fields"].(object); ok && kind == "issue_commented" {
		fields["updated"] = s.timestamp(before.Updated) // the body is older than the comment
	}
	delete(shown, "expand")
	o["issue"] = shown
	return o
}

// deliver sends an event until it is taken, at most six times.
func (h *webhooks) deliver(ctx context.Context, w Webhook, body []byte) {
	id := uuid.NewString()
	for try := range 1 + maxRetries {
		if try > 0 && !wait(ctx, cmp.Or(w.RetryAfter, usualRetry), nil) {
			return
		}
		d := Delivery{Body: body, Header: http.Header{
			"Content-Type":                   {"application/json; charset=UTF-8"},
			"User-Agent":                     {"Atlassian Webhook HTTP Client"},
			"X-Atlassian-Webhook-Identifier": {id},
			"X-Atlassian-Webhook-Flow":       {"Primary"},
			"X-Hub-Signature":                {w.Sign(body)},
		}}
		if try > 0 {
			d.Header.Set("X-Atlassian-Webhook-Retry", strconv.Itoa(try))
		}
		d.Status, d.Err = w.post(ctx, d)
		if ctx.Err() != nil {
			return
		}
		h.delivered(d)
		switch code := d.Status; {
		case code == http.StatusRequestTimeout,
			code == http.StatusConflict,
			code == http.StatusTooEarly,
			code == http.StatusTooManyRequests,
			code >= 500,
			code == 0:
		default:
			return
		}
	}
}

func (w Webhook) post(ctx context.Context, d Delivery) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(d.Body))
	if err != nil {
		return 0, err
	}
	r.Header = d.Header
	client := w.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func (h *webhooks) delivered(d Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deliveries = append(h.deliveries, d)
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}
