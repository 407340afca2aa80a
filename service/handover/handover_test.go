//go:build linux

package handover

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/service/ipc"
)

// said is what one side writes and then hangs up; the other side is f's.
func said(t *testing.T, b []byte, f func(net.Conn)) {
	t.Helper()
	ours, theirs := net.Pipe()
	var done sync.WaitGroup
	done.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
	done.Go(func() {
		_, _ = theirs.Write(b)
		theirs.Close()
	})
	f(ours)
	ours.Close()
	done.Wait()
}

func notes(all ...note) []byte {
	var b bytes.Buffer
	for _, n := range all {
		_ = json.NewEncoder(&b).Encode(n)
	}
	return b.Bytes()
}

// FuzzOldSays is what a process that was replaced, of whichever release, tells the new one.
func FuzzOldSays(f *testing.F) {
	f.Add(notes(note{Listed: true, Sessions: []ipc.Session{{ID: "s1"}}, Owed: []string{"s2"}}, note{Event: &audit.Event{ID: "e1"}, Number: 1}))
	f.Add(notes(note{Listed: true}, note{Done: 1, Ended: []string{"s1"}, Listed: true}, note{Done: 1}))
	f.Add([]byte("{}\nnull\n{\"event\":{}}\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		stored := 0
		o := &Old{changed: func() {}, log: slog.New(slog.DiscardHandler), ready: make(chan struct{})}
		o.Store(func(audit.Event) error { stored++; return nil })
		said(t, b, func(c net.Conn) {
			got := make(chan note, 1)
			p := &process{conn: c, gone: make(chan struct{}), out: json.NewEncoder(c), waiting: map[uint64]chan note{1: got}, listed: make(chan struct{})}
			o.all = []*process{p}
			o.read(p)
			if len(o.all) > 0 || len(p.waiting) == 0 && len(got) != 1 {
				t.Error("the process is there still, or an answer was lost")
			}
		})
		if events := strings.Count(strings.ToLower(string(b)), "event"); stored > events+strings.Count(string(b), `\u`) {
			t.Errorf("%d events of %d", stored, events)
		}
	})
}

// FuzzNewSays is what the new process, of whichever release, tells the one that it replaced.
func FuzzNewSays(f *testing.F) {
	f.Add(notes(note{Seq: 1, Map: &api.Map{Version: 3}, Enabled: true}, note{Stored: 1}, note{End: "s1", Seq: 2}, note{Stop: true}))
	f.Add([]byte("{\"stored\":18446744073709551615}\n{\"map\":null,\"seq\":1}\n{\"stop\":1}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := &Linger{
			log:   slog.New(slog.DiscardHandler),
			queue: []note{{Number: 1, Event: &audit.Event{}}, {Number: 2, Event: &audit.Event{}}},
			of: Sessions{
				Apply: func(m *api.Map, _ bool) []string {
					if m == nil {
						t.Error("no map is applied")
					}
					return nil
				},
				List: func() []ipc.Session { return nil }, Busy: func() bool { return true },
				End: func(id string) bool { return id == "s1" },
			},
		}
		said(t, b, func(c net.Conn) {
			g.conn, g.out = c, json.NewEncoder(c)
			g.read(c)
		})
		if g.conn != nil || g.left.IsZero() {
			t.Error("the connection counts although it has ended")
		}
	})
}

// FuzzHello is a first message, of whoever connects to the socket of a process that is leaving.
func FuzzHello(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"release":"1.2.3"}`), []byte(`{"release":"1.2.2","tunnel":true}`))
	f.Add([]byte(`{"protocol":2}`), []byte(`{"refused":"no"}`))
	f.Add([]byte(nil), []byte(`{`))
	path := filepath.Join(f.TempDir(), "s")
	l, err := listen("unixpacket", path)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	f.Fuzz(func(t *testing.T, one, two []byte) {
		for _, b := range [][]byte{one, two} {
			if len(b) > 32<<10 {
				return
			}
			theirs, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
			if err != nil {
				t.Fatal(err)
			}
			c, err := l.AcceptUnix()
			if err != nil {
				t.Fatal(err)
			}
			if err := ours(c); err != nil {
				t.Errorf("the test's own process is refused: %v", err)
			}
			_, _ = theirs.Write(b)
			theirs.Close()
			var h hello
			var a answer
			if err := receive(c, &h); err == nil && json.Unmarshal(b, &a) == nil && h.Release != a.Release {
				t.Errorf("%q: %+v and %+v", b, h, a)
			}
			c.Close()
		}
	})
}
