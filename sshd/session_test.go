//go:build linux

package sshd

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

func TestCommandEndsWithItsOwnStatus(t *testing.T) {
	l := newLab(t)
	ann := l.login("ann", 0)
	for command, want := range map[string]result{
		"echo out; echo err >&2; exit 7": {"out\n", "err\n", 7},
		"true":                           {"", "", 0},
		"kill -TERM $$":                  {"", "", 255},
		"exec cat":                       {"", "", 0},
	} {
		if got := l.ssh(ann, "web-1", command); got != want {
			t.Errorf("%s: %+v, want %+v", command, got, want)
		}
	}
}

func TestDataCrossesUnchangedBothWays(t *testing.T) {
	l := newLab(t)
	b := make([]byte, 8<<20)
	rand.Read(b)
	got := l.run(l.tool("ssh", l.login("ann", 0), "web-1", "cat"), string(b))
	if got.exit != 0 || !bytes.Equal([]byte(got.stdout), b) {
		t.Fatalf("exit %d, %d of %d bytes came back, %q", got.exit, len(got.stdout), len(b), got.stderr)
	}
}

func TestSessionRunsAsTheAccount(t *testing.T) {
	l := newLab(t)
	got := l.ssh(l.login("ann", 0), "web-1", "id -u; id -g; id -G; pwd; echo $0; umask; ps -o pgid= -p $$ | tr -d ' '; echo $$; grep -c . /proc/self/fd/../fdinfo/0")
	f := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if len(f) < 8 || f[0] != l.account.UID || f[1] != fmt.Sprint(l.account.Gid) || f[3] != l.home || f[4] != filepath.Base(l.account.Shell) || f[6] != f[7] {
		t.Fatalf("%+v", got)
	}
	for _, g := range l.account.Groups {
		if !strings.Contains(" "+f[2]+" ", fmt.Sprintf(" %d ", g)) {
			t.Errorf("group %d is missing in %q", g, f[2])
		}
	}
	got = l.ssh(l.login("ann", 0), "web-1", "ls -l /proc/self/fd")
	if strings.Count(got.stdout, "\n") != 5 { // "total", 0, 1, 2 and the folder itself
		t.Errorf("the session has descriptors of the server: %s", got.stdout)
	}
}

func TestLoginShellOfAnInteractiveSession(t *testing.T) {
	l := newLab(t)
	got := l.run(l.tool("ssh", l.login("ann", 0), "-T", "web-1"), "echo $0; exit 3\n")
	if got.exit != 3 || got.stdout != "-"+filepath.Base(l.account.Shell)+"\n" {
		t.Fatalf("%+v", got)
	}
}

func TestEnvironment(t *testing.T) {
	l := newLab(t)
	c := l.tool("ssh", l.login("ann", 0), "-o", "SendEnv=LC_* LANG LD_PRELOAD BASH_ENV", "-o", "SetEnv=LD_LIBRARY_PATH=/tmp PATH=/evil GIT_PROTOCOL=version=2", "web-1", "env")
	c.Env = append(c.Env, "LD_PRELOAD=", "BASH_ENV=/tmp/x")
	got := l.run(c, "")
	env := make(map[string]string)
	for _, line := range strings.Split(got.stdout, "\n") {
		k, v, _ := strings.Cut(line, "=")
		env[k] = v
	}
	for k, want := range map[string]string{
		"LC_TEST": "hello", "LANG": "C.UTF-8", "GIT_PROTOCOL": "version=2", "HOME": l.home, "USER": l.account.Name,
		"LOGNAME": l.account.Name, "SHELL": l.account.Shell, "LANYARD_USER": "ann@example.com",
	} {
		if env[k] != want {
			t.Errorf("%s is %q, want %q", k, env[k], want)
		}
	}
	for _, k := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "SSH_TTY", "TERM"} {
		if v, ok := env[k]; ok {
			t.Errorf("%s is set to %q", k, v)
		}
	}
	if strings.Contains(env["PATH"], "evil") || env["PATH"] == "" {
		t.Errorf("PATH is %q", env["PATH"])
	}
	f := strings.Fields(env["SSH_CONNECTION"])
	if len(f) != 4 || f[0] != "127.0.0.1" || f[2] != "100.110.0.2" || f[3] != "22" {
		t.Errorf("SSH_CONNECTION is %q", env["SSH_CONNECTION"])
	}
	if f := strings.Fields(env["SSH_CLIENT"]); len(f) != 3 || f[2] != "22" {
		t.Errorf("SSH_CLIENT is %q", env["SSH_CLIENT"])
	}
}

