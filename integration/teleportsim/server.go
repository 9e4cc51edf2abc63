// Package teleportsim simulates Teleport's Auth Service as far as Access Requests reach: gRPC over
// mutual TLS, spoken to by the unmodified client of github.com/gravitational/teleport/api. It
// promises to refuse what the real server refuses, in the same order and with the same kind of
// error, and to reuse the client module's own rules (AccessRequestV3.SetState, PluginDataV3.Update,
// AccessRequestFilter.Match, WatchKind.Matches) so that it cannot drift from them. RPCs that the
// simulation does not know answer Unimplemented.
//
// A Server has two faces. The agent sees Start, the files of WriteIdentity and the RPCs. A test or
// a demonstration is everybody else: it creates and reviews requests (people.go), keeps the users
// (users.go), looks at what happened (observe.go), and breaks things (faults.go).
//
// States: New makes a server that is stopped, with its authorities and an empty backend. Start
// listens; Stop cuts every connection and keeps authorities and backend, so that Start on the old
// address is a restart. Close is a Stop for good. While started, SetDown makes it answer
// Unavailable to everything.
//
// Time is the server's own: ShiftClock sets its clock forward or back, and with it when requests
// are made, reviewed and past their expiry. Certificates and delays go by the real clock.
//
// A request past its expiry is deleted within a second (expiry.go), as in Teleport. Where the real
// server is uncertain the simulation takes the harder case: events come in batches and lists trail
// by the cache delay, a slow reader's stream is ended without a period of grace, and PastExpiry
// keeps a request that nothing tells of.
//
// Left out: MFA for admin actions, the proxy and its tunnels, disconnect_expired_cert, and review
// rules with "where" clauses.
package teleportsim

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/coreos/go-semver/semver"
	"github.com/google/uuid"
	"github.com/gravitational/teleport/api/client/proto"
	userspb "github.com/gravitational/teleport/api/gen/proto/go/teleport/users/v1"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/teleport/api/utils/grpc/interceptors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"teleport-jira-agent/integration/heldport"
)

// Config describes a cluster. The zero value of each field means its default.
type Config struct {
	// ClusterName defaults to "example.teleport.sh".
	ClusterName string
	// AgentUser is the Teleport user that the agent's identity belongs to; "jira-agent" by default.
	AgentUser string
	// AgentRole is what that user may do; PluginRole() by default.
	AgentRole *Role
	// ServerVersion is what Ping tells, and decides which clients are too old, and whether plugins
	// may submit reviews on behalf of users (from 18.11.0 on); "18.0.0" by default.
	ServerVersion string
	// ProxyPublicAddr is what Ping tells, host:port; ClusterName and port 443 by default.
	ProxyPublicAddr string

	// NoUserRoles makes GetCurrentUserRoles Unimplemented.
	NoUserRoles bool

	// RequestTTL is how long a request waits for a decision; seven days by default, as in Teleport.
	RequestTTL time.Duration
	// AccessTTL is how long the requested access lasts, counted from the creation; 24 hours by
	// default, as with tsh.
	AccessTTL time.Duration
	// ClockShift is how far the server's clock is ahead of the real one; see ShiftClock.
	ClockShift time.Duration
	// EventDelay is how late events may come, those of one period together; 10 ms by default, up to
	// a second in Teleport. None with a negative one.
	EventDelay time.Duration
	// AuditExpiry makes an expiry an event of the audit log, as newer versions do.
	AuditExpiry bool
	// CacheDelay is how far ListAccessRequests trails behind the backend, lookups by ID excepted;
	// none by default.
	CacheDelay time.Duration
	// WatchBuffer is how many events may wait for the reader of one watch before its stream is
	// ended; 1024 by default.
	WatchBuffer int

	// OnCall, if set, is told of every RPC when it ends. It is called from many goroutines.
	OnCall func(Call)
}

// Server is one simulated Auth Service. Its methods are safe for concurrent use.
type Server struct {
	cfg Config
	pki *pki
	// hostID is the id of the Auth Service's host.
	hostID string
	// reviewsOnBehalf: the version knows review_requests.submit_for_users.
	reviewsOnBehalf bool

	// mu guards everything below. Stored resources are never altered in place: each write stores an
	// altered copy.
	mu         sync.Mutex
	changed    chan struct{} // closed, and replaced, whenever anything below changes
	roles      map[string]Role
	roleless   map[string]bool // users whose role is gone
	locked     map[string]bool // users whom a lock targets
	users      map[string]*types.UserV2
	shift      time.Duration   // of the clock
	kept       map[string]bool // requests past their expiry that stay until Expire or ExpireDue
	requests   map[string]*types.AccessRequestV3
	cache      listCache
	pluginData map[string]*types.PluginDataV3
	audit      []AuditEvent
	watchers   map[*watcher]struct{}
	muted      bool
	down       bool
	faults     []*Injection
	calls      map[string]int

	grpc     *grpc.Server // nil while stopped
	stopping chan struct{}
	ended    chan struct{}
	port     *heldport.Port      // nil before the first Start
	conns    map[string]net.Conn // by remote address
}

