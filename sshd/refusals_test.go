//go:build linux

package sshd

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

func TestRefusalsDelayTheirSourceMoreAndMoreAndAreForgiven(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := newRefusals(func() time.Time { return now }, Limits{Refusals: 10, LoginGrace: 30 * time.Second})
	add := func(n int) {
		for range n {
			r.add("p1")
		}
	}
	want := func(when string, d time.Duration) {
		t.Helper()
		if got := r.delay("p1"); got != d {
			t.Errorf("%s: %s, want %s", when, got, d)
		}
	}
	want("never refused", 0)
	add(10)
	want("ten", 0)
	for _, ms := range []int{250, 500, 1000, 2000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000} {
		add(1)
		want("one more", time.Duration(ms)*time.Millisecond)
	}
	if d := r.delay("p2"); d != 0 {
		t.Errorf("another waits %s", d)
	}
	add(1000)
	want("a thousand more", 3*time.Second)
	now = now.Add(time.Minute - 2*forgiveTime)
	want("48 s later", 500*time.Millisecond)
	now = now.Add(2 * forgiveTime)
	want("a minute later", 0)
	now = now.Add(-time.Hour)
	want("by a clock that was set back", 3*time.Second)
	r.clear("p1")
	want("after a success", 0)
	add(10)
	want("ten after that", 0)
	for range 100 { // every six seconds for ten minutes
		now = now.Add(forgiveTime)
		add(1)
	}
	want("ten a minute", 0)

	none := newRefusals(func() time.Time { return now }, Limits{Refusals: -1, LoginGrace: 30 * time.Second})
	for range 100 {
		none.add("p1")
	}
	if d := none.delay("p1"); d != 0 || len(none.sources) != 0 {
		t.Errorf("switched off: %s, %v", d, none.sources)
	}
}

func TestSourcesThatWereRefusedAreBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := newRefusals(func() time.Time { return now }, Limits{Refusals: 10, LoginGrace: 30 * time.Second})
	for range 15 {
		r.add("worst")
	}
	for i := range maxSources + 500 {
		r.add(fmt.Sprint(i))
	}
	if len(r.sources) != maxSources || r.delay("worst") == 0 {
		t.Errorf("%d sources, the worst waits %s", len(r.sources), r.delay("worst"))
	}
	now = now.Add(forgiveTime)
	r.add("new")
	if len(r.sources) != 2 { // with the worst
		t.Errorf("%d sources are left of those that are forgiven", len(r.sources))
	}
}

// A source whose sign-ins are refused again and again waits for its next handshake. The others do not, a success ends
// it, and a server that closes waits for nobody.
func TestOftenRefusedSourceWaitsAlone(t *testing.T) {
	now := time.Now()
	l := newLabWith(t, func(cfg *Config) {
		asInService(cfg) // a source that waits hangs up at the end only
		cfg.Limits.Refusals, cfg.Limits.LoginGrace = 2, 10*time.Minute
		cfg.Now = func() time.Time { return now } // nothing is forgiven meanwhile
	})
	from := func(id string) {
		f := func() api.Peer { return api.Peer{ID: id, Name: id} }
		l.peer.Store(&f)
	}
	ann := l.login("ann", 0)
	id := filepath.Join(l.dir, "id-ann")
	plain := l.config("plain", id, "CertificateFile none")
	if err := os.Rename(id+"-cert.pub", id+"-kept"); err != nil { // which ssh finds by itself
		t.Fatal(err)
	}
	refuse := func() {
		t.Helper()
		if got := l.ssh(plain, "web-1", "true"); got.exit != 255 || !strings.Contains(got.stderr, reason.TokenMissing.Line()) {
			t.Fatalf("%+v", got)
		}
	}
	waits := func() time.Duration { return l.srv.refusals.delay("pclient") }
	from("pclient")
	for range 3 {
		refuse()
	}
	eventually(t, "a delay", func() bool { return waits() > 200*time.Millisecond })
	begun := time.Now()
	if got := l.ssh(plain, "web-1", "true"); got.exit != 255 || time.Since(begun) < 200*time.Millisecond {
		t.Errorf("refused after %s: %+v", time.Since(begun), got)
	}
	if err := os.Rename(id+"-kept", id+"-cert.pub"); err != nil {
		t.Fatal(err)
	}
	if got := l.ssh(ann, "web-1", "echo in"); got.stdout != "in\n" {
		t.Fatalf("%+v", got)
	}
	if d := waits(); d != 0 {
		t.Errorf("waits %s after a success", d)
	}

	for range 2 + overMost {
		l.srv.refusals.add("pclient")
	}
	if d := waits(); d < 30*time.Second {
		t.Fatalf("waits %s only", d)
	}
	held, err := net.Dial("tcp", l.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	eventually(t, "the connection", func() bool { l.srv.mu.Lock(); defer l.srv.mu.Unlock(); return l.srv.waiting == 1 })
	from("pother")
	if got := l.ssh(ann, "web-1", "echo in"); got.stdout != "in\n" {
		t.Fatalf("another source: %+v", got)
	}
	_ = held.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := held.Read(make([]byte, 1)); n != 0 || !os.IsTimeout(err) {
		t.Errorf("the source that waits was greeted: %d, %v", n, err)
	}
	begun = time.Now()
	l.srv.Close()
	if d := time.Since(begun); d > 25*time.Second {
		t.Errorf("the server waited %s for it", d)
	}
}

// Who hangs up before they tried anything, is slow at the prompt or is refused for what ails the server does not wait.
func TestOnlyAttemptsThatAreRefusedCount(t *testing.T) {
	for _, c := range []struct {
		name  string
		c     *conn
		tries int
		want  bool
	}{
		{"hung up before", &conn{}, 0, false},
		{"a password", &conn{}, 1, true},
		{"a key of their own", &conn{told: reason.TokenMissing}, 1, true},
		{"a key of their own, then slow at the prompt", &conn{told: reason.TokenMissing, prompted: true}, 2, false},
		{"no sign-in at the prompt", &conn{told: reason.SignInExpired, prompted: true}, 1, false},
		{"hung up at the prompt", &conn{prompted: true}, 1, false},
		{"signed in at the prompt as somebody without a rule", &conn{told: reason.NoRule, prompted: true}, 1, true},
		{"no rule", &conn{told: reason.NoRule}, 1, true},
		{"a closed machine", &conn{told: reason.NoLogins}, 1, false},
		{"a full disk", &conn{told: reason.AuditFull}, 1, false},
		{"the server closed", &conn{told: reason.NoRule, ended: reason.Shutdown}, 1, false},
	} {
		if got := c.c.guessed(c.tries); got != c.want {
			t.Errorf("%s: counts %v, want %v", c.name, got, c.want)
		}
	}
	// Real ones: bytes that are no SSH, and a client that asks for nothing but the methods.
	l := newLab(t)
	for range 3 {
		nc := l.tcp()
		fmt.Fprint(nc, "SSH-2.0-x\r\nrubbish")
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, nc) // until the server has had it, and hangs up
		nc.Close()
		nc = l.tcp()
		_, _, _, err := ssh.NewClientConn(nc, "", &ssh.ClientConfig{User: l.account.Name, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		if err == nil {
			t.Fatal("came in with nothing")
		}
		nc.Close()
	}
	eventually(t, "their end", func() bool { return !l.srv.Busy() })
	l.srv.refusals.mu.Lock()
	defer l.srv.refusals.mu.Unlock()
	if n := len(l.srv.refusals.sources); n != 0 {
		t.Errorf("%d sources were refused", n)
	}
}
