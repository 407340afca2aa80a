// Package forward serves what SSH carries besides sessions: connections to ports and Unix sockets (RFC 4254 §7.2,
// ssh -L, -D, -J), and listeners whose connections go to the client (§7.1, ssh -R, -A, -X).
//
// Whatever opens or binds a socket does so with the account's rights: see Worker.
package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
	"lanyard/platform/accounts"
	"lanyard/sshd/flow"
)

// Login is what the channels of one connection share.
type Login struct {
	Account accounts.Account
	Worker  *Worker
	// Allowed returns the address to dial for a host that resolved to ip, if the decision in force grants it.
	Allowed func(host string, ip netip.Addr, port uint16) (netip.AddrPort, bool)
	// Refused records a destination that is not granted.
	Refused func(target string, c reason.Code)
	// Begin records that a connection to host, which resolved to the address to, opens; the function it returns,
	// that it closed, with what m has counted.
	Begin func(target, host string, to netip.AddrPort, m *flow.Meter) (end func())
	// BeginSocket is Begin for a Unix socket.
	BeginSocket func(path string, m *flow.Meter) (end func())
	Moved       func()
	Life        context.Context // ends with the SSH connection, or when the destination is no longer granted
	Go          func(func())    // runs a goroutine that the server waits for
}

// Times of a dial.
const (
	resolveTime = 5 * time.Second
	dialTime    = 20 * time.Second
)

// target is the payload of "direct-tcpip" (RFC 4254 §7.2).
type target struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// parseTarget reads and checks a payload.
func parseTarget(payload []byte) (host string, port uint16, err error) {
	var t target
	if ssh.Unmarshal(payload, &t) != nil {
		return "", 0, errors.New("the destination cannot be read")
	}
	if t.Port == 0 || t.Port > 65535 {
		return "", 0, fmt.Errorf("there is no port %d", t.Port)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(t.Host, "["), "]")
	if host == "" || len(host) > 253 || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		return "", 0, errors.New("the destination's name is not valid")
	}
	return host, uint16(t.Port), nil
}

// Direct serves a "direct-tcpip" channel until both ways have ended.
func Direct(l *Login, nch ssh.NewChannel) {
	host, port, err := parseTarget(nch.ExtraData())
	if err != nil {
		_ = nch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	name := net.JoinHostPort(host, strconv.Itoa(int(port)))
	addrs, err := resolve(l.Life, host)
	if err != nil {
		// Whether a name exists is not for everyone to ask: without any grant it is refused like the rest.
		if _, ok := l.Allowed(host, netip.AddrFrom4([4]byte{127, 0, 0, 1}), port); !ok {
			l.refuse(nch, name)
			return
		}
		_ = nch.Reject(ssh.ConnectionFailed, "no address for "+host)
		return
	}
	var conn net.Conn
	var to netip.AddrPort
	granted := false
	for _, ip := range addrs {
		var ok bool
		if to, ok = l.Allowed(host, ip, port); !ok {
			continue
		}
		granted = true
		// The address that was checked is the one that is dialled; the name is not asked again.
		if conn, err = dial(l.Life, l, to); err == nil {
			break
		}
	}
	if conn != nil {
		if _, granted = l.Allowed(host, to.Addr(), port); !granted { // a dial takes seconds
			conn.Close()
		}
	}
	if !granted {
		l.refuse(nch, name)
		return
	}
	if conn == nil {
		_ = nch.Reject(ssh.ConnectionFailed, plain(err))
		return
	}
	ch, reqs, err := nch.Accept()
	if err != nil {
		conn.Close()
		return
	}
	m := &flow.Meter{Moved: l.Moved}
	end := l.Begin(name, host, to, m)
	l.Go(func() { ssh.DiscardRequests(reqs) })
	Bridge(l.Life, l.Go, ch, conn, m)
	end()
}

// parseSocketTarget reads the payload of "direct-streamlocal@openssh.com" (OpenSSH's PROTOCOL §2.4).
func parseSocketTarget(payload []byte) (path string, err error) {
	var t struct {
		Path     string
		Reserved string
		Number   uint32
	}
	if ssh.Unmarshal(payload, &t) != nil {
		return "", errors.New("the destination cannot be read")
	}
	return t.Path, checkPath(t.Path)
}

// maxPath is what a socket's address holds on Linux, with its end (unix(7)).
const maxPath = 107

func checkPath(path string) error {
	if path == "" || len(path) > maxPath || strings.Contains(path, "\x00") || path[0] == '@' {
		return errors.New("the path of the socket is not valid")
	}
	return nil
}

// Socket serves a "direct-streamlocal@openssh.com" channel until both ways have ended.
func Socket(l *Login, nch ssh.NewChannel) {
	path, err := parseSocketTarget(nch.ExtraData())
	if err != nil {
		_ = nch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	conn, err := l.Worker.DialUnix(l.Life, path)
	if err != nil {
		_ = nch.Reject(ssh.ConnectionFailed, plain(err))
		return
	}
	ch, reqs, err := nch.Accept()
	if err != nil {
		conn.Close()
		return
	}
	m := &flow.Meter{Moved: l.Moved}
	end := l.BeginSocket(path, m)
	l.Go(func() { ssh.DiscardRequests(reqs) })
	Bridge(l.Life, l.Go, ch, conn, m)
	end()
}

func (l *Login) refuse(nch ssh.NewChannel, name string) {
	l.Refused(name, reason.Destination)
	_ = nch.Reject(ssh.Prohibited, reason.Destination.Line())
}

func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, err
}

// Bridge copies both ways until both have ended or life has; each end of data closes the other side's writing half.
// It closes ch and conn. run runs a goroutine that the server waits for.
func Bridge(life context.Context, run func(func()), ch ssh.Channel, conn net.Conn, m *flow.Meter) {
	stop := context.AfterFunc(life, func() {
		conn.Close()
		_ = ch.Close()
	})
	defer stop()
	done := make(chan struct{})
	run(func() {
		defer close(done)
		if flow.FromChannel(conn, ch, m) != nil {
			conn.Close() // nobody reads there any more
			return
		}
		if h, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = h.CloseWrite()
		}
	})
	if flow.ToChannel(ch, conn, m) == nil {
		_ = ch.CloseWrite()
		<-done
	}
	conn.Close()
	_ = ch.Close()
	<-done
}

// plain is a dial error without addresses.
func plain(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
