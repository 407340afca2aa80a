//go:build unix

package forward

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a connected pair of the kind that is between the daemon and a worker.
func pair(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	ours, f, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return ours, c.(*net.UnixConn)
}

// FuzzAnswers is a worker that its account has taken over: it answers what it likes, with descriptors or without.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"id":1,"files":1}`+"\n"), byte(1))
	f.Add([]byte(`{"id":1,"files":2,"number":10,"path":"/tmp/x"}`+"\n"), byte(2))
	f.Add([]byte(`{"id":1,"files":-1}`+"\n"+`{"id":1}`+"\n"), byte(0))
	f.Add([]byte(`{"id":1,"error":"no"}`+"\n{"), byte(3))
	f.Add([]byte(strings.Repeat("x", 9<<10)), byte(9))
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { null.Close() })
	f.Fuzz(func(t *testing.T, b []byte, files byte) {
		if len(b) == 0 || len(b) > 16<<10 {
			return
		}
		ours, theirs := pair(t)
		w := &Worker{pending: map[uint64]chan received{}}
		to := make(chan received, 1)
		w.pending[1] = to
		var done sync.WaitGroup
		done.Go(func() { w.read(ours) })
		fds := make([]int, files%8)
		for i := range fds {
			fds[i] = int(null.Fd())
		}
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		_, _, _ = theirs.WriteMsgUnix(b, rights, nil)
		theirs.Close()
		r, ok := <-to // an answer, or the end
		done.Wait()
		if !ok {
			return
		}
		defer closeFiles(r.files)
		if len(r.files) != r.Files || len(r.files) > maxFiles {
			t.Errorf("%+v with %d files", r.answer, len(r.files))
		}
		if ls, err := listeners(r); err == nil {
			closeAll(ls)
			t.Errorf("a listener was made of %s", os.DevNull)
		}
	})
}

