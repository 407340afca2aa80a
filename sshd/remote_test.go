//go:build linux

package sshd

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

// reaches waits until something listens at the address and returns a connection to it.
func reaches(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	eventually(t, "listener at "+addr, func() bool {
		var err error
		c, err = net.Dial(network, addr)
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// listens reports whether something listens at a port.
func listens(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// echoes sends bytes through c and wants them back.
func echoes(t *testing.T, c net.Conn, size int) {
	t.Helper()
	b := make([]byte, size)
	rand.Read(b)
	go func() {
		c.Write(b)
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	c.SetReadDeadline(time.Now().Add(waitTime))
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(b), err)
	}
}

// echoSocket is echoServer on a Unix socket that everybody may use.
func echoSocket(t *testing.T, path string) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

// ownerOfListener is the uid of the socket that listens at this port of an IPv4 address.
func ownerOfListener(port int) string {
	b, _ := os.ReadFile("/proc/net/tcp")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 7 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "0A" {
			return f[7]
		}
	}
	return ""
}

func TestRemoteForward(t *testing.T) {
	l := newLab(t)
	port, there := echoServer(t, nil), freePort(t)
	s := l.start(l.tool("ssh", l.login("ann", 0), "-N", "-R", fmt.Sprintf("%d:127.0.0.1:%d", there, port), "web-1"))
	echoes(t, reaches(t, "tcp", fmt.Sprintf("127.0.0.1:%d", there)), 3<<20)
	if got := ownerOfListener(there); got != l.account.UID {
		t.Errorf("the listener belongs to uid %q, not %s", got, l.account.UID)
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("[::1]:%d", there)); err != nil {
		t.Error("no listener on IPv6 loopback:", err)
	} else {
		c.Close()
	}
	starts := l.recorded(audit.ChannelStart)
	if len(starts) < 2 || starts[0].What != "forward-remote" || starts[0].Detail != "listening" ||
		starts[0].Target != fmt.Sprintf("127.0.0.1:%d [::1]:%d", there, there) || !strings.HasPrefix(starts[1].Detail, "from 127.0.0.1:") {
		t.Errorf("%+v", starts)
	}
	s.Process.Kill()
	eventually(t, "end of the listener", func() bool { return !listens(fmt.Sprintf("127.0.0.1:%d", there)) })
	eventually(t, "end in the audit", func() bool { return len(l.recorded(audit.ChannelEnd)) == len(l.recorded(audit.ChannelStart)) })
	moved := false
	for _, e := range l.recorded(audit.ChannelEnd) {
		moved = moved || e.BytesIn == 3<<20 && e.BytesOut == 3<<20
	}
	if !moved {
		t.Errorf("%+v", l.recorded(audit.ChannelEnd))
	}
}

func TestRemoteForwardToAPortOfTheServersChoice(t *testing.T) {
	l := newLab(t)
	port := echoServer(t, nil)
	s := l.start(l.tool("ssh", l.login("ann", 0), "-N", "-R", fmt.Sprintf("0:127.0.0.1:%d", port), "web-1"))
	var there int
	eventually(t, "port", func() bool {
		_, rest, _ := strings.Cut(s.stderr(), "Allocated port ")
		n, _ := fmt.Sscanf(rest, "%d", &there)
		return n == 1
	})
	echoes(t, reaches(t, "tcp", fmt.Sprintf("127.0.0.1:%d", there)), 1000)
	s.Process.Kill()
}

func TestRemoteForwardStaysOnLoopbackUnlessTheRuleSaysOtherwise(t *testing.T) {
	for on, want := range map[string]string{"": "127.0.0.1", "*:*": "0.0.0.0"} {
		l := newLab(t)
		l.setMap(func(s *State) { s.Map.Rules[0].Listen = strings.Fields(on) })
		c := l.dial("ann")
		ln, err := c.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		starts := l.recorded(audit.ChannelStart)
		if len(starts) != 1 || !strings.HasPrefix(starts[0].Target, want+":") {
			t.Errorf("%q: listens at %+v", on, starts)
		}
		ln.Close()
		c.Close()
	}
	l := newLab(t)
	l.setMap(func(s *State) { s.Map.Rules[0].Listen = []string{"192.0.2.1:*"} })
	c := l.dial("ann")
	defer c.Close()
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("a listener that the rule does not grant")
	}
	if r := l.recorded(audit.Refused); len(r) != 1 || r[0].Reason != reason.Destination || r[0].What != "forward-remote" {
		t.Errorf("%+v", r)
	}
}

func TestOnlyRootListensAtPrivilegedPorts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to show that its rights are not used")
	}
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	if ln, err := c.Listen("tcp", "127.0.0.1:1009"); err == nil {
		ln.Close()
		t.Error("an ordinary account listens at port 1009")
	}
}

