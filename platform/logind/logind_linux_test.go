package logind

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// fake is a login manager on a bus of the test's own.
type fake struct {
	existing bool // the process is in a session already
	asked    chan []any
	released chan string
	hold     chan struct{} // answers come when it closes
	ends     chan *os.File // the other end of each session's descriptor
	mine     chan int      // the fake's copy of the descriptor, which the library does not close once it is sent
}

type property struct {
	Name  string
	Value dbus.Variant
}

func (f *fake) CreateSession(uid, pid uint32, service, kind, class, desktop, seat string, vtnr uint32, tty, display string, remote bool, user, host string, _ []property) (string, dbus.ObjectPath, string, dbus.UnixFD, uint32, string, uint32, bool, *dbus.Error) {
	f.asked <- []any{uid, pid, service, kind, class, tty, remote, host}
	<-f.hold
	r, w, err := os.Pipe()
	if err != nil {
		return "", "/", "", 0, 0, "", 0, false, dbus.MakeFailedError(err)
	}
	f.ends <- r
	fd, _ := unix.Dup(int(w.Fd()))
	w.Close()
	f.mine <- fd
	return "7", "/org/freedesktop/login1/session/_7", "/run/user/5", dbus.UnixFD(fd), uid, "", 0, f.existing, nil
}

func (f *fake) ReleaseSession(id string) *dbus.Error {
	unix.Close(<-f.mine)
	f.released <- id
	return nil
}

// start starts a bus with a fake login manager on it.
func start(t *testing.T) (*Manager, *fake) {
	t.Helper()
	dir := t.TempDir()
	bus := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address", "--address=unix:path="+filepath.Join(dir, "bus"))
	out, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bus.Process.Kill(); _ = bus.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{asked: make(chan []any, 9), released: make(chan string, 9), hold: make(chan struct{}), ends: make(chan *os.File, 9), mine: make(chan int, 9)}
	c, err := dbus.Connect(strings.TrimSpace(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Export(f, object, manager); err != nil {
		t.Fatal(err)
	}
	if r, err := c.RequestName(service, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	m := Open()
	m.address, m.marker, m.wait = strings.TrimSpace(address), dir, time.Minute
	t.Cleanup(func() { m.Close() })
	return m, f
}

// over waits until nobody holds a session's descriptor any more.
func over(t *testing.T, f *fake) {
	t.Helper()
	r := <-f.ends
	defer r.Close()
	_ = r.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := r.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the session's descriptor is still open: %d %v", n, err)
	}
}

func TestSessionLastsUntilItIsClosed(t *testing.T) {
	m, f := start(t)
	close(f.hold)
	s, err := m.Create(Request{Uid: 5, Leader: 99, TTY: "pts/3", RemoteHost: "100.64.0.1", Service: "lanyard"})
	if err != nil || s.ID != "7" || s.RuntimeDir != "/run/user/5" {
		t.Fatalf("%+v %v", s, err)
	}
	want := []any{uint32(5), uint32(99), "lanyard", "tty", "user", "pts/3", true, "100.64.0.1"}
	if got := <-f.asked; len(got) != len(want) {
		t.Fatal(got)
	} else {
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("asked %v, want %v", got, want)
			}
		}
	}
	select {
	case id := <-f.released:
		t.Errorf("released %s before its end", id)
	default:
	}
	s.Close()
	s.Close()
	if id := <-f.released; id != "7" {
		t.Errorf("released %s", id)
	}
	over(t, f)
}

// An older login manager answers with the session that the process is in already. It is not ended with ours.
func TestSessionOfSomebodyElseIsLeftAlone(t *testing.T) {
	m, f := start(t)
	f.existing = true
	close(f.hold)
	if s, err := m.Create(Request{Uid: 5, Leader: 99}); !errors.Is(err, ErrExisting) || s != nil {
		t.Fatalf("%+v %v", s, err)
	}
	if len(f.released) != 0 {
		t.Error("it was released")
	}
	unix.Close(<-f.mine)
	over(t, f)
}

func TestHungLoginManagerIsWaitedForOnce(t *testing.T) {
	m, f := start(t)
	if _, err := m.connect(); err != nil { // the bus answers, however long that takes
		t.Fatal(err)
	}
	m.wait = 200 * time.Millisecond
	if s, err := m.Create(Request{Uid: 5, Leader: 99}); !errors.Is(err, ErrSlow) {
		t.Fatalf("%+v %v", s, err)
	}
	m.wait = time.Hour // the next one must not wait at all
	if s, err := m.Create(Request{Uid: 5, Leader: 100}); !errors.Is(err, ErrSlow) {
		t.Fatalf("%+v %v", s, err)
	}
	<-f.asked
	if len(f.asked) != 0 {
		t.Error("asked again")
	}
	// What comes too late ends at once, and then all is well again.
	close(f.hold)
	over(t, f)
	m.wait = time.Minute
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s, err := m.Create(Request{Uid: 5, Leader: 101})
		if err == nil {
			s.Close()
			over(t, f)
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestLostBusIsFoundAgain(t *testing.T) {
	m, f := start(t)
	close(f.hold)
	s, err := m.Create(Request{Uid: 5, Leader: 99})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	m.conn.Close()
	if s, err = m.Create(Request{Uid: 5, Leader: 99}); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestBusThatAnswersNobodyIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: dir + "/bus"}), unix.Listen(fd, 8)); err != nil {
		t.Fatal(err)
	}
	m := Open()
	m.address, m.marker, m.wait = "unix:path="+dir+"/bus", dir, 100*time.Millisecond
	defer m.Close()
	if s, err := m.Create(Request{}); err == nil {
		t.Fatalf("%+v", s)
	}
	m.wait = time.Hour
	if _, err := m.Create(Request{}); !errors.Is(err, ErrSlow) {
		t.Errorf("the second: %v", err)
	}
}

func TestNoLoginManagerIsNoFault(t *testing.T) {
	m := Open()
	m.marker = filepath.Join(t.TempDir(), "none")
	defer m.Close()
	if _, err := m.Create(Request{}); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}
