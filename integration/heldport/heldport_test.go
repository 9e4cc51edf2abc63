package heldport_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/heldport"
	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/teleportsim"
)

func hold(t *testing.T) *heldport.Port {
	t.Helper()
	p, err := heldport.Any()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Release()) })
	return p
}

func TestPort_RefusesConnections(t *testing.T) {
	t.Parallel()
	p := hold(t)
	_, err := net.Dial("tcp", p.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.Equal(t, "http://"+p.Addr(), p.URL())
}

func TestPort_IsGivenToNobodyWhoAsksForAnyPort(t *testing.T) {
	t.Parallel()
	p := hold(t)
	for range 100 {
		other, err := heldport.Any()
		require.NoError(t, err)
		defer func() { require.NoError(t, other.Release()) }()
		require.NotEqual(t, p.Number(), other.Number())
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close()
		require.NotEqual(t, p.Addr(), listener.Addr().String())
	}
}

func TestPort_IsHeldWhileItsServerStopsAndStarts(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a server listen beside the socket that holds its port")
	}
	p := hold(t)
	for range 2 {
		require.NoError(t, p.GiveWay())
		listener, err := net.Listen("tcp", p.Addr())
		require.NoError(t, err)
		conn, err := net.Dial("tcp", p.Addr())
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, listener.Close())
		_, err = net.Dial("tcp", p.Addr())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

func TestAt_FailsWhereSomebodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	_, err = heldport.At(listener.Addr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = heldport.At("256.0.0.1:1")
	require.ErrorContains(t, err, "256.0.0.1")
}

func TestPort_MayBeReleasedTwice(t *testing.T) {
	t.Parallel()
	p := hold(t)
	require.NoError(t, p.Release())
	require.NoError(t, p.Release())
}

// What is stopped and started again keeps its port meanwhile.
func TestSimulators_HoldTheirPortsWhileTheyAreStopped(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a server listen beside the socket that holds its port")
	}
	jira := jirasim.New(jirasim.Example(jirasim.Cloud))
	base, stop := jira.Start()
	stop()
	requireHeld(t, strings.TrimPrefix(base, "http://"))
	_, stop = jira.Start()
	stop()

	teleport, err := teleportsim.New(teleportsim.Config{})
	require.NoError(t, err)
	require.NoError(t, teleport.Start("127.0.0.1:0"))
	teleport.Stop()
	requireHeld(t, teleport.Addr())
	require.NoError(t, teleport.Start(teleport.Addr()))
	require.NoError(t, teleport.Close())

	postgres, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	defer postgres.Close()
	address, err := url.Parse(postgres.URL("postgres"))
	require.NoError(t, err)
	require.NoError(t, postgres.Stop(t.Context(), pgtest.Fast))
	requireHeld(t, address.Host)
	require.NoError(t, postgres.Start(t.Context()))
}

// requireHeld checks that the system refuses connections to an address, and refuses the address to
// a listener that does not share it.
func requireHeld(t *testing.T, address string) {
	t.Helper()
	_, err := net.Dial("tcp", address)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	alone := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
		}), err)
	}}
	listener, err := alone.Listen(context.Background(), "tcp", address)
	if err == nil {
		listener.Close()
	}
	require.ErrorIs(t, err, syscall.EADDRINUSE, "nobody holds %s", address)
}
