package spawn

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lanyard/platform/accounts"
	"lanyard/test/calm"
)

func me(t *testing.T) accounts.Account {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	a, err := accounts.Lookup(u.Username)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start runs a shell script in the scope and returns its first line of output.
func start(t *testing.T, s *Scope, script string) (*Process, string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := s.Start(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Account: me(t), Files: [3]*os.File{null, w, os.Stderr}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(r).ReadString('\n')
	return p, strings.TrimSpace(line)
}

func gone(t *testing.T, pid string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !running(pid) {
			return
		}
	}
	t.Errorf("process %s is alive", pid)
}

func running(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// Each way in which a process hides. Without control groups the environment and the parents must do.
func TestKillFindsWhatHides(t *testing.T) {
	for _, groups := range []bool{true, false} {
		scopes := NewScopes()
		if !groups {
			scopes.dir = ""
		} else if scopes.dir == "" {
			t.Log("no control groups here: testing without only")
			continue
		}
		for name, script := range map[string]string{
			"plain":      "echo $$; exec sleep 300",
			"setsid":     "setsid sh -c 'echo $$; exec sleep 300' & wait",
			"daemon":     "(setsid sh -c 'echo $$; exec sleep 300' &) ; exec sleep 300",
			"bare":       "env -i setsid sh -c 'echo $$; exec sleep 300' & wait",
			"bare twice": "env -i setsid -f setsid -f sh -c 'echo $$; exec sleep 300'; exec sleep 300",
			"nohup":      "(nohup sh -c 'echo $$; exec sleep 300' 2>/dev/null &); exec sleep 300",
			"grandsons":  "sh -c 'sh -c \"setsid sh -c \\\"echo \\\\\\$\\\\\\$; exec sleep 300\\\" & wait\"'",
		} {
			t.Run(name, func(t *testing.T) {
				if name == "bare twice" && !groups && !canAudit() {
					t.Skip("needs root: without, neither a control group nor an audit session shows whose it is")
				}
				const most = 500 * time.Millisecond
				var scope *Scope
				calm.Within(t, most, func() time.Duration {
					scope = scopes.Open("test-" + name)
					p, pid := start(t, scope, script)
					if pid == "" || pid == "0" {
						t.Fatal("the script did not start")
					}
					begin := time.Now()
					scope.Kill()
					gone(t, pid)
					if e, ok := p.Wait(); !ok || e.Signal != "KILL" {
						t.Errorf("%+v %v", e, ok)
					}
					took := time.Since(begin)
					scope.Close()
					return took
				})
				if _, err := scope.Start(Command{Path: "/bin/true", Argv: []string{"true"}, Account: me(t)}); !errors.Is(err, ErrKilled) {
					t.Errorf("a killed scope starts: %v", err)
				}
			})
		}
	}
}

func canAudit() (can bool) {
	inAuditSession(uint32(os.Getuid()), func(session string) { can = session != "" })
	return can
}

func TestAuditKnowsWhoIsResponsible(t *testing.T) {
	if !canAudit() {
		t.Skip("needs root, or a session without an audit session")
	}
	s := NewScopes().Open("audit")
	defer s.Close()
	defer s.Kill()
	p, got := start(t, s, "echo $(cat /proc/self/loginuid /proc/self/sessionid)")
	f := strings.Fields(strings.Replace(got, unsetSession, " unset ", 1))
	p.Wait()
	own, _ := os.ReadFile("/proc/self/sessionid")
	if want := me(t).UID; !strings.HasPrefix(got, want) || len(f) != 1 || got == want+string(own) {
		t.Errorf("loginuid and sessionid %q, want %s and a new session; ours is %s", got, want, own)
	}
}

func TestSignalHasTheAccountsRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start what belongs to another")
	}
	s := NewScopes().Open("signal")
	defer s.Close()
	defer s.Kill()
	p, _ := start(t, s, "echo; exec sleep 300") // root's
	p.as = accounts.Account{Name: "nobody", Uid: 65534, Gid: 65534}
	if err := p.Signal("KILL"); err == nil {
		t.Error("a signal of nobody's reached a process of root's")
	}
	if !running(strconv.Itoa(p.Pid)) {
		t.Error("it has ended")
	}
	p.as = accounts.Account{}
	if err := p.Signal("KILL"); err != nil {
		t.Error(err)
	}
	p.Wait()
}

func TestChannelIsPartOfItsSession(t *testing.T) {
	for _, groups := range []bool{true, false} {
		scopes := NewScopes()
		if !groups {
			scopes.dir = ""
		}
		s := scopes.Open("session")
		one, two := s.Channel("one"), s.Channel("two")
		const daemon = "(setsid sh -c 'echo $$; exec sleep 300' &) ; exec sleep 300"
		a, pid := start(t, one, daemon)
		b, other := start(t, two, daemon)
		one.Kill()
		gone(t, pid)
		a.Wait()
		if syscall.Kill(b.Pid, 0) != nil || !running(other) {
			t.Error("the other channel's process has gone")
		}
		if _, err := one.Start(Command{Path: "/bin/true", Argv: []string{"true"}, Account: me(t)}); !errors.Is(err, ErrKilled) {
			t.Errorf("a killed channel starts: %v", err)
		}
		one.Close()
		s.Kill()
		gone(t, other)
		b.Wait()
		if _, err := s.Channel("three").Start(Command{Path: "/bin/true", Argv: []string{"true"}, Account: me(t)}); !errors.Is(err, ErrKilled) {
			t.Errorf("a channel of a killed session starts: %v", err)
		}
		s.Close()
		two.Close()
		if len(scopes.left) != 0 {
			t.Errorf("control groups stay: %v", scopes.left)
		}
	}
}

