package teleportsim_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/breaker"
	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/connectivity"

	"teleport-jira-agent/integration/teleportsim"
)

// patience bounds every wait for something that is expected to happen.
const patience = 20 * time.Second

func startCluster(t *testing.T, cfg teleportsim.Config) *teleportsim.Server {
	t.Helper()
	server, err := teleportsim.New(cfg)
	require.NoError(t, err)
	require.NoError(t, server.Start("127.0.0.1:0"))
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

// testContext ends with the test and after patience at the latest.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func identity(t *testing.T, server *teleportsim.Server, options teleportsim.IdentityOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "identity")
	require.NoError(t, server.WriteIdentity(path, options))
	return path
}

func dial(
	ctx context.Context,
	addr string,
	timeout time.Duration,
	creds ...client.Credentials,
) (*client.Client, error) {
	return client.New(ctx, client.Config{
		Addrs:                []string{addr},
		Credentials:          creds,
		DialTimeout:          timeout,
		CircuitBreakerConfig: breaker.NoopBreakerConfig(),
	})
}

// connect is the real client, as a user, with an identity file.
func connect(t *testing.T, server *teleportsim.Server, user string) *client.Client {
	t.Helper()
	path := identity(t, server, teleportsim.IdentityOptions{User: user})
	clt, err := dial(t.Context(), server.Addr(), patience, client.LoadIdentityFile(path))
	require.NoError(t, err)
	t.Cleanup(func() { _ = clt.Close() })
	return clt
}

func file(t *testing.T, server *teleportsim.Server, request teleportsim.Request) string {
	t.Helper()
	if request.User == "" {
		request.User = "alice"
	}
	if len(request.Roles) == 0 && len(request.Resources) == 0 {
		request.Roles = []string{"editor"}
	}
	id, err := server.CreateRequest(request)
	require.NoError(t, err)
	return id
}

func TestPingTellsAboutTheCluster(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{ClusterName: "prod.example.com", ServerVersion: "18.2.1"})
	answer, err := connect(t, server, "").Ping(testContext(t))
	require.NoError(t, err)
	require.Equal(t, "prod.example.com", answer.ClusterName)
	require.Equal(t, "18.2.1", answer.ServerVersion)
	require.Equal(t, "prod.example.com:443", answer.ProxyPublicAddr)
	require.True(t, answer.ServerFeatures.AdvancedAccessWorkflows)
	require.Equal(t, map[string]int{"Ping": 1}, server.Calls())
	server.ResetCalls()
	require.Empty(t, server.Calls())
}

func TestKeyCertificateAndRootsServeInPlaceOfAnIdentityFile(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	triple, err := server.WriteTriple(t.TempDir(), teleportsim.IdentityOptions{})
	require.NoError(t, err)
	clt, err := dial(
		t.Context(),
		server.Addr(),
		patience,
		client.LoadKeyPair(triple.Certificate, triple.Key, triple.RootCAs),
	)
	require.NoError(t, err)
	defer clt.Close()
	_, err = clt.Ping(testContext(t))
	require.NoError(t, err)
}

func TestAnUnknownRPCIsUnimplemented(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	_, err := connect(t, server, "").GetResetPasswordToken(testContext(t), "token")
	require.True(t, trace.IsNotImplemented(err), "%v", err)
}

func TestAnOldClientIsRefused(t *testing.T) {
	t.Parallel()
	// The client module calls itself 18.0.0-dev: within one major version of 19, not of 20.
	newer := startCluster(t, teleportsim.Config{ServerVersion: "19.4.0"})
	_, err := connect(t, newer, "").Ping(testContext(t))
	require.NoError(t, err)

	tooNew := startCluster(t, teleportsim.Config{ServerVersion: "20.0.0"})
	_, err = connect(t, tooNew, "").Ping(testContext(t))
	require.True(t, trace.IsAccessDenied(err), "%v", err)
	require.ErrorContains(t, err, "client version is unsupported")
}

func TestAnExpiredIdentityIsRefused(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	path := identity(t, server, teleportsim.IdentityOptions{Lifetime: -time.Hour})
	creds, err := client.NewDynamicIdentityFileCreds(path)
	require.NoError(t, err)
	expiry, ok := creds.Expiry()
	require.True(t, ok)
	require.True(t, expiry.Before(time.Now()))
	_, err = dial(t.Context(), server.Addr(), time.Second, creds)
	require.Error(t, err)
	require.Empty(t, server.Calls())
}

func TestAnIdentityOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	server, other := startCluster(t, teleportsim.Config{}), startCluster(t, teleportsim.Config{})
	path := identity(t, other, teleportsim.IdentityOptions{})
	_, err := dial(t.Context(), server.Addr(), time.Second, client.LoadIdentityFile(path))
	require.Error(t, err)
}

func TestAnIdentityFileIsReplacedWholeAndPrivate(t *testing.T) {
	t.Parallel()
	server := startCluster(t, teleportsim.Config{})
	path := identity(t, server, teleportsim.IdentityOptions{})
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, server.WriteIdentity(path, teleportsim.IdentityOptions{}))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotEqual(t, before, after)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays behind")
}

func TestARotatedUserCARefusesOldIdentitiesAndTakesNewOnes(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	path := identity(t, server, teleportsim.IdentityOptions{})
	creds, err := client.NewDynamicIdentityFileCreds(path)
	require.NoError(t, err)
	clt, err := dial(t.Context(), server.Addr(), patience, creds)
	require.NoError(t, err)
	defer clt.Close()

	require.NoError(t, server.RotateUserCA())
	_, err = clt.Ping(ctx)
	require.NoError(t, err, "an open connection outlives the rotation")
	server.DropConnections()
	_, err = clt.Ping(ctx)
	require.True(t, trace.IsConnectionProblem(err), "%v", err)
	_, err = dial(t.Context(), server.Addr(), time.Second, client.LoadIdentityFile(path))
	require.Error(t, err, "a new connection needs a new identity")

	// The client comes back by itself once it has the new file.
	require.NoError(t, server.WriteIdentity(path, teleportsim.IdentityOptions{}))
	require.NoError(t, creds.Reload())
	waitForReady(ctx, t, clt)
	_, err = clt.Ping(ctx)
	require.NoError(t, err)
}

func TestARestartOnTheSameAddressKeepsRequestsAndCredentials(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	id := file(t, server, teleportsim.Request{})

	addr := server.Addr()
	server.Stop()
	_, err := clt.Ping(ctx)
	require.True(t, trace.IsConnectionProblem(err), "%v", err)
	require.NoError(t, server.Start(addr))
	require.Equal(t, addr, server.Addr())
	require.Error(t, server.Start(addr), "it is already serving")

	waitForReady(ctx, t, clt)
	page, err := clt.ListAccessRequests(ctx, &proto.ListAccessRequestsRequest{})
	require.NoError(t, err)
	require.Len(t, page.AccessRequests, 1)
	require.Equal(t, id, page.AccessRequests[0].GetName())
}

// waitForReady waits until the client has a connection again.
func waitForReady(ctx context.Context, t *testing.T, clt *client.Client) {
	t.Helper()
	conn := clt.GetConnection()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		conn.ResetConnectBackoff()
		conn.Connect()
		require.True(t, conn.WaitForStateChange(ctx, state), "the client did not come back")
	}
}

func TestDownMeansUnavailableUntilItIsUpAgain(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := startCluster(t, teleportsim.Config{})
	clt := connect(t, server, "")
	watch := openWatch(t, clt, nil)

	server.SetDown(true)
	require.True(t, trace.IsConnectionProblem(brokenBy(t, watch)))
	_, err := clt.Ping(ctx)
	require.True(t, trace.IsConnectionProblem(err), "%v", err)
	server.SetDown(false)
	_, err = clt.Ping(ctx)
	require.NoError(t, err)
}

func TestAHookSeesEveryCall(t *testing.T) {
	t.Parallel()
	seen := make(chan teleportsim.Call, 10)
	server := startCluster(t, teleportsim.Config{OnCall: func(c teleportsim.Call) { seen <- c }})
	clt := connect(t, server, "robot")
	_, err := clt.Ping(testContext(t))
	require.NoError(t, err)
	require.Error(t, clt.SetAccessRequestState(testContext(t), types.AccessRequestUpdate{}))

	first, second := <-seen, <-seen
	require.Equal(t, "Ping", first.RPC)
	require.Equal(t, "robot", first.User)
	require.NoError(t, first.Err)
	require.Equal(t, "SetAccessRequestState", second.RPC)
	require.True(t, trace.IsAccessDenied(second.Err))
	require.Contains(t, second.String(), `SetAccessRequestState by "robot"`)
}

func TestAServerWithAnImpossibleVersionIsNotMade(t *testing.T) {
	t.Parallel()
	_, err := teleportsim.New(teleportsim.Config{ServerVersion: "latest"})
	require.ErrorContains(t, err, "server version")
}