func TestCancelEndsAListener(t *testing.T) {
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	at := fmt.Sprintf("127.0.0.1:%d", freePort(t)) // which nobody is given before it is listened at again
	ln, err := c.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, "tcp", at)
	ln.Close()
	eventually(t, "end of the listener", func() bool { return !listens(at) })
	if again, err := c.Listen("tcp", at); err != nil {
		t.Error("the address is not free again:", err)
	} else {
		again.Close()
	}
	if ok, _, _ := c.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(struct {
		H string
		P uint32
	}{"127.0.0.1", 1})); ok {
		t.Error("what never listened was cancelled")
	}
}

func TestCapabilityTakenAwayEndsListenersAndTheirConnections(t *testing.T) {
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	ln, err := c.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	outside := reaches(t, "tcp", ln.Addr().String())
	if _, err := ln.Accept(); err != nil {
		t.Fatal(err)
	}
	l.setMap(without(api.CapForwardRemote))
	if ended := l.srv.Changed(); len(ended) != 0 {
		t.Errorf("%v ended", ended)
	}
	outside.SetReadDeadline(time.Now().Add(waitTime))
	if _, err := outside.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the connection is open: %v", err)
	}
	eventually(t, "end of the listener", func() bool { return !listens(ln.Addr().String()) })
	eventually(t, "ends in the audit", func() bool {
		ends := l.recorded(audit.ChannelEnd)
		return len(ends) >= 2 && ends[0].Reason == reason.Capability && ends[1].Reason == reason.Capability
	})
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("listens without the capability")
	}
}

func TestUnixSocketsBothWays(t *testing.T) {
	l := newLab(t)
	far, near := filepath.Join(l.dir, "far"), filepath.Join(l.dir, "near")
	echoSocket(t, far)
	back, target := filepath.Join(l.home, "back"), filepath.Join(l.dir, "target")
	echoSocket(t, target)
	s := l.start(l.tool("ssh", l.login("ann", 0), "-N", "-L", near+":"+far, "-R", back+":"+target, "web-1"))
	echoes(t, reaches(t, "unix", near), 1<<20)
	echoes(t, reaches(t, "unix", back), 1<<20)
	st, err := os.Stat(back)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 || fmt.Sprint(st.Sys().(*syscall.Stat_t).Uid) != l.account.UID {
		t.Errorf("the socket is %v, of uid %d", st.Mode(), st.Sys().(*syscall.Stat_t).Uid)
	}
	s.Process.Kill()
	eventually(t, "the socket to be removed", func() bool { _, err := os.Lstat(back); return os.IsNotExist(err) })
}

func TestUnixSocketsAreTheAccounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: without, every socket is the test's own")
	}
	l := newLab(t)
	secret := filepath.Join(l.dir, "secret")
	echoSocket(t, secret)
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	c := l.dial("ann")
	defer c.Close()
	if nc, err := c.Dial("unix", secret); err == nil {
		nc.Close()
		t.Error("a socket of root's was opened for ann")
	}
	if ln, err := c.ListenUnix(filepath.Join(l.dir, "mine")); err == nil { // the folder is root's
		ln.Close()
		t.Error("a socket was made where ann may not write")
	}
	if err := os.WriteFile(filepath.Join(l.home, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if ln, err := c.ListenUnix(filepath.Join(l.home, "file")); err == nil {
		ln.Close()
		t.Error("a file was replaced")
	}
}

func TestAgentIsForwarded(t *testing.T) {
	l := newLab(t)
	sock := filepath.Join(l.dir, "agent")
	agent := l.tool("true", "")
	agent.Path, agent.Args = "/usr/bin/ssh-agent", []string{"ssh-agent", "-D", "-a", sock}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Process.Kill(); agent.Wait() })
	reaches(t, "unix", sock)
	ann := l.login("ann", 0)
	add := l.tool("true", "")
	add.Path, add.Args = "/usr/bin/ssh-add", []string{"ssh-add", filepath.Join(l.dir, "id-ann")}
	add.Env = append(add.Env, "SSH_AUTH_SOCK="+sock)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	c := l.tool("ssh", ann, "-A", "-o", "IdentityAgent="+sock, "web-1",
		`ssh-add -l; stat -c "%a %u %F" "$SSH_AUTH_SOCK" "$(dirname "$SSH_AUTH_SOCK")"; echo "$SSH_AUTH_SOCK"`)
	got := l.run(c, "")
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if got.exit != 0 || len(lines) != 5 && len(lines) != 4 || !strings.Contains(lines[0], "ED25519") {
		t.Fatalf("%+v", got)
	}
	n := len(lines)
	if lines[n-3] != "600 "+l.account.UID+" socket" || lines[n-2] != "700 "+l.account.UID+" directory" {
		t.Errorf("%q", lines)
	}
	eventually(t, "the socket's folder to be removed", func() bool { _, err := os.Stat(filepath.Dir(lines[n-1])); return os.IsNotExist(err) })
	l.setMap(without(api.CapAgent))
	got = l.run(l.tool("ssh", ann, "-A", "-o", "IdentityAgent="+sock, "web-1", `echo "agent: $SSH_AUTH_SOCK"`), "")
	if got.stdout != "agent: \n" {
		t.Errorf("without the capability: %+v", got)
	}
}

func TestAgentSocketGoesWhenAccessEnds(t *testing.T) {
	inTime(t, func() time.Duration {
		l := newLabWith(t, asInService)
		c := l.dial("ann")
		defer c.Close()
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := s.SendRequest("auth-agent-req@openssh.com", true, nil); !ok {
			t.Fatal("no agent", err)
		}
		out, _ := s.StdoutPipe()
		if err := s.Start("echo $SSH_AUTH_SOCK; exec sleep 300"); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "/tmp/ssh-") {
			t.Fatalf("%q, %v", line, err)
		}
		folder := filepath.Dir(strings.TrimSpace(line))
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		at := time.Now()
		l.setMap(block("ann"))
		l.srv.Changed()
		for time.Since(at) <= 4*endTime { // later it may be nobody's: the process that removes it is not waited for long
			if _, err := os.Stat(folder); os.IsNotExist(err) {
				return time.Since(at)
			}
			time.Sleep(2 * time.Millisecond)
		}
		return 5 * endTime
	})
}

