package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ListenRequest is "tcpip-forward" and "cancel-tcpip-forward" (RFC 4254 §7.1).
type ListenRequest struct {
	Host string // as the client named it; comes back with every connection
	Port uint32
}

// ParseListen reads and checks a payload.
func ParseListen(payload []byte) (ListenRequest, error) {
	var r ListenRequest
	if ssh.Unmarshal(payload, &r) != nil {
		return r, errors.New("the request cannot be read")
	}
	if r.Port > 65535 {
		return r, errors.New("there is no such port")
	}
	if len(r.Host) > 253 || strings.ContainsFunc(r.Host, func(c rune) bool { return c <= ' ' || c > '~' || c == '/' }) {
		return r, errors.New("the address is not valid")
	}
	return r, nil
}

// ParseSocketListen reads and checks "streamlocal-forward@openssh.com" (OpenSSH's PROTOCOL §2.4).
func ParseSocketListen(payload []byte) (path string, err error) {
	var r struct{ Path string }
	if ssh.Unmarshal(payload, &r) != nil {
		return "", errors.New("the request cannot be read")
	}
	return r.Path, checkPath(r.Path)
}

func loopback() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
}

// Addresses are those to listen at for host, as OpenSSH understands it: empty and "*" are all, anything that is not
// granted becomes loopback. It returns none when loopback is not granted either.
func Addresses(ctx context.Context, host string, granted func(netip.Addr) bool) []netip.Addr {
	var want []netip.Addr
	switch host {
	case "", "*", "0.0.0.0", "::":
		want = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	case "localhost":
	default:
		if found, err := resolve(ctx, host); err == nil {
			want = found
		}
	}
	refused := func(a netip.Addr) bool { return !granted(a) }
	if want = slices.DeleteFunc(want, refused); len(want) > 0 {
		return want
	}
	return slices.DeleteFunc(loopback(), refused)
}

// ListenAll listens at the same port of all addresses; those that this machine does not have are left out, unless
// none is left.
func (w *Worker) ListenAll(ctx context.Context, addrs []netip.Addr, port uint16) ([]net.Listener, error) {
	var all []net.Listener
	var first error
	for _, a := range addrs {
		l, err := w.Listen(ctx, netip.AddrPortFrom(a, port))
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if at, ok := l.Addr().(*net.TCPAddr); ok && port == 0 {
			port = uint16(at.Port)
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, first
	}
	return all, nil
}
