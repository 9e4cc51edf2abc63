package jira

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/heldport"
	"teleport-jira-agent/sync"
)

func TestAnswersAreClassified(t *testing.T) {
	t.Parallel()
	withHeader := func(code int, name, value string, body any) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set(name, value)
			send(w, code, body)
		}
	}
	const page = "<html><title>Sign in</title></html>"
	html := func(code int) func(http.ResponseWriter) {
		return withHeader(code, "Content-Type", "text/html;charset=UTF-8", page)
	}
	refused := jiraError("Refused by Jira")

	type want struct {
		side, permanent, uncertain bool
		is                         error
		retryAfter                 time.Duration
		says                       string
	}
	for name, tt := range map[string]struct {
		code int
		body any
		read want // of GET issue/{id}
		post want // of POST issue/{id}/comment
	}{
		"400": {
			code: 400, body: refused,
			read: want{permanent: true, says: "HTTP 400 Bad Request: Refused by Jira"},
			post: want{permanent: true},
		},
		"401":             {code: 401, body: refused, read: want{side: true}, post: want{side: true}},
		"401 web page":    {body: html(401), read: want{side: true}, post: want{side: true}},
		"403":             {code: 403, body: refused, read: want{permanent: true}, post: want{permanent: true}},
		"404":             {code: 404, body: refused, read: want{is: sync.ErrNotFound}, post: want{is: sync.ErrNotFound}},
		"404 of a proxy":  {body: html(404), read: want{side: true}, post: want{side: true}},
		"404 empty":       {code: 404, read: want{side: true}, post: want{side: true}},
		"408":             {code: 408, read: want{side: true}, post: want{side: true}},
		"409":             {code: 409, body: refused, read: want{is: sync.ErrChanged}, post: want{is: sync.ErrChanged}},
		"413":             {code: 413, body: refused, read: want{permanent: true}, post: want{permanent: true}},
		"422":             {code: 422, body: refused, read: want{permanent: true}, post: want{permanent: true}},
		"500":             {code: 500, body: refused, read: want{side: true}, post: want{side: true, uncertain: true}},
		"502 web page":    {body: html(502), read: want{side: true}, post: want{side: true, uncertain: true}},
		"503":             {code: 503, read: want{side: true}, post: want{side: true}},
		"503 Retry-After": {body: withHeader(503, "Retry-After", "1800", nil), read: want{side: true, retryAfter: 30 * time.Minute}, post: want{side: true, retryAfter: 30 * time.Minute}},
		"429":             {body: withHeader(429, "Retry-After", "7", nil), read: want{side: true, retryAfter: 7 * time.Second}, post: want{side: true, retryAfter: 7 * time.Second}},
		"200 web page":    {body: html(200), read: want{side: true, says: "login page"}, post: want{side: true, uncertain: true}},
		"200 not JSON":    {code: 200, body: "{\"id\":", read: want{}, post: want{uncertain: true}},
		"302": {
			body: withHeader(302, "Location", "https://login.example.com/?next=abc", nil),
			read: want{side: true, says: "redirect to login.example.com"}, post: want{side: true, uncertain: true},
		},
		"404 as to a stranger": {
			body: withHeader(404, loginHeader, "AUTHENTICATED_FAILED", refused),
			read: want{side: true, says: "did not accept the credentials"}, post: want{side: true},
		},
		"200 as to a stranger": {
			body: withHeader(200, loginHeader, "AUTHENTICATION_DENIED", issueBody(7)),
			read: want{side: true}, post: want{side: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for method, want := range map[string]want{"GET": tt.read, "POST": tt.post} {
				f := newFake(t, routes{
					"GET /issue/7":          always(tt.code, tt.body),
					"GET /myself":           always(tt.code, tt.body),
					"POST /issue/7/comment": always(tt.code, tt.body),
				})
				c, logs := connected(t, f, Cloud)
				var err error
				if method == "GET" {
					_, err = c.Read(testContext(t), "7")
				} else {
					err = c.Comment(testContext(t), "7", "k", "body", noteCommit(new(int)))
				}
				e := asSyncError(t, err)
				require.Equal(t, want.side, e.Scope == sync.ScopeSide, "%s scope: %v", method, err)
				require.Equal(t, want.permanent, e.Permanent, "%s permanent: %v", method, err)
				require.Equal(t, want.uncertain, e.Uncertain, "%s uncertain: %v", method, err)
				require.Equal(t, want.retryAfter, e.RetryAfter, method)
				for _, condition := range []error{sync.ErrNotFound, sync.ErrChanged} {
					if errors.Is(want.is, condition) {
						require.ErrorIs(t, err, condition)
					} else {
						require.NotErrorIs(t, err, condition)
					}
				}
				require.ErrorContains(t, err, want.says)
				require.NotContains(t, err.Error(), "<html>")
				requireNoSecret(t, err.Error())
				for _, entry := range logs.All() {
					requireNoSecret(t, entry.Message, entry.ContextMap())
				}
			}
		})
	}
}

func requireNoSecret(t *testing.T, texts ...any) {
	t.Helper()
	for _, text := range texts {
		require.NotContains(t, text, secret)
		require.NotContains(t, text, "Basic ")
		require.NotContains(t, text, "Bearer ")
	}
}

