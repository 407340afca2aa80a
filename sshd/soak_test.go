//go:build linux

package sshd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
)

func TestManyConnectionsOneAfterAnotherLeaveNothing(t *testing.T) {
	l := newLab(t)
	ann := l.login("ann", 0)
	for range 5 {
		l.ssh(ann, "web-1", "true")
	}
	before := l.holdingAtRest()
	many := soak(15, 1000)
	for i := range many {
		if got := l.run(l.tool("ssh", ann, "web-1", "true"), ""); got.exit != 0 {
			t.Fatalf("%d: %+v", i, got)
		}
	}
	nothingMore(t, before)
	eventually(t, "every end in the log", func() bool { return len(l.recorded(audit.SessionEnd)) == many+5 })
}

// Sessions of real clients, all open at a time, each of which still gets every byte back at its end.
func TestManyHeldSessionsLeaveNothing(t *testing.T) {
	l := newLabWith(t, manyAtOnce)
	ann := l.login("ann", 0)
	l.ssh(ann, "web-1", "true")
	before := l.holdingAtRest()
	many, hold := soak(25, 500), time.Duration(soak(0, 60))*time.Second
	all := make([]*started, many)
	gate := make(chan struct{}, 32)
	var wg sync.WaitGroup
	for i := range all {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			all[i] = l.start(l.toolFor(10*time.Minute, "ssh", ann, "web-1", "echo ready; cat"))
			all[i].line()
		})
	}
	wg.Wait()
	if n := len(l.srv.Sessions()); n != many {
		t.Errorf("%d sessions are open, want %d", n, many)
	}
	t.Logf("%d sessions open: %s", many, holding())
	time.Sleep(hold) // what is held is what is tested
	for i, s := range all {
		wg.Go(func() {
			line := fmt.Sprintf("session %d is there still\n", i)
			if _, err := io.WriteString(s.in, line); err != nil {
				t.Error(i, err)
			}
			s.in.Close()
			if code := s.wait(); code != 0 || s.stdout() != "ready\n"+line {
				t.Errorf("%d: exit %d, %q", i, code, s.stdout())
			}
		})
	}
	wg.Wait()
	nothingMore(t, before)
}

// Clients that are killed in the middle of a transfer, up and down, leave no process, and what has come of a file is
// its beginning: a client that goes on from there has it whole.
func TestManyClientsKilledInMidTransferLeaveNothing(t *testing.T) {
	l := newLab(t)
	data := make([]byte, 48<<20)
	rand.Read(data)
	local := l.write("local", string(data), 0o644)
	ann := l.login("ann", 0)
	l.run(l.tool("sftp", ann, "-q", "-b", "-", "web-1"), "put "+local+" whole\n")
	before := l.holdingAtRest()
	for i := range soak(2, 50) {
		up := filepath.Join(l.home, "up")
		if i == 0 {
			os.Remove(up)
		}
		for name, run := range map[string]struct {
			batch, file string
		}{
			"put": {"put " + local + " up\n", up},
			"get": {"get whole " + filepath.Join(l.dir, "down") + "\n", filepath.Join(l.dir, "down")},
		} {
			os.Remove(run.file)
			s := l.start(l.tool("sftp", ann, "-q", "-b", "-", "web-1"))
			if _, err := io.WriteString(s.in, run.batch); err != nil {
				t.Fatal(err)
			}
			eventually(t, name+" under way", func() bool {
				st, err := os.Stat(run.file)
				return err == nil && st.Size() > int64(1<<20)
			})
			_ = s.Process.Kill()
			s.wait()
			eventually(t, "the session's end", func() bool { return len(l.srv.Sessions()) == 0 })
			got, err := os.ReadFile(run.file)
			if err != nil || !bytes.HasPrefix(data, got) && !holed(data, got) {
				t.Errorf("%s: %d bytes are not the beginning of the file (%v)", name, len(got), err)
			}
		}
	}
	if got := l.run(l.tool("sftp", ann, "-q", "-b", "-", "web-1"), "reput "+local+" up\n"); got.exit != 0 {
		// OpenSSH's client writes in any order: it refuses to go on where the end came before the middle.
		l.run(l.tool("sftp", ann, "-q", "-b", "-", "web-1"), "put "+local+" up\n")
	}
	if b, err := os.ReadFile(filepath.Join(l.home, "up")); err != nil || !bytes.Equal(b, data) {
		t.Errorf("in the end %d of %d bytes are there, or others (%v)", len(b), len(data), err)
	}
	nothingMore(t, before)
	runtime.KeepAlive(data) // it was there before, too
}

// holed reports whether got is data but for zeros where nothing was written yet: clients have many writes under way.
func holed(data, got []byte) bool {
	const step = 4096
	for at := 0; at < len(got); at += step {
		end := min(at+step, len(got))
		if !bytes.Equal(got[at:end], data[at:end]) && len(bytes.Trim(got[at:end], "\x00")) != 0 {
			return false
		}
	}
	return true
}
