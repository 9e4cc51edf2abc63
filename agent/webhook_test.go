package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestWebhookAnswersAsPromised(t *testing.T) {
	onBoth(t, func(t *testing.T, http2 bool) {
		l := serve(t)
		client := l.client(http2)
		good := sign(testSecret, testBody)
		for name, c := range map[string]struct {
			method, path, body string
			signatures         []string
			want               int
		}{
			"probe":                  {"GET", "/status", "", nil, 200},
			"probe without a body":   {"HEAD", "/status", "", nil, 200},
			"signed":                 {"POST", "/", testBody, []string{good}, 200},
			"signed in capitals":     {"POST", "/", testBody, []string{"sha256=" + strings.ToUpper(good[7:])}, 200},
			"signed with a query":    {"POST", "/?user_id=1", testBody, []string{good}, 200},
			"about no issue":         {"POST", "/", `{"webhookEvent":"user_created"}`, []string{sign(testSecret, `{"webhookEvent":"user_created"}`)}, 200},
			"not an object":          {"POST", "/", `[1]`, []string{sign(testSecret, `[1]`)}, 200},
			"unsigned":               {"POST", "/", testBody, nil, 401},
			"empty signature":        {"POST", "/", testBody, []string{""}, 401},
			"signed by another":      {"POST", "/", testBody, []string{sign("another", testBody)}, 401},
			"signed without secret":  {"POST", "/", testBody, []string{sign("", testBody)}, 401},
			"another body":           {"POST", "/", testBody + " ", []string{good}, 401},
			"signature cut short":    {"POST", "/", testBody, []string{good[:len(good)-2]}, 401},
			"half a digit":           {"POST", "/", testBody, []string{good[:len(good)-1]}, 401},
			"signature and more":     {"POST", "/", testBody, []string{good + "00"}, 401},
			"method only":            {"POST", "/", testBody, []string{"sha256="}, 401},
			"no method":              {"POST", "/", testBody, []string{good[7:]}, 401},
			"old method":             {"POST", "/", testBody, []string{"sha1=" + good[7:]}, 401},
			"method in capitals":     {"POST", "/", testBody, []string{"SHA256=" + good[7:]}, 401},
			"no digits":              {"POST", "/", testBody, []string{"sha256=" + strings.Repeat("zz", 32)}, 401},
			"two signatures":         {"POST", "/", testBody, []string{good, sign("another", testBody)}, 401},
			"the same twice":         {"POST", "/", testBody, []string{good, "sha256=" + strings.ToUpper(good[7:])}, 200},
			"the same and none":      {"POST", "/", testBody, []string{good, ""}, 401},
			"two in one":             {"POST", "/", testBody, []string{good + "," + good}, 401},
			"no JSON":                {"POST", "/", "status=Approved", []string{sign(testSecret, "status=Approved")}, 400},
			"no body":                {"POST", "/", "", []string{sign(testSecret, "")}, 400},
			"JSON cut short":         {"POST", "/", testBody[:50], []string{sign(testSecret, testBody[:50])}, 400},
			"JSON and more":          {"POST", "/", testBody + "x", []string{sign(testSecret, testBody+"x")}, 400},
			"no JSON, unsigned":      {"POST", "/", "status=Approved", nil, 401},
			"another path":           {"POST", "/webhook", testBody, []string{good}, 404},
			"a path that is unclean": {"POST", "//", testBody, []string{good}, 404},
			"health elsewhere":       {"GET", "/status/", "", nil, 404},
			"another method":         {"GET", "/", "", nil, 405},
			"put":                    {"PUT", "/", testBody, []string{good}, 405},
			"status posted":          {"POST", "/status", "", nil, 405},
		} {
			before := len(l.kept())
			code, body, header := l.does(client, call{c.method, c.path, strings.NewReader(c.body), c.signatures})
			require.Equal(t, c.want, code, name)
			switch code {
			case http.StatusOK:
				require.Empty(t, body, name)
			case http.StatusMethodNotAllowed:
				require.NotEmpty(t, header.Get("Allow"), name)
			}
			if keeps := code == 200 && c.body == testBody; keeps {
				require.Len(t, l.kept(), before+1, name)
			} else {
				require.Len(t, l.kept(), before, name)
			}
		}
		for _, h := range l.kept() {
			require.Equal(t, hint{issueID: "10001", claimed: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)}, h)
		}
		require.Equal(t, map[int]int{200: 6, 400: 4, 401: 17, 404: 3, 405: 3}, l.counts(), "each is counted, but the probes")
	})
}

