//go:build unix

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
)

// Whatever lies under a name that the spool is about to use is not its own: a link, of either kind, leads to a file that
// stays as it is, a pipe is waited for by nobody, and each event is delivered, with its id, all the same.
func TestPlantedFilesAreNotFollowed(t *testing.T) {
	const secret = "somebody else's\n"
	session := func(n int) audit.Event {
		return audit.Event{ID: fmt.Sprintf("e-%d", n), Type: audit.SessionStart, Session: fmt.Sprintf("s-%d", n)}
	}
	plant := map[string]func(t *testing.T, victim, name string) error{
		"link":      func(_ *testing.T, victim, name string) error { return os.Symlink(victim, name) },
		"hard link": func(_ *testing.T, victim, name string) error { return os.Link(victim, name) },
		"pipe":      func(_ *testing.T, _, name string) error { return syscall.Mkfifo(name, 0o600) },
		"folder":    func(_ *testing.T, _, name string) error { return os.Mkdir(name, 0o700) },
	}
	named := &Spool{}
	for _, name := range []string{
		cursorName, cursorName + ".new", "probe", filepath.Base(named.notePath("s-1")), filepath.Base(named.notePath("s-2")),
		segmentName(1), segmentName(2), "9999999999999999.jsonl", "0000000000000001.jsonl.torn-0",
	} {
		for kind, put := range plant {
			t.Run(name+", a "+kind, func(t *testing.T) {
				t.Parallel()
				outside, dir := t.TempDir(), t.TempDir()
				victim := filepath.Join(outside, "victim")
				if err := os.WriteFile(victim, []byte(secret), 0o644); err != nil {
					t.Fatal(err)
				}
				before, err := os.Stat(victim)
				if err != nil {
					t.Fatal(err)
				}
				if err := put(t, victim, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				sent := map[string]bool{}
				done := make(chan struct{})
				go func() {
					defer close(done)
					for run := range 2 { // with what the first one leaves, as after a kill
						s, err := Open(Config{Dir: dir, Limit: MinLimit})
						if err != nil {
							t.Error(err)
							return
						}
						s.mu.Lock()
						s.failed = os.ErrInvalid // as after a disk that failed
						s.probe()
						s.mu.Unlock()
						e := session(run + 1)
						if err := s.Append(e); err != nil {
							t.Error(err)
						}
						s.mu.Lock()
						err = s.nextSegment()
						s.mu.Unlock()
						if err != nil {
							t.Error(err)
						}
						end := audit.Event{ID: e.ID + "-end", Type: audit.SessionEnd, Session: e.Session}
						if run == 1 {
							if err := s.Append(end); err != nil {
								t.Error(err)
							}
						}
						_, ids := s.Batch(100, 1<<20)
						for _, id := range ids {
							sent[id] = true
						}
						s.Delivered(ids)
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					}
				}()
				select {
				case <-done:
				case <-time.After(time.Minute):
					t.Fatal("the spool waits for what was planted")
				}
				for _, id := range []string{"e-1", "e-2", "e-2-end"} {
					if !sent[id] {
						t.Errorf("the event %s is lost; sent are %v", id, sent)
					}
				}
				if len(sent) != 4 { // and the end of s-1, which the second run found open
					t.Errorf("sent are %v", sent)
				}
				fi, err := os.Stat(victim)
				b, rerr := os.ReadFile(victim)
				if err != nil || rerr != nil || string(b) != secret || fi.Mode() != before.Mode() {
					t.Errorf("what the name leads to has %d bytes now, %v, %v", len(b), fi.Mode(), errors.Join(err, rerr))
				}
			})
		}
	}
}

// A file that no spool wrote, of any size, does not fill the memory at the next start.
func TestSegmentOfAnySizeIsPutAside(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, segmentName(7))
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil { // a hole
		t.Fatal(err)
	}
	line := append(bytes.Repeat([]byte(" "), maxLine), []byte(`{"id":"long","type":"session.end","session":"s"}`+"\n")...)
	if err := os.WriteFile(filepath.Join(dir, segmentName(8)), line, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Append(audit.Event{ID: "e", Type: audit.SessionStart, Session: "s"}); err != nil {
		t.Error(err)
	}
	// A line that no message may carry would be sent for ever, and nothing after it.
	if _, ids := s.Batch(10, 1<<30); len(ids) != 1 || ids[0] != "e" {
		t.Errorf("waiting are %v", ids)
	}
	if _, err := os.Stat(huge + ".broken"); err != nil {
		t.Error(err)
	}
}
