package jirasim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"teleport-jira-agent/integration/heldport"
)

// Server is one simulated Jira.
type Server struct {
	cfg      Config
	zone     *time.Location // of rendered timestamps
	began    time.Time
	calls    journal
	faults   faults
	webhooks webhooks
	shift    atomic.Int64 // nanoseconds by which Jira's clock is ahead of Config.Now

	mu     sync.Mutex // guards all below
	site   site
	setup  setup
	limits limits
	lag    func() time.Duration
	frozen time.Time // since when the search index stands still; zero: it does not
	// port is held from the first Start on, also while the server is stopped.
	port *heldport.Port
}

// New makes a Jira without issues. It panics if cfg contradicts itself.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	zone, err := time.LoadLocation(cfg.SystemTimeZone)
	if err != nil {
		panic("jirasim: bad Config: " + err.Error())
	}
	setup := newSetup(cfg)
	cfg.withoutSetup()
	return &Server{
		cfg:    cfg,
		setup:  setup,
		zone:   zone,
		began:  cfg.Now(),
		calls:  newJournal(cfg.OnCall),
		site:   newSite(cfg),
		limits: newLimits(cfg),
		lag:    cfg.IndexLag,
	}
}

// SetIndexLag changes the lag of the search index for changes from now on.
func (s *Server) SetIndexLag(lag func() time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = lag
}

// FreezeIndex lets the search index stand still until thaw: searches show what they show now,
// whatever happens. Thawed, it shows all changes whose lag is over.
func (s *Server) FreezeIndex() (thaw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen.IsZero() {
		s.frozen = s.cfg.Now()
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.frozen = time.Time{}
	}
}

// indexTime is up to when the search index has taken in changes.
func (s *Server) indexTime() time.Time {
	if !s.frozen.IsZero() {
		return s.frozen
	}
	return s.cfg.Now()
}

// ShiftClock sets by how much Jira's clock is ahead of Config.Now, or behind it: what Jira stores
// and says from now on. How long the index lags and what limits allow does not depend on it.
func (s *Server) ShiftClock(ahead time.Duration) { s.shift.Store(int64(ahead)) }

// HoldReads lets calls that read the issue (GET issue, its changelog, bulkfetch) show it as it is
// now, whatever becomes of it, until release: Jira may tell webhooks of a change before its
// interface shows it.
func (s *Server) HoldReads(issue string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.site.find(issue)
	if r == nil {
		panic("jirasim: no issue " + issue)
	}
	r.held = r.now
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.held = nil
	}
}

// Start listens on 127.0.0.1: at a free port the first time, at the same port again after stop.
// baseURL includes Config.BasePath. stop breaks all connections and returns when no call is being
// worked on any more; until Start is called again, the port is held and connections are refused.
func (s *Server) Start() (baseURL string, stop func()) {
	s.mu.Lock()
	address := s.address()
	s.mu.Unlock()
	baseURL, stop, err := s.StartAt(cmp.Or(address, "127.0.0.1:0"))
	if err != nil {
		panic("jirasim: " + err.Error())
	}
	return baseURL, stop
}

// StartAt is Start with an address of the caller's choice.
func (s *Server) StartAt(address string) (baseURL string, stop func(), err error) {
	listener, err := s.listen(address)
	if err != nil {
		return "", nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	running, cancel := context.WithCancel(context.Background())
	var busy sync.RWMutex // held for reading by each call that is being worked on
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			busy.RLock()
			defer busy.RUnlock()
			s.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return running },
		ReadHeaderTimeout: time.Minute,
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ends with ErrServerClosed
	}()
	stop = sync.OnceFunc(func() {
		cancel() // ends calls that a fault delays
		_ = server.Close()
		<-served
		busy.Lock()
		defer busy.Unlock()
	})
	return "http://" + listener.Addr().String() + s.cfg.BasePath, stop, nil
}

// address is where Start listened last; empty before that.
func (s *Server) address() string {
	if s.port == nil {
		return ""
	}
	return s.port.Addr()
}

// listen listens on an address whose port it holds from now on.
func (s *Server) listen(address string) (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port == nil || s.port.Addr() != address {
		port, err := heldport.At(address)
		if err != nil {
			return nil, err
		}
		s.port = port
	}
	if err := s.port.GiveWay(); err != nil {
		return nil, err
	}
	return new(net.ListenConfig).Listen(context.Background(), "tcp", s.port.Addr())
}

// request is one call while it is being worked on.
type request struct {
	*http.Request
	endpoint *endpoint // nil: there is none
	vars     map[string]string
	body     []byte
	query    url.Values
	user     *User  // nil on endpoints that need no authentication
	hidden   string // the id or key of an issue that the call is not shown
	creation *fate  // what becomes of an issue that the call creates; nil: nothing special
}

