//go:build linux

package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/platform/accounts"
	"lanyard/sshd/token"
	"lanyard/test/calm"
)

// TestMain is also the session helper: the server under test starts this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "openssh" {
		if handled, exit := HelperMain(os.Args[2:]); handled {
			os.Exit(exit)
		}
	}
	sweep()
	exit := m.Run()
	if dir, err := helperDir(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(exit)
}

// tempPrefix begins the names of our temporary folders; the number of the process follows.
const tempPrefix = "lanyard-sshd-"

// sweep removes what earlier runs left that were killed or ran out of time.
func sweep() {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*-*"))
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), tempPrefix), "-")
		if _, err := os.Stat("/proc/" + pid); err != nil {
			_ = syscall.Unmount(filepath.Join(dir, "home"), syscall.MNT_DETACH) // where one was mounted
			os.RemoveAll(dir)
		}
	}
}

func tempDir() (string, error) {
	return os.MkdirTemp("", fmt.Sprintf("%s%d-", tempPrefix, os.Getpid()))
}

// helperDir is made when a test needs it.
var helperDir = sync.OnceValues(tempDir)

const (
	issuerURL = "https://id.example"
	clientID  = "lanyard"
	waitTime  = 2 * time.Minute
)

// lab is a server on loopback with an issuer, and what a person needs to use OpenSSH's client with it.
type lab struct {
	t      testing.TB
	srv    *Server
	addr   netip.AddrPort
	issuer ed25519.PrivateKey
	host   ssh.Signer
	dir    string
	home   string // of the local account

	account accounts.Account
	shell   atomic.Pointer[string] // instead of the account's own
	closed  atomic.Bool            // nologin(5)
	state   atomic.Pointer[State]
	clock   atomic.Int64                    // offset of the server's clock, nanoseconds
	peer    atomic.Pointer[func() api.Peer] // who connects; nil: pclient
	desk    atomic.Pointer[desk]            // signs people in at the prompt
	direct  atomic.Bool                     // connections look as if they did not cross the tunnel

	mu     sync.Mutex
	events []audit.Event
	full   error // what the audit answers
	asked  []string
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return newLabWith(t, nil)
}

// newLabWith is newLab with a configuration that change has changed.
func newLabWith(t testing.TB, change func(*Config)) *lab {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("needs OpenSSH's client")
	}
	l := &lab{t: t, dir: publicDir(t)}
	_, l.issuer, _ = ed25519.GenerateKey(rand.Reader)
	_, hostKey, _ := ed25519.GenerateKey(rand.Reader)
	var err error
	if l.host, err = ssh.NewSignerFromKey(hostKey); err != nil {
		t.Fatal(err)
	}
	l.account = localAccount(t, l.dir)
	l.home = l.account.Home
	l.setMap(nil)
	cfg := Config{
		HostKeys: []ssh.Signer{l.host},
		Self:     func() string { return "pserver" },
		Source:   l.source,
		State:    func() *State { return l.state.Load() },
		Accounts: func(name string) (accounts.Account, error) {
			if name == l.account.Name {
				a := l.account
				if s := l.shell.Load(); s != nil {
					a.Shell = *s
				}
				if l.closed.Load() {
					a.Closed, a.Notice = true, "The disks are being changed.\r\nBack at \x1b]0;seven.\a"
				}
				return a, nil
			}
			return accounts.Lookup(name)
		},
		Audit:  l.audit,
		SignIn: func(ctx context.Context, q SignInRequest) (*SignIn, error) { return l.desk.Load().signIn(ctx, q) },
		UnknownKey: func(issuer, kid string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.asked = append(l.asked, issuer+" "+kid)
		},
		Helper: []string{helperProgram(t), "openssh"},
		Log:    slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:    l.now,
		Limits: Limits{Tick: 20 * time.Millisecond},
		// However long this machine stands still in between: nobody goes without the reason.
		ends: endTimes{told: waitTime, closed: waitTime, channel: waitTime, worker: waitTime},
	}
	if change != nil {
		change(&cfg)
	}
	l.srv, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.addr, _ = addrPort(ln.Addr())
	served := make(chan error, 1)
	go func() { served <- l.srv.Serve(ln) }()
	t.Cleanup(func() {
		if err := l.srv.Close(); err != nil {
			t.Error("close:", err)
		}
		if err := <-served; err != nil {
			t.Error("serve:", err)
		}
	})
	l.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", l.addr.Port(), ssh.MarshalAuthorizedKey(l.host.PublicKey())), 0o644)
	return l
}

// asInService lets what ends take no longer than it does in service.
func asInService(c *Config) { c.ends = withinASecond() }