// Data Center sends a 404 for all of Jira the same way as for an issue; on a call that concerns no
// issue it is not ErrNotFound.
func TestRefusedSearchConcernsAllOfJira(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 403, 404, 410} {
		f := newFake(t, routes{"POST /search/jql": always(code, jiraError("no"))})
		c, _ := connected(t, f, Cloud)
		err := c.Search(testContext(t), sync.Query{}, func([]sync.Issue) error { return nil })
		e := asSyncError(t, err)
		require.Equal(t, sync.ScopeSide, e.Scope)
		require.True(t, e.Permanent)
		require.False(t, e.Uncertain)
		require.NotErrorIs(t, err, sync.ErrNotFound)
	}
}

func TestWriteThatFoundNoConnectionIsCertainlyNotDone(t *testing.T) {
	t.Parallel()
	gone, err := heldport.Any() // nobody listens there
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gone.Release()) })
	foreign := httptest.NewTLSServer(http.NotFoundHandler()) // its certificate is not trusted
	t.Cleanup(foreign.Close)
	for name, url := range map[string]string{
		"refused": gone.URL(), "no such host": "http://jira.invalid", "untrusted certificate": foreign.URL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := connected(t, &fakeJira{Server: foreign}, Cloud, func(cfg *Config) { cfg.URL = url })
			committed := 0
			_, err := c.Create(testContext(t), sync.Draft{RequestID: "r"}, noteCommit(&committed))
			e := asSyncError(t, err)
			require.Equal(t, 1, committed)
			require.Equal(t, sync.ScopeSide, e.Scope)
			require.False(t, e.Uncertain, err)
			require.False(t, e.Permanent)
		})
	}
}

func TestWriteWhoseAnswerWasLostIsUncertain(t *testing.T) {
	t.Parallel()
	hangUp := func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }
	cutShort := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id":"7",`))
	}
	nameless := func(w http.ResponseWriter) { send(w, 201, map[string]any{}) }
	for name, body := range map[string]func(http.ResponseWriter){"hang up": hangUp, "cut short": cutShort, "names no issue": nameless} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, routes{"POST /issue": always(0, body)})
			c, _ := connected(t, f, Cloud)
			_, err := c.Create(testContext(t), sync.Draft{RequestID: "r"}, noteCommit(new(int)))
			require.True(t, asSyncError(t, err).Uncertain, err)
			require.Len(t, f.received("POST", "/issue"), 1, "a POST was repeated")
		})
	}
}

func TestWriteWhoseContextEndsUnderWayIsUncertain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFake(t, routes{"POST /issue": func(seen) (int, any) {
		cancel()
		return 0, func(w http.ResponseWriter) { <-t.Context().Done() }
	}})
	c, _ := connected(t, f, Cloud)
	_, err := c.Create(ctx, sync.Draft{RequestID: "r"}, noteCommit(new(int)))
	require.True(t, asSyncError(t, err).Uncertain, err)
	require.ErrorIs(t, err, context.Canceled)
	f.CloseClientConnections()
}

func TestJiraWordsAreAllShown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body   string
		words  []string
		fields []string
		ok     bool
	}{
		"both": {
			body:  `{"errorMessages":["one","two"],"errors":{"summary":"too long","customfield_1":"not on the screen"}}`,
			words: []string{"one", "two", "customfield_1: not on the screen", "summary: too long"}, fields: []string{"customfield_1", "summary"}, ok: true,
		},
		"errors as a list":        {body: `{"errorMessages":[],"errors":["broken"]}`, words: []string{"broken"}, ok: true},
		"errors of another shape": {body: `{"errors":{"f":{"x":1}}}`, words: []string{`f: {"x":1}`}, fields: []string{"f"}, ok: true},
		"of the gateway":          {body: `{"code":404,"message":"not here"}`, words: []string{"not here"}},
		"no JSON":                 {body: `<html>`},
		"empty":                   {body: ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			words, fields, ok := jiraWords([]byte(tt.body))
			require.Equal(t, tt.words, words)
			require.Equal(t, tt.fields, fields)
			require.Equal(t, tt.ok, ok)
		})
	}
}

func TestLongErrorIsCut(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"GET /issue/7": always(400, jiraError(strings.Repeat("ä\n", 5000)))})
	c, _ := connected(t, f, Cloud)
	_, err := c.Read(testContext(t), "7")
	require.Less(t, len(err.Error()), 2*maxMessage)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), "\uFFFD")
}

func TestOversizedAnswerIsRefused(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"GET /issue/7": always(0, func(w http.ResponseWriter) {
		_, _ = w.Write([]byte(`{"x":"` + strings.Repeat("a", maxBody) + `"}`))
	})})
	c, _ := connected(t, f, Cloud)
	_, err := c.Read(testContext(t), "7")
	require.ErrorContains(t, err, "larger than 32 MiB")
}

func TestIDThatIsNonePathIsNotSent(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c, _ := connected(t, f, Cloud)
	for _, id := range []string{"", "..", "1/../2", "1?x"} {
		_, err := c.Read(testContext(t), id)
		require.ErrorIs(t, err, sync.ErrNotFound)
	}
}
