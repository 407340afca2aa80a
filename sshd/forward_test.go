//go:build linux

package sshd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

// echoServer answers with what it got, once the other side has ended.
func echoServer(t *testing.T, seen func(net.Conn)) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if seen != nil {
				seen(c)
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c)
				c.Write(b)
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

// freePort is a port of loopback that nobody listens at. It is below those that the system gives to whoever asks for any
// (ip_local_port_range begins at 32768), so that nobody is given it before it is used.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 20000 + mathrand.IntN(12000)
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func TestLocalForward(t *testing.T) {
	l := newLab(t)
	uid := make(chan string, 1)
	port := echoServer(t, func(c net.Conn) { uid <- ownerOf(c.RemoteAddr(), c.LocalAddr()) })
	l.setMap(func(s *State) { s.Map.Rules[0].ForwardTo = []string{fmt.Sprintf("127.0.0.1:%d", port)} })
	here, refused := freePort(t), freePort(t)
	s := l.start(l.tool("ssh", l.login("ann", 0), "-N",
		"-L", fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", here, port),
		"-L", fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", refused, port+1), "web-1"))
	var c net.Conn
	eventually(t, "listener", func() (ok bool) {
		var err error
		c, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", here))
		return err == nil
	})
	defer c.Close()
	b := make([]byte, 3<<20)
	rand.Read(b)
	go func() { c.Write(b); c.(*net.TCPConn).CloseWrite() }()
	c.SetReadDeadline(time.Now().Add(waitTime))
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d of %d bytes, %v", len(got), len(b), err)
	}
	if got := <-uid; got != l.account.UID {
		t.Errorf("the connection belongs to uid %s, not %s", got, l.account.UID)
	}
	d, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", refused))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	eventually(t, "refusal", func() bool {
		r := l.recorded(audit.Refused)
		return len(r) == 1 && r[0].Reason == reason.Destination && r[0].Target == fmt.Sprintf("127.0.0.1:%d", port+1)
	})
	eventually(t, "end of the forward", func() bool {
		e := l.recorded(audit.ChannelEnd)
		return len(e) == 1 && e[0].BytesIn == int64(len(b)) && e[0].BytesOut == int64(len(b))
	})
	eventually(t, "message", func() bool { return strings.Contains(s.stderr(), "[destination]") })
	s.Process.Kill()
}

// ownerOf is the uid that the kernel shows for the socket between these two (proc_net(5)). A port alone says nothing: others
// of this machine may use the same one towards elsewhere.
func ownerOf(local, remote net.Addr) string {
	port := func(a net.Addr) string { return fmt.Sprintf(":%04X", a.(*net.TCPAddr).Port) }
	b, _ := os.ReadFile("/proc/net/tcp")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 7 && strings.HasSuffix(f[1], port(local)) && strings.HasSuffix(f[2], port(remote)) {
			return f[7]
		}
	}
	return ""
}

func TestForwardingNeedsItsCapability(t *testing.T) {
	l := newLab(t)
	port := echoServer(t, nil)
	l.setMap(func(s *State) { s.Map.Rules[0].Can = []api.Capability{api.CapShell, api.CapExec} })
	c := l.dial("ann")
	defer c.Close()
	if _, err := c.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil || !strings.Contains(err.Error(), "[capability]") {
		t.Errorf("%v", err)
	}
}

func TestForwardsEndWithTheSession(t *testing.T) {
	l := newLab(t)
	port := echoServer(t, nil)
	c := l.dial("ann")
	defer c.Close()
	f, err := c.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	l.setMap(block("ann"))
	l.srv.Changed()
	if _, err := f.Read(make([]byte, 1)); err == nil {
		t.Error("the forward is open")
	}
	c.Wait()
	eventually(t, "end of the session in the list", func() bool { return len(l.srv.Sessions()) == 0 })
}
