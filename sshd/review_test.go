//go:build linux

package sshd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

// without is a rule that grants everything else.
func without(k api.Capability) func(*State) {
	return func(s *State) {
		can := slices.DeleteFunc(api.AllCapabilities(), func(x api.Capability) bool { return x == k })
		s.Map.Rules[0].Can = can
	}
}

func TestCapabilityTakenAwayEndsItsChannels(t *testing.T) {
	for _, c := range []struct {
		name string
		lost api.Capability
		args []string
		in   string
	}{
		{"shell", api.CapShell, []string{"-T", "web-1"}, tree + "\n"},
		{"exec", api.CapExec, []string{"web-1", tree}, ""},
		{"terminal", api.CapPTY, []string{"-tt", "web-1", "trap '' HUP; " + tree}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func() time.Duration {
				l := newLabWith(t, asInService)
				s := l.start(l.tool("ssh", l.login("ann", 0), c.args...))
				fmt.Fprint(s.in, c.in)
				eventually(t, "processes", func() bool { return strings.Count(s.stdout(), "\n") == 2 })
				pids := strings.Fields(s.stdout())
				at := time.Now()
				l.setMap(without(c.lost))
				if ids := l.srv.Changed(); len(ids) != 0 {
					t.Errorf("%v ended: the rest of the rule is in force", ids)
				}
				exit := s.wait()
				took := ended(t, exit, s.stderr()+s.stdout(), "[capability]", at)
				eventually(t, "end of the processes", func() bool { return !slices.ContainsFunc(pids, alive) })
				eventually(t, "end in the audit", func() bool { return len(l.recorded(audit.ChannelEnd)) == 1 })
				took = max(took, time.Since(at))
				if e := l.recorded(audit.ChannelEnd); e[0].Reason != reason.Capability {
					t.Errorf("%+v", e[0])
				}
				return took
			})
		})
	}
}

// startSFTP opens file transfer and returns its output, which has an answer once the server is there.
func startSFTP(t *testing.T, c *ssh.Client) (out io.Reader, end func() error) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, _ = s.StdoutPipe()
	in, _ := s.StdinPipe()
	if err := s.RequestSubsystem("sftp"); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}) // SSH_FXP_INIT, version 3
	if _, err := io.ReadFull(out, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	return out, s.Wait
}

func TestOtherChannelsOfTheConnectionGoOn(t *testing.T) {
	l := newLab(t)
	port := echoServer(t, nil)
	c := l.dial("ann")
	defer c.Close()
	shell, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, _ := shell.StdinPipe()
	if err := shell.Start("read x; exit 4"); err != nil {
		t.Fatal(err)
	}
	_, sftpEnd := startSFTP(t, c)
	f, err := c.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	kinds := func() string { return strings.Join(l.srv.Sessions()[0].Channels, " ") }
	eventually(t, "channels", func() bool { return len(strings.Fields(kinds())) == 3 })

	// Who may read only may not keep a server that writes.
	l.setMap(func(s *State) {
		without(api.CapSFTP)(s)
		s.Map.Rules[0].Can = append(s.Map.Rules[0].Can, api.CapSFTPRead)
	})
	l.srv.Changed()
	if err := sftpEnd(); err == nil {
		t.Error("file transfer ended as if all was well")
	}
	eventually(t, "its end", func() bool { k := kinds(); return !strings.Contains(k, "sftp") && len(strings.Fields(k)) == 2 })
	_, readOnlyEnd := startSFTP(t, c)
	l.srv.Changed()

	l.setMap(without(api.CapForwardLocal))
	l.srv.Changed()
	if _, err := f.Read(make([]byte, 1)); err == nil {
		t.Error("the forward is open")
	}
	eventually(t, "its end", func() bool { return !strings.Contains(kinds(), "forward") })
	if k := kinds(); !strings.Contains(k, "sftp") {
		t.Errorf("channels are %q", k)
	}
	l.setMap(func(s *State) { s.Map.Rules[0].Can = []api.Capability{api.CapExec} })
	l.srv.Changed()
	readOnlyEnd()
	fmt.Fprintln(in, "go on")
	if err := shell.Wait(); err == nil || !strings.Contains(err.Error(), "status 4") {
		t.Errorf("the command: %v", err)
	}
	eventually(t, "every end in the audit", func() bool { return len(l.recorded(audit.ChannelEnd)) == 4 })
	for _, e := range l.recorded(audit.ChannelEnd) {
		want := reason.Capability
		if e.What == "exec" {
			want = ""
		}
		if e.Reason != want {
			t.Errorf("%+v", e)
		}
	}
}

// The other side of a forward is cut even if the client neither reads nor closes its channel.
func TestDestinationTakenAwayCutsItsForwards(t *testing.T) {
	inTime(t, func() time.Duration {
		l := newLabWith(t, asInService)
		kept := echoServer(t, nil)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		lost := ln.Addr().(*net.TCPAddr).Port
		c := l.dial("ann")
		defer c.Close()
		to := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
		stays, err := c.Dial("tcp", to(kept))
		if err != nil {
			t.Fatal(err)
		}
		raw := ssh.Marshal(struct {
			Host   string
			Port   uint32
			Origin string
			From   uint32
		}{"127.0.0.1", uint32(lost), "127.0.0.1", 1})
		ch, reqs, err := c.OpenChannel("direct-tcpip", raw)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(reqs)
		defer ch.Close()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		go server.Write(make([]byte, 16<<20)) // more than the client's window: the copy waits for it
		if _, err := io.ReadFull(ch, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		l.setMap(func(s *State) { s.Map.Rules[0].ForwardTo = []string{to(kept)} })
		if ended := l.srv.Changed(); len(ended) != 0 {
			t.Errorf("%v ended", ended)
		}
		eventually(t, "end of the forward", func() bool {
			e := l.recorded(audit.ChannelEnd)
			return len(e) == 1 && e[0].Reason == reason.Destination && e[0].Target == to(lost)
		})
		server.SetReadDeadline(time.Now().Add(waitTime))
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection behind it: %v", err)
		}
		took := time.Since(at)
		stays.Write([]byte("still here"))
		stays.(interface{ CloseWrite() error }).CloseWrite()
		if b, err := io.ReadAll(stays); err != nil || string(b) != "still here" {
			t.Errorf("the other forward: %q, %v", b, err)
		}
		return took
	})
}

