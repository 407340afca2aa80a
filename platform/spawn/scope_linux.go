package spawn

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Scopes makes scopes. Where this process may make control groups (cgroup v2), each scope is one; everywhere,
// processes are also known by the kernel's audit session, which nobody without root's rights can leave, by their
// environment, by their kernel session and by their parents.
type Scopes struct {
	dir string // under which control groups are made; "" when they cannot be

	mu   sync.Mutex
	left []string // control groups that still had processes when their session ended
}

// groupPrefix begins the names of our control groups.
const groupPrefix = "lanyard-"

// NewScopes looks where control groups can be made, and removes empty ones of an earlier run.
func NewScopes() *Scopes {
	hear()
	// Descriptors that this program inherited (Go's own are closed on exec already) are not for sessions.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) // Linux 5.11
	c := new(Scopes)
	if dir, ok := ownGroup(); ok {
		probe := filepath.Join(dir, fmt.Sprintf("%sprobe-%d", groupPrefix, os.Getpid()))
		if os.Mkdir(probe, 0o755) == nil {
			if _, err := os.Stat(filepath.Join(probe, "cgroup.kill")); err == nil { // Linux 5.14
				c.dir = dir
			}
			os.Remove(probe)
		}
	}
	if c.dir != "" {
		old, _ := filepath.Glob(filepath.Join(c.dir, groupPrefix+"*"))
		for _, d := range old {
			channels, _ := filepath.Glob(filepath.Join(d, groupPrefix+"*"))
			for _, g := range append(channels, d) {
				os.Remove(g) // fails while it has processes
			}
		}
	}
	return c
}

func ownGroup() (string, bool) { return groupOf("self") }

// groupOf finds a process's control group in the cgroup v2 hierarchy (cgroups(7)).
func groupOf(pid string) (string, bool) {
	self, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", false
	}
	var path string
	for l := range strings.Lines(string(self)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(l), "0::"); ok {
			path = p
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || path == "" {
		return "", false
	}
	for l := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(l, " - ") // proc_pid_mountinfo(5)
		f := strings.Fields(before)
		if !ok || !strings.HasPrefix(after, "cgroup2 ") || len(f) < 5 {
			continue
		}
		rel, err := filepath.Rel(f[3], path)
		if err != nil || strings.HasPrefix(rel, "..") {
			continue
		}
		return filepath.Join(f[4], rel), true
	}
	return "", false
}

// Open makes the scope of session id. Nothing is made in the system before the first process.
func (c *Scopes) Open(id string) *Scope { return &Scope{id: id, of: c} }

// Channel makes the scope of a channel, within s: what it holds, s holds too.
func (s *Scope) Channel(id string) *Scope { return &Scope{id: id, of: s.of, parent: s} }

// Scope is the processes of one session, or of one of its channels.
type Scope struct {
	id     string
	of     *Scopes
	parent *Scope // nil: a session

	mu     sync.RWMutex // held for reading while a process starts
	killed atomic.Bool  // nothing starts any more
	ending atomic.Bool  // Kill was called

	group  sync.Once
	dir    string // control group, or ""
	fd     int
	pidsMu sync.Mutex
	used   bool     // something was started
	pids   []int    // of living processes that were started; each leads a kernel session of this number
	audits []string // the kernel's audit sessions of its processes
	moved  []string // control groups that its processes were moved to
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

func (s *Scope) openGroup() {
	s.fd = -1
	within := s.of.dir
	if s.parent != nil {
		s.parent.group.Do(s.parent.openGroup)
		within = s.parent.dir
	}
	if within == "" {
		return
	}
	dir := filepath.Join(within, groupPrefix+s.id)
	if os.Mkdir(dir, 0o755) != nil {
		return
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_PATH, 0)
	if err != nil {
		os.Remove(dir)
		return
	}
	s.dir, s.fd = dir, fd
}

func (s *Scope) start(c Command, attr *os.ProcAttr, w *waiter) (*os.Process, error) {
	s.group.Do(s.openGroup)
	pidfd := -1
	attr.Sys.PidFD = &pidfd
	if s.fd >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, s.fd
	}
	var p *os.Process
	var err error
	inAuditSession(auditUser(c.Account), func(session string) {
		if session != "" {
			for x := s; x != nil; x = x.parent {
				x.pidsMu.Lock()
				x.audits = append(x.audits, session)
				x.pidsMu.Unlock()
			}
		}
		p, err = os.StartProcess(c.Path, c.Argv, attr)
		if err != nil && attr.Sys.UseCgroupFD {
			// clone3 may be forbidden (containers) or the group busy; another fault shows again.
			attr.Sys.UseCgroupFD = false
			p, err = os.StartProcess(c.Path, c.Argv, attr)
		}
	})
	if err == nil {
		w.open(p, pidfd)
	}
	return p, err
}

