// Package spool keeps audit events on disk until the management server has stored them.
//
// Events lie as JSON lines in segment files, in the order of their writing. Each line names the hash of the one
// before (audit.Event.Prev), across segments too, so that a line that was changed or taken out shows (Verify). Lines
// are never rewritten; a segment is deleted once every event in it was stored elsewhere.
//
// # What survives
//
// Append returns after write(2): a killed process loses nothing. A power cut loses at most the last syncEvery, as one
// goroutine syncs for all that were written meanwhile. A line that was cut short is taken off at the next start and
// kept beside, in a .torn file. Sessions that were open then are ended by the next Open, as interrupted.
//
// # What is bounded
//
// The spool holds Limit bytes. Refusals, which strangers can cause, may fill a quarter of it and are merged per
// source. A tenth is kept for the ends of sessions that were let in. What is left is the sessions' reserve: when it
// is gone, Append answers reason.AuditFull and the caller refuses the session.
package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
)

// Defaults and bounds, in bytes unless they say otherwise.
const (
	DefaultLimit = 64 << 20
	MinLimit     = 64 << 10

	maxText    = 8 << 10               // of a command, target or detail: longer ones are cut
	maxLine    = 64 << 10              // of one event
	maxSegment = 1 << 20               // then a new segment is begun
	syncEvery  = 50 * time.Millisecond // what a power cut may cost
	mergeFor   = time.Minute           // refusals of one source become one event
	maxMerging = 1024                  // sources at a time; further ones share one event
)

// Config describes a spool. Dir is required.
type Config struct {
	Dir   string
	Limit int64         // DefaultLimit when 0
	Peer  func() string // id of this machine, written into events without one; may be nil
	// Lives reports sessions of an earlier run that another process still serves, and will end; may be nil.
	Lives func(session string) bool
	Log   *slog.Logger
	Now   func() time.Time
}

// Spool is open. Its methods may be called from several goroutines.
type Spool struct {
	cfg Config

	mu       sync.Mutex // guards everything below
	file     *os.File   // the segment that is written
	segments []*segment // oldest first; the last is the one that is written
	waiting  []entry    // not delivered, in order
	prev     string     // hash of the last line
	used     int64      // bytes of all segments
	refused  int64      // of them, bytes of refusals not delivered
	merging  map[mergeKey]*merged
	owed     []audit.Event // ends that found no room
	failed   error         // of the last write; cleared when sessions can begin again
	appended chan struct{}
	closed   bool

	wake chan struct{} // something is to be synced
	stop chan struct{}
	wg   sync.WaitGroup
}

type segment struct {
	number uint64
	path   string
	size   int64
	left   int  // events not delivered
	broken bool // holds lines that cannot be read: moved aside, not deleted
	linked bool // has another name somewhere: read, and not written
}

type entry struct {
	id      string
	seg     *segment
	off     int64
	len     int
	refusal bool
}

// Status is what the spool holds.
type Status struct {
	Pending int
	Bytes   int64
	Limit   int64
	Full    bool // sessions are refused
}

// Open reads what lies in the folder and makes it ready for more.
func Open(cfg Config) (*Spool, error) {
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	cfg.Limit = max(cfg.Limit, MinLimit)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Peer == nil {
		cfg.Peer = func() string { return "" }
	}
	s := &Spool{
		cfg: cfg, merging: map[mergeKey]*merged{}, appended: make(chan struct{}),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if err := paths.PrivateDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open the audit spool: %w", err)
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("close the audit spool for others: %w", err)
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open the audit spool: %w", err)
	}
	s.wg.Go(s.syncer)
	s.wg.Go(s.merger)
	return s, nil
}

// Close writes what is merged so far, syncs, and waits.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.payOwed()
	s.flushMerged(time.Time{})
	err := errors.Join(s.file.Sync(), s.file.Close())
	s.file = nil
	return err
}

// Append records e, filling in what is missing of ID, Time and Peer. Refusals of one source are merged and never fail.
// Any other error is reason.AuditFull: no room, or a disk that cannot be written.
func (s *Spool) Append(e audit.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = s.cfg.Now()
	}
	if e.Type == audit.Refused {
		return s.appendRefusal(e)
	}
	s.payOwed()
	return s.write(e)
}

// room says how full the spool may be before an event of type t is refused.
func (s *Spool) room(t audit.Type) int64 {
	switch t {
	case audit.SessionEnd, audit.ChannelEnd, audit.Logout:
		return s.cfg.Limit
	}
	return s.cfg.Limit - s.cfg.Limit/10
}

// write puts e at the end of the chain. An end that finds no room is owed. s.mu is held.
func (s *Spool) write(e audit.Event) error {
	err := s.writeLine(e)
	if err != nil {
		s.owe(e)
	}
	return err
}

