package jira

import (
	"net/http"
	"strconv"
	"strings"
	stdsync "sync"
	"time"
)

const (
	// reasonHeader tells which of Cloud's limits was hit.
	// https://developer.atlassian.com/cloud/jira/platform/rate-limiting/
	reasonHeader = "RateLimit-Reason"
	// defaultPause follows a 429 that names no time; the engine's own back-off comes on top.
	defaultPause = 2 * time.Second
	// maxPause bounds a pause against a clock that is far off. Cloud's longest is that to the next
	// full hour.
	maxPause = 24 * time.Hour
)

// reach is how far a pause reaches.
type reach int

const (
	wholeClient reach = iota
	oneEndpoint       // one endpoint and method
	oneIssue          // writes to one issue
)

type pause struct {
	reach  reach
	length time.Duration
}

// pauses keeps until when which calls have to wait. The zero value is ready.
type pauses struct {
	mu    stdsync.Mutex
	until map[string]time.Time
}

// begin lets a pause begin now for the calls that it concerns, of which r is one. It never shortens
// one that is on.
func (p *pauses) begin(r *request, pause pause, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		p.until = make(map[string]time.Time)
	}
	for key, until := range p.until {
		if !until.After(now) {
			delete(p.until, key)
		}
	}
	key := pauseKey(r, pause.reach)
	if end := now.Add(pause.length); end.After(p.until[key]) {
		p.until[key] = end
	}
}

// rest is how long r has to wait as yet, and whether that is for its endpoint's or its issue's sake
// alone.
func (p *pauses) rest(r *request, now time.Time) (rest time.Duration, narrow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, reach := range []reach{wholeClient, oneEndpoint, oneIssue} {
		if reach == oneIssue && !(r.write && r.issue != "") {
			continue
		}
		if d := p.until[pauseKey(r, reach)].Sub(now); d > rest {
			rest, narrow = d, reach != wholeClient
		}
	}
	return rest, narrow
}

func pauseKey(r *request, reach reach) string {
	switch reach {
	case oneEndpoint:
		return r.method + " " + r.endpoint
	case oneIssue:
		return "issue " + r.issue
	default: // wholeClient
		return ""
	}
}

// pauseOf is the pause that an answer asks for; of length 0 when it asks for none.
func pauseOf(resp *http.Response, now time.Time) pause {
	p := pause{length: retryAfter(resp, now)}
	if resp.StatusCode != http.StatusTooManyRequests {
		return p
	}
	if p.length <= 0 {
		p.length = defaultPause
	}
	// A reason that is not known holds back everything.
	switch reason := strings.ToLower(resp.Header.Get(reasonHeader)); {
	case strings.Contains(reason, "burst"):
		p.reach = oneEndpoint
	case strings.Contains(reason, "per-issue"):
		p.reach = oneIssue
	}
	return p
}

// retryAfter is the least wait that a 429 or 503 names, in seconds or as a date; else 0. A date is
// compared with the answer's own Date, so that a difference of the clocks does not count.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxPause/time.Second))) * time.Second
	}
	end, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if said, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		now = said
	}
	return min(max(end.Sub(now), 0), maxPause)
}
