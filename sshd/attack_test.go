//go:build linux

package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/accounts"
)

// A client that asks for the agent again and again gets one variable, and none of the server's memory.
func TestAgentThatIsAskedForOftenIsOneVariable(t *testing.T) {
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(wantReply bool) {
		t.Helper()
		if ok, err := s.SendRequest("auth-agent-req@openssh.com", wantReply, nil); err != nil || wantReply && !ok {
			t.Fatal("no agent", ok, err)
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	ask(true)
	const many = 40000
	before := heap()
	for range many {
		ask(false)
	}
	ask(true) // all others came before it
	// A string's header alone is as much.
	eventually(t, "memory of the requests to be free", func() bool { return heap()-before <= many*16 })
	out, err := s.Output("env | grep -c ^SSH_AUTH_SOCK=")
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("%q, %v", out, err)
	}
}

// Who is blocked at whatever moment between the handshake and the first program runs nothing, keeps nothing open, and
// what was recorded as begun has its one end.
func TestBlockAtAnyMomentLeavesNoSession(t *testing.T) {
	for _, moment := range []string{"account", string(audit.SessionStart), "success", string(audit.ChannelStart)} {
		t.Run(moment, func(t *testing.T) {
			var l *lab
			once := func() {}
			l = newLabWith(t, func(c *Config) {
				lookup, record := c.Accounts, c.Audit
				c.Accounts = func(name string) (accounts.Account, error) {
					if moment == "account" {
						once()
					}
					return lookup(name)
				}
				c.Audit = func(e audit.Event) error {
					if string(e.Type) == moment {
						once()
					}
					return record(e)
				}
			})
			var ended []string
			once = sync.OnceFunc(func() {
				l.setMap(block("ann"))
				ended = l.srv.Changed()
			})
			stop := make(chan struct{})
			var others sync.WaitGroup
			l.setMap(func(s *State) { s.Map.Peers = nil }) // where it came from was never in the map
			l.srv.Changed()
			others.Go(func() { // looks of the server's own
				for {
					select {
					case <-stop:
						return
					default:
						l.srv.look()
					}
				}
			})
			cfg := &ssh.ClientConfig{
				User: l.account.Name, Auth: []ssh.AuthMethod{ssh.PublicKeys(l.certified("ann"))},
				HostKeyCallback: ssh.FixedHostKey(l.host.PublicKey()),
			}
			c, err := ssh.Dial("tcp", l.addr.String(), cfg)
			if err == nil {
				if moment == "success" {
					once()
				}
				ran, opened, over := make(chan string, 1), make(chan bool, 1), make(chan struct{})
				go func() {
					_ = c.Wait()
					close(over)
				}()
				go func() { // x/crypto's client may wait without end for a channel that it opens while the connection ends
					if s, err := c.NewSession(); err == nil {
						if out, err := s.Output("echo in"); err == nil {
							ran <- string(out)
						}
					}
					if nc, err := c.Dial("tcp", l.addr.String()); err == nil {
						nc.Close()
						opened <- true
					}
				}()
				select {
				case <-over:
				case <-time.After(waitTime):
					t.Error("the connection goes on after the block")
				}
				select {
				case out := <-ran:
					t.Errorf("a program ran after the block: %q", out)
				case <-opened:
					t.Error("a forward opened after the block")
				case <-time.After(10 * time.Millisecond): // what was answered before the end is here
				}
				c.Close()
			} else if moment == "success" || moment == string(audit.ChannelStart) {
				t.Fatal(err)
			}
			eventually(t, "end of the connection", func() bool { return !l.srv.Busy() })
			close(stop)
			others.Wait()
			if _, err := ssh.Dial("tcp", l.addr.String(), cfg); err == nil {
				t.Error("let in after the block")
			}
			l.srv.Close() // a program's end may be recorded after its connection's
			for _, k := range [][2]audit.Type{{audit.SessionStart, audit.SessionEnd}, {audit.ChannelStart, audit.ChannelEnd}} {
				begun, over := l.recorded(k[0]), l.recorded(k[1])
				if len(begun) != len(over) || len(begun) > 1 {
					t.Errorf("%d %s, %d %s", len(begun), k[0], len(over), k[1])
				}
				for _, e := range over {
					if e.Reason != reason.Blocked {
						t.Errorf("%s for %q", k[1], e.Reason)
					}
				}
			}
			if n := len(l.recorded(audit.SessionStart)); n != len(ended) {
				t.Errorf("the block tells of %d sessions, %d began", len(ended), n)
			}
		})
	}
}

// slowListener's connections take as long to close as the test likes, as those do to clients that take nothing.
type slowListener struct {
	net.Listener
	closing chan struct{} // has an element once a connection is being closed
	release chan struct{}
}

func (l *slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: c, l: l}, nil
}

