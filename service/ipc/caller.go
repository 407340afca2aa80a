package ipc

import (
	"context"
	"net"
	"net/http"
	"sync"

	"lanyard/platform/peercred"
)

// Account is a local account by name, for people, and by uid or SID, which decides.
type Account struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// Access says who may do more than look.
type Access struct {
	Operator Account   // may change things, as root and administrators may; empty: nobody else
	Connect  []Account // may open connections in userspace mode
}

// Who is a caller as the kernel knows it.
type Who struct {
	Account
	Class Class
}

// classify sorts a caller. An empty id never equals anyone's.
func (a Access) classify(id string, admin bool) Class {
	switch {
	case admin, id != "" && id == a.Operator.ID:
		return ClassChange
	}
	for _, c := range a.Connect {
		if id != "" && id == c.ID {
			return ClassConnect
		}
	}
	return ClassStatus
}

func (c Class) rank() int {
	switch c {
	case ClassChange:
		return 2
	case ClassConnect:
		return 1
	}
	return 0
}

// maxPerCaller bounds one account's open connections, so that it cannot keep others out. Administrators have no bound.
const maxPerCaller = 128

// credListener reads each caller's credentials when the connection arrives, before it said anything.
type credListener struct {
	net.Listener

	mu   sync.Mutex
	open map[string]int // connections per account id
}

type credConn struct {
	net.Conn
	cred peercred.Cred
	done func()
	once sync.Once
}

func (l *credListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		cred, err := peercred.Of(conn)
		if err != nil { // gone already, or not local: there is nobody to answer
			conn.Close()
			continue
		}
		id := callerID(cred)
		l.mu.Lock()
		if l.open[id] >= maxPerCaller && !isAdmin(cred) {
			l.mu.Unlock()
			conn.Close()
			continue
		}
		l.open[id]++
		l.mu.Unlock()
		return &credConn{Conn: conn, cred: cred, done: func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.open[id]--; l.open[id] <= 0 {
				delete(l.open, id)
			}
		}}, nil
	}
}

func (c *credConn) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}

// CloseWrite passes an end of input on, where the connection can.
func (c *credConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

type credKey struct{}

func withCred(ctx context.Context, c net.Conn) context.Context {
	if cc, ok := c.(*credConn); ok {
		return context.WithValue(ctx, credKey{}, cc.cred)
	}
	return ctx
}

// who tells who sent r, by today's access list: a connection that was opened earlier gains and loses with it.
func who(r *http.Request, a Access) (Who, bool) {
	cred, ok := r.Context().Value(credKey{}).(peercred.Cred)
	if !ok {
		return Who{}, false
	}
	id := callerID(cred)
	return Who{Account: Account{Name: accountName(cred), ID: id}, Class: a.classify(id, isAdmin(cred))}, true
}
