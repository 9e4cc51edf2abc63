package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Bounds of the webhook's listener. Anybody on the Internet may connect to it; Jira sends a few
// dozen webhooks at a time, of some ten KB each, and has whole ones sent again that were not
// answered with 200.
const (
	// headerTime is how long a peer may take for the TLS handshake, and again for the header of a
	// request.
	headerTime = 5 * time.Second
	// requestTime is how long it may take for a whole request: 25 MiB at 10 Mbit/s.
	requestTime = 20 * time.Second
	// answerTime bounds handling and answer together, from the end of the header.
	answerTime = requestTime + storeTime + 5*time.Second
	// idleTime is how long a connection is kept for a next request.
	idleTime = time.Minute
	// maxHeader, in bytes, is several times what Jira and the proxies on the way send.
	maxHeader = 16 << 10
	// maxConnections are open at a time. Each costs some 40 KB, and on HTTP/2 up to streamBuffer
	// more of what was received and not yet read: 40 MB in all. When another comes, the one that
	// has been of the least use is closed.
	maxConnections = 128
	// maxStreams are the requests under way on one HTTP/2 connection.
	maxStreams = 32
	// streamBuffer, in bytes, is the window of an HTTP/2 connection and of each of its streams.
	streamBuffer = 256 << 10
	// storeTime bounds the keeping of a hint: PostgreSQL answers in milliseconds or is in trouble,
	// and Jira waits for the answer.
	storeTime = 5 * time.Second
	// storers are the hints that are written at a time. The engine's work shares the pool's eight
	// connections.
	storers = 2
	// retryAfter is what a sender is told when a hint cannot be kept. Jira goes by its own plan: up
	// to five times, 5 to 15 min apart.
	retryAfter = "30"
	// farewell is how long answers that are under way when the process stops may take: short of
	// stopTime.
	farewell = 2 * time.Second
)

// storeHint keeps a hint about an issue.
type storeHint func(ctx context.Context, h hint) error

// webhook answers Jira's webhooks. Of what a body says only which issue to look at is believed, and
// that only if the body is signed: whoever sends it, and however often, Jira is asked before
// anything is done.
type webhook struct {
	secret  Secret
	pair    *tlsPair
	log     *zap.Logger
	counted func(code int) // told the answer to each request; 0 for none
	remarks *remarks
	bodies  bodies
	request time.Duration             // how long one may take to come in
	storing chan struct{}             // holds one value per hint that is being written
	store   atomic.Pointer[storeHint] // nil until all sides are connected
}

// newWebhook reads the certificate. It returns nil where the webhook is off.
func newWebhook(c WebhookConfig, counted func(code int), log *zap.Logger) (*webhook, error) {
	if !c.Enabled {
		return nil, nil
	}
	pair, err := newTLSPair(c.TLSCertFile, c.TLSKeyFile, log)
	if err != nil {
		return nil, fmt.Errorf("WEBHOOK_TLS_CERT_FILE, WEBHOOK_TLS_KEY_FILE: %w", err)
	}
	return &webhook{
		secret:  c.Secret,
		pair:    pair,
		log:     log,
		counted: counted,
		remarks: newRemarks(log),
		storing: make(chan struct{}, storers),
		bodies:  bodies{most: maxHeld},
		request: requestTime,
	}, nil
}

// serveWebhook takes webhooks until ctx ends: from the start of the process on, and also while this
// replica stands by.
func (p *process) serveWebhook(ctx context.Context) error {
	if p.webhook == nil {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.cfg.Webhook.ListenAddr)
	if err != nil {
		return fmt.Errorf("WEBHOOK_LISTEN_ADDR: %w", err)
	}
	p.log.Info(
		"webhook listener",
		zap.String("addr", listener.Addr().String()),
		zap.String("public_addr", p.cfg.Webhook.PublicAddr),
		zap.Time("certificate_expires", p.webhook.pair.expires()),
	)
	return p.webhook.serve(ctx, newGuests(listener, maxConnections))
}

func (h *webhook) serve(ctx context.Context, guests *guests) error {
	server := h.server()
	server.ConnState = guests.changed
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // who is still sending then has been slow
		}
	})
	err := server.ServeTLS(guests, "", "")
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		_ = server.Close()
		return fmt.Errorf("webhook listener: %w", err)
	}
	<-stopped
	return nil
}

