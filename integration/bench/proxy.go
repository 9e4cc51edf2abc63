package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
)

// proxy stands between the agent and PostgreSQL, and counts how often the agent had to wait for an
// answer: statements that are sent together cost one round trip, which is what a distant server
// makes slow.
type proxy struct {
	url      string
	server   string // host:port
	listener net.Listener
	trips    atomic.Int64
	open     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newProxy(databaseURL string) (*proxy, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database's URL: %w", err)
	}
	p := &proxy{server: u.Host}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	u.Host = p.listener.Addr().String()
	p.url = u.String()
	p.open.Go(p.serve)
	return p, nil
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue // the client sees that its connection ends
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		var asked atomic.Bool // the client has spoken since the server last did
		p.open.Go(func() {
			p.pass(server, client, func() {
				if !asked.Swap(true) {
					p.trips.Add(1)
				}
			})
		})
		p.open.Go(func() { p.pass(client, server, func() { asked.Store(false) }) })
	}
}

// pass hands on what one end says, until either is gone.
func (p *proxy) pass(to io.WriteCloser, from io.ReadCloser, told func()) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			told()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.open.Wait()
}
