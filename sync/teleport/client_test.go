package teleport

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

// patience bounds every wait for something that is expected to happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves a cluster and writes an identity for the agent.
func start(t *testing.T, cfg teleportsim.Config) (*teleportsim.Server, Config) {
	t.Helper()
	server, err := teleportsim.New(cfg)
	require.NoError(t, err)
	require.NoError(t, server.Start("127.0.0.1:0"))
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	path := filepath.Join(t.TempDir(), "identity")
	require.NoError(t, server.WriteIdentity(path, teleportsim.IdentityOptions{}))
	return server, Config{
		Addr:            server.Addr(),
		IdentityFile:    path,
		RefreshIdentity: true,
		DialTimeout:     patience,
		RefreshInterval: 10 * time.Millisecond,
		PingInterval:    20 * time.Millisecond,
		RedialInterval:  10 * time.Millisecond,
	}
}

func connect(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := Connect(soon(t), cfg, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// cluster is start and connect.
func cluster(t *testing.T, cfg teleportsim.Config) (*teleportsim.Server, *Client) {
	t.Helper()
	server, config := start(t, cfg)
	return server, connect(t, config)
}

// running connects, and runs the client until the test ends. before is called in between; it may
// shorten what would make connecting itself fail on a busy machine. The channel tells each message
// that the client logs.
func running(t *testing.T, cfg Config, before ...func(*Client)) (*Client, <-chan string) {
	t.Helper()
	messages := make(chan string, 1000)
	log := zap.New(
		zapcore.NewCore(
			zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}),
			zapcore.AddSync(new(bytes.Buffer)),
			zap.InfoLevel,
		),
		zap.Hooks(func(e zapcore.Entry) error { messages <- e.Message; return nil }),
	)
	c, err := Connect(soon(t), cfg, log)
	require.NoError(t, err)
	for _, prepare := range before {
		prepare(c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		c.Close()
	})
	return c, messages
}

// await waits until the client logs the message.
func await(t *testing.T, messages <-chan string, text string) {
	t.Helper()
	ctx := soon(t)
	for {
		select {
		case message := <-messages:
			if strings.Contains(message, text) {
				return
			}
		case <-ctx.Done():
			require.FailNow(t, "not logged", text)
		}
	}
}

// soon ends with the test and after patience at the latest.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// failure is the *sync.Error in err, which must be there.
func failure(t *testing.T, err error) *sync.Error {
	t.Helper()
	var e *sync.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "teleport", e.Side)
	require.NotContains(t, e.Error(), "\n")
	return e
}

func TestConnectAsksTeleportForItsName(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{ClusterName: "prod.example.com", ServerVersion: "18.2.1"})
	require.NoError(t, server.WriteIdentity(cfg.IdentityFile, teleportsim.IdentityOptions{Lifetime: 3 * time.Hour}))
	c := connect(t, cfg)
	require.Equal(t, "prod.example.com", c.ClusterName())
	require.Equal(t, "18.2.1", c.ServerVersion())
	require.WithinDuration(t, time.Now().Add(3*time.Hour), c.Expiry(), time.Minute)
}

func TestConnectWithKeyCertificateAndCAs(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{ClusterName: "prod.example.com"})
	triple, err := server.WriteTriple(t.TempDir(), teleportsim.IdentityOptions{})
	require.NoError(t, err)
	cfg.IdentityFile, cfg.KeyFile, cfg.CertFile, cfg.RootCAsFile = "", triple.Key, triple.Certificate, triple.RootCAs
	require.Equal(t, "prod.example.com", connect(t, cfg).ClusterName())
}

