package spawn

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/platform/accounts"
	"lanyard/platform/pty"
)

func own(t *testing.T) accounts.Account {
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

// cmd starts a command in the scope and returns what it writes.
func cmd(t *testing.T, s *Scope, command string) (*Process, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	a := own(t)
	p, err := s.Start(Command{Path: a.Shell, Argv: []string{a.Shell, "/d", "/s", "/c", command}, Env: []string{"GREETING=hello"}, Account: a, Files: [3]*os.File{null, w, w}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return p, bufio.NewReader(r)
}

func TestCommandHasItsLineEnvironmentAndStatus(t *testing.T) {
	s := NewScopes().Open("s1").Channel("c1")
	defer s.Close()
	p, out := cmd(t, s, `echo %GREETING% "a b" %LANYARD_SESSION% %LANYARD_CHANNEL% %USERNAME%& exit 5`)
	line, _ := out.ReadString('\n')
	if f := strings.Fields(line); len(f) < 5 || !slices.Equal(f[:5], []string{"hello", `"a`, `b"`, "s1", "c1"}) || strings.Contains(line, "%") {
		t.Errorf("%q", line)
	}
	if e, ok := p.Wait(); !ok || e.Status != 5 {
		t.Errorf("%+v %v", e, ok)
	}
}

func TestScopeEndsWhatItStarted(t *testing.T) {
	for name, end := range map[string]func(*Scope, *Process){
		"Kill":   func(s *Scope, _ *Process) { s.Kill() },
		"Close":  func(s *Scope, _ *Process) { s.Close() },
		"Hangup": func(_ *Scope, p *Process) { p.Hangup() },
		"Signal": func(_ *Scope, p *Process) { _ = p.Signal("TERM") },
	} {
		s := NewScopes().Open("s").Channel("c")
		p, out := cmd(t, s, "echo started& ping -n 600 127.0.0.1 >nul")
		if line, err := out.ReadString('\n'); err != nil || !strings.HasPrefix(line, "started") {
			t.Fatalf("%s: %q, %v", name, line, err)
		}
		if err := p.Signal("USR1"); errors.Is(err, errors.ErrUnsupported) {
			t.Attr("unsupported", "spawn.Process.Signal")
		} else {
			t.Errorf("%s: a signal that Windows has not: %v", name, err)
		}
		end(s, p)
		p.Release()
		gone := make(chan bool, 1)
		go func() { _, ok := p.Wait(); gone <- ok }()
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it still runs", name)
		}
		s.Close()
		if _, err := s.Start(Command{Path: `C:\windows\system32\cmd.exe`, Argv: []string{"cmd"}, Account: own(t)}); !errors.Is(err, ErrKilled) {
			t.Errorf("%s: started in a scope that has ended: %v", name, err)
		}
	}
}

func TestOthersAreNotServedWithoutTheSystem(t *testing.T) {
	other := accounts.Account{Name: "other", UID: "S-1-5-21-1-2-3-1234"}
	if !Networkless(other) || Networkless(own(t)) {
		t.Error("who is logged on without a password has network credentials, or oneself has none")
	}
	if CanServe(other) || !CanServe(own(t)) {
		t.Error("serves somebody else, or not itself")
	}
	if err := As(other, func() { t.Error("ran") }); !errors.Is(err, ErrAccount) {
		t.Error(err)
	}
	ran := false
	if err := As(own(t), func() { ran = true }); err != nil || !ran {
		t.Errorf("%v, ran %v", err, ran)
	}
}

func TestConsoleShowsItsLastWords(t *testing.T) {
	con, err := pty.Open(pty.Size{Cols: 80, Rows: 25}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer con.Close()
	s := NewScopes().Open("s").Channel("c")
	defer s.Close()
	a := own(t)
	p, err := s.Start(Command{Path: a.Shell, Argv: []string{a.Shell, "/d", "/s", "/c", "echo last words"}, Account: a, PTY: con})
	if err != nil {
		t.Fatal(err)
	}
	if err := con.Resize(pty.Size{Cols: 100, Rows: 30}); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("resize: %v", err)
	}
	if e, ok := p.Wait(); !ok || e.Status != 0 {
		t.Errorf("%+v %v", e, ok)
	}
	text, err := io.ReadAll(con) // ends, as the console did
	if err != nil || !strings.Contains(string(text), "last words") {
		t.Errorf("%q, %v", text, err)
	}
	if con.Name() != "" {
		t.Errorf("the console is called %q", con.Name())
	}
	if _, err := con.Write([]byte("x")); err == nil {
		t.Error("typed into a console that has ended")
	}
}

func TestCommandLines(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{`C:\windows\system32\cmd.exe`, "/d", "/s", "/c", `dir "C:\a b" & echo "x"`}, `C:\windows\system32\cmd.exe /d /s /c "dir "C:\a b" & echo "x""`},
		{[]string{`C:\p f\pwsh.exe`, "-NoLogo", "-Command", `"a" b`}, `"C:\p f\pwsh.exe" -NoLogo -Command "\"a\" b"`},
	} {
		if got := commandLine(c.argv[0], c.argv); got != c.want {
			t.Errorf("%s: %s, want %s", filepath.Base(c.argv[0]), got, c.want)
		}
	}
}
