package jira

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

const (
	// callTime bounds one call, from when it is sent to the end of its answer.
	callTime = 15 * time.Second
	// maxWait is the longest pause that a call waits for. One that is longer is the engine's to
	// schedule.
	maxWait = 30 * time.Second
	// maxBody bounds an answer. A page of 1,000 issues with all that is asked for is about 3 MiB.
	maxBody = 32 << 20
	// defaultRPS is far below what Cloud lets through per endpoint (100 per second, for all callers
	// of a site together). https://developer.atlassian.com/cloud/jira/platform/rate-limiting/
	defaultRPS = 10
	userAgent  = "teleport-jira-agent"
)

// transport is the one way to Jira: it authenticates, keeps the pace and the pauses, and gives
// every call its own deadline.
type transport struct {
	base     *http.Transport
	send     http.RoundTripper // base, but for tests
	username string
	token    func() string
	pace     *pace
	pauses   pauses
	limits   atomic.Pointer[rateLimit] // as the last answer that told of one
	onCall   func(CallInfo)
	log      *zap.Logger
}

func newTransport(base *http.Transport, cfg Config, log *zap.Logger) *transport {
	rps := cfg.MaxRPS
	if rps <= 0 {
		rps = defaultRPS
	}
	onCall := cfg.OnCall
	if onCall == nil {
		onCall = func(CallInfo) {}
	}
	return &transport{
		base: base, send: base,
		username: cfg.Username, token: cfg.Token,
		pace:   newPace(rps),
		onCall: onCall, log: log,
	}
}

func (t *transport) close() { t.base.CloseIdleConnections() }

// RoundTrip sends one call and reads its whole answer, so that the deadline covers both and no body
// is left open.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	r, ok := req.Context().Value(requestKey{}).(*request)
	if !ok {
		return nil, errors.New("the call was not made through Client.do")
	}
	if req.Body != nil {
		defer req.Body.Close()
	}
	waited := r.waited
	if !r.paced {
		var err error
		if waited, err = t.await(req.Context(), r); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	resp, err := t.exchange(req)
	info := CallInfo{Endpoint: r.template(), Method: r.method, Duration: time.Since(start), Waited: waited}
	if resp != nil {
		info.Code = resp.StatusCode
		limit, told := rateLimitOf(resp.Header)
		if told {
			t.limits.Store(&limit)
		}
		t.heed(r, resp, limit)
	}
	t.onCall(info)
	return resp, err
}

// await waits until the call may be sent: until no pause is on, and for its turn at the shared
// pace.
func (t *transport) await(ctx context.Context, r *request) (waited time.Duration, err error) {
	start := time.Now()
	if err := t.awaitPauses(ctx, r); err != nil {
		return 0, err
	}
	if err := t.pace.wait(ctx, sync.PriorityOf(ctx)); err != nil {
		return 0, err
	}
	// A pause may have begun meanwhile. The turn stays taken.
	if err := t.awaitPauses(ctx, r); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

func (t *transport) awaitPauses(ctx context.Context, r *request) error {
	for {
		rest, narrow := t.pauses.rest(r, time.Now())
		if rest <= 0 {
			return nil
		}
		var err error = &waitError{rest: rest, limit: "for the pause that Jira asked for"}
		if rest <= maxWait {
			err = wait(ctx, rest)
		}
		var long *waitError
		if errors.As(err, &long) {
			long.narrow = narrow
		}
		if err != nil {
			return err
		}
	}
}

// wait returns after d, or when ctx ends; at once if ctx is certain to end first.
func wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d <= 0 {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return &waitError{rest: d, limit: "within its time"}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// exchange sends a call under its own deadline. The answer's body is complete and in memory.
func (t *transport) exchange(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(req.Context(), callTime, errNoAnswer)
	defer cancel()
	// Without a connection nothing can have been written: the name did not resolve, the connection
	// was refused, or TLS failed.
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	out := req.Clone(ctx)
	if err := t.authenticate(out); err != nil {
		return nil, &lostError{err: err}
	}
	resp, err := t.send.RoundTrip(out)
	if err != nil {
		return nil, &lostError{sent: connected.Load(), err: noAnswer(ctx, err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)
	}
	if err != nil {
		return nil, &lostError{sent: true, err: fmt.Errorf("read the answer: %w", noAnswer(ctx, err))}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (t *transport) authenticate(req *http.Request) error {
	token := t.token()
	if token == "" {
		return errors.New("the Jira API token is empty")
	}
	if t.username != "" {
		req.SetBasicAuth(t.username, token)
	} else {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	return nil
}

// redact takes the credentials out of what Jira, or a proxy before it, repeats of a call.
func (t *transport) redact(words string) string {
	token := t.token()
	if token == "" {
		return words
	}
	basic := base64.StdEncoding.EncodeToString([]byte(t.username + ":" + token))
	return strings.NewReplacer(basic, "[redacted]", token, "[redacted]").Replace(words)
}

// heed begins the pause that an answer asks for, and adapts the pace to what it says.
func (t *transport) heed(r *request, resp *http.Response, limit rateLimit) {
	now := time.Now()
	pause := pauseOf(resp, now)
	if pause.length > 0 {
		t.pauses.begin(r, pause, now)
		t.log.Warn("jira asks to slow down",
			zap.String("endpoint", r.template()), zap.String("issue_id", r.issue), zap.Int("code", resp.StatusCode),
			zap.String("reason", bounded(resp.Header.Get(reasonHeader), 100)), zap.Duration("pause", pause.length))
	}
	// A limit on writes to one issue says nothing about the others.
	refused := resp.StatusCode == http.StatusTooManyRequests && pause.reach != oneIssue
	before, after := t.pace.heed(refused || limit.near(), now)
	perSecond, endpoint := zap.Float64("per_second", float64(after)), zap.String("endpoint", r.template())
	switch {
	case after < before:
		t.log.Info("calls to jira go slower, for a limit is near", perSecond, endpoint)
	case after > before && after == t.pace.ceiling:
		t.log.Info("calls to jira go at full pace again", perSecond)
	case after > before:
		t.log.Debug("calls to jira go faster", perSecond)
	}
}