// FuzzOrders is what the worker reads. Only the daemon writes there, but a person may start the worker by hand.
func FuzzOrders(f *testing.F) {
	f.Add([]byte(`{"id":1,"op":"listen","addr":"127.0.0.1:0"}` + "\n"))
	f.Add([]byte(`{"id":1,"op":"remove","path":"eA=="}` + "\n" + `{"id":2,"op":"x11?"}` + "\n"))
	f.Add([]byte(`{"id":1,"op":"dial-unix","path":"eA=="}` + "\n{"))
	dir := f.TempDir()
	f.Chdir(dir)
	f.Setenv("TMPDIR", dir)
	f.Fuzz(func(t *testing.T, b []byte) {
		for line := range bytes.Lines(b) {
			var o order
			if json.Unmarshal(line, &o) == nil && (o.Op == opDial || o.Op == opDialUnix && len(o.Path) > 1) {
				return // it would connect to wherever the input says
			}
		}
		if len(b) > 4<<10 {
			return
		}
		ours, theirs := pair(t)
		var done sync.WaitGroup
		done.Go(func() {
			buf := make([]byte, 4096)
			for {
				if _, err := ours.Read(buf); err != nil {
					return
				}
			}
		})
		w := &work{conn: theirs, made: map[string]os.FileInfo{}}
		_, _ = ours.Write(b)
		_ = ours.CloseWrite()
		w.serve()
		theirs.Close()
		done.Wait()
		ours.Close()
		if left, _ := filepath.Glob(filepath.Join(dir, "ssh-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// liar is a Worker whose process the account has taken over: it answers the first order with these sockets.
func liar(t *testing.T, a answer, sockets ...interface{ File() (*os.File, error) }) *Worker {
	t.Helper()
	ours, theirs := pair(t)
	w := &Worker{pending: map[uint64]chan received{}, conn: ours}
	var done sync.WaitGroup
	done.Go(func() { w.read(ours) })
	done.Go(func() {
		var o order
		if json.NewDecoder(theirs).Decode(&o) != nil {
			return
		}
		a.ID, a.Files = o.ID, len(sockets)
		line, _ := json.Marshal(a)
		var fds []int
		for _, s := range sockets {
			f, err := s.File()
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			fds = append(fds, int(f.Fd()))
		}
		_, _, _ = theirs.WriteMsgUnix(append(line, '\n'), unix.UnixRights(fds...), nil)
	})
	t.Cleanup(func() { theirs.Close(); ours.Close(); done.Wait() })
	return w
}

func TestWorkerThatLiesIsNotBelieved(t *testing.T) {
	tcp := func(at string) *net.TCPListener {
		l, err := net.Listen("tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.(*net.TCPListener)
	}
	own, everywhere := tcp("127.0.0.1:0"), tcp("0.0.0.0:0")
	granted := own.Addr().(*net.TCPAddr).AddrPort()
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	ask := map[string]func(*Worker) error{
		"listen": func(w *Worker) error { _, err := w.Listen(t.Context(), granted); return err },
		"listen on every port": func(w *Worker) error {
			_, err := w.Listen(t.Context(), netip.AddrPortFrom(granted.Addr(), 0))
			return err
		},
		"listen-unix": func(w *Worker) error { _, err := w.ListenUnix(t.Context(), "/run/x"); return err },
		"agent":       func(w *Worker) error { _, _, err := w.Agent(t.Context()); return err },
		"x11":         func(w *Worker) error { _, _, err := w.X11(t.Context()); return err },
	}
	display := answer{Number: firstDisplay}
	for _, c := range []struct {
		what, op string
		w        *Worker
		good     bool
	}{
		{"what was asked for", "listen", liar(t, answer{}, own), true},
		{"every address", "listen on every port", liar(t, answer{}, everywhere), false},
		{"another port", "listen", liar(t, answer{}, tcp("127.0.0.1:0")), false},
		{"two sockets", "listen", liar(t, answer{}, own, everywhere), false},
		{"a Unix socket", "listen", liar(t, answer{}, socket), false},
		{"nothing", "listen", liar(t, answer{}), false},
		{"a Unix socket", "listen-unix", liar(t, answer{}, socket), true},
		{"a port", "listen-unix", liar(t, answer{}, everywhere), false},
		{"a Unix socket", "agent", liar(t, answer{}, socket), true},
		{"a port", "agent", liar(t, answer{}, own), false},
		{"a port that is not the display's", "x11", liar(t, display, own), false},
		{"a Unix socket", "x11", liar(t, display, socket), false},
	} {
		if err := ask[c.op](c.w); (err == nil) != c.good {
			t.Errorf("%s is answered with %s: %v", c.op, c.what, err)
		}
	}
	for n := firstDisplay; n < lastDisplay; n++ { // a display that is free, on every address
		l, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", x11Port+n))
		if err != nil {
			continue
		}
		defer l.Close()
		if err := ask["x11"](liar(t, answer{Number: n}, l.(*net.TCPListener))); err == nil {
			t.Error("a display is at every address")
		}
		break
	}
}

func TestWorkerThatSendsOnlyFilesIsHungUpOn(t *testing.T) {
	ours, theirs := pair(t)
	w := &Worker{pending: map[uint64]chan received{}}
	var done sync.WaitGroup
	done.Go(func() { w.read(ours) })
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for range 2 {
		if _, _, err := theirs.WriteMsgUnix([]byte(" "), unix.UnixRights(int(null.Fd()), int(null.Fd())), nil); err != nil {
			break
		}
	}
	_ = theirs.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := theirs.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("it may send more: %v", err)
	}
	theirs.Close()
	done.Wait()
}

func TestOnlyItsOwnSocketIsRemoved(t *testing.T) {
	w := &work{made: map[string]os.FileInfo{}}
	path := filepath.Join(t.TempDir(), "s")
	l, err := w.listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.remove(path)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("what came in its place was removed: %v", err)
	}
}
