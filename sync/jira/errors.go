package jira

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/sync"
)

// maxMessage bounds, in bytes, what an error repeats of Jira's words.
const maxMessage = 1000

// errNoAnswer is the cause when a call's own deadline ends it.
var errNoAnswer = fmt.Errorf("no answer within %v: %w", callTime, context.DeadlineExceeded)

// waitError is a call that was not sent because it would have had to wait too long.
type waitError struct {
	rest   time.Duration
	limit  string
	narrow bool // the wait concerns one endpoint, or writes to one issue, alone
}

func (e *waitError) Error() string {
	return fmt.Sprintf("not sent: it would have to wait %v %s", e.rest.Round(time.Millisecond), e.limit)
}

// lostError is a call without a complete answer.
type lostError struct {
	sent bool // it may have reached Jira
	err  error
}

func (e *lostError) Error() string {
	if e.sent {
		return "sent, but the answer was lost: " + e.err.Error()
	}
	return "not sent: " + e.err.Error()
}

func (e *lostError) Unwrap() error { return e.err }

// noAnswer names the call's own deadline where that is what ended it.
func noAnswer(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errNoAnswer) {
		return errNoAnswer
	}
	return err
}

// answerError is an answer that is not the one asked for.
type answerError struct {
	code       int
	message    string
	words      []string // Jira's own, one complaint each: "summary: You must specify …" where it is about a field
	fields     []string // the fields that Jira complains of
	retryAfter time.Duration
	fromJira   bool   // in Jira's own form, not a page of a proxy, a login or a server that is starting
	web        bool   // a web page
	lacksScope string // the scope that the token would need for this call, if that is what is wrong
	noLogin    bool   // the credentials did not count, whatever the code
	narrow     bool   // a limit on one endpoint, or on writes to one issue
	err        error
}

func (e *answerError) Error() string { return e.message }
func (e *answerError) Unwrap() error { return e.err }

// failure is an error of r's own scope.
func failure(r request, err error) *sync.Error {
	return &sync.Error{Side: "jira", Op: r.op, Scope: r.scope, Err: err}
}

// misconfigured is an error that stands until the configuration or Jira's setup changes.
func misconfigured(op string, err error) *sync.Error {
	return &sync.Error{Side: "jira", Op: op, Scope: sync.ScopeSide, Permanent: true, Err: err}
}

// unanswered classifies a call without an answer.
func unanswered(r request, err error) *sync.Error {
	// The URL that net/http adds says less than r.op.
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		err = ue.Err
	}
	e := failure(r, err)
	e.Scope = sync.ScopeSide
	if long := (*waitError)(nil); errors.As(err, &long) {
		e.RetryAfter = long.rest
		if long.narrow {
			e.Scope = sync.ScopeRequest
		}
	}
	lost := (*lostError)(nil)
	unsent := !r.paced || errors.As(err, &lost) && !lost.sent
	e.Uncertain = r.write && !unsent
	return e
}

// answered classifies a call by its answer.
func answered(r request, err *answerError) *sync.Error {
	e := failure(r, err)
	e.RetryAfter = err.retryAfter
	switch code := err.code; {
	case err.noLogin, code == http.StatusUnauthorized, code == http.StatusProxyAuthRequired:
		e.Scope = sync.ScopeSide // a token that is being replaced passes
	case err.lacksScope != "":
		e.Scope, e.Permanent = sync.ScopeRequest, true // the token is good for all else
		e.Err = fmt.Errorf("%w: %w; give the agent's token the scope %s", sync.ErrForbidden, err, err.lacksScope)
	case code == http.StatusTooManyRequests:
		e.Scope = sync.ScopeSide
		if err.narrow {
			e.Scope = sync.ScopeRequest // the transport holds back what the limit is about; all else goes on
		}
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		e.Scope = sync.ScopeSide
	case code == http.StatusNotFound && !err.fromJira:
		e.Scope = sync.ScopeSide // of a proxy or of a server that is starting: it says nothing about the issue
	case code == http.StatusNotFound && r.issue != "":
		e.Err = fmt.Errorf("%w: %w", sync.ErrNotFound, err)
	case code == http.StatusConflict:
		e.Err = fmt.Errorf("%w: %w", sync.ErrChanged, err)
	case code >= 400 && code < 500:
		e.Permanent = true
	case code < 300 && !err.web:
		// One issue that cannot be read leaves its neighbours alone.
		e.Uncertain = r.write
	default: // 3xx, 5xx, and web pages
		e.Scope = sync.ScopeSide
		// 503 says that the call was not taken up (RFC 9110, 15.6.4). Any other may come after the
		// effect: of a gateway that gave up waiting, or of a listener in Jira that failed behind a
		// create.
		e.Uncertain = r.write && code != http.StatusServiceUnavailable
	}
	return e
}