func (h *webhook) server() *http.Server {
	return &http.Server{
		Handler:                      h,
		DisableGeneralOptionsHandler: true,
		TLSConfig:                    &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: h.pair.current},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: streamBuffer,
			MaxReceiveBufferPerStream:     streamBuffer,
			SendPingTimeout:               idleTime,
			PingTimeout:                   headerTime,
			WriteByteTimeout:              headerTime,
		},
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       h.request,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(h.remarks, "", 0),
	}
}

// connected lets hints be kept from now on.
func (h *webhook) connected(store storeHint) { h.store.Store(&store) }

// noAnswer stands for the code of a request that ends without one, since its sender broke off or
// was too slow.
const noAnswer = 0

// refusal is why a request is not answered with 200.
type refusal struct {
	code int
	// why is one of few texts, for the log and for whoever reads the answer.
	why string
	err error
}

// ServeHTTP implements http.Handler. What is not in its switch is not there, and nothing is
// redirected.
func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path, method := r.URL.Path, r.Method; {
	case path == "/status" && (method == http.MethodGet || method == http.MethodHead):
		return // for probes; not counted among the webhooks
	case path == "/status":
		w.Header().Set("Allow", "GET, HEAD")
		h.refuse(w, r, refusal{code: http.StatusMethodNotAllowed, why: "the method is not known here"})
	case path == "/" && method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		h.refuse(w, r, refusal{code: http.StatusMethodNotAllowed, why: "the method is not known here"})
	case path == "/":
		if refused := h.take(w, r); refused != nil {
			h.refuse(w, r, *refused)
			return
		}
		h.counted(http.StatusOK)
	default:
		h.refuse(w, r, refusal{code: http.StatusNotFound, why: "the path is not known here"})
	}
}

func (h *webhook) refuse(w http.ResponseWriter, r *http.Request, refused refusal) {
	h.counted(refused.code)
	h.remarks.warn(refused.why, zap.Int("code", refused.code), zap.String("peer", r.RemoteAddr), zap.Error(refused.err))
	switch refused.code {
	case noAnswer:
		panic(http.ErrAbortHandler) // closes the connection, or resets the stream, and logs nothing
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	}
	http.Error(w, refused.why, refused.code)
}

// take does all that is to be done about a webhook.
func (h *webhook) take(w http.ResponseWriter, r *http.Request) *refusal {
	said, refused := h.receive(w, r)
	if refused != nil || said.issueID == "" {
		return refused
	}
	store := h.store.Load()
	if store == nil {
		return &refusal{code: http.StatusServiceUnavailable, why: "not connected yet; please send it again"}
	}
	// A sender that has hung up after the last byte has said what it had to say.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTime)
	defer cancel()
	select {
	case h.storing <- struct{}{}:
		defer func() { <-h.storing }()
	case <-ctx.Done():
		return &refusal{code: http.StatusServiceUnavailable, why: "too many at a time; please send it again"}
	}
	if err := (*store)(ctx, said); err != nil {
		return &refusal{code: http.StatusServiceUnavailable, why: "it cannot be kept; please send it again", err: err}
	}
	return nil
}

// receive reads and verifies a webhook. Its body is let go of before anything else is done about
// it.
func (h *webhook) receive(w http.ResponseWriter, r *http.Request) (hint, *refusal) {
	signature, ok := signatureIn(r.Header)
	if !ok {
		discard(r)
		return hint{}, &refusal{code: http.StatusUnauthorized, why: "there is no signature such as X-Hub-Signature: " +
			"sha256=<hex>"}
	}
	if r.ContentLength > maxBody {
		discard(r)
		return hint{}, &refusal{code: http.StatusRequestEntityTooLarge, why: "the body is too large"}
	}
	body := h.bodies.open(
		func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now()) },
	) // it can on either protocol
	defer h.bodies.close(body)
	if refused := body.read(r.Body); refused != nil {
		if refused.code == http.StatusRequestEntityTooLarge {
			discard(r)
		}
		return hint{}, refused
	}
	if !signature.of(body.content, h.secret.Value()) {
		return hint{}, &refusal{code: http.StatusUnauthorized, why: "the signature is wrong"}
	}
	said, ok := hintIn(body.content)
	if !ok {
		return hint{}, &refusal{code: http.StatusBadRequest, why: "the body is no JSON"}
	}
	return said, nil
}
