package spool

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t *testing.T, dir string, limit int64) *Spool {
	t.Helper()
	s, err := Open(Config{Dir: dir, Limit: limit, Log: quiet(), Peer: func() string { return "pself" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// start is an event that begins a session which nobody waits to end.
func start(n int) audit.Event {
	return audit.Event{Type: audit.SessionStart, Rule: fmt.Sprint(n), User: "ann@example.com", LocalUser: "deploy"}
}

func fill(t *testing.T, s *Spool, n int) {
	t.Helper()
	for i := range n {
		if err := s.Append(start(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func waiting(s *Spool) []string {
	_, ids := s.Batch(1<<30, 1<<30)
	return ids
}

// whole fails unless the chain of dir holds, and returns the number of events in it.
func whole(t *testing.T, dir string) int {
	t.Helper()
	r, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken != "" {
		t.Fatalf("the chain is broken: %s", r.Broken)
	}
	return r.Events
}

func isFull(err error) bool {
	var e *reason.Error
	return errors.As(err, &e) && e.Code == reason.AuditFull
}

func TestEventsComeBackInOrderUntilTheyAreDelivered(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	fill(t, s, 10)
	lines, ids := s.Batch(4, 1<<20)
	if len(lines) != 4 || len(ids) != 4 {
		t.Fatalf("%d lines, %d ids, want 4", len(lines), len(ids))
	}
	for i, l := range lines {
		var e audit.Event
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatal(err)
		}
		if e.Rule != fmt.Sprint(i) || e.ID != ids[i] || e.Peer != "pself" || e.Time.IsZero() {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	if _, again := s.Batch(4, 1<<20); !slices.Equal(ids, again) {
		t.Error("events that were not acknowledged did not come back")
	}
	s.Delivered(append(ids[:2:2], "unknown"))
	if got := waiting(s); len(got) != 8 || got[0] != ids[2] {
		t.Errorf("after two of ten were delivered, %d wait", len(got))
	}
	// What was delivered is not sent again after a restart.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := waiting(open(t, dir, 0)); len(got) != 8 || got[0] != ids[2] {
		t.Errorf("after a restart, %d wait, want 8", len(got))
	}
}

func TestDeliveredSegmentsAreDeletedAndTheChainGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, MinLimit)
	for round := range 20 {
		fill(t, s, 60)
		s.Delivered(waiting(s))
		if round%5 == 4 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, MinLimit)
		}
		whole(t, dir)
	}
	if st := s.Status(); st.Pending != 0 || st.Bytes > MinLimit/2 {
		t.Errorf("everything is delivered, and the spool holds %+v", st)
	}
	if err := s.Append(start(1)); err != nil {
		t.Fatal(err)
	}
	if r, _ := Verify(dir); r.First == "" {
		t.Error("the chain began anew after a deletion")
	}
}

func TestLineCutShortIsTakenOffWhereverItWasCut(t *testing.T) {
	src := t.TempDir()
	s := open(t, src, 0)
	fill(t, s, 3)
	want := waiting(s)
	s.Close()
	name := segmentName(1)
	data, err := os.ReadFile(filepath.Join(src, name))
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndexByte(string(data[:len(data)-1]), '\n') + 1
	for cut := last; cut < len(data); cut++ {
		for _, tail := range []string{"", "\x00\x00\x00\n\x00"} { // a power cut may leave blocks of zeros
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), append(data[:cut:cut], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, 0)
			if got := waiting(s); !slices.Equal(got, want[:2]) {
				t.Fatalf("cut at %d of %d: %d events are left, want 2", cut, len(data), len(got))
			}
			if err := s.Append(start(9)); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if n := whole(t, dir); n != 3 {
				t.Fatalf("cut at %d: the chain has %d events, want 3", cut, n)
			}
			if torn, _ := filepath.Glob(filepath.Join(dir, "*.torn-*")); len(torn) == 0 && cut+len(tail) > last {
				t.Fatalf("cut at %d: what was cut off is not kept", cut)
			}
		}
	}
}

// TestMain runs a writer when asked to, which tells each id after Append returned.
func TestMain(m *testing.M) {
	dir := os.Getenv("SPOOL_WRITER")
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Open(Config{Dir: dir, Log: quiet()})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		e := start(i)
		e.ID = fmt.Sprintf("%s-%d", os.Getenv("SPOOL_ROUND"), i)
		if err := s.Append(e); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(e.ID)
	}
}

func TestKilledWriterLosesNothing(t *testing.T) {
	dir := t.TempDir()
	var told []string
	for round := range 5 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "SPOOL_WRITER="+dir, fmt.Sprintf("SPOOL_ROUND=%d", round))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); n++ {
			told = append(told, in.Text())
			if n == 200+round*37 {
				c.Process.Kill()
			}
		}
		c.Wait()
		// What was written and not told of any more may be one event.
		s := open(t, dir, 0)
		got := waiting(s)
		if len(got) < len(told) || len(got) > len(told)+1 || !slices.Equal(got[:len(told)], told) {
			t.Fatalf("round %d: %d events were told of, %d are there", round, len(told), len(got))
		}
		told = got
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := whole(t, dir); n != len(told) {
			t.Fatalf("round %d: the chain has %d events, want %d", round, n, len(told))
		}
	}
}