func (s *Spool) writeLine(e audit.Event) error {
	if s.file == nil {
		return reason.Errorf(reason.AuditFull, "the audit spool is closed")
	}
	if e.ID == "" {
		e.ID = api.NewEventID(e.Time)
	}
	if e.Peer == "" {
		e.Peer = s.cfg.Peer()
	}
	e.Time = e.Time.UTC()
	e.Prev = s.prev
	e.Command, e.Target, e.Detail = cut(e.Command), cut(e.Target), cut(e.Detail)
	line, err := json.Marshal(e)
	if err != nil {
		return reason.Errorf(reason.AuditFull, "an audit event cannot be written down: %v", err)
	}
	line = append(line, '\n')
	switch {
	case len(line) > maxLine:
		return reason.Errorf(reason.AuditFull, "an audit event has %d bytes, more than %d", len(line), maxLine)
	case s.used+int64(len(line)) > s.room(e.Type):
		return reason.Errorf(reason.AuditFull, "%d bytes of audit events wait for the management server, %d are allowed", s.used, s.cfg.Limit)
	}
	seg := s.segments[len(s.segments)-1]
	if seg.size > 0 && seg.size+int64(len(line)) > min(maxSegment, s.cfg.Limit/8) {
		if err := s.nextSegment(); err != nil {
			return s.fail(err)
		}
		seg = s.segments[len(s.segments)-1]
	}
	key := openKey(&e)
	if begins(e.Type) && key != "" {
		if err := s.putNote(key, &e, seg, seg.size); err != nil {
			return s.fail(errors.Join(err, os.RemoveAll(s.notePath(key))))
		}
	}
	// A failed write may leave a part of the line: it must not stand before the next.
	if _, err := s.file.WriteAt(line, seg.size); err != nil {
		err = errors.Join(err, s.file.Truncate(seg.size))
		if begins(e.Type) && key != "" {
			s.removeNote(key)
		}
		return s.fail(err)
	}
	if key != "" && !begins(e.Type) {
		s.removeNote(key)
	}
	if begins(e.Type) { // an end may still fit where no session does
		s.failed = nil
	}
	s.waiting = append(s.waiting, entry{id: e.ID, seg: seg, off: seg.size, len: len(line), refusal: e.Type == audit.Refused})
	seg.size += int64(len(line))
	seg.left++
	s.used += int64(len(line))
	if e.Type == audit.Refused {
		s.refused += int64(len(line))
	}
	s.prev = hash(line[:len(line)-1])
	close(s.appended)
	s.appended = make(chan struct{})
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.prune() // what was delivered before this line may go now
	return nil
}

func (s *Spool) fail(err error) error {
	if s.failed == nil {
		s.cfg.Log.Error("the audit spool cannot be written; new sessions are refused", "dir", s.cfg.Dir, "err", err)
	}
	s.failed = err
	return reason.Errorf(reason.AuditFull, "write the audit spool: %v", err)
}

// hash is what the next line's Prev says of line, which has no newline.
func hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// Status says how full the spool is.
func (s *Spool) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := s.failed != nil || s.used+maxLine/16 > s.room(audit.SessionStart)
	return Status{Pending: len(s.waiting), Bytes: s.used, Limit: s.cfg.Limit, Full: full}
}

func (s *Spool) nextSegment() error {
	n := uint64(1)
	if len(s.segments) > 0 {
		n = s.segments[len(s.segments)-1].number + 1
	}
	path := filepath.Join(s.cfg.Dir, segmentName(n))
	f, err := createNew(path)
	if err != nil {
		return err
	}
	seg := &segment{number: n, path: path}
	if s.file != nil {
		if err := errors.Join(s.file.Sync(), s.file.Close()); err != nil {
			s.cfg.Log.Error("the audit spool's last segment could not be synced", "err", err)
		}
	}
	s.file = f
	s.segments = append(s.segments, seg)
	return nil
}

const suffix = ".jsonl"

// maxNumber is none that a spool comes to, and leaves room for more: a name has 16 digits.
const maxNumber = 1e15

func segmentName(n uint64) string { return fmt.Sprintf("%016d%s", n, suffix) }

// segmentNumber reads a segment's file name; ok is false for other files.
func segmentNumber(name string) (n uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0 && n <= maxNumber
}

// syncer syncs for everything that was written in the last syncEvery.
func (s *Spool) syncer() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		}
		select {
		case <-s.stop: // Close syncs
			return
		case <-time.After(syncEvery):
		}
		s.mu.Lock()
		f := s.file
		s.mu.Unlock()
		// Outside the lock: logins go on meanwhile. A segment that was closed since is synced already.
		if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
			s.mu.Lock()
			_ = s.fail(err) // the next event is told
			s.mu.Unlock()
		}
	}
}