func TestConnectSaysWhatIsWrongWithTheIdentity(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, server *teleportsim.Server, path string)
		want  string
	}{
		"missing": {func(t *testing.T, _ *teleportsim.Server, path string) {
			require.NoError(t, os.Remove(path))
		}, "no such file"},
		"garbled": {func(t *testing.T, _ *teleportsim.Server, path string) {
			write(t, path, []byte("hello"))
		}, "could not find SSH cert"},
		"expired": {func(t *testing.T, server *teleportsim.Server, path string) {
			require.NoError(t, server.WriteIdentity(path, teleportsim.IdentityOptions{Lifetime: -time.Hour}))
		}, "expired at " + time.Now().UTC().Format("2006-")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, cfg := start(t, teleportsim.Config{})
			tc.spoil(t, server, cfg.IdentityFile)
			_, err := Connect(soon(t), cfg, zap.NewNop())
			e := failure(t, err)
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, cfg.IdentityFile)
			require.Equal(t, sync.ScopeSide, e.Scope)
			require.False(t, e.Permanent, "the file may be renewed")
			require.Empty(t, server.Calls(), "nothing is sent with such an identity")
		})
	}
}

func TestConnectFailsForTheWholeSideWhenNobodyListens(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	server.Stop()
	cfg.DialTimeout = 300 * time.Millisecond
	_, err := Connect(soon(t), cfg, zap.NewNop())
	e := failure(t, err)
	require.Equal(t, sync.ScopeSide, e.Scope)
	require.False(t, e.Permanent)
	require.ErrorContains(t, err, cfg.Addr)
	require.ErrorContains(t, err, "refused")
	require.Less(t, len(err.Error()), 300)
}

func TestConnectTellsWhyTeleportRefusesTheCertificate(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	triple, err := server.WriteTriple(t.TempDir(), teleportsim.IdentityOptions{})
	require.NoError(t, err)
	cfg.IdentityFile, cfg.KeyFile, cfg.CertFile, cfg.RootCAsFile = "", triple.Key, triple.Certificate, triple.RootCAs
	require.NoError(t, server.RotateUserCA())
	cfg.DialTimeout = time.Second
	_, err = Connect(soon(t), cfg, zap.NewNop())
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
	require.ErrorContains(t, err, "no way to connect")
}

func TestConnectTellsAClientThatIsTooOld(t *testing.T) {
	t.Parallel()
	_, cfg := start(t, teleportsim.Config{ServerVersion: "20.0.0"})
	_, err := Connect(soon(t), cfg, zap.NewNop())
	e := failure(t, err)
	require.Equal(t, sync.ScopeSide, e.Scope)
	require.False(t, e.Permanent)
	require.ErrorContains(t, err, "client version is unsupported")
}

func TestRunTakesARenewedIdentityWithoutDroppingTheWatch(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	c, messages := running(t, cfg)
	w, err := c.Watch(soon(t))
	require.NoError(t, err)
	defer w.Close()

	content, err := os.ReadFile(cfg.IdentityFile)
	require.NoError(t, err)
	write(t, cfg.IdentityFile, content[:len(content)/2])
	await(t, messages, "not reloaded")
	require.NoError(t, server.RotateUserCA())
	require.NoError(t, server.WriteIdentity(cfg.IdentityFile, teleportsim.IdentityOptions{Lifetime: 5 * time.Hour}))
	await(t, messages, "credentials reloaded")
	require.WithinDuration(t, time.Now().Add(5*time.Hour), c.Expiry(), time.Minute)

	id, err := server.CreateRequest(teleportsim.Request{User: "alice", Roles: []string{"editor"}})
	require.NoError(t, err)
	event, err := w.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, id, event.Request.ID)

	// Only the renewed identity is accepted from here on.
	server.DropConnections()
	_, err = w.Next(soon(t))
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
	awaitCall(t, c)
}

// awaitCall calls until Teleport answers.
func awaitCall(t *testing.T, c *Client) {
	t.Helper()
	ctx := soon(t)
	for {
		err := c.Requests(ctx, func([]sync.Request) error { return nil })
		if err == nil {
			return
		}
		require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
		require.NoError(t, ctx.Err(), "%v", err)
	}
}

func TestRunLeavesTheFilesAloneWhenToldTo(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	cfg.RefreshIdentity = false
	c, messages := running(t, cfg)
	before := c.Expiry()
	require.NoError(t, server.WriteIdentity(cfg.IdentityFile, teleportsim.IdentityOptions{Lifetime: 5 * time.Hour}))
	server.ResetCalls()
	require.NoError(t, server.Wait(soon(t), func(s *teleportsim.Server) bool { return s.Calls()["Ping"] >= 3 }))
	require.Equal(t, before, c.Expiry())

	require.NoError(t, c.Reload())
	await(t, messages, "credentials reloaded")
	require.Greater(t, c.Expiry(), before)
}

