package jirasim

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault makes calls go wrong. Each call meets at most one fault, the first that matches it in the
// order of Inject.
type Fault struct {
	// Method and Endpoint ("issue/{issue}/transitions") say which calls; empty: any. When, if set,
	// must agree, too.
	Method, Endpoint string
	When             func(*http.Request) bool
	// Skip lets that many matching calls pass first.
	Skip int
	// Times is how many calls go wrong; 0: all until the fault is removed.
	Times  int
	Effect Effect
}

// Effect is what a Fault does to a call: one of Respond, Delay, Hang, DropBefore, LoseAnswer,
// HangAnswer, NotShown, FinishLate, FinishNever.
type Effect struct {
	kind     effectKind
	status   int
	body     string
	header   http.Header
	delay    time.Duration
	issue    string // NotShown: its id or key
	creation *fate
}

// fate is what becomes of an issue that is being created.
type fate struct {
	never bool
	after time.Duration // zero: not before FinishCreates
}

type effectKind string

const (
	effectStatus     effectKind = "status"
	effectDelay      effectKind = "delay"
	effectHang       effectKind = "hang"
	effectDropBefore effectKind = "drop before"
	effectLoseAnswer effectKind = "lose answer"
	effectHangAnswer effectKind = "hang answer"
	effectNotShown   effectKind = "not shown"
	effectCreate     effectKind = "create and answer otherwise"
)

// Respond answers with this status and body; nothing else happens. Headers come in pairs: name,
// value, name, value.
func Respond(code int, body string, headers ...string) Effect {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return Effect{kind: effectStatus, status: code, body: body, header: h}
}

// Delay lets the call wait, then pass. If the client gives up meanwhile, nothing happens.
func Delay(d time.Duration) Effect { return Effect{kind: effectDelay, delay: d} }

// Hang holds the call until the client gives up, upon which nothing happens, or the fault is
// removed, upon which it passes.
func Hang() Effect { return Effect{kind: effectHang} }

// DropBefore closes the connection; nothing happens.
func DropBefore() Effect { return Effect{kind: effectDropBefore} }

// LoseAnswer lets the call take effect and closes the connection in place of an answer.
func LoseAnswer() Effect { return Effect{kind: effectLoseAnswer} }

// HangAnswer lets the call take effect and holds back the answer until the client gives up or the
// fault is removed.
func HangAnswer() Effect { return Effect{kind: effectHangAnswer} }

// NotShown answers the call as if the issue were not there, by whatever id or key it is asked for:
// 404, or absent from bulkfetch and searches. A replica of Jira that lags, or a permission that
// flickers, does that.
func NotShown(issue string) Effect { return Effect{kind: effectNotShown, issue: issue} }

// FinishLate lets a create take its key and end as answer says, one of Respond, LoseAnswer and
// HangAnswer, while the issue itself is not there before that time, or FinishCreates; with zero,
// before FinishCreates. A create that Jira refuses is answered as such.
func FinishLate(after time.Duration, answer Effect) Effect {
	answer.creation = &fate{after: after}
	return unfinished(answer)
}

// FinishNever is FinishLate of an issue that is never there: its key stays unused.
func FinishNever(answer Effect) Effect {
	answer.creation = &fate{never: true}
	return unfinished(answer)
}

// unfinished lets the call reach Jira before it is answered.
func unfinished(answer Effect) Effect {
	switch answer.kind {
	case effectStatus:
		answer.kind = effectCreate
	case effectLoseAnswer, effectHangAnswer:
	default:
		panic("jirasim: a create cannot end in " + string(answer.kind))
	}
	return answer
}

// FinishCreates finishes all creates that Jira has not finished yet.
func (s *Server) FinishCreates() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, finish := range s.site.unfinished {
		finish()
	}
	s.site.unfinished = nil
}

// begin lets an issue that has its key be there when its fate says.
func (s *Server) begin(f fate, add func()) {
	if f.never {
		return
	}
	finish := sync.OnceFunc(add)
	s.site.unfinished = append(s.site.unfinished, finish)
	if f.after > 0 {
		time.AfterFunc(f.after, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			finish()
		})
	}
}

// faults is what goes wrong at present.
type faults struct {
	mu      sync.Mutex
	down    bool
	latency time.Duration
	active  []*activeFault
}

type activeFault struct {
	Fault
	hits    int
	removed chan struct{}
}

// Inject adds a fault. It panics if no endpoint has that method and template.
func (s *Server) Inject(f Fault) (remove func()) {
	checkEndpoint(f.Method, f.Endpoint)
	a := &activeFault{Fault: f, removed: make(chan struct{})}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.active = append(s.faults.active, a)
	return sync.OnceFunc(func() { s.faults.remove(a) })
}

// ClearFaults removes all faults, the latency and SetDown.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	active := slices.Clone(s.faults.active)
	s.faults.down, s.faults.latency = false, 0
	s.faults.mu.Unlock()
	for _, a := range active {
		s.faults.remove(a)
	}
}

// SetLatency makes every call wait before anything is done.
func (s *Server) SetLatency(d time.Duration) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.latency = d
}

// SetDown closes each connection in place of an answer. For connections that are refused, stop the
// server.
func (s *Server) SetDown(down bool) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.down = down
}

func (f *faults) isDown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *faults) delay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latency
}

// remove is safe to repeat.
func (f *faults) remove(a *activeFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.active, a); i >= 0 {
		f.active = slices.Delete(f.active, i, i+1)
		close(a.removed)
	}
}

// take finds the fault that the call meets. A fault that is used up stays listed, so that removing
// it releases calls that it holds.
func (f *faults) take(q *request) *activeFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.active {
		if a.Times > 0 && a.hits >= a.Skip+a.Times || !a.matches(q) {
			continue
		}
		a.hits++
		if a.hits > a.Skip {
			return a
		}
	}
	return nil
}

func (f *Fault) matches(q *request) bool {
	if f.Endpoint != "" && (q.endpoint == nil || q.endpoint.template != f.Endpoint) {
		return false
	}
	return (f.Method == "" || f.Method == q.Method) && (f.When == nil || f.When(q.Request))
}

// before is what the fault does ahead of the effect; false: the call ends without effect and
// answer.
func (a *activeFault) before(ctx context.Context) bool {
	switch a.Effect.kind {
	case effectDelay:
		return wait(ctx, a.Effect.delay, a.removed)
	case effectHang:
		return wait(ctx, forever, a.removed)
	case effectDropBefore:
		return false
	default:
		return true
	}
}

// after is what the fault does behind the effect; false: the call ends without answer.
func (a *activeFault) after(ctx context.Context) bool {
	switch a.Effect.kind {
	case effectLoseAnswer:
		return false
	case effectHangAnswer:
		return wait(ctx, forever, a.removed)
	default:
		return true
	}
}

func (e Effect) answer() answer {
	header := e.header.Clone()
	if header.Get("Content-Type") == "" && strings.HasPrefix(e.body, "{") {
		header.Set("Content-Type", "application/json;charset=UTF-8")
	}
	return answer{status: e.status, header: header, raw: []byte(e.body)}
}

const forever = time.Duration(1<<63 - 1)

// wait returns true after d or when released is closed, and false when ctx ends first.
func wait(ctx context.Context, d time.Duration, released <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-released:
		return true
	case <-ctx.Done():
		return false
	}
}