func TestOtherScopeSurvives(t *testing.T) {
	scopes := NewScopes()
	a, b := scopes.Open("one"), scopes.Open("one-more")
	pa, _ := start(t, a, "echo x; exec sleep 300")
	pb, _ := start(t, b, "echo x; exec sleep 300")
	a.Kill()
	pa.Wait()
	if err := syscall.Kill(pb.Pid, 0); err != nil {
		t.Error("the other scope's process has gone:", err)
	}
	b.Kill()
	pb.Wait()
	a.Close()
	b.Close()
}

func TestExitAndRelease(t *testing.T) {
	s := NewScopes().Open("exit")
	defer s.Close()
	p, _ := start(t, s, "echo; exit 3")
	if e, ok := p.Wait(); !ok || e.Status != 3 || e.Signal != "" {
		t.Errorf("%+v %v", e, ok)
	}
	if p.Signal("TERM") == nil {
		t.Error("a process that has ended takes signals: its number may be another's")
	}
	p, _ = start(t, s, "echo; exec sleep 300")
	defer s.Kill()
	if p.Signal("NONSENSE") == nil {
		t.Error("there is no such signal")
	}
	released := make(chan bool)
	go func() { _, ok := p.Wait(); released <- ok }()
	p.Release()
	select {
	case ok := <-released:
		if ok {
			t.Error("the process did not end")
		}
	case <-time.After(time.Minute):
		t.Error("Wait did not return")
	}
}

func TestOtherAccountsNeedRoot(t *testing.T) {
	if Networkless(accounts.Account{Uid: 12345}) {
		t.Error("credentials are for Windows")
	}
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	s := NewScopes().Open("other")
	if _, err := s.Start(Command{Path: "/bin/true", Argv: []string{"true"}, Account: accounts.Account{Name: "root"}}); !errors.Is(err, ErrAccount) {
		t.Error(err)
	}
}

// asNobody runs the calling test once more, in a process without rights.
func asNobody(t *testing.T) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // everybody may run it there
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Somebody who was told a process's number may use it until they are done, also when it was killed meanwhile.
func TestNumberOfAProcessStaysItsOwnUntilItIsSettled(t *testing.T) {
	s := NewScopes().Open("settled")
	defer s.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	settled := make(chan struct{})
	p, err := s.Start(Command{
		Path: "/bin/sh", Argv: []string{"sh", "-c", "exec sleep 300"}, Env: []string{"PATH=/usr/bin:/bin"}, Account: me(t),
		Files: [3]*os.File{null, null, null}, Settled: settled,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan Exit, 1)
	go func() {
		e, _ := p.Wait()
		ended <- e
	}()
	s.Kill()
	gone(t, strconv.Itoa(p.Pid))
	for end := time.Now().Add(20 * time.Second); p.Signal("TERM") == nil; time.Sleep(time.Millisecond) { // Wait knows of the end
		if time.Now().After(end) {
			t.Fatal("nobody noticed the end")
		}
	}
	select {
	case e := <-ended:
		t.Fatalf("%+v, while the number is in use", e)
	case <-time.After(50 * time.Millisecond):
	}
	if err := syscall.Kill(p.Pid, 0); err != nil {
		t.Errorf("the number is free: %v", err)
	}
	close(settled)
	if e := <-ended; e.Signal != "KILL" {
		t.Errorf("%+v", e)
	}
}

func TestHangUpReachesTheGroupAndSparesWhoIgnoresIt(t *testing.T) {
	s := NewScopes().Open("s")
	defer s.Close()
	p, told := start(t, s, `(trap '' HUP; sleep 300 >&- & echo $! $$); wait; exec sleep 300`)
	pids := strings.Fields(told)
	if len(pids) != 2 {
		t.Fatalf("started %q", told)
	}
	p.Hangup()
	if e, ok := p.Wait(); !ok || e.Signal != "HUP" {
		t.Errorf("it ended with %+v, %v", e, ok)
	}
	if !running(pids[0]) {
		t.Error("who ignores a hang-up did not outlive it")
	}
	s.Kill()
	gone(t, pids[0])
}

// The login manager moves a session's first process to a control group of its own; what starts there is killed with it.
func TestKillReachesWhereTheLoginManagerPutIt(t *testing.T) {
	scopes := NewScopes()
	if scopes.dir == "" {
		t.Skip("needs root: control groups")
	}
	name := fmt.Sprintf("session-test%d.scope", os.Getpid()) // another run may be under way
	dir := filepath.Join(scopes.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() { // the kernel may be at the last process's end still
		for end := time.Now().Add(20 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}()
	for _, late := range []bool{false, true} {
		session := scopes.Open("test-moved")
		channel := session.Channel("test-moved-channel")
		p, pid := start(t, channel, "echo $$; exec sleep 300")
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0); err != nil {
			t.Fatal(err)
		}
		// Nothing but the control group shows whose the process is.
		for _, s := range []*Scope{session, channel} {
			s.pids, s.audits, s.used = nil, nil, false
		}
		moved := func() { channel.Moved(p.Pid, name) }
		channel.Moved(p.Pid, "session-other.scope") // which is not where it is
		if late {
			session.Kill()
			if !running(pid) {
				t.Fatal("killed before anybody said where it is")
			}
			moved()
		} else {
			moved()
			session.Kill()
		}
		gone(t, pid)
		_, _ = p.Wait()
		channel.Close()
		session.Close()
	}
}
