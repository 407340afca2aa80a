package sshd

import (
	"strings"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/sshd/sftp"
)

// countFor is how long operations are counted before the count is recorded.
const countFor = time.Minute

// fileLog counts what is done with files over one connection.
type fileLog struct {
	recorded int
	counts   map[countKey]*audit.Event
	since    time.Time // of the oldest count
}

type countKey struct{ channel, what string }

// sftpGrants returns what may be transferred now, for the process that serves files.
func (c *conn) sftpGrants(g *grant) func() []sftp.Grant {
	return func() []sftp.Grant {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended != "" || !g.decided.Has(api.CapSFTPRead) {
			return nil
		}
		var all []sftp.Grant
		for _, f := range g.decided.Files {
			all = append(all, sftp.Grant{Path: f.Path, Write: f.Write})
		}
		return all
	}
}

// fileEvent records what the process that serves files on a channel has done. That process is the account's: what it
// tells is bounded, and is told of no other session.
func (c *conn) fileEvent(g *grant, channel string, f sftp.Event) {
	e := c.event(audit.FileOp, g)
	e.Channel, e.What, e.Target, e.Detail = channel, what(f), f.Path, f.To
	e.BytesIn, e.BytesOut = f.In, f.Out
	if f.Op == sftp.OpRefused {
		e.Type, e.Reason = audit.Refused, reason.Capability
		e.Detail = string(api.CapSFTPRead)
		if f.Write {
			e.Detail = string(api.CapSFTP)
		}
		_ = c.s.record(e) // refusals are merged per source
		return
	}
	c.mu.Lock()
	l := &c.fileLog
	if l.recorded < g.decided.FileEvents { // a copy of a hundred thousand files must not fill the spool
		l.recorded++
		c.mu.Unlock()
		_ = c.s.record(e)
		return
	}
	l.count(e)
	c.mu.Unlock()
}

// what names an operation in the audit log: "open-read", "close", "rename".
func what(f sftp.Event) string {
	if f.Op != sftp.OpOpen {
		return string(f.Op)
	}
	how := []string{string(f.Op)}
	if f.Read {
		how = append(how, "read")
	}
	if f.Write {
		how = append(how, "write")
	}
	return strings.Join(how, "-")
}

func (l *fileLog) count(e audit.Event) {
	key := countKey{e.Channel, e.What}
	sum := l.counts[key]
	if sum == nil {
		if l.counts == nil {
			l.counts = map[countKey]*audit.Event{}
		}
		if len(l.counts) == 0 {
			l.since = e.Time
		}
		sum = &e
		sum.Target, sum.Detail, sum.Count = "", "", 1
		l.counts[key] = sum
		return
	}
	sum.Time = e.Time
	sum.Count++
	sum.BytesIn += e.BytesIn
	sum.BytesOut += e.BytesOut
}

// recordCounts records what was counted: of one channel at its end, of all after countFor.
func (c *conn) recordCounts(channel string) {
	now := c.s.cfg.Now()
	c.mu.Lock()
	l := &c.fileLog
	var due []audit.Event
	for key, sum := range l.counts {
		if key.channel == channel || channel == "" && now.Sub(l.since) >= countFor {
			due = append(due, *sum)
			delete(l.counts, key)
		}
	}
	c.mu.Unlock()
	for _, e := range due {
		_ = c.s.record(e)
	}
}