// Kill kills every process of the scope and waits until they are gone.
func (s *Scope) Kill() {
	s.ending.Store(true)
	s.killed.Store(true)
	s.group.Do(func() { s.fd = -1 }) // no process was ever started
	s.killGroup()                    // at once: also a process that hangs while it starts
	s.stopStarts()
	s.killGroup()
	s.drain()
	s.pidsMu.Lock()
	pids, audits := slices.Clone(s.pids), slices.Clone(s.audits)
	used := s.used
	s.pidsMu.Unlock()
	if !used {
		return
	}
	known := make(map[int]bool)
	for _, p := range pids {
		known[p] = true
		_ = syscall.Kill(-p, syscall.SIGKILL) // most of them at once, before /proc is read
	}
	// Freshly forked children appear between two looks: until one look finds nobody.
	for end := time.Now().Add(killTime); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		found := members(s.mark(), audits, known)
		for _, p := range found {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
		if len(found) == 0 {
			return
		}
	}
}

// killGroup kills what is in the control group and in those of its channels.
func (s *Scope) killGroup() {
	for _, dir := range s.groups() {
		kill(dir)
	}
}

// groups are the control groups of the scope, without those below.
func (s *Scope) groups() []string {
	s.pidsMu.Lock()
	defer s.pidsMu.Unlock()
	dirs := slices.Clone(s.moved)
	if s.dir != "" {
		dirs = append(dirs, s.dir)
	}
	return dirs
}

func kill(dir string) { _ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) }

// Moved says that the login manager has put a process of the scope into a control group of this name. What is in there
// is the scope's.
func (s *Scope) Moved(pid int, name string) {
	dir, ok := groupOf(strconv.Itoa(pid))
	if !ok || filepath.Base(dir) != name {
		return // gone, or somewhere else: then it is looked for like all that hides
	}
	killed := false
	for x := s; x != nil; x = x.parent {
		x.pidsMu.Lock()
		x.moved = append(slices.DeleteFunc(x.moved, missing), dir)
		x.pidsMu.Unlock()
		killed = killed || x.ending.Load()
	}
	if killed {
		kill(dir)
	}
}

func missing(dir string) bool {
	_, err := os.Stat(dir)
	return err != nil
}

// drain waits a moment for the control group to be empty. Looking through /proc costs far more, and is then done
// once, for those who were moved out of the group (su and sudo with PAM do that).
func (s *Scope) drain() {
	dirs := s.groups()
	for end := time.Now().Add(killTime / 4); time.Now().Before(end); time.Sleep(time.Millisecond) {
		dirs = slices.DeleteFunc(dirs, func(dir string) bool {
			b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
			return err != nil || bytes.Contains(b, []byte("populated 0"))
		})
		if len(dirs) == 0 {
			return
		}
	}
}

// Close ends the scope without killing anybody: what still runs, runs on.
func (s *Scope) Close() {
	s.stopStarts()
	s.group.Do(func() { s.fd = -1 })
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
	s.of.remove(s.dir)
}

// remove removes a control group, and those of earlier sessions whose last process has gone since.
func (c *Scopes) remove(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if dir != "" {
		c.left = append(c.left, dir)
	}
	slices.SortFunc(c.left, func(a, b string) int { return len(b) - len(a) }) // channels before their session
	keep := c.left[:0]
	for _, d := range c.left {
		if err := os.Remove(d); err != nil && !os.IsNotExist(err) {
			keep = append(keep, d)
		}
	}
	c.left = keep
}