// answer is what goes back: body as JSON, or raw as it is.
type answer struct {
	status int
	header http.Header
	body   any
	raw    []byte
}

// ServeHTTP answers one call. A call that a fault leaves without an answer ends in the panic
// http.ErrAbortHandler, upon which net/http closes the connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	q, err := s.receive(r)
	if err != nil { // the client broke off while sending
		panic(http.ErrAbortHandler)
	}
	a, fault, answered := s.process(q)
	call := Call{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Body: q.body,
		Began: began, Took: time.Since(began), Fault: fault,
	}
	if q.endpoint != nil {
		call.Endpoint = q.endpoint.template
	}
	if q.user != nil {
		call.User = q.user.Name
	}
	if answered {
		call.Status = a.status
	}
	s.calls.add(call)
	if !answered {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Date", s.clock().UTC().Format(http.TimeFormat))
	a.write(w)
}

// maxBody is far above what any valid call needs.
const maxBody = 8 << 20

func (s *Server) receive(r *http.Request) (*request, error) {
	// Only after the whole body is read does net/http notice that a client has given up.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	q := &request{Request: r, body: body, query: r.URL.Query()}
	q.endpoint, q.vars, _ = s.route(r)
	return q, nil
}

// process takes a call through the faults; answered is false if it ends without an answer.
func (s *Server) process(q *request) (a answer, fault string, answered bool) {
	if s.faults.isDown() {
		return answer{}, "down", false
	}
	if !wait(q.Context(), s.faults.delay(), nil) {
		return answer{}, "", false
	}
	f := s.faults.take(q)
	if f == nil {
		return s.serve(q), "", true
	}
	fault = string(f.Effect.kind)
	if f.Effect.kind == effectStatus {
		return f.Effect.answer(), fault, true
	}
	if !f.before(q.Context()) {
		return answer{}, fault, false
	}
	q.hidden, q.creation = f.Effect.issue, f.Effect.creation
	a = s.serve(q)
	if f.Effect.creation != nil && f.Effect.status != 0 && a.status == http.StatusCreated {
		return f.Effect.answer(), fault, true
	}
	return a, fault, f.after(q.Context())
}

// serve does what Jira does with a call that reached it.
func (s *Server) serve(q *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _, allowed := s.route(q.Request)
	switch {
	case q.endpoint == nil && len(allowed) > 0:
		return answer{status: http.StatusMethodNotAllowed, header: http.Header{"Allow": {strings.Join(allowed, ",")}}}
	case q.endpoint == nil:
		return s.noEndpoint(q)
	case len(q.RequestURI) > maxURI:
		return answer{status: http.StatusRequestURITooLong, raw: []byte("URI Too Long")}
	}
	if !q.endpoint.anonymous {
		if refusal := s.authenticate(q); refusal != nil {
			return refusal.answer()
		}
		if r := s.site.find(q.hidden); r != nil {
			who := *q.user
			who.blindTo = r
			q.user = &who
		}
	}
	headers, limited := s.limits.admit(s, q)
	if limited != nil {
		return *limited
	}
	a, err := s.handle(q)
	if err != nil {
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			refusal = refuse(http.StatusInternalServerError, "%s", err)
		}
		a = refusal.answer()
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	for name, values := range headers {
		a.header[name] = values
	}
	return a
}

// maxURI is where a proxy in front of Jira commonly gives up; a long JQL must be POSTed.
const maxURI = 8192

func (s *Server) handle(q *request) (answer, error) {
	hasBody := q.Method == http.MethodPost || q.Method == http.MethodPut
	if hasBody && !strings.HasPrefix(q.Header.Get("Content-Type"), "application/json") {
		return answer{}, refuse(http.StatusUnsupportedMediaType, "Unsupported Media Type")
	}
	return q.endpoint.serve(s, q)
}

func (s *Server) noEndpoint(q *request) answer {
	if s.cfg.Deployment == Cloud {
		return answer{status: http.StatusNotFound, body: object{"errorMessage": "No endpoint " + q.Method + " " + q.URL.Path +
			"."}}
	}
	raw := fmt.Sprintf(
		`<?xml version="1.0" encoding="UTF-8" standalone="yes"?>`+
			`<status><status-code>404</status-code><message>null for uri: %s</message></status>`,
		q.URL.Path,
	)
	return answer{status: http.StatusNotFound, header: http.Header{"Content-Type": {"application/xml"}}, raw: []byte(raw)}
}

func (a answer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	raw := a.raw
	if a.body != nil {
		raw = encode(a.body)
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	}
	w.WriteHeader(a.status)
	_, _ = io.Copy(w, bytes.NewReader(raw)) // the client may be gone: that is its affair
}
