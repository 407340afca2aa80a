//go:build unix

package forward

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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
