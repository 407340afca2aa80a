package handover

import (
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/service/ipc"
)

// Old is the processes that this one replaced and that still serve sessions. A nil *Old has none.
type Old struct {
	changed func()
	log     *slog.Logger
	reply   time.Duration           // that each may take over one
	record  func(audit.Event) error // set when ready is closed
	ready   chan struct{}

	mu  sync.Mutex // guards all
	all []*process

	reading sync.WaitGroup
}

// process is one of them.
type process struct {
	conn net.Conn
	gone chan struct{}

	mu       sync.Mutex // guards what follows
	out      *json.Encoder
	seq      uint64
	waiting  map[uint64]chan note
	sessions []ipc.Session
	owed     []string
	listed   chan struct{} // closed with the first list
}

// Attach finds all lingering processes of a profile, and what sessions they serve. Their events wait for Store. changed
// is called when their sessions may be others.
func Attach(run, profile string, changed func(), log *slog.Logger) *Old {
	return attachWithin(run, profile, changed, log, replyTime)
}

func attachWithin(run, profile string, changed func(), log *slog.Logger, reply time.Duration) *Old {
	o := &Old{changed: changed, log: log, reply: reply, ready: make(chan struct{})}
	if !supported {
		return o
	}
	for _, path := range lingerSockets(run, profile) {
		c, err := net.DialTimeout("unix", path, askTime)
		if err != nil {
			os.Remove(path) // of a process that was killed
			continue
		}
		if err := ours(c); err != nil {
			c.Close()
			continue
		}
		p := &process{conn: c, gone: make(chan struct{}), out: json.NewEncoder(c), waiting: map[uint64]chan note{}, listed: make(chan struct{})}
		o.mu.Lock()
		o.all = append(o.all, p)
		o.mu.Unlock()
		o.reading.Go(func() { o.read(p) })
	}
	all := o.processes()
	if len(all) > 0 {
		log.Info("an earlier service still serves its sessions", "processes", len(all))
	}
	for _, p := range all {
		select {
		case <-p.listed:
		case <-p.gone:
		case <-time.After(o.reply):
			log.Warn("an earlier service does not say what it serves")
		}
	}
	return o
}

// Store begins to take events; nil takes none any more.
func (o *Old) Store(record func(audit.Event) error) {
	o.record = record
	close(o.ready)
}

// Serves reports whether a session is one of theirs, or was and has events to come.
func (o *Old) Serves(session string) bool {
	for _, p := range o.processes() {
		p.mu.Lock()
		has := slices.Contains(p.owed, session) || slices.ContainsFunc(p.sessions, func(s ipc.Session) bool { return s.ID == session })
		p.mu.Unlock()
		if has {
			return true
		}
	}
	return false
}

func (o *Old) read(p *process) {
	defer func() {
		p.conn.Close()
		close(p.gone)
		o.mu.Lock()
		o.all = slices.DeleteFunc(o.all, func(q *process) bool { return p == q })
		o.mu.Unlock()
		o.changed()
	}()
	in := lines(p.conn)
	for in.Scan() {
		var n note
		if err := json.Unmarshal(in.Bytes(), &n); err != nil {
			o.log.Warn("an earlier service is not understood", "err", err)
			return
		}
		if n.Event != nil {
			<-o.ready
			if o.record == nil {
				return
			}
			if err := o.record(*n.Event); err != nil {
				o.log.Error("an audit event of an earlier service could not be stored", "err", err)
				continue // it keeps it, and sends it again to the next process
			}
			p.put(note{Stored: n.Number})
		}
		p.mu.Lock()
		other := false
		if n.Listed {
			other = !slices.EqualFunc(p.sessions, n.Sessions, func(a, b ipc.Session) bool {
				return a.ID == b.ID && slices.Equal(a.Channels, b.Channels)
			})
			p.sessions = n.Sessions
			select {
			case <-p.listed:
			default:
				p.owed = n.Owed
				close(p.listed)
			}
		}
		if w := p.waiting[n.Done]; n.Done != 0 && w != nil {
			delete(p.waiting, n.Done)
			w <- n
		}
		p.mu.Unlock()
		if other {
			o.changed()
		}
	}
}

func (p *process) put(n note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.conn.SetWriteDeadline(time.Now().Add(replyTime))
	_ = p.out.Encode(n) // a broken connection shows in read
}

// ask sends a note and waits for its answer.
func (p *process) ask(n note, limit time.Duration) (note, bool) {
	w := make(chan note, 1)
	p.mu.Lock()
	p.seq++
	n.Seq = p.seq
	p.waiting[n.Seq] = w
	p.mu.Unlock()
	p.put(n)
	select {
	case r := <-w:
		return r, true
	case <-p.gone:
	case <-time.After(limit):
	}
	return note{}, false
}

func (o *Old) processes() []*process {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

// Apply has all decide their sessions by a map again, at the same time, and returns those that ended by it.
func (o *Old) Apply(m *api.Map, enabled bool) (ended []string) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, p := range o.processes() {
		asking.Go(func() {
			r, ok := p.ask(note{Map: m, Enabled: enabled}, o.reply)
			if !ok {
				o.log.Warn("an earlier service did not answer; it is cut off, and ends its sessions")
				p.conn.Close()
			}
			mu.Lock()
			ended = append(ended, r.Ended...)
			mu.Unlock()
		})
	}
	asking.Wait()
	return ended
}

// Sessions lists those of all.
func (o *Old) Sessions() (all []ipc.Session) {
	for _, p := range o.processes() {
		p.mu.Lock()
		all = append(all, p.sessions...)
		p.mu.Unlock()
	}
	return all
}

// End ends one session, and reports whether there was one.
func (o *Old) End(id string) bool {
	for _, p := range o.processes() {
		p.mu.Lock()
		has := slices.ContainsFunc(p.sessions, func(s ipc.Session) bool { return s.ID == id })
		p.mu.Unlock()
		if has {
			r, ok := p.ask(note{End: id}, o.reply)
			return ok && slices.Contains(r.Ended, id)
		}
	}
	return false
}

// stopTime is how long the old processes may take to end their sessions.
const stopTime = 5 * time.Second

// Stop has all end their sessions and themselves, and waits for it. Their last events are stored.
func (o *Old) Stop() {
	end := time.After(stopTime)
	all := o.processes()
	for _, p := range all {
		p.put(note{Stop: true})
	}
	for _, p := range all {
		select {
		case <-p.gone:
		case <-end:
			o.log.Warn("an earlier service did not end in time")
		}
	}
}

// Detach lets go of all, without ending them: the next process attaches.
func (o *Old) Detach() {
	for _, p := range o.processes() {
		p.conn.Close()
	}
	if o != nil {
		o.reading.Wait()
	}
}