// The identity provider chose the name that LANYARD_USER shows; U+009B is what a terminal takes for ESC [.
func TestNameInTheEnvironmentSteersNoTerminal(t *testing.T) {
	if got := oneLine("Zoë 李\n\x00\x1b[2J\u009b2J\x9b\u2028\u202e"); got != "Zoë 李[2J2J\ufffd" {
		t.Errorf("%q", got)
	}
}

func TestTerminal(t *testing.T) {
	l := newLab(t)
	c := l.tool("ssh", l.login("ann", 0), "-tt", "web-1", `stty size; tty; test "$(tty)" = "$SSH_TTY" && echo same; echo "term $TERM"; stty -a | grep -o -- '-\?ixany'; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done`)
	c.Env = append(c.Env, "TERM=xterm-256color")
	p, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := pty.Setsize(p, &pty.Winsize{Rows: 33, Cols: 101}); err != nil {
		t.Fatal(err)
	}
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	setCtty(c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	screen := watch(p)
	eventually(t, "first screen", func() bool { return strings.Contains(screen(), "ready\r\n") })
	for _, want := range []string{"33 101\r\n", "/dev/pts/", "same\r\n", "term xterm-256color\r\n", "-ixany\r\n"} {
		if !strings.Contains(screen(), want) {
			t.Errorf("%q is missing on the screen: %q", want, screen())
		}
	}
	if err := pty.Setsize(p, &pty.Winsize{Rows: 40, Cols: 90}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "resize", func() bool { return strings.Contains(screen(), "40 90") })
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	eventually(t, "end", func() bool {
		p.Write([]byte{3}) // Ctrl-C; a shell whose child ends by itself at that moment goes on
		select {
		case err = <-ended:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	if exit := exitOf(t, err); exit != 255 && exit != 130 {
		t.Errorf("exit %d after Ctrl-C: %q", exit, screen())
	}
}

func TestTerminalModesReachTheTerminal(t *testing.T) {
	l := newLab(t)
	c := l.tool("ssh", l.login("ann", 0), "-tt", "web-1", "stty -a")
	p, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	setCtty(c)
	set := l.tool("stty", "")
	set.Args = []string{"stty", "ixany", "-echoe", "erase", "^H"}
	set.Stdin = tty
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	screen := watch(p)
	if exit := exitOf(t, c.Wait()); exit != 0 {
		t.Fatalf("exit %d: %q", exit, screen())
	}
	eventually(t, "modes", func() bool { return strings.Contains(screen(), "echoke") })
	for _, want := range []string{" ixany", "-echoe ", "erase = ^H"} {
		if !strings.Contains(screen(), want) {
			t.Errorf("%q is missing: %q", want, screen())
		}
	}
}

func TestFilesArriveUnchanged(t *testing.T) {
	l := newLab(t)
	ann := l.login("ann", 0)
	b := make([]byte, 5<<20+123)
	rand.Read(b)
	local := l.write("local", string(b), 0o644)
	want := sha256.Sum256(b)
	check := func(what, path string) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(what, err)
		}
		if sha256.Sum256(got) != want {
			t.Errorf("%s: the file differs", what)
		}
	}
	for _, old := range []string{"-s", "-O"} { // SFTP, and the protocol of rcp
		if old == "-O" && os.Geteuid() == 0 {
			continue // the remote scp wants to know the account's name
		}
		if got := l.run(l.tool("scp", ann, old, local, "web-1:up"+old), ""); got.exit != 0 {
			t.Fatalf("scp %s up: %+v", old, got)
		}
		check("up "+old, filepath.Join(l.home, "up"+old))
		if got := l.run(l.tool("scp", ann, old, "web-1:up"+old, filepath.Join(l.dir, "down"+old)), ""); got.exit != 0 {
			t.Fatalf("scp %s down: %+v", old, got)
		}
		check("down "+old, filepath.Join(l.dir, "down"+old))
	}
	batch := fmt.Sprintf("put %s sftp-up\nget sftp-up %s\nmkdir d\nrename sftp-up d/moved\nls -l d\nchmod 600 d/moved\nrm d/moved\nrmdir d\n", local, filepath.Join(l.dir, "sftp-down"))
	if got := l.run(l.tool("sftp", ann, "-b", "-", "web-1"), batch); got.exit != 0 || !strings.Contains(got.stdout, "moved") {
		t.Fatalf("sftp: %+v", got)
	}
	check("sftp", filepath.Join(l.dir, "sftp-down"))
}

func TestFilesAreTheAccounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: without, every file is the test's own")
	}
	l := newLab(t)
	secret := l.write("secret", "for root", 0o600)
	got := l.run(l.tool("sftp", l.login("ann", 0), "-b", "-", "web-1"), "get "+secret+" "+filepath.Join(l.dir, "stolen")+"\n")
	if got.exit == 0 || !strings.Contains(got.stderr, "ermission denied") {
		t.Fatalf("%+v", got)
	}
}

