//go:build linux

package sshd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
)

// soak makes a number bigger in `make soak`, which sets LANYARD_SOAK.
func soak(short, long int) int {
	if os.Getenv("LANYARD_SOAK") != "" {
		return long
	}
	return short
}

// held is what a server could leak.
type held struct {
	goroutines, files, children int
	heap, resident              int64 // bytes; the second is only told: the system takes memory back when it likes
}

func (h held) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d processes, %.1f MB of heap, %.1f MB resident",
		h.goroutines, h.files, h.children, float64(h.heap)/1e6, float64(h.resident)/1e6)
}

// heapSlack is how much more the heap may hold afterwards, in bytes: the log that the test itself keeps, and caches. A
// connection that stays holds some 50 kB: the few of the short form show, too.
func heapSlack() int64 { return int64(soak(2<<20, 12<<20)) }

func holding() held {
	files, _ := os.ReadDir("/proc/self/fd")
	var h held
	h.goroutines, h.files = runtime.NumGoroutine(), len(files)
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.heap = int64(m.HeapAlloc)
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, pages int64
		_, _ = fmt.Sscan(string(b), &size, &pages)
		h.resident = pages * int64(os.Getpagesize())
	}
	own := fmt.Sprint(os.Getpid())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, p := range stats {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(f) > 1 && f[1] == own {
			h.children++
		}
	}
	return h
}

// holdingAtRest is holding once every connection so far has ended: what the last one still holds must not count as what was
// there before.
func (l *lab) holdingAtRest() held {
	l.t.Helper()
	eventually(l.t, "the end of what came before", func() bool {
		return !l.srv.Busy() && len(l.recorded(audit.SessionEnd)) == len(l.recorded(audit.SessionStart))
	})
	last := holding()
	eventually(l.t, "rest", func() bool {
		time.Sleep(20 * time.Millisecond)
		before := last
		last = holding()
		return last.goroutines == before.goroutines && last.files == before.files && last.children == before.children
	})
	return last
}

// nothingMore waits until the server holds no more than before.
func nothingMore(t *testing.T, before held) {
	t.Helper()
	var now held
	end := time.Now().Add(waitTime)
	for ; time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		now = holding()
		if now.goroutines <= before.goroutines && now.files <= before.files && now.children <= before.children && now.heap <= before.heap+heapSlack() {
			t.Logf("before: %s; after: %s", before, now)
			return
		}
	}
	t.Errorf("before: %s; after: %s", before, now)
}

