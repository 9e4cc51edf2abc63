package agent

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const (
	testSecret = "s3cret-of-the-webhook"
	testBody   = `{"timestamp":1795431600123,"webhookEvent":"jira:issue_updated",` +
		`"issue":{"id":"10001","key":"OPS-1","fields":{"updated":"2026-11-23T11:00:00.000+0000"}}}`
	// patience bounds what a test waits for; only a failing test ever waits that long.
	patience = 30 * time.Second
)

// listening is a webhook that serves.
type listening struct {
	*webhook
	t      *testing.T
	guests *guests
	addr   string
	cas    *x509.CertPool
	logs   *observer.ObservedLogs
	stop   func() error // ends it and waits

	mu     stdsync.Mutex
	codes  map[int]int
	stored []hint
}

// serve starts a webhook, with changes to what it is like.
func serve(t *testing.T, changes ...func(*listening)) *listening {
	t.Helper()
	key, crt := keyPairFor(t, "first")
	core, logs := observer.New(zap.DebugLevel)
	l := &listening{t: t, logs: logs, codes: make(map[int]int), cas: x509.NewCertPool()}
	l.trust(crt)
	var err error
	l.webhook, err = newWebhook(WebhookConfig{
		Enabled: true, TLSCertFile: crt, TLSKeyFile: key, Secret: NewSecret(testSecret),
	}, l.answered, zap.New(core))
	require.NoError(t, err)
	l.connected(l.keep)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.addr = listener.Addr().String()
	l.guests = newGuests(listener, maxConnections)
	for _, change := range changes {
		change(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.serve(ctx, l.guests) }()
	l.stop = stdsync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { require.NoError(t, l.stop()) })
	return l
}

func (l *listening) trust(crt string) {
	l.t.Helper()
	content, err := os.ReadFile(crt)
	require.NoError(l.t, err)
	require.True(l.t, l.cas.AppendCertsFromPEM(content))
}

func (l *listening) answered(code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[code]++
}

func (l *listening) keep(_ context.Context, h hint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = append(l.stored, h)
	return nil
}

func (l *listening) counts() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.codes)
}

func (l *listening) kept() []hint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]hint(nil), l.stored...)
}

// client speaks HTTP/1.1 or HTTP/2, and uses each connection once.
func (l *listening) client(http2 bool) *http.Client {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: l.cas, ServerName: "localhost"},
		ForceAttemptHTTP2: http2,
		DisableKeepAlives: !http2,
	}
	if !http2 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call is one request.
type call struct {
	method, path string
	body         io.Reader
	signatures   []string
}

// does sends a request and returns the code, the body and the header of the answer.
func (l *listening) does(client *http.Client, c call) (code int, body string, header http.Header) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), c.method, "https://"+l.addr+c.path, c.body)
	require.NoError(l.t, err)
	for _, s := range c.signatures {
		req.Header.Add("X-Hub-Signature", s)
	}
	resp, err := client.Do(req)
	require.NoError(l.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(l.t, err)
	return resp.StatusCode, string(text), resp.Header
}

// posts sends a body that is signed, as Jira does.
func (l *listening) posts(client *http.Client, body string) (code int) {
	l.t.Helper()
	code, _, _ = l.does(
		client,
		call{method: "POST", path: "/", body: strings.NewReader(body), signatures: []string{sign(testSecret, body)}},
	)
	return code
}

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// onBoth runs a test over HTTP/1.1 and over HTTP/2.
func onBoth(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Helper()
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP 1.1": false, "HTTP 2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, http2)
		})
	}
}