func TestReloadKeepsTheCredentialsWhenTheFileIsBad(t *testing.T) {
	t.Parallel()
	_, cfg := start(t, teleportsim.Config{})
	c := connect(t, cfg)
	before := c.Expiry()
	require.NoError(t, os.Remove(cfg.IdentityFile))
	require.ErrorContains(t, c.Reload(), cfg.IdentityFile)
	require.Equal(t, before, c.Expiry())
	awaitCall(t, c)
}

func TestRunNoticesASilentTeleportAndConnectsAnew(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	var w sync.Watch
	var silence *teleportsim.Injection
	c, messages := running(t, cfg, func(c *Client) {
		var err error
		w, err = c.Watch(soon(t))
		require.NoError(t, err)
		silence = server.Inject(teleportsim.Fault{RPC: "Ping", Kind: teleportsim.FaultHang})
		c.cfg.CallTimeout = time.Second
	})
	defer w.Close()

	await(t, messages, "does not answer")
	_, err := w.Next(soon(t))
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope, "the watch ends, it does not hang")
	await(t, messages, "out of reach")
	err = c.Decide(soon(t), "id", sync.Decision{State: sync.StateDenied})
	e := failure(t, err)
	require.ErrorContains(t, err, "not connected")
	require.Equal(t, sync.ScopeSide, e.Scope)
	require.False(t, e.Uncertain, "nothing was sent")

	silence.Remove()
	await(t, messages, "connected to Teleport again")
	again, err := c.Watch(soon(t))
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestRunKeepsAConnectionThatCarriesRefusals(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	c, _ := running(t, cfg)
	w, err := c.Watch(soon(t))
	require.NoError(t, err)
	defer w.Close()
	refusal := server.Inject(teleportsim.Fault{RPC: "Ping", Kind: teleportsim.FaultError, Err: errLimit()})
	require.NoError(t, server.Wait(soon(t), func(*teleportsim.Server) bool { return refusal.Struck() >= 3 }))
	id, err := server.CreateRequest(teleportsim.Request{User: "alice", Roles: []string{"editor"}})
	require.NoError(t, err)
	event, err := w.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, id, event.Request.ID)
}

func TestRunFindsTeleportAgainAfterARestart(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	c, messages := running(t, cfg, func(c *Client) { c.cfg.DialTimeout = 500 * time.Millisecond })
	server.Stop()
	await(t, messages, "out of reach")
	require.NoError(t, server.Start(cfg.Addr))
	await(t, messages, "connected to Teleport again")
	awaitCall(t, c)
}

func TestCallsFailAfterClose(t *testing.T) {
	t.Parallel()
	_, c := cluster(t, teleportsim.Config{})
	w, err := c.Watch(soon(t))
	require.NoError(t, err)
	c.Close()
	c.Close()
	_, err = w.Next(soon(t))
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
	require.NoError(t, w.Close())
	_, err = c.Watch(soon(t))
	require.ErrorContains(t, err, "closed")
	require.ErrorContains(t, c.Requests(soon(t), nil), "closed")
}

func TestACallHasADeadlineOfItsOwn(t *testing.T) {
	t.Parallel()
	server, cfg := start(t, teleportsim.Config{})
	c := connect(t, cfg)
	c.cfg.CallTimeout = 200 * time.Millisecond
	server.Inject(teleportsim.Fault{RPC: "ListAccessRequests", Kind: teleportsim.FaultHang})
	_, err := c.Request(soon(t), "id")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, failure(t, err).Uncertain, "a read has no effect")
}

func TestConnectGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	_, cfg := start(t, teleportsim.Config{})
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts through its backlog and never says a word
	require.NoError(t, err)
	defer silent.Close()
	cfg.Addr, cfg.DialTimeout = silent.Addr().String(), time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Connect(ctx, cfg, zap.NewNop())
	require.Equal(t, sync.ScopeSide, failure(t, err).Scope)
}
