//go:build unix

package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lanyard/mgmt/api"
)

// TestMain is also a caller of another account: it tries everything and tells what it was answered.
func TestMain(m *testing.M) {
	switch path := os.Getenv("IPC_CALLER"); {
	case path != "":
		json.NewEncoder(os.Stdout).Encode(tryAll(path))
	case os.Getenv("IPC_SENDER") != "":
		fmt.Println(sendMuch(os.Getenv("IPC_SENDER")))
	case os.Getenv("IPC_IMPOSTOR") != "":
		l, err := net.Listen("unix", os.Getenv("IPC_IMPOSTOR"))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Chmod(os.Getenv("IPC_IMPOSTOR"), 0o666)
		fmt.Println("listening")
		l.Accept()
		time.Sleep(time.Minute)
	default:
		os.Exit(m.Run())
	}
}

type tried struct {
	Dial    string
	Class   Class
	Account string
	Status  map[string]int // by call; 0: it worked
}

func tryAll(path string) (r tried) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := DialPath(path)
	if err != nil {
		r.Dial = err.Error()
		return r
	}
	r.Status = map[string]int{}
	note := func(call string, err error) {
		var e *api.Error
		switch {
		case errors.As(err, &e):
			r.Status[call] = e.Status
		case err != nil:
			r.Status[call] = -1
		default:
			r.Status[call] = 0
		}
	}
	st, err := c.Status(ctx)
	note("status", err)
	if err == nil {
		r.Class, r.Account = st.Caller.Class, st.Caller.Account
	}
	_, err = c.Machine(ctx)
	note("machine", err)
	_, err = c.Login(ctx, api.LoginStart{Account: "root", Purpose: api.PurposeLogin})
	note("login", err)
	_, err = c.Certificate(ctx, nil)
	note("certificate", err)
	conn, err := c.Connect(ctx, "echo", 22)
	if err == nil {
		conn.Close()
	}
	note("connect", err)
	_, err = c.Up(ctx, UpRequest{}, nil)
	note("up", err)
	_, err = c.Down(ctx)
	note("down", err)
	_, err = c.Enroll(ctx, EnrollByPerson{})
	note("enroll", err)
	note("end", c.End(ctx, "s1"))
	return r
}

// as runs this test program as another account.
func as(t *testing.T, uid uint32, env string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can call as other accounts")
	}
	self := filepath.Join(shortDir(t), "caller")
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(self, b, 0o755), os.Chmod(filepath.Dir(self), 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = []string{env}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return c
}

const (
	ann = 61001
	bo  = 61002
)

// sendMuch begins a body that would be good for whoever may change things, and says what it was answered.
func sendMuch(path string) string {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	// The service may hang up before all of it has come.
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{\"account\":\"%s", RouteLogin, maxBody, strings.Repeat("a", maxAsked))
	b, err := io.ReadAll(conn)
	return fmt.Sprintf("%s (%v)", b, err)
}

// An ordinary account holds little of the service's memory, however much it says that it will send.
func TestWhoMayChangeNothingSendsLittle(t *testing.T) {
	_, path := serve(t, true)
	os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)
	if out, err := as(t, ann, "IPC_SENDER="+path).Output(); err != nil || !strings.Contains(string(out), "too large") {
		t.Errorf("it was answered %q (%v)", out, err)
	}
}

