package agent

import (
	"crypto/tls"
	"net"
	"net/http"
	stdsync "sync"
	"time"
)

// guests is a listener with a bound on the connections that are open at once. It turns nobody away
// at the door, for those inside may be the ones who do nothing: when another comes, the one that
// has been idle for the longest time is closed, or, where none is idle, the one that has been busy
// for the longest time.
type guests struct {
	net.Listener
	most int

	mu  stdsync.Mutex
	all map[*guest]struct{}
}

// guest is one connection.
type guest struct {
	net.Conn
	from  *guests
	idle  bool // between two requests
	since time.Time
}

func newGuests(l net.Listener, most int) *guests {
	return &guests{Listener: l, most: most, all: make(map[*guest]struct{})}
}

// Accept implements net.Listener.
func (g *guests) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.all) >= g.most {
		g.leastUseful().Conn.Close() //nolint:gosec // it is gone either way
	}
	joined := &guest{Conn: conn, from: g, since: time.Now()}
	g.all[joined] = struct{}{}
	return joined, nil
}

// leastUseful takes the connection that has to go off the list.
func (g *guests) leastUseful() (last *guest) {
	for one := range g.all {
		if last == nil || one.idle && !last.idle || one.idle == last.idle && one.since.Before(last.since) {
			last = one
		}
	}
	delete(g.all, last)
	return last
}

// Close implements net.Conn.
func (c *guest) Close() error {
	c.from.mu.Lock()
	delete(c.from.all, c)
	c.from.mu.Unlock()
	return c.Conn.Close()
}

// changed is for http.Server.ConnState.
func (g *guests) changed(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, ok := conn.(*guest)
	if !ok || state != http.StateIdle && state != http.StateActive {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c.idle, c.since = state == http.StateIdle, time.Now()
}
