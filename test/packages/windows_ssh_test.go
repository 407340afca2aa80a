//go:build linux

package packages

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
	"lanyard/test/wine"
)

// Real OpenSSH at a Linux machine, through the tunnel, to a service of Windows' service control manager.
func TestWindowsServesSSH(t *testing.T) {
	t.Parallel()
	o, m := openOffice(t), openWindows(t)
	const program = `C:\Lanyard\lanyard.exe`
	if err := m.Put(windowsProgram(t, "lanyard.exe", "service", "dev"), program); err != nil {
		t.Fatal(err)
	}
	if out, err := m.Run(within(t, 3*time.Minute), program, "service", "install"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key, err := o.mgmt.SetupKey(within(t, 3*time.Minute), "tag:windows")
	if err != nil {
		t.Fatal(err)
	}
	up := m.Command(within(t, 3*time.Minute), program, "up", o.mgmt.Join, "--name", winPeer, "--allow-ssh", "--setup-key-file", "-")
	up.Stdin = strings.NewReader(key + "\r\n")
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if s := serves(t, m, program); s.Tunnel.Mode != "userspace" {
		t.Errorf("without wintun.dll the tunnel's mode is %q", s.Tunnel.Mode)
	}
	o.signIn()
	o.sessions(m)
}

// sessions is what a person expects of a Windows machine.
func (o *office) sessions(m *wine.Machine) {
	for name, test := range map[string]func(*testing.T, *office, *wine.Machine){
		"a command has output, errors and an exit status": commands,
		"the environment is the account's own":            environment,
		"cmd.exe in a console":                            console,
		"files come and go":                               files,
		"a port is forwarded":                             forwards,
		"a session's end ends what it started":            tree,
	} {
		o.t.Run(name, func(t *testing.T) {
			sub := *o
			sub.t = t
			test(t, &sub, m)
		})
	}
}

func commands(t *testing.T, o *office, _ *wine.Machine) {
	for _, c := range []struct {
		command, out, err string
		code              int
	}{
		{"echo hello", "hello", "", 0},
		{"exit 7", "", "", 7},
		{"exit 300", "", "", 300 & 0xff}, // ssh itself passes on a byte
		{"echo bad 1>&2& exit 1", "", "bad", 1},
		{`echo "two  words" & echo ^<more^>`, "\"two  words\" \r\n<more>", "", 0},
		{"no-such-program", "", "Can't recognize", 9009 & 0xff}, // Wine's cmd.exe; Windows' own says 1
	} {
		r := o.ssh(c.command)
		if r.code != c.code || strings.TrimSpace(r.out) != c.out || !strings.Contains(r.err, c.err) {
			t.Errorf("%s: %s", c.command, r)
		}
	}
	if r := o.client("ssh", "one\r\ntwo\r\n", lab.Me()+"@"+target, "find", `"two"`); r.code != 0 || !strings.Contains(r.out, "two") || strings.Contains(r.out, "one") {
		t.Errorf("standard input: %s", r)
	}
}

func environment(t *testing.T, o *office, m *wine.Machine) {
	r := o.ssh("set& cd")
	env := map[string]string{}
	var last string
	for line := range strings.Lines(r.out) {
		last = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(last, "="); ok {
			env[strings.ToUpper(name)] = value
		}
	}
	for name, want := range map[string]string{
		"USERNAME": m.User, "USERPROFILE": `C:\users\` + m.User, "SYSTEMROOT": `C:\windows`, "COMSPEC": `C:\windows\system32\cmd.exe`,
		"APPDATA": `C:\users\` + m.User + `\AppData\Roaming`,
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if f := strings.Fields(env["SSH_CONNECTION"]); len(f) != 4 || f[3] != "22" {
		t.Errorf("SSH_CONNECTION is %q", env["SSH_CONNECTION"])
	}
	if !strings.EqualFold(last, `C:\users\`+m.User) {
		t.Errorf("a command starts in %q", last)
	}
	if t.Failed() {
		t.Log(r)
	}
}

// console types into an interactive cmd.exe, whose keyboard and screen are a pseudo-console.
func console(t *testing.T, o *office, _ *wine.Machine) {
	c := o.laptop.SSH(within(t, 3*time.Minute), lab.Me(), "ssh", "-tt", lab.Me()+"@"+target)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.laptop.StartCommand("console", c)
	if err != nil {
		t.Fatal(err)
	}
	see := func(want string) {
		t.Helper()
		if err := lab.Until(within(t, 90*time.Second), want+" on the screen", func() error {
			if !strings.Contains(p.Text(), want) {
				return fmt.Errorf("the screen shows %q", p.Text())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	see(">") // the prompt
	io.WriteString(in, "set /a 6*7\r")
	see("42")
	io.WriteString(in, "exit 9\r")
	select {
	case <-p.Done():
	case <-within(t, 90*time.Second).Done():
		t.Fatalf("the session does not end: %q", p.Text())
	}
	if code := lab.ExitCode(p.Err()); code != 9 {
		t.Errorf("exit status %d: %q", code, p.Text())
	}
}

func files(t *testing.T, o *office, m *wine.Machine) {
	data := make([]byte, 3<<20+17)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	local := filepath.Join(o.laptop.Scratch(), "file")
	if err := os.WriteFile(local, data, 0o600); err != nil {
		t.Fatal(err)
	}
	same := func(name string) {
		t.Helper()
		got, err := os.ReadFile(name)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
			t.Errorf("%s: %v, %d bytes of %d, or others", name, err, len(got), len(data))
		}
	}
	batch := strings.Join([]string{
		"mkdir /C:/Inbox", "put " + local + " /C:/Inbox/file", "rename /C:/Inbox/file /C:/Inbox/renamed",
		"ls -l /C:/Inbox", "get /C:/Inbox/renamed " + local + ".back", "put " + local + " at-home", "pwd",
	}, "\n") + "\n"
	r := o.client("sftp", batch, "-q", "-b", "-", lab.Me()+"@"+target)
	if r.code != 0 || !strings.Contains(r.out, "/C:/users/"+m.User) && !strings.Contains(r.out, "/C:/Users/"+m.User) {
		t.Fatalf("sftp: %s", r)
	}
	same(m.Path(`C:\Inbox\renamed`))
	same(local + ".back")
	same(m.Path(`C:\users\` + m.User + `\at-home`))
	if r := o.client("scp", "", "-q", local, lab.Me()+"@"+target+":/C:/Inbox/by-scp"); r.code != 0 {
		t.Errorf("scp: %s", r)
	}
	same(m.Path(`C:\Inbox\by-scp`))
	// Above the drives there is a folder that shows them; "C:" leads into one, ".." out again.
	r = o.client("sftp", "cd /\npwd\nls -1\ncd C:\nls -1 Inbox\ncd ..\npwd\n", "-q", "-b", "-", lab.Me()+"@"+target)
	said := slices.DeleteFunc(strings.Split(strings.TrimSpace(r.out), "\n"), func(l string) bool { return strings.HasPrefix(l, "sftp>") })
	if all := strings.Join(said, " "); r.code != 0 || !strings.HasPrefix(all, "Remote working directory: / C: ") || !strings.Contains(all, "Inbox/renamed") ||
		!strings.HasSuffix(all, "Remote working directory: /") {
		t.Errorf("the drives: %s", r)
	}
	if r := o.client("sftp", "get /C:/no-such-file x\n", "-q", "-b", "-", lab.Me()+"@"+target); r.code == 0 || !strings.Contains(r.err, "not found") {
		t.Errorf("a file that is not there: %s", r)
	}
}

func forwards(t *testing.T, o *office, _ *wine.Machine) {
	// Wine shares the loopback of this machine: the destination is a listener of the test's.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	port, err := lab.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", port)
	c := o.laptop.SSH(within(t, 3*time.Minute), lab.Me(), "ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-L", at+":"+l.Addr().String(), lab.Me()+"@"+target)
	p, err := o.laptop.StartCommand("forward", c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	var conn net.Conn
	if err := lab.Until(within(t, 90*time.Second), "the forwarded port", func() (err error) {
		conn, err = net.Dial("tcp", at)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	data := bytes.Repeat([]byte("through Windows "), 1<<14)
	go func() { _, _ = conn.Write(data) }()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the echo is not what was sent (%v)", err)
	}
}

// tree looks for the programs that a session has started, also those that left it, once its ssh has been killed.
func tree(t *testing.T, o *office, m *wine.Machine) {
	running := func() (n int) {
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, d := range dirs {
			cmd, err := os.ReadFile(filepath.Join(d, "cmdline"))
			if err != nil || !bytes.Contains(bytes.ToLower(cmd), []byte("ping")) || !bytes.Contains(cmd, []byte("127.0.0.9")) {
				continue
			}
			if env, err := os.ReadFile(filepath.Join(d, "environ")); err == nil && bytes.Contains(env, []byte("WINEPREFIX="+m.Dir+"\x00")) {
				n++
			}
		}
		return n
	}
	c := o.laptop.SSH(context.WithoutCancel(t.Context()), lab.Me(), "ssh", lab.Me()+"@"+target,
		"start /b ping -n 600 127.0.0.9 >nul & echo started & ping -n 600 127.0.0.9 >nul")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "started") {
		t.Fatalf("%q, %v", line, err)
	}
	count := func(want int) error {
		return lab.Until(within(t, 90*time.Second), "the session's programs", func() error {
			if n := running(); n < 2 && want > 0 || n > 0 && want == 0 {
				return fmt.Errorf("%d run, want %d", n, want)
			}
			return nil
		})
	}
	if err := count(2); err != nil {
		t.Fatal(err)
	}
	_ = c.Process.Kill()
	if err := count(0); err != nil {
		t.Error(err)
	}
}