// New makes a stopped server with fresh certificate authorities and an empty backend.
func New(cfg Config) (*Server, error) {
	cfg.ClusterName = cmp.Or(cfg.ClusterName, "example.teleport.sh")
	cfg.AgentUser = cmp.Or(cfg.AgentUser, "jira-agent")
	cfg.ServerVersion = cmp.Or(cfg.ServerVersion, "18.0.0")
	cfg.ProxyPublicAddr = cmp.Or(cfg.ProxyPublicAddr, cfg.ClusterName+":443")
	cfg.RequestTTL = cmp.Or(cfg.RequestTTL, 7*24*time.Hour)
	cfg.AccessTTL = cmp.Or(cfg.AccessTTL, TshLifetime)
	cfg.WatchBuffer = cmp.Or(cfg.WatchBuffer, 1024)
	cfg.EventDelay = cmp.Or(cfg.EventDelay, 10*time.Millisecond)
	version, err := semver.NewVersion(cfg.ServerVersion)
	if err != nil {
		return nil, fmt.Errorf("server version: %w", err)
	}
	role := PluginRole()
	if cfg.AgentRole != nil {
		role = *cfg.AgentRole
	}
	authorities, err := newPKI(cfg.ClusterName)
	if err != nil {
		return nil, err
	}
	agent, err := newUser(User{Name: cfg.AgentUser, Bot: true})
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg,
		pki: authorities,

		hostID:          uuid.NewString(),
		reviewsOnBehalf: version.Major > 18 || version.Major == 18 && version.Minor >= 11,

		changed:    make(chan struct{}),
		roles:      map[string]Role{cfg.AgentUser: role},
		roleless:   make(map[string]bool),
		locked:     make(map[string]bool),
		users:      map[string]*types.UserV2{cfg.AgentUser: agent},
		shift:      cfg.ClockShift,
		kept:       make(map[string]bool),
		requests:   make(map[string]*types.AccessRequestV3),
		cache:      listCache{delay: cfg.CacheDelay, requests: make(map[string]*types.AccessRequestV3)},
		pluginData: make(map[string]*types.PluginDataV3),
		watchers:   make(map[*watcher]struct{}),
		calls:      make(map[string]int),
		conns:      make(map[string]net.Conn),
	}, nil
}

// keepAliveMinTime is Teleport's own keep-alive period, which it also enforces on clients: one that
// pings more often is cut off with "too_many_pings".
// https://github.com/gravitational/teleport/blob/master/lib/auth/grpcserver.go
const keepAliveMinTime = time.Minute

// Start listens on addr, "127.0.0.1:0" for any free port or an earlier Addr for a restart, and
// serves until Stop. Its port stays held after that, so that connections are refused and the next
// Start finds it free.
func (s *Server) Start(addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grpc != nil {
		return fmt.Errorf("start on %s: already serving on %s", addr, s.port.Addr())
	}
	listener, err := s.listen(addr)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	s.ended = make(chan struct{})
	stopping := make(chan struct{})
	s.stopping = stopping
	expiring := make(chan struct{})
	go func() {
		defer close(expiring)
		s.expireAsTimePasses(stopping)
	}()
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{GetConfigForClient: s.pki.serverTLS})),
		grpc.ChainUnaryInterceptor(interceptors.GRPCServerUnaryErrorInterceptor, s.interceptUnary),
		grpc.ChainStreamInterceptor(interceptors.GRPCServerStreamErrorInterceptor, s.interceptStream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepAliveMinTime, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	proto.RegisterAuthServiceServer(s.grpc, &authService{server: s})
	userspb.RegisterUsersServiceServer(s.grpc, &usersService{server: s})
	go func(server *grpc.Server, ended chan<- struct{}) {
		defer close(ended)
		// Serve returns when Stop is called; any other failure shows as refused connections.
		_ = server.Serve(&trackingListener{Listener: listener, server: s})
		<-expiring
	}(s.grpc, s.ended)
	return nil
}

// listen listens on an address whose port it holds from now on.
func (s *Server) listen(addr string) (net.Listener, error) {
	if s.port == nil || s.port.Addr() != addr {
		port, err := heldport.At(addr)
		if err != nil {
			return nil, err
		}
		s.port = port
	}
	if err := s.port.GiveWay(); err != nil {
		return nil, err
	}
	return net.Listen("tcp", s.port.Addr())
}

// Addr is the address that the server listens on, or last listened on: host:port.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port == nil {
		return ""
	}
	return s.port.Addr()
}

// Stop cuts every connection, waits for the calls under way and stops listening. What is stored
// stays. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	server, stopping, ended := s.grpc, s.stopping, s.ended
	s.grpc = nil
	s.mu.Unlock()
	if server != nil {
		close(stopping)
		server.Stop()
		<-ended
	}
}

// Close stops the server.
func (s *Server) Close() error {
	s.Stop()
	return nil
}

// DropConnections cuts every connection there is and goes on serving new ones.
func (s *Server) DropConnections() {
	s.mu.Lock()
	var open []net.Conn
	for _, conn := range s.conns {
		open = append(open, conn)
	}
	s.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // the peer's reaction is what matters
	}
}

// dropConnection cuts the connection from one remote address.
func (s *Server) dropConnection(remote string) {
	s.mu.Lock()
	conn := s.conns[remote]
	s.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// trackingListener keeps the accepted connections where faults can cut them, which gRPC itself
// offers no way to do.
type trackingListener struct {
	net.Listener
	server *Server
}

func (l *trackingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, server: l.server}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	l.server.conns[conn.RemoteAddr().String()] = tracked
	return tracked, nil
}

type trackedConn struct {
	net.Conn
	server *Server
}

func (c *trackedConn) Close() error {
	remote := c.RemoteAddr().String()
	c.server.mu.Lock()
	if c.server.conns[remote] == c {
		delete(c.server.conns, remote)
	}
	c.server.mu.Unlock()
	if err := c.Conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
