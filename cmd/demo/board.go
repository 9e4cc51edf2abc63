package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"teleport-jira-agent/integration/teleportsim"
)

//go:embed board
var boardFiles embed.FS

const (
	// streamPause bounds the page to 20 snapshots a second: what changes meanwhile comes together.
	streamPause = 50 * time.Millisecond
	// healthPause is how often each replica is asked for its role, and healthTime how long it may
	// take: a frozen one never answers.
	healthPause = 300 * time.Millisecond
	healthTime  = 250 * time.Millisecond
	// maxOrder is far above what the page sends with an act.
	maxOrder = 64 << 10
)

// board serves the page on which a visitor sees both sides and the replicas, and acts on them.
//
// The page shows snapshots, which it gets as Server-Sent Events whenever something has changed, and
// nothing that it assumes. As it can kill processes, it listens on the loopback interface only, and
// refuses each request that names another host or comes from another page.
type board struct {
	world   *world
	url     string
	origins map[string]bool // by which the page is reached
	changed bell

	faulting sync.Mutex // held while a side is being broken or mended

	mu       sync.Mutex
	health   map[string]health // by the replica's name
	broken   map[string]bool   // sides that the visitor has broken
	takeOver func()            // ends the tour; nil when there is none
}

// startBoard opens the page, and keeps it up until the world is closed.
func (w *world) startBoard() error {
	listener, err := listenLocally(cmp.Or(w.boardAddr, anyPort))
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return fmt.Errorf("serve the page at %s: %w", listener.Addr(), err)
	}
	b := &board{world: w, url: "http://" + listener.Addr().String() +
		"/", health: make(map[string]health), broken: make(map[string]bool)}
	b.origins = map[string]bool{listener.Addr().String(): true, "localhost:" + port: true, "127.0.0.1:" +
		port: true, "[::1]:" + port: true}
	w.board = b

	ctx, cancel := context.WithCancel(context.Background())
	var busy sync.RWMutex // held for reading by each call that is being worked on
	handler := b.handler()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			busy.RLock()
			defer busy.RUnlock()
			handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) }) // ends with ErrServerClosed
	running.Go(func() { b.watch(ctx) })
	running.Go(func() { b.askReplicas(ctx) })
	w.undo = append(w.undo, func() error {
		cancel() // ends the streams
		err := server.Close()
		running.Wait()
		busy.Lock() // the last act is over
		defer busy.Unlock()
		return err
	})
	return nil
}

// listenLocally refuses an address that other machines reach.
func listenLocally(address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf(
			"serve the page at %s: %w; set DEMO_ADDR to a free address, such as 127.0.0.1:8888",
			address,
			err,
		)
	}
	if host, ok := listener.Addr().(*net.TCPAddr); !ok || !host.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("serve the page at %s: it can kill processes and asks for no password, so it "+
			"is only for this machine; "+
			"set DEMO_ADDR to an address of it, such as 127.0.0.1:8888", address), listener.Close())
	}
	return listener, nil
}

func (b *board) handler() http.Handler {
	files, err := fs.Sub(boardFiles, "board")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /events", b.stream)
	mux.HandleFunc("POST /act/{act}", b.act)
	return b.guard(mux)
}

// guard lets only the page itself in. A foreign page that a browser shows can neither forge its
// Origin nor, by a name of its own that leads to 127.0.0.1, the Host.
func (b *board) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !b.origins[r.Host] {
			refuse(w, http.StatusForbidden, "this is "+b.url+", and not http://"+r.Host+"/: open that address")
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
			refuse(w, http.StatusForbidden, "a page of "+origin+" may not act here")
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); r.Method != http.MethodGet && site != "" && site != "same-origin" {
			refuse(w, http.StatusForbidden, "another page may not act here")
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// refuse answers with an error that the page shows.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message}) // the page is gone if this fails
}

// stream sends a snapshot now and after each change until the page is closed or the demo ends.
func (b *board) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for {
		changed := b.changed.next()
		text, err := json.Marshal(b.snapshot())
		if err != nil {
			panic(err) // it is made of strings, numbers and times
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil {
			return
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		hesitate(r.Context(), streamPause)
	}
}

// watch rings at each change of a simulator, a log or the story until ctx ends.
func (b *board) watch(ctx context.Context) {
	var watchers sync.WaitGroup
	follow := func(next func() <-chan struct{}) {
		watchers.Go(func() {
			for changed := next(); ; changed = next() {
				b.changed.ring() // once before the first wait, too: something may have changed before
				select {
				case <-changed:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	follow(b.world.jira.Changed)
	follow(b.world.logged.changed.next)
	follow(b.world.screen.said.next)
	watchers.Go(func() {
		for seen := 0; ctx.Err() == nil; {
			// Its only error is the end of the context.
			_ = b.world.teleport.Wait(ctx, func(t *teleportsim.Server) bool { return len(t.Audit("")) != seen })
			seen = len(b.world.teleport.Audit(""))
			b.changed.ring()
		}
	})
	watchers.Wait()
}

// health is what a replica says of itself.
type health struct {
	Role    string   `json:"role"` // "leader", "standby", or empty while it does not answer
	Ready   bool     `json:"ready"`
	Epoch   int64    `json:"epoch"`
	Reasons []string `json:"reasons"`

	process *process // which has said it; what one said is nothing about the next in its slot
}

// askReplicas keeps what the replicas' admin listeners tell until ctx ends.
func (b *board) askReplicas(ctx context.Context) {
	var asking sync.WaitGroup
	for _, s := range b.world.slots {
		asking.Go(func() {
			for ctx.Err() == nil {
				b.noteHealth(s.name, askReplica(ctx, s))
				hesitate(ctx, healthPause)
			}
		})
	}
	asking.Wait()
}

func askReplica(ctx context.Context, s *slot) health {
	p, running, frozen := s.now()
	if !running || frozen {
		return health{}
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	_, body, err := p.Get(ctx, "/readyz")
	h := health{process: p}
	if err != nil || json.Unmarshal([]byte(body), &h) != nil {
		return health{}
	}
	return h
}

func (b *board) noteHealth(name string, now health) {
	b.mu.Lock()
	before := b.health[name]
	b.health[name] = now
	b.mu.Unlock()
	if before.process != now.process || before.Role != now.Role || before.Ready != now.Ready ||
		before.Epoch != now.Epoch ||
		strings.Join(before.Reasons, "\n") != strings.Join(now.Reasons, "\n") {
		b.changed.ring()
	}
}

// touring lets the visitor's first act end the tour, or nothing if takeOver is nil.
func (b *board) touring(takeOver func()) {
	b.mu.Lock()
	b.takeOver = takeOver
	b.mu.Unlock()
	b.changed.ring()
}
