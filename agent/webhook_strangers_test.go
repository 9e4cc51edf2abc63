package agent

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What people without the secret can do to the listener.

// begins opens a connection and sends the beginning of a webhook of that length: the header and so
// many bytes of the body.
func (l *listening) begins(length, sent int) *tls.Conn {
	l.t.Helper()
	conn, err := tls.Dial("tcp", l.addr, &tls.Config{RootCAs: l.cas, ServerName: "localhost"})
	require.NoError(l.t, err)
	l.t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nX-Hub-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
		sign("guessed", ""), length, strings.Repeat(" ", sent))
	require.NoError(l.t, err)
	return conn
}

// holds waits until the bodies that are being received take so much memory.
func (l *listening) holds(size int) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		l.bodies.mu.Lock()
		defer l.bodies.mu.Unlock()
		return l.bodies.held == size
	}, patience, time.Millisecond)
}

// ends waits for the end of a connection, and returns what was answered.
func ends(t *testing.T, conn net.Conn) (code int) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		timeout := net.Error(nil)
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the connection stays open")
		return noAnswer
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestAWebhookThatComesTooSlowlyEndsUnanswered(t *testing.T) {
	t.Parallel()
	l := serve(t, func(l *listening) { l.request = time.Second })
	require.Equal(t, noAnswer, ends(t, l.begins(1000, 10)))

	read, write := io.Pipe()
	defer write.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+l.addr+"/", read)
	require.NoError(t, err)
	req.Header.Set("X-Hub-Signature", sign("guessed", ""))
	resp, err := l.client(true).Do(req) //nolint:bodyclose // there is none
	require.Error(t, err, resp)
	l.holds(0)
	require.Equal(t, map[int]int{noAnswer: 2}, l.counts())
}

func TestAWebhookThatBreaksOffIsForgotten(t *testing.T) {
	t.Parallel()
	l := serve(t)
	conn := l.begins(1000, 10)
	l.holds(firstBuffer)
	require.NoError(t, conn.Close())
	l.holds(0)
	require.Equal(t, 200, l.posts(l.client(true), testBody))
	require.Equal(t, map[int]int{noAnswer: 1, 200: 1}, l.counts())
}

func TestSlowSendersGiveWayToOthers(t *testing.T) {
	t.Parallel()
	l := serve(t, func(l *listening) { l.bodies.most = 4 * firstBuffer })
	first := l.begins(maxBody, firstBuffer+1)
	l.holds(2 * firstBuffer)
	second := l.begins(maxBody, 1)
	l.holds(3 * firstBuffer)
	third := l.begins(maxBody, 1)
	l.holds(4 * firstBuffer)

	client := l.client(true)
	for range 20 {
		require.Equal(t, 200, l.posts(client, testBody))
	}
	require.Equal(t, 503, ends(t, first), "the oldest gave way")
	l.holds(2 * firstBuffer)
	_, err := io.WriteString(second, strings.Repeat(" ", 3*firstBuffer)) // it grows to all there is
	require.NoError(t, err)
	require.Equal(t, 503, ends(t, second))
	require.NoError(t, third.Close())
	l.holds(0)
}

func TestWhoHoldsConnectionsStopsNobody(t *testing.T) {
	t.Parallel()
	const most = 5
	l := serve(t, func(l *listening) { l.guests.most = most })
	kept := l.client(true)
	require.Equal(t, 200, l.posts(kept, testBody))
	sending := l.begins(1000, 10)
	l.holds(firstBuffer)
	for range 3 * most {
		conn, err := net.Dial("tcp", l.addr)
		require.NoError(t, err)
		defer conn.Close()
		require.Equal(t, 200, l.posts(l.client(false), testBody))
	}
	require.Equal(t, noAnswer, ends(t, sending), "it has been busy for the longest time")
	require.Equal(t, 200, l.posts(kept, testBody), "whose connection was closed while idle opens another")
}

func TestOfTooManyGuestsTheLeastUsefulOneGoes(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	g := newGuests(listener, 3)
	join := func() (outside, inside net.Conn) {
		outside, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { outside.Close() })
		inside, err = g.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { inside.Close() })
		return outside, inside
	}
	gone := func(outside net.Conn) {
		require.NoError(t, outside.SetReadDeadline(time.Now().Add(patience)))
		_, err := outside.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	}
	first, firstInside := join()
	second, secondInside := join()
	third, thirdInside := join()
	g.changed(tls.Server(thirdInside, nil), http.StateActive)
	g.changed(tls.Server(thirdInside, nil), http.StateIdle)
	g.changed(firstInside, http.StateActive) // a request has begun: it is younger than the second

	_, _ = join()
	gone(third) // idle
	_, _ = join()
	gone(second)
	_, fifthInside := join()
	gone(first)
	require.NoError(t, fifthInside.Close())
	require.ErrorIs(t, secondInside.Close(), net.ErrClosed)
	require.Len(t, g.all, 2)
}

func TestAnIdleConnectionGivesWayBeforeABusyOne(t *testing.T) {
	t.Parallel()
	l := serve(t, func(l *listening) { l.guests.most = 3 })
	sending := l.begins(len(testBody), 0)
	l.holds(firstBuffer)
	for range 5 {
		require.Equal(t, 200, l.posts(l.client(true), testBody))
		require.Eventually(t, func() bool { // before the next one comes
			l.guests.mu.Lock()
			defer l.guests.mu.Unlock()
			busy := 0
			for one := range l.guests.all {
				if !one.idle {
					busy++
				}
			}
			return busy == 1
		}, patience, time.Millisecond)
	}
	_, err := io.WriteString(sending, testBody)
	require.NoError(t, err)
	require.Equal(t, 401, ends(t, sending), "it was let finish")
}
