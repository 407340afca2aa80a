package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/sshd/flow"
	"lanyard/sshd/forward"
)

// maxListeners is how many listeners (-R, agent, X11) a connection may have.
const maxListeners = 128

// requests answers the client's global requests, in their order (RFC 4254 §4).
func (c *conn) requests(life context.Context, g *grant, reqs <-chan *ssh.Request) {
	for r := range reqs {
		var ok bool
		var reply []byte
		switch r.Type {
		case "no-more-sessions@openssh.com":
			c.noMore.Store(true)
		case "tcpip-forward":
			ok, reply = c.listen(life, g, r.Payload)
		case "cancel-tcpip-forward":
			if req, err := forward.ParseListen(r.Payload); err == nil {
				ok = c.cancel(listenKey(req.Host, req.Port))
			}
		case "streamlocal-forward@openssh.com":
			ok = c.listenSocket(life, g, r.Payload)
		case "cancel-streamlocal-forward@openssh.com":
			if path, err := forward.ParseSocketListen(r.Payload); err == nil {
				ok = c.cancel(path)
			}
		}
		// keepalive@openssh.com wants any answer.
		if r.WantReply {
			_ = r.Reply(ok, reply)
		}
	}
}

// listenKey names a listener as the client does, who cancels it by that name.
func listenKey(host string, port uint32) string { return fmt.Sprintf("%s %d", host, port) }

// carrier says how connections of a listener reach the client.
type carrier struct {
	what    api.Capability
	target  string // for the audit
	granted func(policy.Decision) bool
	channel string // its type
	payload func(net.Conn) []byte
	single  bool // one connection only
}

// serveListeners takes connections of ls until life ends or cut is called, and calls done once it listens no more.
func (c *conn) serveListeners(life context.Context, g *grant, ls []net.Listener, by carrier, done func()) (cut func()) {
	listening, stop := context.WithCancel(life)
	end := c.opened(g, &forwarded{what: by.what, granted: by.granted, cut: stop}, by.target, "listening", nil)
	var accepting sync.WaitGroup
	for _, l := range ls {
		accepting.Add(1)
		c.s.run(func() {
			defer accepting.Done()
			for {
				nc, err := l.Accept()
				if err != nil {
					stop()
					return
				}
				c.s.run(func() { c.carry(life, g, nc, by) })
				if by.single {
					stop()
				}
			}
		})
	}
	c.s.run(func() {
		<-listening.Done()
		for _, l := range ls {
			l.Close()
		}
		accepting.Wait()
		done()
		end()
	})
	return stop
}

// carry opens a channel to the client for a connection, and copies.
func (c *conn) carry(life context.Context, g *grant, nc net.Conn, by carrier) {
	defer nc.Close()
	if !c.take() {
		return
	}
	defer c.give()
	ch, reqs, err := c.openChannel(life, by.channel, by.payload(nc))
	if err != nil {
		return
	}
	c.s.run(func() { ssh.DiscardRequests(reqs) })
	life, cut := context.WithCancel(life)
	defer cut()
	m := &flow.Meter{Moved: c.moved}
	detail := ""
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		detail = "from " + a.String()
	}
	end := c.opened(g, &forwarded{what: by.what, granted: by.granted, cut: cut}, by.target, detail, m)
	forward.Bridge(life, c.s.run, ch, nc, m)
	end()
}

// openChannel is x/crypto's OpenChannel until life ends. One that begins while the connection ends may never return (its
// mux closes the channels that it knows, and this one is noted after that), so nobody waits for it.
func (c *conn) openChannel(life context.Context, kind string, payload []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type answer struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		ch, reqs, err := c.sc.OpenChannel(kind, payload)
		answered <- answer{ch, reqs, err}
	}()
	select {
	case a := <-answered:
		return a.ch, a.reqs, a.err
	case <-life.Done():
		go func() {
			if a := <-answered; a.err == nil {
				a.ch.Close()
				ssh.DiscardRequests(a.reqs)
			}
		}()
		return nil, nil, life.Err()
	}
}

// take counts one more channel, unless there are too many or the session ends.
func (c *conn) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.s.cfg.Limits.Channels || c.ended != "" {
		return false
	}
	c.open++
	return true
}

func (c *conn) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// reserve takes a name for a listener; false: there is one of that name, or there are too many.
func (c *conn) reserve(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.listeners[name]; ok || len(c.listeners) >= maxListeners {
		return false
	}
	if c.listeners == nil {
		c.listeners = make(map[string]func())
	}
	c.listeners[name] = func() {}
	return true
}

func (c *conn) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listeners, name)
}

// cancel ends a listener. Connections that it has taken go on, as with OpenSSH.
func (c *conn) cancel(name string) bool {
	c.mu.Lock()
	cut := c.listeners[name]
	delete(c.listeners, name)
	c.mu.Unlock()
	if cut == nil {
		return false
	}
	cut()
	return true
}

// originOf is where a connection comes from, as the client is told.
func originOf(nc net.Conn) (host string, port uint32) {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().String(), uint32(a.Port)
	}
	return "127.0.0.1", 0
}