func TestFullSpoolRefusesSessionsAndStillTakesTheirEnds(t *testing.T) {
	s := open(t, t.TempDir(), MinLimit)
	n := 0
	var err error
	for ; err == nil; n++ {
		err = s.Append(start(n))
	}
	if !isFull(err) {
		t.Fatalf("a full spool says %v, want audit-full", err)
	}
	if st := s.Status(); !st.Full || st.Bytes > st.Limit {
		t.Errorf("the status of a full spool is %+v", st)
	}
	for range 10 {
		if err := s.Append(audit.Event{Type: audit.SessionEnd, Session: "1"}); err != nil {
			t.Fatalf("the end of a session that was let in found no room: %v", err)
		}
	}
	s.Delivered(waiting(s))
	if err := s.Append(start(n)); err != nil {
		t.Errorf("after everything was delivered: %v", err)
	}
	if s.Status().Full {
		t.Error("after everything was delivered the spool still calls itself full")
	}
}

func TestRefusalsAreMergedPerSourceAndKeepToTheirShare(t *testing.T) {
	s := open(t, t.TempDir(), MinLimit)
	for range 1000 {
		s.Append(audit.Event{Type: audit.Refused, Source: "pevil", Reason: reason.NoRule, LocalUser: "root"})
	}
	s.Append(audit.Event{Type: audit.Refused, Source: "pother", Reason: reason.NoRule})
	if got := len(waiting(s)); got != 2 {
		t.Fatalf("1001 refusals of two sources became %d events at once, want 2", got)
	}
	s.mu.Lock()
	s.flushMerged(s.cfg.Now().Add(time.Second))
	s.mu.Unlock()
	lines, _ := s.Batch(10, 1<<20)
	var e audit.Event
	if len(lines) != 3 || json.Unmarshal(lines[2], &e) != nil || e.Count != 999 || e.Source != "pevil" || e.LocalUser != "root" {
		t.Fatalf("the merged event is %+v of %d lines, want a count of 999", e, len(lines))
	}
	// A thousand sources cannot take the sessions' room.
	for i := range 5000 {
		if err := s.Append(audit.Event{Type: audit.Refused, Source: fmt.Sprint("p", i), Reason: reason.NoRule, Detail: strings.Repeat("x", 200)}); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Status(); st.Bytes > MinLimit/3 || st.Full {
		t.Errorf("refusals took %d of %d bytes", st.Bytes, st.Limit)
	}
	if err := s.Append(start(1)); err != nil {
		t.Errorf("refusals left no room for a session: %v", err)
	}
	if n := len(s.merging); n > maxMerging+1 {
		t.Errorf("%d sources are held in memory", n)
	}
}

func TestChangedOrMissingLineShows(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	fill(t, s, 5)
	s.Close()
	name := filepath.Join(dir, segmentName(1))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	for what, changed := range map[string][]string{
		"changed": {lines[0], strings.Replace(lines[1], "ann@", "eve@", 1), lines[2], lines[3]},
		"missing": {lines[0], lines[2], lines[3]},
		"swapped": {lines[0], lines[2], lines[1], lines[3]},
		"garbled": {lines[0], "{}\n", lines[1]},
	} {
		if err := os.WriteFile(name, []byte(strings.Join(changed, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(dir); err != nil || r.Broken == "" {
			t.Errorf("a %s line was not noticed (%v)", what, err)
		}
	}
}

func TestNoteOfDeliveryThatIsAheadLosesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	fill(t, s, 3)
	s.Delivered(waiting(s))
	s.Close()
	// A power cut took the last line, but not the note.
	name := filepath.Join(dir, segmentName(1))
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, fi.Size()-10); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 0)
	fill(t, s, 1)
	want := waiting(s)
	s.Close()
	if got := waiting(open(t, dir, 0)); len(got) != 1 || !slices.Equal(got, want) {
		t.Errorf("the event written in place of the lost one: %d wait, want 1", len(got))
	}
}

func TestDiskThatCannotBeWrittenRefusesSessions(t *testing.T) {
	s := open(t, t.TempDir(), 0)
	fill(t, s, 1)
	s.mu.Lock()
	s.file.Close() // as a disk that failed
	s.mu.Unlock()
	if err := s.Append(start(1)); !isFull(err) {
		t.Errorf("a disk that cannot be written says %v, want audit-full", err)
	}
	if !s.Status().Full {
		t.Error("the status does not tell")
	}
}

// A folder in the place of a file is what a full disk is to this code: the file cannot be written.
func TestFullDiskDoesNotKeepTheSpoolFromOpening(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"no room for the note of delivery": func(dir string) error { return os.Mkdir(filepath.Join(dir, cursorName+".new"), 0o700) },
		"no room to put a torn end aside": func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, segmentName(1)), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			fi, err := f.Stat()
			if err != nil {
				return err
			}
			if _, err := f.WriteString(`{"id":"torn"`); err != nil {
				return err
			}
			return os.MkdirAll(fmt.Sprintf("%s.torn-%d/x", f.Name(), fi.Size()), 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, 0)
			fill(t, s, 3)
			want := waiting(s)
			s.Close()
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, 0)
			fill(t, s, 1)
			got := waiting(s)
			if len(got) != 4 || !slices.Equal(got[:3], want) {
				t.Errorf("%d events wait, want the 3 of before and the new one", len(got))
			}
			s.Close()
			if got := waiting(open(t, dir, 0)); len(got) != 4 {
				t.Errorf("%d events wait after another start, want 4", len(got))
			}
		})
	}
}

func TestFolderIsClosedForOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	fill(t, open(t, dir, 0), 1)
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, segmentName(1)): 0o600} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", name, fi.Mode(), err, want)
		}
	}
}

func FuzzSegment(f *testing.F) {
	f.Add([]byte(`{"id":"a","time":"2026-01-01T00:00:00Z","type":"session.start"}`+"\n"), []byte("v1 1 10\n"))
	f.Add([]byte(strings.Repeat(`{"id":"a","type":"refused"}`+"\n", 2)), []byte(""))
	f.Add([]byte("{}\n\n{\"id\":\"x\""), []byte("v1 9 -1"))
	f.Fuzz(func(t *testing.T, segment, note []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, segmentName(1)), segment, 0o600)
		os.WriteFile(filepath.Join(dir, cursorName), note, 0o600)
		s, err := Open(Config{Dir: dir, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Append(start(1)); err != nil {
			t.Fatal(err)
		}
		ids := waiting(s)
		if len(ids) == 0 {
			t.Fatal("the event that was just written does not wait")
		}
		if _, err := Verify(dir); err != nil {
			t.Fatal(err)
		}
		s.Delivered(ids)
		if n := len(waiting(s)); n != 0 {
			t.Fatalf("%d wait after delivery", n)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir(), Limit: 1 << 40, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if err := s.Append(start(1)); err != nil {
			b.Fatal(err)
		}
	}
}