// publicDir is a folder that every account may enter, unlike t.TempDir.
func publicDir(t testing.TB) string {
	t.Helper()
	dir, err := tempDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// localAccount is an ordinary account that no file knows when the test runs as root, and the test's own otherwise.
func localAccount(t testing.TB, dir string) accounts.Account {
	t.Helper()
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		a, err := accounts.Lookup(me.Username)
		if err != nil {
			t.Fatal(err)
		}
		a.Home, a.Shell, a.NoLogin, a.System = home, "/bin/sh", false, false
		return a
	}
	a := accounts.Account{Name: "ann", UID: "54321", Uid: 54321, Gid: 54322, Groups: []uint32{54322, 54323}, Home: home, Shell: "/bin/bash"}
	if err := os.Chown(home, int(a.Uid), int(a.Gid)); err != nil {
		t.Fatal(err)
	}
	return a
}

var helperOnce = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	dir, err := helperDir()
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	p := filepath.Join(dir, "helper")
	syscall.ForkLock.RLock() // what another test starts meanwhile would hold it open for writing, and nobody could run it
	defer syscall.ForkLock.RUnlock()
	return p, os.WriteFile(p, b, 0o755)
})

// helperProgram is this program where every account can run it.
func helperProgram(t testing.TB) string {
	t.Helper()
	p, err := helperOnce()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type testLog struct{ t testing.TB }

func (w testLog) Write(b []byte) (int, error) {
	if testing.Verbose() {
		os.Stderr.Write(b)
	}
	return len(b), nil
}

func (l *lab) now() time.Time { return time.Now().Add(time.Duration(l.clock.Load())) }

func (l *lab) source(netip.AddrPort) (api.Peer, bool) {
	if f := l.peer.Load(); f != nil {
		return (*f)(), true
	}
	return api.Peer{ID: "pclient", Name: "laptop"}, !l.direct.Load()
}

func (l *lab) audit(e audit.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != nil {
		return l.full
	}
	l.events = append(l.events, e)
	return nil
}

// recorded returns the events of these types so far.
func (l *lab) recorded(types ...audit.Type) []audit.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []audit.Event
	for _, e := range l.events {
		for _, t := range types {
			if e.Type == t {
				out = append(out, e)
			}
		}
	}
	return out
}

// setMap puts a map in force that change has changed: by default ann@example may be the local account and do all.
func (l *lab) setMap(change func(*State)) {
	l.t.Helper()
	now := l.now()
	m := &api.Map{
		IssuedAt: now.Add(-time.Minute), MaxMapAge: api.Secs(24 * time.Hour),
		Self:  api.Peer{ID: "pserver", Name: "web-1", Addr4: netip.MustParseAddr("100.110.0.2")},
		Peers: []api.Peer{{ID: "pclient", Name: "laptop", Addr4: netip.MustParseAddr("100.110.0.1")}},
		Issuers: []api.Issuer{{
			URL: issuerURL, ClientID: clientID, Keys: []json.RawMessage{l.jwk()},
		}},
		Rules: []api.Rule{{
			ID: "rule1", Name: "everything", Users: []api.UserRef{person("ann"), person("bob")},
			As:         []string{l.account.Name, "root"},
			Conditions: api.Conditions{Can: api.AllCapabilities()},
		}},
	}
	st := &State{Map: m, Enabled: true}
	if change != nil {
		change(st)
	}
	var err error
	if st.Trust, err = token.TrustFromMap(st.Map); err != nil {
		l.t.Fatal(err)
	}
	l.state.Store(st)
}

func person(sub string) api.UserRef { return api.UserRef{Issuer: issuerURL, Subject: sub} }

