package spool

import (
	"maps"
	"slices"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

// mergeKey is what refusals have in common that become one event.
type mergeKey struct {
	source string // peer id
	reason reason.Code
}

// others stands for sources beyond maxMerging.
var others = mergeKey{source: "*"}

// merged counts refusals since the one that was written.
type merged struct {
	last  audit.Event
	count int
	since time.Time
}

// appendRefusal writes the first refusal of a source at once, and counts those that follow within mergeFor into one
// event at its end. s.mu is held.
func (s *Spool) appendRefusal(e audit.Event) error {
	key := mergeKey{e.Source, e.Reason}
	m := s.merging[key]
	if m == nil && len(s.merging) >= maxMerging {
		key = others
		m = s.merging[key]
	}
	if m == nil {
		m = &merged{since: e.Time}
		s.merging[key] = m
		if s.writeRefusal(e) {
			return nil
		}
		// No room now: it is counted and written when there is.
	}
	m.add(e, key == others)
	return nil
}

func (m *merged) add(e audit.Event, mixed bool) {
	n := max(e.Count, 1)
	if m.count == 0 {
		m.last = e
	} else {
		// What differs is not said of all.
		differ := func(a *string, b string) {
			if *a != b {
				*a = ""
			}
		}
		differ(&m.last.LocalUser, e.LocalUser)
		differ(&m.last.SourceAddr, e.SourceAddr)
		differ(&m.last.Issuer, e.Issuer)
		differ(&m.last.Subject, e.Subject)
		differ(&m.last.User, e.User)
		differ(&m.last.Rule, e.Rule)
		differ(&m.last.Detail, e.Detail)
		m.last.Session = ""
		m.last.Time = e.Time
	}
	if mixed {
		m.last.Source, m.last.Detail = "", "several sources"
	}
	m.count += n
}

// writeRefusal reports whether e found room in the refusals' share.
func (s *Spool) writeRefusal(e audit.Event) bool {
	return s.refused < s.cfg.Limit/4 && s.write(e) == nil
}

// flushMerged writes the counts of those that began before t, of all for the zero time. s.mu is held.
func (s *Spool) flushMerged(t time.Time) {
	for _, key := range slices.SortedFunc(maps.Keys(s.merging), func(a, b mergeKey) int {
		return s.merging[a].since.Compare(s.merging[b].since)
	}) {
		m := s.merging[key]
		if !t.IsZero() && !m.since.Before(t) {
			continue
		}
		if m.count > 0 {
			e := m.last
			e.ID, e.Count = "", m.count
			if !s.writeRefusal(e) {
				continue // tried again at the next turn
			}
		}
		delete(s.merging, key)
	}
}

func (s *Spool) merger() {
	tick := time.NewTicker(mergeFor / 12)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.mu.Lock()
			s.probe()
			s.payOwed()
			s.flushMerged(s.cfg.Now().Add(-mergeFor))
			s.mu.Unlock()
		}
	}
}