type slowConn struct {
	net.Conn
	l *slowListener
}

func (c *slowConn) Close() error {
	select {
	case c.l.closing <- struct{}{}:
	default:
	}
	<-c.l.release
	return c.Conn.Close()
}

// A client that is gone, and whose connection takes its time to close, does not hold up the limits of others.
func TestClientThatIsGoneDelaysNobodysTimeLimit(t *testing.T) {
	l := newLabWith(t, func(c *Config) {
		asInService(c)
		c.Limits.Alive, c.Limits.AliveMax = 50*time.Millisecond, 20
	})
	l.setMap(func(s *State) { s.Map.Rules[0].MaxSession = api.Secs(4 * time.Hour) })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowListener{inner, make(chan struct{}, 1), make(chan struct{})}
	release := sync.OnceFunc(func() { close(slow.release) })
	defer release()
	go l.srv.Serve(slow) // until the lab's server closes
	nc, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	d := &deafConn{Conn: nc, wake: make(chan struct{})}
	defer close(d.wake)
	if _, _, _, err := ssh.NewClientConn(d, l.addr.String(), &ssh.ClientConfig{
		User: l.account.Name, Auth: []ssh.AuthMethod{ssh.PublicKeys(l.certified("ann"))}, HostKeyCallback: ssh.FixedHostKey(l.host.PublicKey()),
	}); err != nil {
		t.Fatal(err)
	}
	d.stop()
	bob := l.dial("bob")
	defer bob.Close()
	go func() { // answers what asks for a sign of life
		_ = bob.Wait()
	}()
	select {
	case <-slow.closing:
	case <-time.After(waitTime):
		t.Fatal("the client that is gone was not noticed")
	}
	l.clock.Store(int64(5 * time.Hour))
	eventually(t, "end at the limit", func() bool {
		return slices.ContainsFunc(l.recorded(audit.SessionEnd), func(e audit.Event) bool { return e.Reason == reason.MaxTime })
	})
	release()
}

// What sends a client's signals has the account's rights, so the account can stop it. Nobody else's access waits for that.
func TestSignalThatIsHeldUpHoldsUpNobodysEnd(t *testing.T) {
	l := newLabWith(t, asInService)
	l.ownAccount()
	c := l.dial("ann")
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out lockedOutput
	s.Stdout = &out
	if err := s.Start("trap '' USR1; " + stopsItsOwn); err != nil {
		t.Fatal(err)
	}
	eventually(t, "program", func() bool { return strings.Contains(out.String(), "in\n") })
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if s.Signal("USR1") != nil {
					return
				}
			}
		}
	})
	heldUp := func() bool {
		return exec.Command("pgrep", "-U", l.account.UID, "-r", "T", "-f", "session-signal").Run() == nil
	}
	eventually(t, "signal that is held up", heldUp)
	close(stop)
	changed := make(chan []string, 1)
	l.setMap(block("ann"))
	go func() { changed <- l.srv.Changed() }()
	select {
	case ended := <-changed:
		if len(ended) != 1 {
			t.Errorf("%v ended", ended)
		}
	case <-time.After(waitTime):
		t.Fatal("a block waits for a signal")
	}
	sending.Wait()
	eventually(t, "end of the session", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
	eventually(t, "end of the program", func() bool { return len(l.recorded(audit.ChannelEnd)) == 1 })
	eventually(t, "end of all that the account runs", func() bool { return exec.Command("pgrep", "-U", l.account.UID).Run() != nil })
}

