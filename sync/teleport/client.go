// Package teleport is the Teleport side of the sync: sync.Cluster on Teleport's own API client.
//
// It promises:
//
//   - Every remote call has a deadline of its own, every failure is a *sync.Error, and a write
//     whose answer was lost is marked Uncertain (see classify).
//   - It never retries a call and never waits between calls: pace and back-off are the engine's.
//     What it keeps alive by itself is the connection and the credentials.
//   - Credentials are swapped whole or not at all: a missing, torn, garbled or expired file leaves
//     those in use untouched.
//
// A Client is connected or not. While it is, gRPC repairs short breaks by itself. Run pings
// Teleport, and when a ping goes unanswered it closes the connection: open watches end at once
// rather than hang in a silent network, calls fail at once with "not connected", and Run dials
// until Teleport answers again. Without Run only gRPC's own repair is there, which needs two
// minutes to notice a silent network.
//
// A certificate that was reloaded serves from the next handshake on; the open connection stays,
// with the roles of the certificate it was opened with.
package teleport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/gravitational/teleport/api/breaker"
	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/client/proto"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"teleport-jira-agent/sync"
)

const (
	// defaultDialTimeout bounds connecting. The API client spends all of it on every failure,
	// whatever the cause.
	defaultDialTimeout = 10 * time.Second
	// defaultCallTimeout bounds each call that concerns one request, and the ping.
	defaultCallTimeout = 10 * time.Second
	// listTimeout bounds one page of a list.
	listTimeout = 30 * time.Second

	// keepAlivePeriod is above the minute that the Auth Service's enforcement policy allows; a
	// shorter one is answered with GOAWAY "too_many_pings"
	// (https://github.com/grpc/grpc/blob/master/doc/keepalive.md).
	keepAlivePeriod = 61 * time.Second
	keepAliveCount  = 1

	// maxMessageSize bounds what one answer may hold: a page of 200 requests of up to 300 kB each,
	// reviews included. gRPC's own bound of 4 MiB is less than a page of requests with long
	// reasons.
	maxMessageSize = 64 << 20
)

// Config says where Teleport is, who the agent is there, and how often Run looks after the
// connection.
type Config struct {
	// Addr is host:port of the Proxy or the Auth Service. With a key, certificate and CAs it must
	// be the Auth Service.
	Addr string

	// IdentityFile is an identity file as tbot or tctl writes it; or the three PEM files in its
	// place.
	IdentityFile                   string
	KeyFile, CertFile, RootCAsFile string

	// RefreshIdentity makes Run reload the files when their content changes.
	RefreshIdentity bool

	// UserTrait names the trait of Teleport users that holds their Jira account id;
	// "jira_account_id" by default.
	UserTrait string

	// OnCall, if not nil, is told of each remote call; a watch is none. It is called from many
	// goroutines and must not block.
	OnCall func(CallInfo)

	// The rest has defaults, too: 10 s, 10 s, 15 s, 30 s and 5 s.
	DialTimeout     time.Duration
	CallTimeout     time.Duration
	RefreshInterval time.Duration
	PingInterval    time.Duration
	RedialInterval  time.Duration
}

func (c Config) withDefaults() Config {
	c.UserTrait = cmp.Or(c.UserTrait, defaultUserTrait)
	c.DialTimeout = cmp.Or(c.DialTimeout, defaultDialTimeout)
	c.CallTimeout = cmp.Or(c.CallTimeout, defaultCallTimeout)
	c.RefreshInterval = cmp.Or(c.RefreshInterval, defaultRefreshInterval)
	c.PingInterval = cmp.Or(c.PingInterval, defaultPingInterval)
	c.RedialInterval = cmp.Or(c.RedialInterval, defaultRedialInterval)
	return c
}

// Client is one Teleport cluster. It is safe for concurrent use.
type Client struct {
	cfg   Config
	log   *zap.Logger
	creds *credentials
	pong  atomic.Pointer[proto.PingResponse] // the latest answer to a ping that was asked on connecting

	mu     stdsync.Mutex
	api    *client.Client // nil while not connected
	reason error          // why it is not
	closed bool
}

