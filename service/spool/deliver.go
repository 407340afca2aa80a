package spool

import (
	"encoding/json"
	"os"
)

// Batch returns the first events that were not delivered, in order, as they lie on disk: at most n, and about
// maxBytes. It returns the same ones until Delivered names them.
func (s *Spool) Batch(n, maxBytes int) ([]json.RawMessage, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []json.RawMessage
	var ids []string
	var seg *segment
	var f *os.File
	defer func() { closeFile(f) }()
	for _, e := range s.waiting {
		if len(lines) == n || maxBytes <= 0 {
			break
		}
		if e.seg != seg {
			closeFile(f)
			var err error
			seg = e.seg
			if f, err = os.Open(seg.path); err != nil {
				s.cfg.Log.Error("audit events cannot be read for delivery", "segment", seg.path, "err", err)
				break
			}
		}
		line := make([]byte, e.len)
		if _, err := f.ReadAt(line, e.off); err != nil {
			s.cfg.Log.Error("audit events cannot be read for delivery", "segment", seg.path, "err", err)
			break
		}
		lines = append(lines, line[:e.len-1])
		ids = append(ids, e.id)
		maxBytes -= e.len
	}
	return lines, ids
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

// Appended returns a channel that is closed when the next event is written. Take it before Batch, so that none falls
// between.
func (s *Spool) Appended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appended
}

// Delivered says that the events with these ids are stored for good. Ids that are not waiting are ignored.
func (s *Spool) Delivered(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make(map[string]bool, len(ids))
	for _, id := range ids {
		done[id] = true
	}
	kept := s.waiting[:0]
	for _, e := range s.waiting {
		if !done[e.id] {
			kept = append(kept, e)
			continue
		}
		e.seg.left--
		if e.refusal {
			s.refused -= int64(e.len)
		}
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
	if err := s.writeCursor(s.cursor()); err != nil {
		s.cfg.Log.Warn("the audit spool cannot note what was delivered; events may be sent again", "err", err)
	}
	at := s.segments[len(s.segments)-1]
	if at.left == 0 && at.size > 0 && len(kept) == 0 && at.size >= s.cfg.Limit/16 {
		// Everything is delivered: begin a new segment, so that the room comes back. The old one stays until the
		// new one has a line that carries the chain on.
		if err := s.nextSegment(); err != nil {
			_ = s.fail(err) // the next event is told
		}
	}
	s.prune()
}

// prune deletes delivered segments, but never the newest one that has a line: the next line's Prev hangs on it.
// s.mu is held.
func (s *Spool) prune() {
	for len(s.segments) > 1 && s.segments[0].left == 0 && s.carried() {
		old := s.segments[0]
		var err error
		if old.broken { // holds what could not be delivered
			err = os.Rename(old.path, old.path+".broken")
		} else {
			err = os.Remove(old.path)
		}
		if err != nil && !os.IsNotExist(err) {
			s.cfg.Log.Error("a delivered audit segment cannot be deleted", "segment", old.path, "err", err)
			return
		}
		s.used -= old.size
		s.segments = s.segments[1:]
	}
}

// carried reports whether a segment after the first has a line.
func (s *Spool) carried() bool {
	for _, seg := range s.segments[1:] {
		if seg.size > 0 {
			return true
		}
	}
	return false
}