func TestSharedConnectionHasARecordOfEachSession(t *testing.T) {
	l := newLab(t)
	control := filepath.Join(l.dir, "control")
	ann := l.login("ann", 0)
	master := l.start(l.tool("ssh", ann, "-M", "-S", control, "-N", "web-1"))
	eventually(t, "control socket", func() bool { _, err := os.Stat(control); return err == nil })
	const many = 20
	var wg sync.WaitGroup
	results := make([]result, many)
	for i := range many {
		c := l.tool("ssh", ann, "-S", control, "web-1", fmt.Sprintf("echo %d; exit %d", i, i))
		wg.Go(func() {
			var out bytes.Buffer
			c.Stdout = &out
			err := c.Run()
			results[i] = result{stdout: out.String(), exit: exitOf(t, err)}
		})
	}
	wg.Wait()
	for i, r := range results {
		if r.exit != i || r.stdout != fmt.Sprintf("%d\n", i) {
			t.Errorf("session %d: %+v", i, r)
		}
	}
	master.Process.Kill()
	eventually(t, "end", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
	starts, ends := l.recorded(audit.ChannelStart), l.recorded(audit.ChannelEnd)
	commands := make(map[string]string) // by channel
	for _, e := range starts {
		commands[e.Channel] = e.Command
	}
	seen := make(map[int]bool)
	for _, e := range ends {
		if e.ExitStatus == nil || commands[e.Channel] != fmt.Sprintf("echo %d; exit %d", *e.ExitStatus, *e.ExitStatus) {
			t.Errorf("%+v of %q", e, commands[e.Channel])
			continue
		}
		seen[*e.ExitStatus] = true
	}
	if len(seen) != many || len(starts) != many {
		t.Errorf("%d starts, %d different ends", len(starts), len(seen))
	}
}

func TestRekeyingUnderLoadLosesNothing(t *testing.T) {
	l := newLab(t)
	b := make([]byte, soak(24, 200)<<20)
	rand.Read(b)
	local := l.write("local", string(b), 0o644)
	back := filepath.Join(l.dir, "back")
	got := l.run(l.tool("sftp", l.login("ann", 0), "-oRekeyLimit=1M", "-b", "-", "web-1"), fmt.Sprintf("put %s there\nget there %s\n", local, back))
	if got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	if c, err := os.ReadFile(back); err != nil || !bytes.Equal(b, c) {
		t.Errorf("%d of %d bytes are the same, %v", len(c), len(b), err)
	}
}

func TestManySessionsOfOneConnection(t *testing.T) {
	l := newLab(t)
	l.ssh(l.login("bob", 0), "web-1", "true") // what the first session starts for all
	before := l.holdingAtRest()
	c := l.dial("ann")
	const many = 100
	type open struct {
		in   interface{ Close() error }
		wait func() error
	}
	var all []open
	for i := range many {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(i, err)
		}
		in, _ := s.StdinPipe()
		if err := s.Start("cat"); err != nil {
			t.Fatal(i, err)
		}
		all = append(all, open{in, s.Wait})
	}
	if n := len(l.srv.Sessions()[0].Channels); n != many {
		t.Errorf("%d channels are listed", n)
	}
	for i, s := range all {
		s.in.Close()
		if err := s.wait(); err != nil {
			t.Error(i, err)
		}
	}
	c.Close()
	nothingMore(t, before)
}

func TestConnectionsThatNeverSignInLeaveNothing(t *testing.T) {
	l := newLabWith(t, func(c *Config) { c.Limits.LoginGrace = 500 * time.Millisecond })
	bob := l.login("bob", 0)
	// On a busy machine a good sign-in, too, may take longer than this grace.
	eventually(t, "a session", func() bool { return l.ssh(bob, "web-1", "true").exit == 0 })
	before := l.holdingAtRest()
	for range soak(8, 400) {
		var conns []net.Conn
		for i := range 25 {
			c, err := net.Dial("tcp", l.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				fmt.Fprintf(c, "SSH-2.0-silent\r\n")
			}
			conns = append(conns, c)
		}
		for i, c := range conns {
			if i%3 == 0 {
				c.SetReadDeadline(time.Now().Add(waitTime))
				for buf := make([]byte, 4096); ; { // until the server hangs up
					if _, err := c.Read(buf); err != nil {
						if os.IsTimeout(err) {
							t.Fatal("the server waits for longer than its grace")
						}
						break
					}
				}
			}
			c.Close()
		}
	}
	nothingMore(t, before)
	ann := l.login("ann", 0)
	eventually(t, "a session afterwards", func() bool { return l.ssh(ann, "web-1", "echo yes").stdout == "yes\n" })
}

// manyAtOnce lets many sign in at a time, which takes each of them as long as all.
func manyAtOnce(c *Config) {
	c.Limits.PendingPerSource, c.Limits.Pending, c.Limits.LoginGrace = 1000, 1000, 10*time.Minute
}

func TestManyConnectionsAtOnceLeaveNothing(t *testing.T) {
	l := newLabWith(t, manyAtOnce)
	ann := l.login("ann", 0)
	l.ssh(ann, "web-1", "true")
	before := l.holdingAtRest()
	many := soak(40, 200)
	var wg sync.WaitGroup
	for range many {
		c := l.tool("ssh", ann, "web-1", "true")
		wg.Go(func() {
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	nothingMore(t, before)
	eventually(t, "every program's end", func() bool { return len(l.recorded(audit.ChannelEnd)) == many+1 })
}
