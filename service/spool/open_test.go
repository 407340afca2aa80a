package spool

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

func session(t audit.Type, id, channel string) audit.Event {
	return audit.Event{Type: t, Session: id, Channel: channel, User: "ann@example.com", LocalUser: "deploy", Reason: reason.OK}
}

func appendAll(t *testing.T, s *Spool, events ...audit.Event) {
	t.Helper()
	for _, e := range events {
		if err := s.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

// kill leaves the folder as a killed process does: what was written stays, nothing else happens.
func kill(s *Spool) {
	s.mu.Lock()
	s.closed = true
	s.file.Close()
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
}

// types lists what waits, as "type session/channel reason".
func types(t *testing.T, s *Spool) []string {
	t.Helper()
	lines, _ := s.Batch(1<<30, 1<<30)
	var all []string
	for _, l := range lines {
		var e audit.Event
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %s/%s %s", e.Type, e.Session, e.Channel, e.Reason))
	}
	return all
}

func TestWhatWasOpenAtAKillIsEndedOnceAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	appendAll(t, s,
		session(audit.SessionStart, "s1", ""), session(audit.ChannelStart, "s1", "c1"), session(audit.ChannelEnd, "s1", "c1"), session(audit.SessionEnd, "s1", ""),
		session(audit.SessionStart, "s2", ""), session(audit.ChannelStart, "s2", "c2"), session(audit.ChannelStart, "s2", "c3"), session(audit.ChannelEnd, "s2", "c3"))
	before := types(t, s)
	_, ids := s.Batch(1<<30, 1<<30)
	s.Delivered(ids)
	kill(s)
	for range 2 {
		s = open(t, dir, 0)
		got := types(t, s)
		if want := []string{"channel.end s2/c2 interrupted", "session.end s2/ interrupted"}; !slices.Equal(got, want) {
			t.Fatalf("after %q, the next start adds %q, want %q", before, got, want)
		}
		kill(s)
	}
	if n := whole(t, dir); n != 10 {
		t.Errorf("the chain has %d events, want 10", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, notePrefix+"*")); len(left) > 0 {
		t.Errorf("notes are left: %q", left)
	}
}

// The kill may come between any two of the writes that a start and an end take.
func TestKillBetweenNoteAndLineCountsNothingTwice(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *Spool, dir string)
		want  []string
	}{
		"the note is there, its start is not": {
			func(t *testing.T, s *Spool, dir string) {
				e := session(audit.SessionStart, "s9", "")
				e.ID = "of-no-line"
				seg := s.segments[len(s.segments)-1]
				if err := s.putNote("s9", &e, seg, seg.size); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"session.start s1/ ok", "session.end s1/ interrupted"},
		},
		"the note was cut short": {
			func(t *testing.T, s *Spool, dir string) {
				if err := os.WriteFile(s.notePath("s9"), []byte(`{"Segment":1,"Off`), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"session.start s1/ ok", "session.end s1/ interrupted"},
		},
		"the end is there, and the note still too": {
			func(t *testing.T, s *Spool, dir string) {
				b, err := os.ReadFile(s.notePath("s1"))
				if err != nil {
					t.Fatal(err)
				}
				appendAll(t, s, session(audit.SessionEnd, "s1", ""))
				if err := os.WriteFile(s.notePath("s1"), b, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"session.start s1/ ok", "session.end s1/ ok"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, 0)
			appendAll(t, s, session(audit.SessionStart, "s1", ""))
			c.spoil(t, s, dir)
			kill(s)
			for range 2 {
				s = open(t, dir, 0)
				if got := types(t, s); !slices.Equal(got, c.want) {
					t.Fatalf("%q, want %q", got, c.want)
				}
				kill(s)
			}
		})
	}
}

// An end that finds no room is written when there is some, and by the next start at the latest.
func TestEndThatFoundNoRoomIsNotLost(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	appendAll(t, s, session(audit.SessionStart, "s1", ""), session(audit.SessionStart, "s2", ""))
	whole := s.file
	s.mu.Lock()
	broken, err := os.Open(whole.Name()) // cannot be written
	if err != nil {
		t.Fatal(err)
	}
	s.file = broken
	s.mu.Unlock()
	for _, id := range []string{"s1", "s2"} {
		if err := s.Append(session(audit.SessionEnd, id, "")); !isFull(err) {
			t.Errorf("an end on a full disk: %v", err)
		}
	}
	if err := s.Append(session(audit.SessionStart, "s3", "")); !isFull(err) {
		t.Errorf("a session on a full disk: %v", err)
	}
	s.mu.Lock()
	s.file = whole
	s.mu.Unlock()
	broken.Close()
	appendAll(t, s, session(audit.SessionStart, "s4", ""))
	want := []string{"session.start s1/ ok", "session.start s2/ ok", "session.end s1/ ok", "session.end s2/ ok", "session.start s4/ ok"}
	if got := types(t, s); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
