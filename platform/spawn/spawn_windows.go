package spawn

import (
	"fmt"
	"os"
	"os/user"
	"sync"
	"syscall"

	"golang.org/x/sys/windows"

	"lanyard/platform/accounts"
)

// CanServe reports whether this process can act for the account: its own only, so far.
func CanServe(a accounts.Account) bool {
	u, err := user.Current()
	return err == nil && u.Uid == a.UID
}

// Scopes makes scopes.
type Scopes struct{}

// NewScopes returns a maker of scopes; each is a job object.
func NewScopes() *Scopes { return new(Scopes) }

// Open makes the scope of session id.
func (c *Scopes) Open(id string) *Scope { return &Scope{id: id} }

// Channel makes the scope of a channel, a job object within that of s (nested jobs, Windows 8).
func (s *Scope) Channel(id string) *Scope { return &Scope{id: id, parent: s} }

// Scope is the processes of one session, or of one of its channels: a job object.
type Scope struct {
	id     string
	parent *Scope // nil: a session

	mu     sync.Mutex
	job    windows.Handle
	killed bool
}

// Process is a started process.
type Process struct {
	Pid int

	proc *os.Process
}

// Start starts c in the scope.
func (s *Scope) Start(c Command) (*Process, error) {
	if !CanServe(c.Account) {
		return nil, fmt.Errorf("sessions of other accounts are not supported on Windows yet: %w", ErrAccount)
	}
	var jobs []windows.Handle // the session's first
	var env []string
	for x := s; x != nil; x = x.parent {
		x.mu.Lock()
		defer x.mu.Unlock()
		if err := x.openJob(); err != nil {
			return nil, err
		}
		jobs = append([]windows.Handle{x.job}, jobs...)
		if x.parent != nil {
			env = append(env, ChannelMarkerName+"="+x.id)
		} else {
			env = append(env, MarkerName+"="+x.id)
		}
	}
	env = append(c.Env, env...)
	p := new(Process)
	if c.PTY != nil {
		pid, h, err := c.PTY.Start(c.Path, c.Argv, &syscall.ProcAttr{Dir: c.Account.Home, Env: env})
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", c.Path, err)
		}
		defer windows.CloseHandle(windows.Handle(h))
		p.Pid = pid
	} else {
		proc, err := os.StartProcess(c.Path, c.Argv, &os.ProcAttr{Dir: c.Account.Home, Env: env, Files: c.Files[:], Sys: &syscall.SysProcAttr{HideWindow: true}})
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", c.Path, err)
		}
		p.Pid, p.proc = proc.Pid, proc
	}
	if p.proc == nil {
		proc, err := os.FindProcess(p.Pid)
		if err != nil {
			return nil, fmt.Errorf("find the process that was started: %w", err)
		}
		p.proc = proc
	}
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err == nil {
		for _, job := range jobs {
			if err = windows.AssignProcessToJobObject(job, h); err != nil {
				break
			}
		}
		windows.CloseHandle(h)
	}
	if err != nil {
		p.proc.Kill()
		return nil, fmt.Errorf("put the process into the session's job: %w", err)
	}
	return p, nil
}

// openJob makes the scope's job object, once. The caller holds s.mu.
func (s *Scope) openJob() error {
	if s.killed {
		return ErrKilled
	}
	if s.job != 0 {
		return nil
	}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return fmt.Errorf("make a job object for the session: %w", err)
	}
	s.job = job
	return nil
}

// Kill kills every process of the scope.
func (s *Scope) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	if s.job != 0 {
		_ = windows.TerminateJobObject(s.job, 1)
	}
}

// Close ends the scope without killing anybody.
func (s *Scope) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	if s.job != 0 {
		windows.CloseHandle(s.job)
		s.job = 0
	}
}

// Wait waits for the end of the process.
func (p *Process) Wait() (Exit, bool) {
	st, err := p.proc.Wait()
	if err != nil {
		return Exit{}, false
	}
	return Exit{Status: st.ExitCode()}, true
}

// Release does nothing: Wait returns at the end of the process.
func (p *Process) Release() {}

// Signal can only end a process on Windows.
func (p *Process) Signal(name string) error {
	switch name {
	case "KILL", "TERM", "HUP", "INT", "QUIT":
		return p.proc.Kill()
	}
	return fmt.Errorf("there is no signal %q on Windows", name)
}

// Hangup ends the process: Windows has no hang-up.
func (p *Process) Hangup() { _ = p.proc.Kill() }