// stopsItsOwn stops all other processes of the account, all the time.
const stopsItsOwn = "echo in; while :; do kill -STOP -1; done 2>/dev/null"

// ownAccount gives the local account a number that nobody else on this machine has.
func (l *lab) ownAccount() {
	l.t.Helper()
	if os.Geteuid() != 0 {
		l.t.Skip("needs root")
	}
	l.account.Uid = 1_000_000 + uint32(os.Getpid())
	l.account.UID = strconv.Itoa(int(l.account.Uid))
	if err := os.Chown(l.home, int(l.account.Uid), int(l.account.Gid)); err != nil {
		l.t.Fatal(err)
	}
}

// An account that stops all its processes, at whatever moment of their lives, stops its own sessions and not the server.
func TestAccountThatStopsItsProcessesDoesNotStopTheServer(t *testing.T) {
	l := newLabWith(t, asInService)
	l.ownAccount()
	// A server that has stopped fails no test: this would let it go on.
	const most = 3 * time.Minute
	rescue := exec.Command("sh", "-c", fmt.Sprintf("sleep %d; exec pkill -KILL -U %s", int(most.Seconds()), l.account.UID))
	rescue.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := rescue.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-rescue.Process.Pid, syscall.SIGKILL)
		_ = rescue.Wait()
	}()
	at := time.Now()
	c := l.dial("ann")
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out lockedOutput
	s.Stdout = &out
	if err := s.Start(stopsItsOwn); err != nil {
		t.Fatal(err)
	}
	eventually(t, "program", func() bool { return strings.Contains(out.String(), "in\n") })
	const many = 40
	for i := range many {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 { // each way in which the server starts something as the account
		case 0:
			err = s.RequestSubsystem("sftp")
		case 1:
			if err = s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err == nil {
				err = s.Shell()
			}
		default:
			err = s.Start("true")
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Signal("TERM")
		runtime.GC() // all of the server has to stand still for a moment: nothing of it may hang
	}
	go func() { _, _ = c.Dial("unix", "/nonexistent") }() // and the worker, which is not answered
	eventually(t, "programs", func() bool { return len(l.recorded(audit.ChannelStart)) == many+1 })
	runtime.GC()
	l.setMap(block("ann"))
	l.srv.Changed()
	eventually(t, "end of all that the account runs", func() bool { return exec.Command("pgrep", "-U", l.account.UID).Run() != nil })
	if d := time.Since(at); d > most {
		t.Errorf("the server stood still: %s", d)
	}
}

// lostConn is a connection of x/crypto's that ended while a channel was being opened: that never returns.
type lostConn struct {
	ssh.Conn
	asked chan struct{}
}

func (d lostConn) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	close(d.asked)
	select {}
}

// What comes for a client's listener at the moment when the client leaves holds up nothing: not the program that
// connected, and not the end of the service.
func TestForwardThatArrivesAsTheClientLeavesEnds(t *testing.T) {
	lost := lostConn{asked: make(chan struct{})}
	c := &conn{s: &Server{cfg: Config{Limits: Limits{Channels: 1}}}, sc: &ssh.ServerConn{Conn: lost}}
	life, leave := context.WithCancel(t.Context())
	ours, theirs := net.Pipe()
	c.s.run(func() { c.carry(life, nil, ours, carrier{payload: func(net.Conn) []byte { return nil }}) })
	<-lost.asked
	leave()
	_ = theirs.SetDeadline(time.Now().Add(waitTime))
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("a connection to the listener of a client that left: %v", err)
	}
	c.s.wg.Wait()
	if !c.take() {
		t.Error("it still counts as an open channel")
	}
}
