//go:build darwin || freebsd

package spawn

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Scopes makes scopes.
type Scopes struct{}

// NewScopes returns a maker of scopes. Processes are known by their environment, as ps(1) shows it, and by
// their parents.
func NewScopes() *Scopes {
	hear()
	return new(Scopes)
}

// Open makes the scope of session id.
func (c *Scopes) Open(id string) *Scope { return &Scope{id: id} }

// Channel makes the scope of a channel, within s: what it holds, s holds too.
func (s *Scope) Channel(id string) *Scope { return &Scope{id: id, parent: s} }

// Scope is the processes of one session, or of one of its channels.
type Scope struct {
	id     string
	parent *Scope // nil: a session

	mu     sync.RWMutex // held for reading while a process starts
	killed atomic.Bool

	pidsMu sync.Mutex
	used   bool // something was started
	pids   []int
}

// forget drops a process that has ended, before its number can belong to another.
func (s *Scope) forget(pid int) {
	s.pidsMu.Lock()
	s.pids = slices.DeleteFunc(s.pids, func(p int) bool { return p == pid })
	s.pidsMu.Unlock()
}

func (s *Scope) started(pid int) {
	s.pidsMu.Lock()
	s.pids, s.used = append(s.pids, pid), true
	s.pidsMu.Unlock()
}

func (s *Scope) start(c Command, attr *os.ProcAttr, w *waiter) (*os.Process, error) {
	p, err := os.StartProcess(c.Path, c.Argv, attr)
	if err == nil {
		w.open(p.Pid)
	}
	return p, err
}

// Kill kills every process of the scope.
func (s *Scope) Kill() {
	s.killed.Store(true)
	known := make(map[int]bool)
	used := false
	kill := func() { // at once, before ps is asked
		s.pidsMu.Lock()
		defer s.pidsMu.Unlock()
		for _, p := range s.pids {
			known[p] = true
			_ = syscall.Kill(-p, syscall.SIGKILL)
		}
		used = s.used
	}
	kill()
	s.stopStarts()
	kill()
	if !used {
		return
	}
	for end := time.Now().Add(killTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		found := members(s.mark(), known)
		for _, p := range found {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
		if len(found) == 0 {
			return
		}
	}
}

// Close ends the scope without killing anybody.
func (s *Scope) Close() { s.stopStarts() }

// members asks ps(1): it may read environments where the kernel lets us.
func members(mark string, known map[int]bool) []int {
	out, err := exec.Command("/bin/ps", "-axeww", "-o", "pid=,ppid=,pgid=,stat=,command=").Output()
	if err != nil {
		return nil
	}
	type proc struct{ pid, ppid int }
	var all []proc
	in := make(map[int]bool)
	for l := range strings.Lines(string(out)) {
		f := strings.Fields(l)
		if len(f) < 4 || strings.HasPrefix(f[3], "Z") {
			continue
		}
		pid, _ := strconv.Atoi(f[0])
		ppid, _ := strconv.Atoi(f[1])
		pgid, _ := strconv.Atoi(f[2])
		if pid <= 1 || pid == os.Getpid() {
			continue
		}
		all = append(all, proc{pid, ppid})
		if known[pgid] || known[pid] || strings.Contains(" "+strings.Join(f[4:], " ")+" ", " "+mark+" ") {
			in[pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if !in[p.pid] && in[p.ppid] {
				in[p.pid], grown = true, true
			}
		}
	}
	var found []int
	for _, p := range all {
		if in[p.pid] {
			known[p.pid] = true
			found = append(found, p.pid)
		}
	}
	return found
}