func TestX11IsForwarded(t *testing.T) {
	l := newLab(t)
	if _, err := os.Stat("/usr/bin/xauth"); err != nil {
		t.Skip("needs xauth")
	}
	c := l.dial("ann")
	defer c.Close()
	screens := c.HandleChannelOpen("x11")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	cookie := hex.EncodeToString([]byte("sixteen bytes!!!"))
	req := ssh.Marshal(struct {
		Single        bool
		Proto, Cookie string
		Screen        uint32
	}{false, "MIT-MAGIC-COOKIE-1", cookie, 0})
	if ok, err := s.SendRequest("x11-req", true, req); !ok {
		t.Fatal("no X11", err)
	}
	var out lockedOutput
	s.Stdout, s.Stderr = &out, &out
	in, _ := s.StdinPipe()
	if err := s.Start("echo $DISPLAY; xauth list; echo LANYARD_START=$LANYARD_START; echo ready; read x"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "display", func() bool { return strings.Contains(out.String(), "ready") })
	var display int
	_, rest, _ := strings.Cut(out.String(), "localhost:")
	if n, _ := fmt.Sscanf(rest, "%d.0", &display); n != 1 || display < 10 {
		t.Fatalf("DISPLAY: %q", out.String())
	}
	if !strings.Contains(out.String(), fmt.Sprintf("unix:%d  MIT-MAGIC-COOKIE-1  %s", display, cookie)) || !strings.Contains(out.String(), "LANYARD_START=\n") {
		t.Errorf("xauth: %q", out.String())
	}
	nc := reaches(t, "tcp", fmt.Sprintf("127.0.0.1:%d", 6000+display))
	select {
	case nch := <-screens:
		ch, reqs, err := nch.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(reqs)
		go func() { io.Copy(ch, ch); ch.CloseWrite(); ch.Close() }()
		echoes(t, nc, 1000)
	case <-time.After(waitTime):
		t.Fatal("no channel for a program's window")
	}
	in.Close()
	s.Wait()
	eventually(t, "end of the display", func() bool { return !listens(fmt.Sprintf("127.0.0.1:%d", 6000+display)) })
}

func TestEachForwardNeedsItsCapability(t *testing.T) {
	l := newLab(t)
	l.setMap(func(s *State) { s.Map.Rules[0].Can = []api.Capability{api.CapExec, api.CapForwardLocal} })
	c := l.dial("ann")
	defer c.Close()
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("-R without forward-remote")
	}
	if _, err := c.ListenUnix(filepath.Join(l.home, "x")); err == nil {
		t.Error("a Unix listener without sockets")
	}
	if _, err := c.Dial("unix", "/nonexistent"); err == nil || !strings.Contains(err.Error(), "[capability]") {
		t.Errorf("a Unix socket without sockets: %v", err)
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if ok, _ := s.SendRequest("auth-agent-req@openssh.com", true, nil); ok {
		t.Error("-A without agent")
	}
	if ok, _ := s.SendRequest("x11-req", true, ssh.Marshal(struct {
		Single        bool
		Proto, Cookie string
		Screen        uint32
	}{false, "MIT-MAGIC-COOKIE-1", "00", 0})); ok {
		t.Error("-X without x11")
	}
	var what []string
	for _, e := range l.recorded(audit.Refused) {
		if e.Reason != reason.Capability {
			t.Errorf("%+v", e)
		}
		what = append(what, e.What)
	}
	if got := strings.Join(what, " "); got != "forward-remote sockets sockets agent x11" {
		t.Errorf("refused %q", got)
	}
}

// ssh -D asks for each destination by direct-tcpip.
func TestDynamicForward(t *testing.T) {
	l := newLab(t)
	port, here := echoServer(t, nil), freePort(t)
	s := l.start(l.tool("ssh", l.login("ann", 0), "-N", "-D", fmt.Sprintf("127.0.0.1:%d", here), "web-1"))
	c := reaches(t, "tcp", fmt.Sprintf("127.0.0.1:%d", here))
	// RFC 1928: version 5, no authentication; CONNECT to a name.
	host := "localhost"
	c.Write(append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, append([]byte(host), byte(port>>8), byte(port))...))
	c.SetReadDeadline(time.Now().Add(waitTime))
	head := make([]byte, 2+10)
	if _, err := io.ReadFull(c, head); err != nil || head[3] != 0 {
		t.Fatalf("%v, %v; %s", head, err, s.stderr())
	}
	echoes(t, c, 100000)
	s.Process.Kill()
}
