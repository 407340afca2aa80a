//go:build unix

package sftp

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain is the server where a test starts this program as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Verb {
		os.Exit(Main(os.Args[2:]))
	}
	code := m.Run()
	if programDir != "" {
		os.RemoveAll(programDir)
	}
	os.Exit(code)
}

// account of the tests that run as root: nobody, which every system has (OpenSSH's server wants to know its account).
const account = 65534

// programDir is where program put it, "" before.
var programDir string

// program is this program where every account can run it.
var program = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "lanyard-sftp-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	programDir = dir
	p := filepath.Join(dir, "server")
	return p, os.WriteFile(p, b, 0o755)
})

// home is an empty folder of the account's.
func home(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lanyard-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	give(t, dir)
	return dir
}

// give makes files the account's.
func give(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if os.Geteuid() == 0 {
			if err := os.Lchown(p, account, account); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// put makes a file of the account's.
func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	give(t, path)
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// client speaks to a server that runs as the account.
type client struct {
	t    testing.TB
	in   io.WriteCloser
	out  io.Reader
	next uint32

	mu     sync.Mutex // guards events
	events []Event
	text   bytes.Buffer
	told   chan struct{} // closed when no more events come
	cmd    *exec.Cmd
}

// serveHome starts the server with these grants; none: everything.
func serveHome(t testing.TB, home string, grants ...Grant) *client {
	t.Helper()
	if grants == nil {
		grants = []Grant{{Everything, true}}
	}
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	_, argv := Command([]string{p}, home, grants)
	return serveBy(t, home, argv)
}

func serveBy(t testing.TB, home string, argv []string) *client {
	t.Helper()
	c := &client{t: t, told: make(chan struct{})}
	c.cmd = exec.Command(argv[0], argv[1:]...)
	c.cmd.Dir = home
	c.cmd.Env = []string{"HOME=" + home, "TZ=UTC"}
	if os.Geteuid() == 0 {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: account, Gid: account}}
	}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = w
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(c.told)
		defer r.Close()
		_ = ReadEvents(r, func(e Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.events = append(c.events, e)
		}, &c.text)
	}()
	t.Cleanup(c.close)
	c.send(fxpInit, uint32(version))
	if kind, _ := c.receive(); kind != fxpVersion {
		t.Fatalf("the server began with packet %d", kind)
	}
	return c
}

// close ends the server and waits for its events.
func (c *client) close() {
	c.in.Close()
	killer := time.AfterFunc(2*time.Minute, func() { c.cmd.Process.Kill() })
	defer killer.Stop()
	<-c.told
	_ = c.cmd.Wait()
}

// ended ends the server and returns what it told.
func (c *client) ended() []Event {
	c.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events
}

type ids [4]byte // a handle

// packet puts parts together: uint32 and uint64 as such, strings, handles and bytes with their length.
func packet(kind byte, parts ...any) []byte {
	b := []byte{0, 0, 0, 0, kind}
	text := func(s []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	for _, p := range parts {
		switch v := p.(type) {
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		case string:
			text([]byte(v))
		case []byte:
			text(v)
		case ids:
			text(v[:])
		case raw:
			b = append(b, v...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

type raw []byte

func (c *client) send(kind byte, parts ...any) {
	c.t.Helper()
	if _, err := c.in.Write(packet(kind, parts...)); err != nil {
		c.t.Fatalf("send packet %d: %v", kind, err)
	}
}

func (c *client) receive() (kind byte, f *fields) {
	c.t.Helper()
	if d, ok := c.out.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(time.Now().Add(2 * time.Minute))
	}
	var n [4]byte
	if _, err := io.ReadFull(c.out, n[:]); err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	if _, err := io.ReadFull(c.out, b); err != nil {
		c.t.Fatalf("half an answer: %v", err)
	}
	return b[0], &fields{b: b[1:]}
}

// ask sends a request and returns its answer after the id.
func (c *client) ask(kind byte, parts ...any) (byte, *fields) {
	c.t.Helper()
	c.next++
	c.send(kind, append([]any{c.next}, parts...)...)
	k, f := c.receive()
	if id := f.uint32(); id != c.next {
		c.t.Fatalf("the answer to %d has id %d", c.next, id)
	}
	return k, f
}

// do is ask for what is answered with a status, which it returns; -1 for any other answer.
func (c *client) do(kind byte, parts ...any) int {
	c.t.Helper()
	k, f := c.ask(kind, parts...)
	if k != fxpStatus {
		return -1
	}
	return int(f.uint32())
}

// extend is do for an extension.
func (c *client) extend(name string, parts ...any) int {
	c.t.Helper()
	return c.do(fxpExtended, append([]any{name}, parts...)...)
}

// open returns a handle, or a status.
func (c *client) open(name string, flags int, mode ...int) (ids, int) {
	c.t.Helper()
	parts := []any{name, flags, 0}
	if mode != nil {
		parts = []any{name, flags, attrMode, mode[0]}
	}
	return c.handle(fxpOpen, parts...)
}

func (c *client) handle(kind byte, parts ...any) (h ids, status int) {
	c.t.Helper()
	k, f := c.ask(kind, parts...)
	if k == fxpStatus {
		return h, int(f.uint32())
	}
	if k != fxpHandle || copy(h[:], f.bytes()) != 4 {
		c.t.Fatalf("packet %d answered an open", k)
	}
	return h, 0
}

func (c *client) must(h ids, status int) ids {
	c.t.Helper()
	if status != 0 {
		c.t.Fatalf("status %d", status)
	}
	return h
}

// read returns bytes, or a status.
func (c *client) read(h ids, off uint64, n int) (string, int) {
	c.t.Helper()
	k, f := c.ask(fxpRead, h, off, n)
	if k == fxpStatus {
		return "", int(f.uint32())
	}
	return f.string(), 0
}

// get reads a whole small file, or says why not.
func (c *client) get(name string) (string, int) {
	c.t.Helper()
	h, status := c.open(name, flagRead)
	if status != 0 {
		return "", status
	}
	s, status := c.read(h, 0, maxData)
	if status == statusEOF {
		status = 0
	}
	if end := c.do(fxpClose, h); end != 0 {
		c.t.Fatalf("close: %d", end)
	}
	return s, status
}

// names returns the names of an answer.
func (c *client) names(kind byte, parts ...any) ([]string, int) {
	c.t.Helper()
	k, f := c.ask(kind, parts...)
	if k == fxpStatus {
		return nil, int(f.uint32())
	}
	var all []string
	for n := f.uint32(); n > 0; n-- {
		all = append(all, f.string())
		f.bytes()
		f.attrs()
	}
	if f.err != nil {
		c.t.Fatal(f.err)
	}
	return all, 0
}
