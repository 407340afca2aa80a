package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
)

// A session or channel that has begun and not ended has a note beside the segments: its start, and where in the chain
// that lies. The note is written before the start and removed after the end. What a killed service leaves is ended at
// the next start, with reason.Interrupted; so is, sooner, an end that found no room on the disk.
type note struct {
	Segment uint64 // of the start's line
	Offset  int64
	Start   audit.Event
}

const notePrefix, noteSuffix = "open-", ".json"

// openKey names what e begins or ends, "" when it does neither.
func openKey(e *audit.Event) string {
	switch {
	case e.Session == "":
	case e.Type == audit.SessionStart || e.Type == audit.SessionEnd:
		return e.Session
	case e.Channel != "" && (e.Type == audit.ChannelStart || e.Type == audit.ChannelEnd):
		return e.Session + "/" + e.Channel
	}
	return ""
}

func begins(t audit.Type) bool { return t == audit.SessionStart || t == audit.ChannelStart }

// notePath is by hash, as ids are only ours by convention.
func (s *Spool) notePath(key string) string {
	return filepath.Join(s.cfg.Dir, notePrefix+hash([]byte(key))[:32]+noteSuffix)
}

// putNote keeps that e, which is about to be written at off in seg, has begun.
func (s *Spool) putNote(key string, e *audit.Event, seg *segment, off int64) error {
	b, err := json.Marshal(note{seg.number, off, *e})
	if err == nil {
		err = writeNew(s.notePath(key), b)
	}
	return err
}

func (s *Spool) removeNote(key string) {
	if err := os.Remove(s.notePath(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Error("the audit spool cannot forget an open session; the next start will end it again", "err", err)
	}
}

// owe keeps an end that could not be written, to be written when there is room. s.mu is held.
func (s *Spool) owe(e audit.Event) {
	key := openKey(&e)
	if key == "" || begins(e.Type) {
		return
	}
	for i := range s.owed {
		if openKey(&s.owed[i]) == key {
			return
		}
	}
	s.owed = append(s.owed, e)
}

// payOwed writes the ends that found no room. s.mu is held.
func (s *Spool) payOwed() {
	owed := s.owed
	s.owed = nil
	for i, e := range owed {
		if s.write(e) != nil { // write owes it again
			for _, e := range owed[i+1:] {
				s.owe(e)
			}
			return
		}
	}
}

// endOpen ends what an earlier run left open. ended are the keys whose end is in the chain.
func (s *Spool) endOpen(ended map[string]bool) error {
	files, err := os.ReadDir(s.cfg.Dir) // by name: the order is that of hashes
	if err != nil {
		return err
	}
	var sessions, channels []audit.Event
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), notePrefix) || !strings.HasSuffix(f.Name(), noteSuffix) || !f.Type().IsRegular() {
			continue
		}
		path := filepath.Join(s.cfg.Dir, f.Name())
		n, err := readNote(path)
		key := openKey(&n.Start)
		switch {
		case err == nil && s.cfg.Lives != nil && s.cfg.Lives(n.Start.Session):
			continue // its end is still to come
		case err == nil && key != "" && !ended[key] && s.recorded(n):
			if n.Start.Type == audit.SessionStart {
				sessions = append(sessions, n.Start)
			} else {
				channels = append(channels, n.Start)
			}
			continue
		case err != nil: // cut short by the kill: the start was not written then
			s.cfg.Log.Warn("a note of the audit spool cannot be read and is removed", "note", f.Name(), "err", err)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, start := range append(channels, sessions...) { // channels end before their sessions
		e := start
		e.ID, e.Time, e.Prev = "", s.cfg.Now(), ""
		e.Type = audit.SessionEnd
		if start.Type == audit.ChannelStart {
			e.Type = audit.ChannelEnd
		}
		e.Reason = reason.Interrupted
		e.Detail = "it ended unseen, at some time before this"
		_ = s.write(e) // what finds no room is owed
	}
	return nil
}

func readNote(path string) (n note, err error) {
	b, err := paths.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	if err == nil && !begins(n.Start.Type) {
		err = fmt.Errorf("it is about %q", n.Start.Type)
	}
	return n, err
}

// recorded reports whether the start of n came to stand in the chain: a kill may come between note and line.
func (s *Spool) recorded(n note) bool {
	for _, seg := range s.segments {
		if seg.number != n.Segment {
			continue
		}
		f, err := os.Open(seg.path)
		if err != nil {
			return false
		}
		defer f.Close()
		line := make([]byte, maxLine)
		got, _ := f.ReadAt(line, n.Offset) // shorter at the end of the file
		text, _, whole := strings.Cut(string(line[:got]), "\n")
		e, err := parseLine([]byte(text))
		return whole && err == nil && e.ID == n.Start.ID
	}
	// Deleted, which only happens to segments that were delivered.
	return len(s.segments) > 0 && n.Segment < s.segments[0].number
}

// probe finds out whether a disk that failed takes a note again. s.mu is held.
func (s *Spool) probe() {
	if s.failed == nil {
		return
	}
	path := filepath.Join(s.cfg.Dir, "probe")
	err := writeNew(path, make([]byte, maxText))
	if errors.Join(err, os.Remove(path)) == nil {
		s.failed = nil
		s.cfg.Log.Info("the audit spool can be written again", "dir", s.cfg.Dir)
	}
}
