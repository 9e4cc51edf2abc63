package db

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"slices"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

// proxy stands between an elector and PostgreSQL. It understands just enough of the protocol's
// framing (https://www.postgresql.org/docs/current/protocol-message-formats.html) to alter what the
// server says.
type proxy struct {
	listener net.Listener
	// newPID, if set, replaces the process number that the server tells, as a pooler does.
	newPID uint32

	mu     stdsync.Mutex
	server string
	stall  chan struct{} // not nil: nothing passes until it is closed
	conns  []net.Conn
}

// startProxy returns a proxy, and the URL by which it leads to the database.
func startProxy(t *testing.T, databaseURL string, newPID uint32) (*proxy, string) {
	t.Helper()
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, server: parsed.Host, newPID: newPID}
	go p.accept()
	t.Cleanup(p.close)
	parsed.Host = listener.Addr().String()
	return p, parsed.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		address := p.server
		p.mu.Unlock()
		server, err := net.Dial("tcp", address)
		if err != nil {
			client.Close() // the client sees it
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go p.copyBytes(server, client)
		go p.copyMessages(client, server)
	}
}

// leadTo lets new connections reach another server. Those that are open stay where they are.
func (p *proxy) leadTo(t *testing.T, databaseURL string) {
	t.Helper()
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = parsed.Host
}

// copyBytes passes on what the client says.
func (p *proxy) copyBytes(to, from net.Conn) {
	defer p.hangUp(to, from)
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		p.wait()
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// copyMessages passes on what the server says, message by message.
func (p *proxy) copyMessages(to, from net.Conn) {
	defer p.hangUp(to, from)
	for {
		header := make([]byte, 5)
		if _, err := io.ReadFull(from, header); err != nil {
			p.wait()
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(from, body); err != nil {
			return
		}
		if header[0] == 'K' && p.newPID != 0 { // BackendKeyData
			binary.BigEndian.PutUint32(body, p.newPID)
		}
		p.wait()
		if _, err := to.Write(slices.Concat(header, body)); err != nil {
			return
		}
	}
}

// partition lets nothing pass any more, not even the end of a connection; the returned function
// heals it.
func (p *proxy) partition() (heal func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stall := make(chan struct{})
	p.stall = stall
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.stall == stall {
			close(stall)
			p.stall = nil
		}
	}
}

func (p *proxy) wait() {
	p.mu.Lock()
	stall := p.stall
	p.mu.Unlock()
	if stall != nil {
		<-stall
	}
}

func (p *proxy) hangUp(conns ...net.Conn) {
	for _, conn := range conns {
		conn.Close()
	}
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stall != nil {
		close(p.stall)
		p.stall = nil
	}
	p.hangUp(p.conns...)
}

func TestElector_RefusesAPooler(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	_, throughPooler := startProxy(t, d.config.URL(), 4242)
	e := &election{t: t}
	r := e.join(throughPooler)
	refused := r.until(t, "a refusal", func(s State) bool { return s.Err != nil })
	require.ErrorIs(t, refused.Err, ErrUnsuitable)
	require.ErrorContains(t, refused.Err, "pooler")
	require.False(t, Retryable(refused.Err))
	require.Empty(t, r.reigns)

	_, direct := startProxy(t, d.config.URL(), 0)
	next(t, e.join(direct))
}

func TestElector_StepsDownWhenPartitionedBeforeAnotherLeads(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	p, throughProxy := startProxy(t, d.config.URL(), 0)
	e := &election{t: t}
	first := e.join(throughProxy)
	reign := next(t, first)
	second := e.join(d.config.URL())
	second.role(t, Standby)

	heal := p.partition()
	defer heal()
	cut := time.Now()
	ended := receive(t, reign.ended, "the end of the reign")
	require.Less(t, ended.Sub(cut), 2*testLease)
	require.ErrorIs(t, reign.term.Check(), sync.ErrNotLeader)

	after := next(t, second)
	require.Greater(t, after.term.Epoch, reign.term.Epoch)
	require.True(t, after.began.After(ended), "PostgreSQL frees the lock of the silent session, after its lease")
	require.Less(t, after.began.Sub(cut), 10*testLease)
}
