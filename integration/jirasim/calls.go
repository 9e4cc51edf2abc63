package jirasim

import (
	"slices"
	"sync"
	"time"
)

// Call is one call that came in.
type Call struct {
	Method string
	// Endpoint is the template, such as "issue/{issue}/transitions", below /rest/api/2/ unless it
	// begins with a slash; empty if there is none.
	Endpoint string
	Path     string
	Query    string
	Body     []byte
	User     string // name; empty if not authenticated
	Status   int    // 0: no answer was given
	Fault    string // the fault that it met, if any
	Began    time.Time
	Took     time.Duration
}

// Route is the method and the endpoint: "POST issue".
func (c Call) Route() string { return c.Method + " " + c.Endpoint }

// CallSummary sums up all calls of one route.
type CallSummary struct {
	Count       int
	Codes       map[int]int // by status; 0: no answer
	First, Last time.Time   // when calls began
	Total, Max  time.Duration
}

// journalLength bounds the calls that are kept whole, at a few hundred bytes each.
const journalLength = 20_000

type journal struct {
	onCall func(Call)

	mu      sync.Mutex
	calls   []Call
	summary map[string]CallSummary
}

func newJournal(onCall func(Call)) journal {
	return journal{onCall: onCall, summary: map[string]CallSummary{}}
}

func (j *journal) add(c Call) {
	j.mu.Lock()
	if len(j.calls) == journalLength {
		j.calls = slices.Clone(j.calls[journalLength/2:])
	}
	j.calls = append(j.calls, c)
	sum := j.summary[c.Route()]
	if sum.Count == 0 {
		sum.First, sum.Codes = c.Began, map[int]int{}
	}
	sum.Count++
	sum.Codes[c.Status]++
	sum.Last = c.Began
	sum.Total += c.Took
	sum.Max = max(sum.Max, c.Took)
	j.summary[c.Route()] = sum
	j.mu.Unlock()
	if j.onCall != nil {
		j.onCall(c)
	}
}

// Calls returns the calls since the last ResetCalls in the order in which they ended; of very many
// only the last ones.
func (s *Server) Calls() []Call {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return slices.Clone(s.calls.calls)
}

// Summary counts all calls since the last ResetCalls by "METHOD endpoint".
func (s *Server) Summary() map[string]CallSummary {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	summary := make(map[string]CallSummary, len(s.calls.summary))
	for route, sum := range s.calls.summary {
		codes := make(map[int]int, len(sum.Codes))
		for code, n := range sum.Codes {
			codes[code] = n
		}
		sum.Codes = codes
		summary[route] = sum
	}
	return summary
}

// CallCount is how many calls of a route ("POST issue") there were since the last ResetCalls.
func (s *Server) CallCount(route string) int {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return s.calls.summary[route].Count
}

// ResetCalls forgets all calls.
func (s *Server) ResetCalls() {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	s.calls.calls, s.calls.summary = nil, map[string]CallSummary{}
}