func (l *lab) jwk() json.RawMessage {
	x := base64.RawURLEncoding.EncodeToString(l.issuer.Public().(ed25519.PublicKey))
	return json.RawMessage(fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"k1","x":"%s"}`, x))
}

func (l *lab) write(name, content string, mode os.FileMode) string {
	l.t.Helper()
	p := filepath.Join(l.dir, name)
	if err := os.WriteFile(p, []byte(content), mode); err != nil {
		l.t.Fatal(err)
	}
	return p
}

// login makes key and certificate of a person and an ssh_config that uses them, whose path it returns.
func (l *lab) login(sub string, age time.Duration) string {
	l.t.Helper()
	key, salt, err := token.NewKey(time.Now().Add(-age))
	if err != nil {
		l.t.Fatal(err)
	}
	pub, _ := ssh.NewPublicKey(key.Public())
	iat := time.Now().Add(-age)
	tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": issuerURL, "sub": sub, "aud": clientID, "nonce": token.Nonce(salt, pub.Marshal()),
		"iat": iat.Unix(), "exp": iat.Add(12 * time.Hour).Unix(), "email": sub + "@example.com", "email_verified": true,
	})
	tok.Header["kid"] = "k1"
	raw, err := tok.SignedString(l.issuer)
	if err != nil {
		l.t.Fatal(err)
	}
	cert, err := token.Mint(key, salt, raw, "")
	if err != nil {
		l.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		l.t.Fatal(err)
	}
	id := l.write("id-"+sub, string(pem.EncodeToMemory(block)), 0o600)
	l.write("id-"+sub+"-cert.pub", string(ssh.MarshalAuthorizedKey(cert)), 0o644)
	return l.config(sub, id, "CertificateFile "+id+"-cert.pub")
}

func (l *lab) config(name, id, more string) string {
	return l.write("config-"+name, fmt.Sprintf(`Host web-1
HostName 127.0.0.1
Port %d
User %s
IdentityFile %s
%s
IdentitiesOnly yes
UserKnownHostsFile %s
GlobalKnownHostsFile none
StrictHostKeyChecking yes
`, l.addr.Port(), l.account.Name, id, more, filepath.Join(l.dir, "known_hosts")), 0o644)
}

type result struct {
	stdout, stderr string
	exit           int
}

func exitOf(t testing.TB, err error) int {
	t.Helper()
	var ee *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ee):
		return ee.ExitCode()
	}
	t.Fatal(err)
	return -1
}

// tool is OpenSSH's ssh, sftp or scp with this configuration.
func (l *lab) tool(name, config string, args ...string) *exec.Cmd {
	return l.toolFor(5*time.Minute, name, config, args...)
}

// toolFor is tool, killed after that time.
func (l *lab) toolFor(d time.Duration, name, config string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	l.t.Cleanup(cancel)
	c := exec.CommandContext(ctx, name, append([]string{"-F", config}, args...)...)
	c.Env = append(os.Environ(), "LC_TEST=hello", "LANG=C.UTF-8", "SSH_AUTH_SOCK=")
	return c
}

func (l *lab) run(c *exec.Cmd, stdin string) result {
	l.t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	c.Stdin = strings.NewReader(stdin)
	err := c.Run()
	return result{out.String(), errs.String(), exitOf(l.t, err)}
}

func (l *lab) ssh(config string, args ...string) result {
	l.t.Helper()
	return l.run(l.tool("ssh", config, args...), "")
}

// started is a client that runs, with what it has written so far.
type started struct {
	*exec.Cmd
	t        testing.TB
	mu       sync.Mutex
	out, err bytes.Buffer
	in       io.WriteCloser
	done     chan error
}

func (l *lab) start(c *exec.Cmd) *started {
	l.t.Helper()
	s := &started{Cmd: c, t: l.t, done: make(chan error, 1)}
	c.Stdout, c.Stderr = lockedBuffer{&s.mu, &s.out}, lockedBuffer{&s.mu, &s.err}
	var err error
	if s.in, err = c.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() { s.done <- c.Wait() }()
	return s
}

type lockedBuffer struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (s *started) stdout() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

func (s *started) stderr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err.String()
}

// line waits for a whole line of output and returns it.
func (s *started) line() string {
	s.t.Helper()
	eventually(s.t, "a line of output", func() bool { return strings.Contains(s.stdout(), "\n") })
	first, _, _ := strings.Cut(s.stdout(), "\n")
	return strings.TrimSpace(first)
}

func (s *started) wait() int {
	s.t.Helper()
	select {
	case err := <-s.done:
		return exitOf(s.t, err)
	case <-time.After(waitTime):
		s.t.Fatalf("%s did not end; stdout %q, stderr %q", s.Path, s.stdout(), s.stderr())
		return -1
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitTime); ; time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %s within %s", what, waitTime)
		}
	}
}

// inTime does what must be done within endTime.
func inTime(t *testing.T, do func() time.Duration) {
	t.Helper()
	calm.Within(t, endTime, do)
}

// ended wants a client to have ended with the reason on its screen. In service, nobody waits for long until it is there: a
// client that has none, of a machine that stood still for as long, counts as an end that took too long.
func ended(t testing.TB, exit int, said, reason string, at time.Time) (took time.Duration) {
	t.Helper()
	took = time.Since(at)
	told := strings.Contains(said, reason)
	if exit != 255 || !told && took < withinASecond().channel {
		t.Errorf("exit %d, %q", exit, said)
	}
	if !told {
		took += 4 * endTime // load excuses three quarters at most
	}
	return took
}

// alive reports whether a process runs (and is no zombie).
func alive(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return len(f) > 0 && f[0] != "Z"
}

// runs waits until a process has become a program: before, nohup has not yet arranged to be spared.
func runs(t testing.TB, pid, program string) {
	t.Helper()
	eventually(t, program, func() bool {
		b, _ := os.ReadFile("/proc/" + pid + "/comm")
		return strings.TrimSpace(string(b)) == program
	})
}

func pidOf(t testing.TB, s string) string {
	t.Helper()
	if _, err := strconv.Atoi(s); err != nil {
		t.Fatalf("%q is no process number", s)
	}
	return s
}
