package logind

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Request is a session to be.
type Request struct {
	Uid        uint32
	Leader     int    // process that becomes the session's first; it moves into the session's control group
	TTY        string // "" without a terminal
	RemoteHost string
	Service    string
}

// Session is one that the login manager knows.
type Session struct {
	ID         string
	RuntimeDir string
	close      func()
}

// Close says that the session is over. What still runs in it, does as logind.conf(5) says.
func (s *Session) Close() {
	if s.close != nil {
		s.close()
	}
}

// ErrNone says that no login manager runs here.
var ErrNone = errors.New("no login manager (systemd-logind) runs on this machine")

// ErrSlow says that the login manager does not answer.
var ErrSlow = errors.New("systemd-logind does not answer; look at 'systemctl status systemd-logind'. Sessions begin without it")

// ErrExisting says that the process belongs to a session of somebody's already, as where the service was started by hand.
var ErrExisting = errors.New("the service runs in a person's login session, so sessions have none of their own; start it with 'systemctl start lanyard'")

// wait is how long a session waits for the login manager.
const wait = 1500 * time.Millisecond

// Manager is the login manager, asked over one connection to the system's bus, which is made when it is needed.
type Manager struct {
	address string // of the bus
	marker  string // exists while the login manager runs
	wait    time.Duration

	mu     sync.Mutex // guards the rest
	conn   *dbus.Conn
	failed time.Time // when the bus could not be reached last
	late   int       // questions that nobody waits for any more
	closed bool
	wg     sync.WaitGroup
}

// Open looks for nothing yet.
func Open() *Manager {
	// sd_booted(3) and what pam_systemd looks at.
	return &Manager{address: "unix:path=/run/dbus/system_bus_socket", marker: "/run/systemd/seats", wait: wait}
}

// Runs reports whether a login manager runs here.
func (m *Manager) Runs() bool {
	_, err := os.Stat(m.marker)
	return err == nil
}

const (
	service = "org.freedesktop.login1"
	object  = "/org/freedesktop/login1"
	manager = "org.freedesktop.login1.Manager"
)

// Create makes a session, which takes root. It waits for a moment only (ErrSlow); a session that is made after that is
// over at once, and while an answer is outstanding nobody else waits.
func (m *Manager) Create(r Request) (*Session, error) {
	conn, err := m.connect()
	if err != nil {
		return nil, err
	}
	// org.freedesktop.login1(5), CreateSession: uid, pid, service, type, class, desktop, seat, vtnr, tty, display, remote,
	// remote_user, remote_host, properties of the scope.
	type property struct {
		Name  string
		Value dbus.Variant
	}
	answer := make(chan *dbus.Call, 1)
	conn.Object(service, object).Go(manager+".CreateSession", 0, answer,
		r.Uid, uint32(r.Leader), r.Service, "tty", "user", "", "", uint32(0), r.TTY, "", r.RemoteHost != "", "", r.RemoteHost,
		[]property{})
	timer := time.NewTimer(m.wait)
	defer timer.Stop()
	select {
	case c := <-answer:
		s, err := m.made(conn, c)
		if err != nil {
			m.drop(conn)
		}
		return s, err
	case <-timer.C:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late++
	m.wg.Go(func() { // ends at the latest when the connection does
		c := <-answer
		if s, err := m.made(conn, c); err == nil {
			s.Close()
		}
		m.mu.Lock()
		m.late--
		m.mu.Unlock()
	})
	return nil, ErrSlow
}

// made reads the answer: id, object, runtime folder, descriptor, uid, seat, vtnr, whether it existed.
func (m *Manager) made(conn *dbus.Conn, c *dbus.Call) (*Session, error) {
	if c.Err != nil {
		return nil, fmt.Errorf("ask systemd-logind for a session: %w", c.Err)
	}
	var s Session
	var path dbus.ObjectPath
	var fifo dbus.UnixFD
	var uid, vtnr uint32
	var seat string
	var existing bool
	if err := c.Store(&s.ID, &path, &s.RuntimeDir, &fifo, &uid, &seat, &vtnr, &existing); err != nil {
		return nil, fmt.Errorf("read systemd-logind's answer: %w", err)
	}
	if existing { // somebody's, which is not ours to end
		unix.Close(int(fifo))
		return nil, ErrExisting
	}
	unix.CloseOnExec(int(fifo))
	var once sync.Once
	s.close = func() {
		once.Do(func() {
			// The session lasts as long as somebody holds the descriptor. To release it says the same at once.
			conn.Object(service, object).Go(manager+".ReleaseSession", dbus.FlagNoReplyExpected, nil, s.ID)
			unix.Close(int(fifo))
		})
	}
	return &s, nil
}

// connect returns the connection, a new one when the last was lost.
func (m *Manager) connect() (*dbus.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed || !m.Runs():
		return nil, ErrNone
	case m.late > 0:
		return nil, ErrSlow
	case m.conn != nil && m.conn.Connected():
		return m.conn, nil
	case time.Since(m.failed) < pause:
		return nil, ErrSlow
	}
	m.failed = time.Now()
	c, err := dbus.Dial(m.address)
	if err != nil {
		return nil, fmt.Errorf("reach the system's D-Bus: %w", err)
	}
	if err := join(c, m.wait); err != nil {
		c.Close()
		return nil, fmt.Errorf("sign in to the system's D-Bus: %w", err)
	}
	m.conn, m.failed = c, time.Time{}
	return c, nil
}

// pause is how long a bus that cannot be reached is left alone: the sessions of that time do not wait for it.
const pause = 10 * time.Second

// join signs in to the bus; what it waits for is the bus alone, which a limit on the connection's life bounds.
func join(c *dbus.Conn, limit time.Duration) error {
	stop := time.AfterFunc(limit, func() { c.Close() })
	defer stop.Stop()
	if err := c.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(os.Geteuid()))}); err != nil {
		return err
	}
	return c.Hello()
}

// drop forgets a connection that was lost.
func (m *Manager) drop(c *dbus.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == c && !c.Connected() {
		m.conn = nil
	}
}

// Close ends the connection. Sessions last: their descriptors say for how long.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	c := m.conn
	m.conn = nil
	m.mu.Unlock()
	var err error
	if c != nil {
		err = c.Close()
	}
	m.wg.Wait()
	return err
}