// deafConn is a connection whose owner stops reading.
type deafConn struct {
	net.Conn
	mu   sync.Mutex
	deaf bool
	wake chan struct{}
}

func (c *deafConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	deaf := c.deaf
	c.mu.Unlock()
	if deaf {
		<-c.wake
		return 0, io.EOF
	}
	if len(p) > 1024 { // looks often
		p = p[:1024]
	}
	return c.Conn.Read(p)
}

func (c *deafConn) stop() {
	c.mu.Lock()
	c.deaf = true
	c.mu.Unlock()
}

// dialDeaf connects with a client that can stop reading.
func (l *lab) dialDeaf(sub string) (*ssh.Client, *deafConn) {
	l.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	nc, err := dialer.Dial("tcp", l.addr.String())
	if err != nil {
		l.t.Fatal(err)
	}
	d := &deafConn{Conn: nc, wake: make(chan struct{})}
	conn, chans, reqs, err := ssh.NewClientConn(d, l.addr.String(), &ssh.ClientConfig{
		User: l.account.Name, Auth: []ssh.AuthMethod{ssh.PublicKeys(l.certified(sub))},
		HostKeyCallback: ssh.FixedHostKey(l.host.PublicKey()),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { nc.Close(); close(d.wake) })
	return ssh.NewClient(conn, chans, reqs), d
}

// unsent is how much the system holds of what the server wrote to this client (proc_net(5)), in bytes.
func unsent(server uint16, client int) (bytes int) {
	b, _ := os.ReadFile("/proc/net/tcp")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", server)) && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", client)) {
			_, _ = fmt.Sscanf(f[4], "%x:", &bytes)
			return bytes
		}
	}
	return 0
}

func TestDeafClientDelaysNothing(t *testing.T) {
	const floods = 12 // of 2 MiB each, the client's window: more than the system buffers
	for name, change := range map[string]func(*State){"block": block("ann"), "capability": without(api.CapExec)} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func() time.Duration {
				l := newLabWith(t, asInService)
				c, nc := l.dialDeaf("ann")
				work, err := c.NewSession()
				if err != nil {
					t.Fatal(err)
				}
				var out lockedOutput
				work.Stdout = &out
				if err := work.Start(tree); err != nil {
					t.Fatal(err)
				}
				eventually(t, "processes", func() bool { return strings.Count(out.String(), "\n") == 2 })
				pids := strings.Fields(out.String())
				more := make([]ssh.Channel, floods+1)
				for i := range more {
					ch, reqs, err := c.OpenChannel("session", nil)
					if err != nil {
						t.Fatal(err)
					}
					go ssh.DiscardRequests(reqs)
					more[i] = ch
				}
				nc.stop()
				exec := func(ch ssh.Channel, command string) {
					go ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
				}
				for _, ch := range more[:floods] {
					exec(ch, "echo $$ >> pids; exec cat /dev/zero")
				}
				// The system holds much of the floods, and nothing moves any more.
				var before, still int
				eventually(t, "standstill", func() bool {
					time.Sleep(20 * time.Millisecond)
					queue := unsent(l.addr.Port(), nc.LocalAddr().(*net.TCPAddr).Port)
					if still++; queue != before || queue < 64<<10 {
						still = 0
					}
					before = queue
					return still >= 5
				})
				exec(more[floods], "true")
				listed := make(chan int)
				var slowest time.Duration // look at the list
				list := func() {
					t.Helper()
					begun := time.Now()
					defer func() { slowest = max(slowest, time.Since(begun)) }()
					go func() { listed <- len(l.srv.Sessions()) }()
					select {
					case <-listed:
					case <-time.After(waitTime):
						t.Fatal("the list of sessions waits for the client")
					}
				}
				list()
				begun, err := os.ReadFile(filepath.Join(l.home, "pids"))
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, strings.Fields(string(begun))...)
				at := time.Now()
				l.setMap(change)
				l.srv.Changed()
				list()
				eventually(t, "end of the processes", func() bool { return !slices.ContainsFunc(pids, alive) })
				if name == "block" {
					eventually(t, "end of the session", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
				}
				return max(slowest, time.Since(at))
			})
		})
	}
}

func TestCloseDoesNotWaitForATerminalThatIgnoresIt(t *testing.T) {
	l := newLab(t)
	s := l.start(l.tool("ssh", l.login("ann", 0), "-tt", "web-1", "trap '' HUP; echo $$; exec sleep 300"))
	pid := pidOf(t, s.line())
	defer kill(pid)
	closed := make(chan error, 1)
	go func() { closed <- l.srv.Close() }()
	select {
	case <-closed:
	case <-time.After(waitTime):
		t.Fatal("Close waits")
	}
	if !alive(pid) {
		t.Error("what ignores a hang-up has ended")
	}
}