// padded is a body of so many bytes: JSON and spaces after it.
func padded(size int) (body io.Reader, signature string) {
	spaces := bytes.Repeat([]byte{' '}, size-len(testBody))
	return io.MultiReader(strings.NewReader(testBody), bytes.NewReader(spaces)), sign(testSecret, testBody+string(spaces))
}

func TestWebhookTakes25MiBAndNotAByteMore(t *testing.T) {
	onBoth(t, func(t *testing.T, http2 bool) {
		l := serve(t)
		for size, want := range map[int]int{maxBody: 200, maxBody + 1: 413} {
			body, signature := padded(size)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+l.addr+"/", body)
			require.NoError(t, err)
			req.ContentLength = int64(size)
			if http2 { // there a length is a header like others, and may as well be missing
				req.ContentLength = -1
			}
			req.Header.Set("X-Hub-Signature", signature)
			resp, err := l.client(http2).Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, want, resp.StatusCode, "%d bytes", size)
		}
		require.Len(t, l.kept(), 1)
		require.Zero(t, l.bodies.held)
		require.Empty(t, l.bodies.all)
	})
}

func TestWebhookTakesABodyWithoutLength(t *testing.T) {
	onBoth(t, func(t *testing.T, http2 bool) {
		l := serve(t)
		post := call{
			method:     "POST",
			path:       "/",
			body:       io.MultiReader(strings.NewReader(testBody)),
			signatures: []string{sign(testSecret, testBody)},
		}
		code, _, _ := l.does(l.client(http2), post)
		require.Equal(t, 200, code)
		big := strings.Repeat(testBody, maxBody/len(testBody)+1)
		post.body = io.MultiReader(strings.NewReader(big))
		code, _, _ = l.does(l.client(http2), post)
		require.Equal(t, 413, code)
	})
}

func TestWebhookAsksForAnotherTryWhileNothingCanBeKept(t *testing.T) {
	t.Parallel()
	l := serve(t, func(l *listening) { l.store.Store(nil) })
	client := l.client(true)
	post := call{method: "POST", path: "/", signatures: []string{sign(testSecret, testBody)}}
	require.Equal(t, 200, l.posts(client, `{}`), "there is nothing to keep")
	try := func() (int, string) {
		post.body = strings.NewReader(testBody)
		code, _, header := l.does(client, post)
		return code, header.Get("Retry-After")
	}
	code, again := try()
	require.Equal(t, 503, code)
	require.Equal(t, retryAfter, again)
	code, _, _ = l.does(
		client,
		call{method: "POST", path: "/", body: strings.NewReader(testBody), signatures: []string{sign("another", testBody)}},
	)
	require.Equal(t, 401, code, "only a webhook that passes its checks is worth another try")

	l.connected(func(context.Context, hint) error { return errors.New("PostgreSQL is away") })
	code, again = try()
	require.Equal(t, 503, code)
	require.Equal(t, retryAfter, again)
	require.Len(t, l.logs.FilterField(zap.Error(errors.New("PostgreSQL is away"))).All(), 1)

	l.connected(l.keep)
	code, _ = try()
	require.Equal(t, 200, code)
	require.Equal(t, map[int]int{200: 2, 401: 1, 503: 2}, l.counts())
}

func TestWebhookWritesAFewHintsAtATime(t *testing.T) {
	t.Parallel()
	l := serve(t)
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	l.connected(func(context.Context, hint) error {
		entered <- struct{}{}
		<-leave
		return nil
	})
	client := l.client(true)
	var group stdsync.WaitGroup
	for range 20 {
		group.Go(func() {
			if code := l.posts(client, testBody); code != 200 {
				t.Errorf("the answer is %d", code)
			}
		})
	}
	for range storers {
		<-entered
	}
	require.Equal(t, 200, l.posts(client, `{}`), "who has nothing to keep waits for nobody")
	require.Empty(t, entered)
	close(leave)
	group.Wait()
	require.Len(t, entered, 20-storers)
}

func TestWebhookFollowsItsSecret(t *testing.T) {
	t.Parallel()
	path := write(t, "secret", testSecret)
	secret, err := newSecretFile(path)
	require.NoError(t, err)
	l := serve(t, func(l *listening) { l.secret = secret })
	client := l.client(false)
	require.Equal(t, 200, l.posts(client, testBody))
	require.NoError(t, os.WriteFile(path, []byte("another\n"), 0o600))
	another := call{method: "POST", path: "/", signatures: []string{sign("another", testBody)}}
	require.Eventually(t, func() bool {
		another.body = strings.NewReader(testBody)
		code, _, _ := l.does(client, another)
		return code == 200
	}, patience, secretRereadInterval/10)
	require.Equal(t, 401, l.posts(client, testBody), "the old one counts no more")
}

