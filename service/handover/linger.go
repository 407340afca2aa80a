package handover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/service/ipc"
)

// Sessions is what a lingering process still serves.
type Sessions struct {
	Apply func(m *api.Map, enabled bool) (ended []string) // decides again
	List  func() []ipc.Session
	End   func(id string) bool
	Busy  func() bool // there is a connection, signed in or not
}

// A Linger is a process that was replaced.
type Linger struct {
	of  Sessions
	log *slog.Logger
	l   *net.UnixListener

	mu      sync.Mutex // guards what follows
	conn    net.Conn   // of the new process; nil: none
	out     *json.Encoder
	left    time.Time // since when there is none
	queue   []note    // events that are not stored yet
	last    uint64    // number of the newest
	stopped bool

	reading sync.WaitGroup
}

// NewLinger opens the socket that the new process attaches to.
func NewLinger(run, profile string, of Sessions, log *slog.Logger) (*Linger, error) {
	l, err := listen("unix", lingerSocket(run, profile))
	if err != nil {
		return nil, fmt.Errorf("wait for the new process: %w", err)
	}
	return &Linger{of: of, log: log, l: l, left: time.Now()}, nil
}

// Record gives an event to the new process; while there is none, it is kept for it.
func (g *Linger) Record(e audit.Event) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) >= maxEvents {
		return errors.New("the audit events of the old process are not taken by the new one")
	}
	g.last++
	n := note{Event: &e, Number: g.last}
	g.queue = append(g.queue, n)
	g.put(n)
	return nil
}

// put sends a note, if there is somebody. The caller holds g.mu.
func (g *Linger) put(n note) {
	if g.conn == nil {
		return
	}
	_ = g.conn.SetWriteDeadline(time.Now().Add(replyTime))
	if g.out.Encode(n) != nil {
		g.conn.Close() // its reader tidies up
	}
}

// Run returns when the last session has ended and its events are stored, when the new process says so, when ctx ends,
// or when there has been no new process for a while. The caller ends what sessions there are, and then calls Close.
func (g *Linger) Run(ctx context.Context) {
	g.reading.Go(func() {
		for {
			c, err := g.l.Accept()
			if err != nil {
				return
			}
			if ours(c) != nil {
				c.Close()
				continue
			}
			g.attached(c)
			g.reading.Go(func() { g.read(c) })
		}
	})
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !g.over() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.mu.Lock()
			g.put(note{Listed: true, Sessions: g.of.List()})
			g.mu.Unlock()
		}
	}
}

// Close waits a moment for the new process to store the last events, and lets go of it.
func (g *Linger) Close() error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(replyTime); g.unstored() && time.Now().Before(end); <-tick.C {
	}
	err := g.l.Close() // removes the socket
	g.mu.Lock()
	if g.conn != nil {
		g.conn.Close()
	}
	if len(g.queue) > 0 {
		g.log.Error("audit events of the old service were not stored", "events", len(g.queue))
	}
	g.mu.Unlock()
	g.reading.Wait()
	return err
}

func (g *Linger) unstored() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue) > 0
}

func (g *Linger) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopped:
		return true
	case g.conn == nil && time.Since(g.left) > orphanTime:
		g.log.Warn("no new service came; the sessions of the old one end, since no revocation would reach them")
		return true
	}
	return len(g.queue) == 0 && !g.of.Busy()
}

// attached makes c the new process's connection: the newest counts.
func (g *Linger) attached(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn != nil {
		g.conn.Close()
	}
	g.conn, g.out = c, json.NewEncoder(c)
	first := note{Listed: true, Sessions: g.of.List()}
	for _, n := range g.queue {
		first.Owed = append(first.Owed, n.Event.Session)
	}
	g.put(first)
	for _, n := range g.queue {
		g.put(n)
	}
}

func (g *Linger) read(c net.Conn) {
	defer func() {
		c.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.conn == c {
			g.conn, g.left = nil, time.Now()
		}
	}()
	in := lines(c)
	for in.Scan() {
		var n note
		if json.Unmarshal(in.Bytes(), &n) != nil {
			return
		}
		done := note{Done: n.Seq, Listed: true}
		switch {
		case n.Map != nil:
			done.Ended = g.of.Apply(n.Map, n.Enabled)
		case n.End != "":
			if g.of.End(n.End) {
				done.Ended = []string{n.End}
			}
		}
		g.mu.Lock()
		for len(g.queue) > 0 && g.queue[0].Number <= n.Stored {
			g.queue = g.queue[1:]
		}
		if n.Stop {
			g.stopped = true
		}
		if n.Seq != 0 {
			done.Sessions = g.of.List()
			g.put(done)
		}
		g.mu.Unlock()
	}
}

func lines(c net.Conn) *bufio.Scanner {
	s := bufio.NewScanner(c)
	s.Buffer(make([]byte, 0, 64<<10), maxMessage)
	return s
}
