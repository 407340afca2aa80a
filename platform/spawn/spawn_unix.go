//go:build unix

package spawn

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"lanyard/platform/accounts"
)

// Process is a started process, the leader of its own session and process group.
type Process struct {
	Pid int

	proc  *os.Process
	wait  waiter
	scope *Scope
	as    accounts.Account
	// of its Command
	becomes string
	signals []string

	settled <-chan struct{}

	mu    sync.Mutex
	ended bool // its number may belong to another process now
}

// CanServe reports whether this process can act for the account.
func CanServe(a accounts.Account) bool {
	euid := os.Geteuid()
	return euid == 0 || uint32(euid) == a.Uid
}

// Networkless is for Windows: elsewhere an account needs no credentials to have its files.
func Networkless(accounts.Account) bool { return false }

// Start starts c in the scope.
func (s *Scope) Start(c Command) (*Process, error) {
	if !CanServe(c.Account) {
		return nil, ErrAccount
	}
	sys := &syscall.SysProcAttr{Setsid: true}
	env := append(c.Env[:len(c.Env):len(c.Env)], s.marks()...)
	switch {
	case os.Geteuid() != 0:
	case c.Becomes != "":
		env = append([]string{c.Becomes}, env...)
	default:
		// The kernel's order: groups, gid, uid, each for all three ids, so nothing can be taken back.
		sys.Credential = &syscall.Credential{Uid: c.Account.Uid, Gid: c.Account.Gid, Groups: c.Account.Groups}
	}
	files := c.Files[:]
	if c.PTY != nil {
		sys.Setctty, sys.Ctty = true, 0
		files = []*os.File{c.PTY.Slave, c.PTY.Slave, c.PTY.Slave}
	}
	if c.Hold != nil {
		files = append(files[:len(files):len(files)], c.Hold)
	}
	attr := &os.ProcAttr{Dir: "/", Files: files, Sys: sys, Env: env}

	for x := s; x != nil; x = x.parent {
		x.mu.RLock() // Kill waits for starts under way, and starts after it are refused
		defer x.mu.RUnlock()
		if x.killed.Load() {
			return nil, ErrKilled
		}
	}
	p := &Process{scope: s, as: c.Account, becomes: c.Becomes, signals: c.Signals, settled: c.Settled}
	var err error
	if p.proc, err = s.start(c, attr, &p.wait); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p.Pid = p.proc.Pid
	for x := s; x != nil; x = x.parent {
		x.started(p.Pid)
	}
	return p, nil
}

// mark is the variable that marks every process of the scope, marks what a process of it gets.
func (s *Scope) mark() string {
	if s.parent != nil {
		return ChannelMarkerName + "=" + s.id
	}
	return MarkerName + "=" + s.id
}

func (s *Scope) marks() []string {
	if s.parent != nil {
		return append(s.parent.marks(), s.mark())
	}
	return []string{s.mark()}
}

// stopStarts lets no more processes start, and waits for those that do.
func (s *Scope) stopStarts() {
	s.killed.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
}

// Wait waits for the end of the process. It returns early, with ok false, after Release.
func (p *Process) Wait() (e Exit, ok bool) {
	if !p.wait.ready() {
		return Exit{}, false
	}
	// While it is a zombie its number is still its own.
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	for x := p.scope; x != nil; x = x.parent {
		x.forget(p.Pid)
	}
	if p.settled != nil {
		<-p.settled
	}
	st, err := p.proc.Wait()
	if err != nil {
		return Exit{}, false
	}
	ws := st.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return Exit{Status: 128 + int(ws.Signal()), Signal: signalName(ws.Signal()), Core: ws.CoreDump()}, true
	}
	return Exit{Status: ws.ExitStatus()}, true
}

// Release makes Wait return.
func (p *Process) Release() { p.wait.release() }

// Signal sends a signal, by its RFC 4254 §6.10 name, to the process group, with the account's rights.
func (p *Process) Signal(name string) error {
	if _, ok := signals[name]; !ok {
		return fmt.Errorf("there is no signal %q here", name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return os.ErrProcessDone
	}
	return p.killAs(name)
}

// Hangup tells the process group that the person has gone, as the kernel tells that of a terminal: whoever they are.
func (p *Process) Hangup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		_ = syscall.Kill(-p.Pid, syscall.SIGHUP)
	}
}

// signals are those of RFC 4254 §6.10 and what OpenSSH adds (INFO where the system has it).
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP,
	"ILL": syscall.SIGILL, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE,
	"QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1,
	"USR2": syscall.SIGUSR2,
}

// signalName is what exit-signal carries; others get a local name (RFC 4254 §6.10).
func signalName(sig syscall.Signal) string {
	for n, s := range signals {
		if s == sig {
			return n
		}
	}
	return fmt.Sprintf("%d@lanyard", int(sig))
}

// killTime is how long Kill looks for processes that appear while it kills.
const killTime = 700 * time.Millisecond
