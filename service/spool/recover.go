package spool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"lanyard/mgmt/api/audit"
	"lanyard/platform/paths"
)

// parseLine reads one line without its newline. A line without id could never be acknowledged.
func parseLine(line []byte) (audit.Event, error) {
	var e audit.Event
	if len(line) >= maxLine { // no message may carry it: it would be sent for ever, and nothing after it
		return e, errors.New("it is longer than an event may be")
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, err
	}
	if e.ID == "" || len(e.ID) > 64 || e.Type == "" {
		return e, errors.New("it has no id or no type")
	}
	return e, nil
}

// list returns the folder's segments, oldest first.
func list(dir string) ([]*segment, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var segs []*segment
	for _, f := range files {
		if n, ok := segmentNumber(f.Name()); ok && f.Type().IsRegular() {
			segs = append(segs, &segment{number: n, path: filepath.Join(dir, f.Name())})
		}
	}
	slices.SortFunc(segs, func(a, b *segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return segs, nil
}

// recover reads the segments, takes a torn end off the last one, and opens it.
func (s *Spool) recover() error {
	segs, err := list(s.cfg.Dir)
	if err == nil {
		segs, err = s.own(segs)
	}
	if err != nil {
		return err
	}
	s.segments = segs
	from := s.readCursor()
	ended := map[string]bool{}
	for i, seg := range segs {
		if err := s.load(seg, i == len(segs)-1, from, ended); err != nil {
			return fmt.Errorf("read %s: %w", seg.path, err)
		}
		s.used += seg.size
	}
	if len(segs) == 0 {
		if err := s.nextSegment(); err != nil {
			return err
		}
		return s.endOpen(ended)
	}
	last := segs[len(segs)-1]
	if last.broken || last.linked { // its torn end could not be put aside: what comes now must not stand behind that
		err = s.nextSegment()
	} else {
		s.file, err = os.OpenFile(last.path, os.O_RDWR, 0o600)
	}
	if err != nil {
		return err
	}
	s.prune()
	// Written anew, as a power cut may have left it behind or, with lines lost, ahead: lines that are written in their
	// place are not delivered. Without room for it, none is better: events are sent again.
	if err := s.writeCursor(s.cursor()); err != nil {
		s.cfg.Log.Warn("the audit spool cannot note what was delivered; events may be sent again", "err", err)
		name := filepath.Join(s.cfg.Dir, cursorName)
		_ = os.Remove(name + ".new")
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.endOpen(ended)
}

// load indexes one segment, and notes in ended what ended. Lines before the cursor were delivered.
func (s *Spool) load(seg *segment, last bool, from cursor, ended map[string]bool) error {
	b, err := os.ReadFile(seg.path)
	if err != nil {
		return err
	}
	good := int64(0) // end of the last line that can be read
	for off := int64(0); off < int64(len(b)); {
		n := bytes.IndexByte(b[off:], '\n')
		if n < 0 {
			break
		}
		line := b[off : off+int64(n)]
		end := off + int64(n) + 1
		if e, err := parseLine(line); err == nil {
			if good != off {
				seg.broken = true
			}
			good = end
			if key := openKey(&e); key != "" && !begins(e.Type) {
				ended[key] = true
			}
			if seg.number > from.Segment || seg.number == from.Segment && off >= from.Offset {
				s.waiting = append(s.waiting, entry{e.ID, seg, off, n + 1, e.Type == audit.Refused})
				seg.left++
				if e.Type == audit.Refused {
					s.refused += int64(n + 1)
				}
			}
			s.prev = hash(line)
		}
		off = end
	}
	seg.size = int64(len(b))
	if good == int64(len(b)) {
		return nil
	}
	if !last || seg.linked {
		seg.broken = true
		return nil
	}
	// Cut short by a kill or a power cut: its Append never returned, or its sync was still due. Kept beside, as what
	// was written about is never thrown away.
	torn := b[good:]
	s.cfg.Log.Warn("the audit spool ended in a line that was cut short", "segment", seg.path, "bytes", len(torn))
	if err := paths.WriteFile(fmt.Sprintf("%s.torn-%d", seg.path, good), torn, 0o600); err != nil {
		s.cfg.Log.Error("the torn end of the audit spool stays where it is: it cannot be put aside", "err", err)
		seg.broken = true
		return nil
	}
	if err := os.Truncate(seg.path, good); err != nil {
		return err
	}
	seg.size = good
	return nil
}

// cursor is where the first event lies that was not delivered. It saves sending events again after a start; when it is
// lost or behind, they are, and the server knows their ids.
type cursor struct {
	Segment uint64
	Offset  int64
}

const cursorName = "delivered"

func (s *Spool) readCursor() (c cursor) {
	b, err := paths.ReadFile(filepath.Join(s.cfg.Dir, cursorName))
	if err == nil {
		c, err = parseCursor(b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Warn("the audit spool's note of what was delivered is unreadable; events are sent again", "err", err)
	}
	return c
}

func parseCursor(b []byte) (cursor, error) {
	f := bytes.Fields(b)
	if len(f) != 3 || string(f[0]) != "v1" {
		return cursor{}, errors.New("it is not 'v1', a segment and an offset")
	}
	n, err1 := strconv.ParseUint(string(f[1]), 10, 64)
	off, err2 := strconv.ParseInt(string(f[2]), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return cursor{}, err
	}
	return cursor{n, off}, nil
}

// cursor is where the first event lies that was not delivered. s.mu is held.
func (s *Spool) cursor() cursor {
	if len(s.waiting) > 0 {
		return cursor{s.waiting[0].seg.number, s.waiting[0].off}
	}
	last := s.segments[len(s.segments)-1]
	return cursor{last.number, last.size}
}

// writeCursor is not synced: being behind costs a few events sent twice.
func (s *Spool) writeCursor(c cursor) error {
	name := filepath.Join(s.cfg.Dir, cursorName)
	if err := writeNew(name+".new", fmt.Appendf(nil, "v1 %d %d\n", c.Segment, c.Offset)); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// Report is Verify's answer.
type Report struct {
	Events int
	First  string // Prev of the first line: the hash of the last one that was delivered and deleted
	Last   string // hash of the last line
	// Broken names the first place where the chain does not hold, empty when it does.
	Broken string
}

// Verify checks the chain of a spool's folder, which may be in use.
func Verify(dir string) (Report, error) {
	segs, err := list(dir)
	if err != nil {
		return Report{}, fmt.Errorf("read the audit spool: %w", err)
	}
	var r Report
	for i, seg := range segs {
		f, err := os.Open(seg.path)
		if errors.Is(err, fs.ErrNotExist) && i == 0 {
			continue // delivered and deleted meanwhile
		}
		if err != nil {
			return r, fmt.Errorf("read the audit spool: %w", err)
		}
		err = verify(f, filepath.Base(seg.path), &r)
		f.Close()
		if err != nil {
			return r, fmt.Errorf("read %s: %w", seg.path, err)
		}
	}
	return r, nil
}

func verify(f io.Reader, name string, r *Report) error {
	in := bufio.NewReaderSize(f, maxLine)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF { // a line that is being written is not one yet
			return nil
		}
		if err != nil {
			return err
		}
		line = line[:len(line)-1]
		e, err := parseLine(line)
		broken := ""
		switch {
		case err != nil:
			broken = fmt.Sprintf("%s line %d cannot be read", name, n)
		case r.Events == 0 && r.Last == "":
			r.First = e.Prev
		case e.Prev != r.Last:
			broken = fmt.Sprintf("%s line %d does not follow the line before it: one was changed or is missing", name, n)
		}
		if r.Broken == "" {
			r.Broken = broken
		}
		if err == nil {
			r.Events++
			r.Last = hash(line)
		}
	}
}