// listen is "tcpip-forward" (RFC 4254 §7.1).
func (c *conn) listen(life context.Context, g *grant, payload []byte) (ok bool, reply []byte) {
	req, err := forward.ParseListen(payload)
	if err != nil || !c.may(g, api.CapForwardRemote) {
		return false, nil
	}
	asked := net.JoinHostPort(req.Host, fmt.Sprint(req.Port))
	addrs := forward.Addresses(life, req.Host, func(a netip.Addr) bool {
		return c.decision(g).ListenAllowed(a, uint16(req.Port))
	})
	if len(addrs) == 0 {
		c.refuseForward(g, api.CapForwardRemote, asked, reason.Destination)
		return false, nil
	}
	ls, err := c.worker.ListenAll(life, addrs, uint16(req.Port))
	if err != nil {
		c.s.cfg.Log.Info("cannot listen for a client", "session", c.id, "user", g.user, "at", asked, "err", err)
		return false, nil
	}
	var at []string
	for _, l := range ls {
		at = append(at, l.Addr().String())
	}
	port := uint32(ls[0].Addr().(*net.TCPAddr).Port)
	by := carrier{
		what: api.CapForwardRemote, target: strings.Join(at, " "), channel: "forwarded-tcpip",
		granted: func(d policy.Decision) bool {
			for _, a := range addrs {
				if !d.ListenAllowed(a, uint16(req.Port)) {
					return false
				}
			}
			return true
		},
		payload: func(nc net.Conn) []byte {
			host, from := originOf(nc)
			return ssh.Marshal(struct {
				Host   string
				Port   uint32
				Origin string
				From   uint32
			}{req.Host, port, host, from})
		},
	}
	if !c.serveNamed(life, g, listenKey(req.Host, port), ls, by, func() {}) {
		return false, nil
	}
	if req.Port == 0 {
		reply = ssh.Marshal(struct{ Port uint32 }{port})
	}
	return true, reply
}

// serveNamed serves listeners that the client can cancel.
func (c *conn) serveNamed(life context.Context, g *grant, name string, ls []net.Listener, by carrier, done func()) bool {
	if !c.reserve(name) {
		for _, l := range ls {
			l.Close()
		}
		return false
	}
	stop := c.serveListeners(life, g, ls, by, func() {
		c.drop(name)
		done()
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.listeners[name]; ok { // it has not ended already
		c.listeners[name] = stop
	}
	return true
}

// listenSocket is "streamlocal-forward@openssh.com".
func (c *conn) listenSocket(life context.Context, g *grant, payload []byte) bool {
	path, err := forward.ParseSocketListen(payload)
	if err != nil || !c.may(g, api.CapSockets) {
		return false
	}
	l, err := c.worker.ListenUnix(life, path)
	if err != nil {
		c.s.cfg.Log.Info("cannot listen for a client", "session", c.id, "user", g.user, "at", path, "err", err)
		return false
	}
	return c.serveNamed(life, g, path, []net.Listener{l}, carrier{
		what: api.CapSockets, target: path, channel: "forwarded-streamlocal@openssh.com",
		payload: func(net.Conn) []byte {
			return ssh.Marshal(struct{ Path, Reserved string }{path, ""})
		},
	}, func() { c.worker.Remove(path) })
}

// agent makes the socket of the connection's agent once, and returns its path.
func (c *conn) agent(life context.Context, g *grant) (string, error) {
	c.agentMu.Lock()
	defer c.agentMu.Unlock()
	c.mu.Lock()
	path := c.agentPath
	c.mu.Unlock()
	if path != "" {
		return path, nil
	}
	if !c.may(g, api.CapAgent) {
		return "", errNotGranted
	}
	l, path, err := c.worker.Agent(life)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	c.agentPath = path
	c.mu.Unlock()
	c.serveListeners(life, g, []net.Listener{l}, carrier{
		what: api.CapAgent, target: path, channel: "auth-agent@openssh.com", payload: func(net.Conn) []byte { return nil },
	}, func() {
		c.mu.Lock()
		c.agentPath = ""
		c.mu.Unlock()
		c.worker.Remove(path)
	})
	return path, nil
}

var errNotGranted = errors.New("the rule does not grant it")

// x11 listens for programs of a session that draw on the client's screen.
func (c *conn) x11(life context.Context, g *grant, single bool) (display int, end func(), err error) {
	if !c.may(g, api.CapX11) {
		return 0, nil, errNotGranted
	}
	ls, display, err := c.worker.X11(life)
	if err != nil {
		return 0, nil, err
	}
	stop := c.serveListeners(life, g, ls, carrier{
		what: api.CapX11, target: fmt.Sprintf("display %d", display), channel: "x11", single: single,
		payload: func(nc net.Conn) []byte {
			host, port := originOf(nc)
			return ssh.Marshal(struct {
				Origin string
				Port   uint32
			}{host, port})
		},
	}, func() {})
	return display, stop, nil
}