func TestEachAccountGetsItsClassAndNoMore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can call as other accounts")
	}
	f, path := serve(t, true)
	os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)
	const no = http.StatusForbidden
	look := map[string]int{"status": 0, "machine": 0, "login": 0, "certificate": 0, "connect": no, "up": no, "down": no, "enroll": no, "end": no}
	connect := map[string]int{"status": 0, "machine": 0, "login": 0, "certificate": 0, "connect": 0, "up": no, "down": no, "enroll": no, "end": no}
	change := map[string]int{"status": 0, "machine": 0, "login": 0, "certificate": 0, "connect": 0, "up": 0, "down": 0, "enroll": 0, "end": 0}
	cases := []struct {
		name   string
		access Access
		uid    uint32
		class  Class
		want   map[string]int
	}{
		{"a stranger looks", Access{}, ann, ClassStatus, look},
		{"a listed account connects", Access{Connect: []Account{{"bo", "61002"}, {"ann", "61001"}}}, ann, ClassConnect, connect},
		{"the operator changes", Access{Operator: Account{"ann", "61001"}}, ann, ClassChange, change},
		{"a name without its uid is nothing", Access{Operator: Account{"ann", ""}, Connect: []Account{{"ann", ""}}}, ann, ClassStatus, look},
		{"somebody else's operator is nobody", Access{Operator: Account{"ann", "61001"}}, bo, ClassStatus, look},
		{"root changes", Access{}, 0, ClassChange, change},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f.mu.Lock()
			f.access, f.account, f.certified = c.access, "", Account{}
			f.mu.Unlock()
			out, err := as(t, c.uid, "IPC_CALLER="+path).Output()
			if err != nil {
				t.Fatal(err)
			}
			var got tried
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			if got.Dial != "" || got.Class != c.class {
				t.Fatalf("got class %q (%s), want %q", got.Class, got.Dial, c.class)
			}
			for call, want := range c.want {
				if got.Status[call] != want {
					t.Errorf("%s was answered %d, want %d", call, got.Status[call], want)
				}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if want := accountOf(c.uid); f.account != want {
				t.Errorf("a login was started in the name of %q, want %q", f.account, want)
			}
			if want := (Account{Name: accountOf(c.uid), ID: fmt.Sprint(c.uid)}); f.certified != want {
				t.Errorf("a machine certificate was asked for by %+v, want %+v", f.certified, want)
			}
		})
	}
}

func accountOf(uid uint32) string {
	if uid == 0 {
		return "root"
	}
	return fmt.Sprint("uid ", uid)
}

func TestSocketsHaveTheModesOfTheirKind(t *testing.T) {
	for _, c := range []struct {
		system    bool
		dir, sock os.FileMode
	}{{true, 0o755, 0o666}, {false, 0o700, 0o600}} {
		_, path := serve(t, c.system)
		dir, err1 := os.Stat(filepath.Dir(path))
		sock, err2 := os.Stat(path)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if dir.Mode().Perm() != c.dir || sock.Mode().Perm() != c.sock {
			t.Errorf("system %v: folder %v, socket %v", c.system, dir.Mode(), sock.Mode())
		}
	}
}

func TestStrangerCannotOpenAUsersOwnSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can call as other accounts")
	}
	_, path := serve(t, false)
	out, err := as(t, ann, "IPC_CALLER="+path).Output()
	if err != nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("a stranger was told %s (%v)", out, err)
	}
}

func TestSecondServiceIsRefused(t *testing.T) {
	_, path := serve(t, false)
	if _, err := Listen(path, false); err == nil || !strings.Contains(err.Error(), "another Lanyard service") {
		t.Errorf("a second service: %v", err)
	}
}

func TestSocketOfAKilledServiceIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "run", "s")
	l, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a kill leaves it
	l.Close()
	if l, err = Listen(path, false); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestFolderThatOthersMayWriteIsRefused(t *testing.T) {
	dir := shortDir(t)
	run := filepath.Join(dir, "run")
	if err := errors.Join(os.Mkdir(run, 0o700), os.Chmod(run, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(filepath.Join(run, "s"), false); err == nil || !strings.Contains(err.Error(), "other accounts") {
		t.Errorf("a folder that everyone writes: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a folder of another account")
	}
	if err := errors.Join(os.Chmod(run, 0o755), os.Chown(run, ann, ann)); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(filepath.Join(run, "s"), true); err == nil || !strings.Contains(err.Error(), "belongs to another account") {
		t.Errorf("a stranger's folder: %v", err)
	}
}

func TestImpostorIsToldNothing(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	c := as(t, bo, "IPC_IMPOSTOR="+path)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.Process.Kill(); c.Wait() }()
	b := make([]byte, 64)
	if n, _ := out.Read(b); !strings.HasPrefix(string(b[:n]), "listening") {
		t.Fatalf("the impostor says %q", b[:n])
	}
	if _, err := DialPath(path); err == nil || !strings.Contains(err.Error(), "neither root nor you") {
		t.Errorf("an impostor's socket: %v", err)
	}
}