// refusal is what is wrong with the answer to r; nil when nothing is. decodeErr is what go-jira
// made of it.
func refusal(r request, resp *http.Response, decodeErr error) *answerError {
	e := &answerError{
		code:       resp.StatusCode,
		retryAfter: retryAfter(resp, time.Now()),
		noLogin:    loginFailed(resp.Header),
		narrow:     resp.StatusCode == http.StatusTooManyRequests && pauseOf(resp, time.Now()).reach != wholeClient,
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	e.web = kind == "text/html" || kind == "application/xhtml+xml"
	switch {
	case e.noLogin:
		e.message = fmt.Sprintf("HTTP %d, but Jira did not accept the credentials (%s %s); check JIRA_USERNAME and "+
			"JIRA_API_TOKEN",
			e.code, loginHeader, bounded(resp.Header.Get(loginHeader), 100))
	case e.code/100 == 3:
		e.message = fmt.Sprintf("HTTP %d: a redirect%s, which is not followed; check JIRA_URL, and whether a login page "+
			"stands before Jira",
			e.code, redirectHost(resp.Header.Get("Location")))
	case e.code/100 == 2 && e.web:
		e.message = fmt.Sprintf("HTTP %d with a web page in place of JSON; check JIRA_URL, and whether a login page "+
			"stands before Jira", e.code)
	case e.code/100 == 2 && decodeErr == nil:
		return nil
	case e.code/100 == 2:
		e.message, e.err = fmt.Sprintf("HTTP %d with an answer that cannot be read: %v", e.code, decodeErr), decodeErr
	default:
		e.read(resp)
		if e.code == http.StatusUnauthorized && strings.Contains(e.message, wrongScope) {
			e.code, e.lacksScope = http.StatusForbidden, r.tokenScope() // what Jira itself says of a missing right
		}
	}
	return e
}

// loginHeader is set by Jira when it did not accept the credentials, also on an answer that it then
// gives as to anybody: 404 for an issue that is there, or 200 with nothing in it.
// https://developer.atlassian.com/cloud/jira/platform/basic-auth-for-rest-apis/
// https://support.servicenow.com/kb?id=kb_article_view&sysparm_article=KB2942093
const loginHeader = "X-Seraph-LoginReason"

func loginFailed(h http.Header) bool {
	reason := strings.ToUpper(h.Get(loginHeader))
	return strings.Contains(reason, "AUTHENTICATED_FAILED") || strings.Contains(reason, "AUTHENTICATION_DENIED")
}

func redirectHost(location string) string {
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		return " to " + bounded(u.Host, 100)
	}
	return ""
}

// read takes Jira's own words from the body of an error.
func (e *answerError) read(resp *http.Response) {
	status := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.code, http.StatusText(e.code)))
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		e.words, e.fields, e.fromJira = jiraWords(body)
	}
	e.message = status
	if len(e.words) > 0 {
		e.message += ": " + bounded(strings.Join(e.words, "; "), maxMessage)
	}
}

// jiraWords are the messages in the body of an error, and the fields that they concern. ok is false
// for a body that is not in Jira's form.
func jiraWords(body []byte) (words, fields []string, ok bool) {
	var b map[string]json.RawMessage
	if json.Unmarshal(body, &b) != nil {
		return nil, nil, false
	}
	_, messages := b["errorMessages"]
	_, errs := b["errors"]
	words = texts(b["errorMessages"])
	// Some instances send errors as a list: https://github.com/gravitational/teleport/issues/38231
	var byField map[string]json.RawMessage
	if json.Unmarshal(b["errors"], &byField) == nil {
		fields = slices.Sorted(maps.Keys(byField))
		for _, f := range fields {
			words = append(words, f+": "+strings.Join(texts(byField[f]), ", "))
		}
	} else {
		words = append(words, texts(b["errors"])...)
	}
	if len(words) == 0 {
		words = append(texts(b["message"]), texts(b["errorMessage"])...)
	}
	return words, fields, messages || errs
}

// texts reads a string, a list of strings, or whatever there is as JSON.
func texts(raw json.RawMessage) []string {
	var one string
	var many []json.RawMessage
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case json.Unmarshal(raw, &one) == nil:
		if one == "" {
			return nil
		}
		return []string{one}
	case json.Unmarshal(raw, &many) == nil:
		var all []string
		for _, m := range many {
			all = append(all, texts(m)...)
		}
		return all
	}
	return []string{string(raw)}
}

// bounded is s on one line, of at most n bytes.
func bounded(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// codeOf is the HTTP status of the answer that led to err; 0 when there was none. A token without
// the scope of the call counts as forbidden.
func codeOf(err error) int {
	var e *answerError
	if errors.As(err, &e) {
		return e.code
	}
	return 0
}