func TestWebhookWithoutASecretTakesNothing(t *testing.T) {
	t.Parallel()
	l := serve(t, func(l *listening) { l.secret = Secret{} })
	code, _, _ := l.does(
		l.client(true),
		call{method: "POST", path: "/", body: strings.NewReader(testBody), signatures: []string{sign("", testBody)}},
	)
	require.Equal(t, 401, code)
}

func TestWebhookSpeaksHTTP2AndNoOldTLS(t *testing.T) {
	t.Parallel()
	l := serve(t)
	dial := func(change func(*tls.Config)) (tls.ConnectionState, error) {
		config := &tls.Config{
			RootCAs:    l.cas,
			ServerName: "localhost",
			NextProtos: []string{"h2", "http/1.1"},
			MinVersion: tls.VersionTLS10,
		}
		change(config)
		conn, err := tls.Dial("tcp", l.addr, config)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}
	state, err := dial(func(*tls.Config) {})
	require.NoError(t, err)
	require.Equal(t, "h2", state.NegotiatedProtocol)
	require.Equal(t, uint16(tls.VersionTLS13), state.Version)
	state, err = dial(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS12), state.Version)
	for _, old := range []uint16{tls.VersionTLS11, tls.VersionTLS10} {
		_, err = dial(func(c *tls.Config) { c.MaxVersion = old })
		require.ErrorContains(t, err, "protocol version not supported")
	}
}

func TestWebhookShowsTheCertificateOfTheMoment(t *testing.T) {
	t.Parallel()
	l := serve(t)
	serial := func() string {
		conn, err := tls.Dial("tcp", l.addr, &tls.Config{RootCAs: l.cas, ServerName: "localhost"})
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	require.Equal(t, "first", serial())
	key, crt := keyPairFor(t, "second")
	l.trust(crt)
	for from, to := range map[string]string{crt: l.pair.certFile, key: l.pair.keyFile} {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, content, 0o600))
	}
	require.NoError(t, l.pair.reload())
	require.Equal(t, "second", serial())
	require.Equal(t, 200, l.posts(l.client(true), testBody))
}

func TestWebhookLetsOutNoSecretAndLogsStrangersSparsely(t *testing.T) {
	t.Parallel()
	l := serve(t)
	client := l.client(true)
	for range 50 {
		_, body, _ := l.does(
			client,
			call{method: "POST", path: "/", body: strings.NewReader(testBody), signatures: []string{sign("another", testBody)}},
		)
		require.NotContains(t, body, sign(testSecret, testBody)[7:])
		_, _, _ = l.does(client, call{method: "POST", path: "/", body: strings.NewReader("mallory")})
		_, _, _ = l.does(client, call{method: "GET", path: "/wp-admin"})
		require.Equal(t, 400, l.posts(client, "not JSON"))
		conn, err := tls.Dial("tcp", l.addr, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"})
		require.Error(t, err)
		require.Nil(t, conn)
	}
	require.NoError(t, l.stop())
	require.Len(t, l.logs.All(), 5, "one line for each kind")
	text := fmt.Sprint(l.logs.All())
	for _, secret := range []string{testSecret, "mallory", "10001", "OPS-1", sign(testSecret, testBody)[7:], sign("another", testBody)[7:]} {
		require.NotContains(t, text, secret)
	}
}

func TestWebhookStopsWithTheProcessAndAnswersWhatIsUnderWay(t *testing.T) {
	onBoth(t, func(t *testing.T, http2 bool) {
		l := serve(t)
		entered, leave := make(chan struct{}), make(chan struct{})
		l.connected(func(context.Context, hint) error {
			close(entered)
			<-leave
			return nil
		})
		answered := make(chan int, 1)
		client := l.client(http2)
		go func() { answered <- l.posts(client, testBody) }()
		<-entered
		stopped := make(chan error, 1)
		go func() { stopped <- l.stop() }()
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", l.addr)
			if err == nil {
				conn.Close()
			}
			return err != nil
		}, patience, 10*time.Millisecond, "no more are let in")
		close(leave)
		require.Equal(t, 200, <-answered)
		require.NoError(t, <-stopped)
	})
}

func TestAWebhookThatIsOffIsNone(t *testing.T) {
	t.Parallel()
	h, err := newWebhook(WebhookConfig{}, nil, zap.NewNop())
	require.NoError(t, err)
	require.Nil(t, h)
	require.NoError(t, (&process{}).serveWebhook(t.Context()))
}
