package jirasim

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// limits refuse calls that come too fast. Guarded by Server.mu.
type limits struct {
	general   RateLimit
	endpoints map[string]RateLimit
	perIssue  bool
	buckets   map[string]*rate.Limiter // Cloud: by route; Data Center: by user
	writes    map[string][]time.Time   // by issue id: of the last 30 s
}

func newLimits(cfg Config) limits {
	return limits{
		general:   cfg.RateLimit,
		endpoints: cfg.EndpointLimits,
		perIssue:  cfg.LimitIssueWrites && cfg.Deployment == Cloud,
		buckets:   map[string]*rate.Limiter{},
		writes:    map[string][]time.Time{},
	}
}

// SetRateLimit replaces Config.RateLimit and EndpointLimits by one limit and fills all buckets.
func (s *Server) SetRateLimit(l RateLimit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits.general, s.limits.endpoints = l, nil
	clear(s.limits.buckets)
}

// admit returns the headers that tell about the limit, and the answer 429 if the call is one too
// many.
func (l *limits) admit(s *Server, q *request) (http.Header, *answer) {
	if q.endpoint.anonymous {
		return nil, nil
	}
	now := s.cfg.Now()
	if s.cfg.Deployment == DataCenter {
		return l.admitUser(q.user.Name, now)
	}
	if wait := l.admitWrite(s, q, now); wait > 0 {
		return nil, tooMany(now, wait, "jira-per-issue-on-write", nil)
	}
	limit, ok := l.endpoints[q.endpoint.route()]
	if !ok {
		limit = l.general
	}
	if limit.PerSecond == 0 {
		return nil, nil
	}
	wait, left := l.take(q.endpoint.route(), limit, now)
	headers := http.Header{
		"X-Ratelimit-Limit":     {strconv.Itoa(limit.Burst)},
		"X-Ratelimit-Remaining": {strconv.Itoa(left)},
		"X-Ratelimit-Nearlimit": {strconv.FormatBool(float64(left) < 0.2*float64(limit.Burst))},
	}
	if wait > 0 {
		return nil, tooMany(now, wait, "jira-burst-based", headers)
	}
	return headers, nil
}

// take takes a token; wait is the time until there is one, if there is none now.
func (l *limits) take(bucket string, limit RateLimit, now time.Time) (wait time.Duration, left int) {
	b := l.buckets[bucket]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(limit.PerSecond), limit.Burst)
		l.buckets[bucket] = b
	}
	if b.AllowN(now, 1) {
		return 0, int(b.TokensAt(now))
	}
	missing := 1 - b.TokensAt(now)
	return time.Duration(missing / limit.PerSecond * float64(time.Second)), 0
}

// admitUser is Data Center's limit:
// https://confluence.atlassian.com/adminjiraserver/adjusting-your-code-for-rate-limiting-987143384.html
func (l *limits) admitUser(user string, now time.Time) (http.Header, *answer) {
	if l.general.PerSecond == 0 {
		return nil, nil
	}
	wait, left := l.take(user, l.general, now)
	headers := http.Header{
		"X-Ratelimit-Limit":            {strconv.Itoa(l.general.Burst)},
		"X-Ratelimit-Remaining":        {strconv.Itoa(left)},
		"X-Ratelimit-Interval-Seconds": {"1"},
		"X-Ratelimit-Fillrate":         {strconv.FormatFloat(l.general.PerSecond, 'f', -1, 64)},
		"Retry-After":                  {strconv.Itoa(wholeSeconds(wait))},
	}
	if wait == 0 {
		return headers, nil
	}
	headers.Set("Content-Type", "text/html;charset=utf-8")
	return nil, &answer{
		status: http.StatusTooManyRequests, header: headers,
		raw: []byte("<!doctype html><html><head><title>HTTP Status 429</title></head><body><h1>HTTP Status " +
			"429</h1></body></html>"),
	}
}

// issueWrites are Cloud's limits of writes to one issue.
var issueWrites = [...]struct {
	count  int
	period time.Duration
}{{20, 2 * time.Second}, {100, 30 * time.Second}}

func (l *limits) admitWrite(s *Server, q *request, now time.Time) (wait time.Duration) {
	r := s.site.find(q.vars["issue"])
	if !l.perIssue || q.Method == http.MethodGet || r == nil {
		return 0
	}
	id := strconv.Itoa(r.id)
	recent := l.writes[id]
	for len(recent) > 0 && now.Sub(recent[0]) >= 30*time.Second {
		recent = recent[1:]
	}
	for _, limit := range issueWrites {
		if len(recent) < limit.count {
			continue
		}
		oldest := recent[len(recent)-limit.count]
		wait = max(wait, limit.period-now.Sub(oldest))
	}
	if wait == 0 {
		recent = append(recent, now)
	}
	l.writes[id] = recent
	return wait
}

func tooMany(now time.Time, wait time.Duration, reason string, headers http.Header) *answer {
	if headers == nil {
		headers = http.Header{}
	}
	headers.Set("Retry-After", strconv.Itoa(wholeSeconds(wait)))
	headers.Set("X-RateLimit-Reset", now.Add(wait).UTC().Format("2006-01-02T15:04Z"))
	headers.Set("RateLimit-Reason", reason)
	a := refuse(http.StatusTooManyRequests, "The request has been rate-limited. Please try again later.").answer()
	a.header = headers
	return &a
}

func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
