// Package heldport keeps TCP ports for tests and simulators while nobody listens on them.
//
// A port that is free now may be another process's a moment later. Then a connection that has to be
// refused is taken, and a server that is stopped cannot start again. A held port is bound by a
// socket that does not listen: the system gives it to nobody who asks for any free port, and
// refuses connections to it.
//
// A server that names the port can listen on it beside the holding socket, because both allow the
// address to be reused (SO_REUSEADDR, which Go and PostgreSQL set). Only Linux allows that. On
// other systems GiveWay lets the port go before a server starts.
package heldport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// Port is a TCP port of an IPv4 address that is held until Release. One that is lost to the garbage
// collector is released as well.
type Port struct {
	addr   *net.TCPAddr
	socket *os.File
}

// Any holds a port of 127.0.0.1 that nobody uses.
func Any() (*Port, error) { return At("127.0.0.1:0") }

// At holds the port of an address, "host:port". Port 0 is any port that nobody uses. It fails if
// somebody listens there.
func At(address string) (*Port, error) {
	asked, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("hold the port of %s: %w", address, err)
	}
	fd, err := bound(asked)
	if err != nil {
		return nil, fmt.Errorf("hold the port of %s: %w", address, err)
	}
	p := &Port{socket: os.NewFile(uintptr(fd), "port held at "+address)}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		err = os.NewSyscallError("getsockname", err)
		return nil, errors.Join(fmt.Errorf("hold the port of %s: %w", address, err), p.Release())
	}
	given, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return nil, errors.Join(fmt.Errorf("hold the port of %s: it is bound as %T", address, name), p.Release())
	}
	p.addr = &net.TCPAddr{IP: net.IP(given.Addr[:]), Port: given.Port}
	return p, nil
}

// bound returns a socket that has the address, does not listen, and is closed in child processes.
func bound(address *net.TCPAddr) (_ int, err error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, syscall.Close(fd))
		}
	}()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	name := &syscall.SockaddrInet4{Port: address.Port}
	copy(name.Addr[:], address.IP.To4()) // no address: all of this machine's
	return fd, os.NewSyscallError("bind", syscall.Bind(fd, name))
}

// Addr is the address that is held, "host:port".
func (p *Port) Addr() string { return p.addr.String() }

// Number is the port's number.
func (p *Port) Number() int { return p.addr.Port }

// URL is the address as the base of HTTP URLs.
func (p *Port) URL() string {
	return "http://" + net.JoinHostPort(p.addr.IP.String(), strconv.Itoa(p.addr.Port))
}

// GiveWay lets a server listen on the port. Where that is possible beside the holding socket, the
// port stays held.
func (p *Port) GiveWay() error {
	if runtime.GOOS == "linux" {
		return nil
	}
	return p.Release()
}

// Release lets the port go. To release it twice does nothing.
func (p *Port) Release() error {
	if err := p.socket.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("release the port of %s: %w", p.Addr(), err)
	}
	return nil
}