func TestReadOnlyFileTransfer(t *testing.T) {
	l := newLab(t)
	l.setMap(func(s *State) { s.Map.Rules[0].Can = []api.Capability{api.CapSFTPRead} })
	ann := l.login("ann", 0)
	if err := os.WriteFile(filepath.Join(l.home, "there"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := l.run(l.tool("sftp", ann, "-b", "-", "web-1"), "get there "+l.dir+"\n"); got.exit != 0 {
		t.Errorf("reading: %+v", got)
	}
	if got := l.run(l.tool("sftp", ann, "-b", "-", "web-1"), "rm there\n"); got.exit == 0 {
		t.Errorf("removing: %+v", got)
	}
	if _, err := os.Stat(filepath.Join(l.home, "there")); err != nil {
		t.Error(err)
	}
}

func TestWhatTheRuleDoesNotGrantIsRefusedWithItsReason(t *testing.T) {
	l := newLab(t)
	l.setMap(func(s *State) { s.Map.Rules[0].Can = []api.Capability{api.CapExec} })
	ann := l.login("ann", 0)
	if got := l.ssh(ann, "web-1", "echo yes"); got.stdout != "yes\n" {
		t.Errorf("exec: %+v", got)
	}
	if got := l.run(l.tool("ssh", ann, "-T", "web-1"), "echo yes\n"); got.exit != 255 || !strings.Contains(got.stderr, "[capability]") || got.stdout != "" {
		t.Errorf("shell: %+v", got)
	}
	if got := l.run(l.tool("sftp", ann, "-b", "-", "web-1"), "ls\n"); got.exit == 0 || !strings.Contains(got.stderr, "[capability]") {
		t.Errorf("sftp: %+v", got)
	}
	eventually(t, "the refusals in the log", func() bool { return len(l.recorded(audit.Refused)) == 2 })
	refused := l.recorded(audit.Refused)
	if refused[0].What != "shell" || refused[1].What != "sftp" {
		t.Errorf("%+v", refused)
	}
}

func TestSignalReachesTheProcessGroup(t *testing.T) {
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	inTime(t, func() time.Duration {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var out lockedOutput
		s.Stdout = &out
		if err := s.Start("trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.02; done"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "start", func() bool { return strings.Contains(out.String(), "ready") })
		var sent time.Time
		var times int
		eventually(t, "the signal", func() bool {
			if strings.Contains(out.String(), "got") {
				return true
			}
			if time.Since(sent) > 5*time.Second { // once more: the server gives one up whose process takes too long to start
				sent = time.Now()
				times++
				_ = s.Signal("USR1")
			}
			return false
		})
		if err := s.Wait(); err == nil || !strings.Contains(err.Error(), "status 9") || !strings.Contains(out.String(), "got") {
			t.Fatalf("%v, %q", err, out.String())
		}
		if times > 1 {
			return 5 * endTime
		}
		return 0
	})
}

func TestDisconnectHangsUpAndLeavesNohupAlone(t *testing.T) {
	l := newLab(t)
	c := l.start(l.tool("ssh", l.login("ann", 0), "web-1", "setsid sh -c 'echo setsid $$ >&3; exec sleep 300 3>&-' 3>&1 >/dev/null 2>&1 </dev/null & nohup sleep 301 </dev/null >/dev/null 2>&1 & echo nohup $!; echo shell $$; sleep 302"))
	eventually(t, "processes", func() bool { return strings.Count(c.stdout(), "\n") == 3 })
	pids := make(map[string]string)
	for line := range strings.Lines(c.stdout()) { // in any order
		name, pid, _ := strings.Cut(strings.TrimSpace(line), " ")
		pids[name] = pid
	}
	setsid, nohup, shell := pidOf(t, pids["setsid"]), pidOf(t, pids["nohup"]), pidOf(t, pids["shell"])
	t.Cleanup(func() { kill(nohup); kill(setsid) })
	runs(t, nohup, "sleep")
	runs(t, setsid, "sleep")
	c.Process.Kill()
	eventually(t, "hang-up", func() bool { return !alive(shell) })
	eventually(t, "end of the session", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
	if !alive(nohup) || !alive(setsid) {
		t.Error("work that was to outlive the session has ended")
	}
	ends := l.recorded(audit.ChannelEnd)
	if len(ends) != 1 || ends[0].ExitStatus != nil {
		t.Errorf("%+v", ends)
	}
}

// A service that somebody has started with nohup passes its deafness on to no session.
func TestHangUpIsHeardThoughTheServiceIgnoresIt(t *testing.T) {
	c := exec.Command("nohup", os.Args[0], "-test.v", "-test.count=1", "-test.run=^TestDisconnectHangsUpAndLeavesNohupAlone$")
	if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestDisconnectHangsUp")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestBackgroundProcessDoesNotHoldATerminal(t *testing.T) {
	l := newLab(t)
	// The client would be killed long before the program's end.
	got := l.run(l.toolFor(waitTime, "ssh", l.login("ann", 0), "-tt", "web-1", "(trap '' HUP; exec sleep 600) & echo $!"), "")
	if got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	kill(strings.TrimSpace(got.stdout))
}

// stop makes a client deaf and dumb, as a laptop that sleeps.
func (s *started) stop() {
	if err := s.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.Process.Signal(syscall.SIGCONT); s.Process.Kill() })
}

func TestDeadClientIsNoticed(t *testing.T) {
	l := newLabWith(t, func(c *Config) { c.Limits.Alive, c.Limits.AliveMax = 100*time.Millisecond, 50 })
	ann := l.login("ann", 0)
	dead := l.start(l.tool("ssh", ann, "web-1", "echo $$; exec sleep 300"))
	quiet := l.start(l.tool("ssh", ann, "web-1", "echo $$; exec sleep 300"))
	pid, other := pidOf(t, dead.line()), pidOf(t, quiet.line())
	dead.stop()
	eventually(t, "end of the dead client's program", func() bool { return !alive(pid) })
	eventually(t, "end in the audit", func() bool {
		e := l.recorded(audit.SessionEnd)
		return len(e) == 1 && strings.Contains(e[0].Detail, "sign of life") && e[0].Reason == reason.OK
	})
	if !alive(other) || len(l.srv.Sessions()) != 1 {
		t.Error("a client that answers was ended")
	}
	quiet.Process.Kill()
}

func TestTerminalsLastOutputArrivesBeforeTheEnd(t *testing.T) {
	l := newLab(t)
	// The client reads late: what the program has written by its end waits in the terminal and on the way.
	c := l.tool("ssh", l.login("ann", 0), "-tt", "web-1", "head -c 6000000 /dev/zero | tr '\\0' x; echo; echo last words")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	buf := make([]byte, 1<<20)
	var tail []byte
	for first := true; ; first = false {
		if first {
			time.Sleep(5 * ptyLingerForTest) // slower than the server's patience with a silent terminal
		}
		k, err := out.Read(buf)
		n += k
		tail = append(tail, buf[:k]...)
		if len(tail) > 100 {
			tail = tail[len(tail)-100:]
		}
		if err != nil {
			break
		}
	}
	if exit := exitOf(t, c.Wait()); exit != 0 || n < 6000000 || !bytes.HasSuffix(tail, []byte("last words\r\n")) {
		t.Errorf("exit %d, %d bytes, the end is %q", exit, n, tail)
	}
}

const ptyLingerForTest = 100 * time.Millisecond

func TestBreakIsAnswered(t *testing.T) {
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	length := ssh.Marshal(struct{ N uint32 }{500})
	if ok, _ := s.SendRequest("break", true, length); ok {
		t.Error("a break without a terminal")
	}
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Start("sleep 300"); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.SendRequest("break", true, length); !ok {
		t.Error("no break", err)
	}
}

func TestExitSignalNamesTheSignal(t *testing.T) {
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := s.Run("kill -SEGV $$"); !errors.As(err, &exit) || exit.Signal() != "SEGV" {
		t.Errorf("%v", err)
	}
}

func TestClosedMachineSaysSo(t *testing.T) {
	l := newLab(t)
	ann := l.login("ann", 0)
	l.closed.Store(true)
	if got := l.ssh(ann, "web-1", "true"); got.exit != 255 || !strings.Contains(got.stderr, "The disks are being changed.\nBack at ]0;seven.\nLanyard: ") ||
		!strings.Contains(got.stderr, "[no-logins]") {
		t.Errorf("%+v", got)
	}
	if e := l.recorded(audit.Refused); len(e) != 1 || e[0].Reason != reason.NoLogins {
		t.Errorf("%+v", e)
	}
}

func TestTerminalNeedsItsCapability(t *testing.T) {
	l := newLab(t)
	l.setCan(nil, api.CapExec)
	ann := l.login("ann", 0)
	if got := l.ssh(ann, "-tt", "web-1", "tty"); strings.Contains(got.stdout, "/dev/") || !strings.Contains(got.stderr, "PTY allocation request failed") {
		t.Errorf("%+v", got)
	}
	if got := l.ssh(ann, "-T", "web-1", "tty"); !strings.Contains(got.stdout, "not a tty") {
		t.Errorf("without one: %+v", got)
	}
	if e := l.recorded(audit.Refused); len(e) != 1 || e[0].What != "pty" || e[0].Detail != string(api.CapPTY) {
		t.Errorf("%+v", e)
	}
}