var (
	_ sync.Cluster = (*Client)(nil)

	errClosed = errors.New("the client is closed")
)

// Connect loads the credentials, connects to Teleport and asks it for its name. It does not try
// twice: a failure, always a *sync.Error of sync.ScopeSide, may be repaired by the next attempt,
// since files are renewed and networks come back. The caller calls Close in the end, and Run
// meanwhile.
func Connect(ctx context.Context, cfg Config, log *zap.Logger) (*Client, error) {
	cfg = cfg.withDefaults()
	creds, err := loadCredentials(cfg)
	if err != nil {
		return nil, sideError("load the credentials", err)
	}
	c := &Client{cfg: cfg, log: log, creds: creds}
	if err := c.dial(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// dial connects anew and puts the connection in use once Teleport has answered a ping on it.
func (c *Client) dial(ctx context.Context) error {
	op := "connect to " + c.cfg.Addr
	if err := c.creds.checkExpiry(time.Now()); err != nil {
		return sideError(op, err)
	}
	api, err := client.New(ctx, client.Config{
		Addrs:           []string{c.cfg.Addr},
		Credentials:     []client.Credentials{c.creds},
		DialTimeout:     c.cfg.DialTimeout,
		KeepAlivePeriod: keepAlivePeriod,
		KeepAliveCount:  keepAliveCount,
		// The client's own breaker would go on refusing calls for a minute after Teleport is back.
		CircuitBreakerConfig: breaker.NoopBreakerConfig(),
		DialOpts: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize)),
			grpc.WithChainUnaryInterceptor(told(c.cfg.OnCall)),
		},
	})
	if err != nil {
		return sideError(op, dialError(err))
	}
	pong, err := ping(ctx, api, c.cfg.CallTimeout)
	if err != nil {
		_ = api.Close()
		return classify(ctx, op, wholeSide, err)
	}
	c.pong.Store(&pong)
	return c.use(api)
}

// use makes api the connection, unless the client was closed meanwhile.
func (c *Client) use(api *client.Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = api.Close()
		return sideError("connect to "+c.cfg.Addr, errClosed)
	}
	c.api, c.reason = api, nil
	return nil
}

// drop closes the connection, which ends its watches, and notes why.
func (c *Client) drop(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		_ = c.api.Close()
	}
	c.api, c.reason = nil, reason
}

// connection returns what calls are made on, or an error that says why there is none.
func (c *Client) connection() (*client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errClosed
	case c.api == nil:
		return nil, fmt.Errorf("not connected to %s: %w", c.cfg.Addr, c.reason)
	}
	return c.api, nil
}

// call runs one remote call within its own deadline and turns its failure into a *sync.Error. Not
// being connected is never Uncertain: nothing was sent.
func (c *Client) call(
	ctx context.Context,
	op string,
	k kind,
	timeout time.Duration,
	fn func(context.Context, *client.Client) error,
) error {
	api, err := c.connection()
	if err != nil {
		return sideError(op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return classify(ctx, op, k, fn(ctx, api))
}

func ping(ctx context.Context, api *client.Client, timeout time.Duration) (proto.PingResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return api.Ping(ctx)
}

// ClusterName is the name of the Teleport cluster.
func (c *Client) ClusterName() string { return c.pong.Load().ClusterName }

// ServerVersion is the version of the Auth Service that was last connected to.
func (c *Client) ServerVersion() string { return c.pong.Load().ServerVersion }

// Expiry is when the certificate in use ends (NotAfter).
func (c *Client) Expiry() time.Time { return c.creds.notAfter() }

// Close ends the connection, its watches and its calls. Calls made later fail.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		_ = c.api.Close()
	}
	c.api, c.closed = nil, true
}

// webURL is the base of the links to requests in Teleport's web UI; empty where Teleport did not
// say its address.
func (c *Client) webURL() string {
	if addr := c.pong.Load().ProxyPublicAddr; addr != "" {
		return "https://" + addr
	}
	return ""
}
