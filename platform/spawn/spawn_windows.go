package spawn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

var resumeProcess = windows.NewLazySystemDLL("ntdll.dll").NewProc("NtResumeProcess")

// Scopes makes scopes.
type Scopes struct{}

// NewScopes returns a maker of scopes; each is a job object.
func NewScopes() *Scopes { return new(Scopes) }

// Open makes the scope of session id.
func (c *Scopes) Open(id string) *Scope { return &Scope{id: id} }

// Channel makes the scope of a channel, a job object within that of s (nested jobs, Windows 8).
func (s *Scope) Channel(id string) *Scope { return &Scope{id: id, parent: s} }

// Scope is the processes of one session, or of one of its channels: a job object, whose processes end with it.
type Scope struct {
	id     string
	parent *Scope // nil: a session

	mu     sync.Mutex
	job    windows.Handle
	who    *identity // a session's
	killed bool
}

// Process is a started process.
type Process struct {
	Pid int

	proc  *os.Process
	scope *Scope
	ended func() // nil: it has no console
}

// Start starts c in the scope. The process runs only once it is in the job: what it starts is, too.
func (s *Scope) Start(c Command) (*Process, error) {
	if !CanServe(c.Account) {
		return nil, ErrAccount
	}
	var jobs []windows.Handle // the session's first
	var marks []string
	var who *identity
	for x := s; x != nil; x = x.parent {
		x.mu.Lock()
		defer x.mu.Unlock()
		if err := x.openJob(); err != nil {
			return nil, err
		}
		jobs = append([]windows.Handle{x.job}, jobs...)
		if x.parent != nil {
			marks = append(marks, ChannelMarkerName+"="+x.id)
			continue
		}
		marks = append(marks, MarkerName+"="+x.id)
		if x.who == nil {
			id, err := identify(c.Account)
			if err != nil {
				return nil, err
			}
			x.who = id
		}
		who = x.who
	}
	sys := &syscall.SysProcAttr{
		HideWindow: c.PTY == nil, CreationFlags: windows.CREATE_SUSPENDED, CmdLine: commandLine(c.Path, c.Argv),
		Token: syscall.Token(who.token),
	}
	env := merge(who.env, c.Env, marks)
	p := &Process{scope: s}
	if c.PTY != nil {
		pid, h, err := c.PTY.Start(c.Path, c.Argv, &syscall.ProcAttr{Dir: who.dir, Env: env, Sys: sys})
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", c.Path, err)
		}
		defer windows.CloseHandle(windows.Handle(h)) // until there is another handle, the number stays the process's
		if p.proc, err = os.FindProcess(pid); err != nil {
			_ = windows.TerminateProcess(windows.Handle(h), 1)
			return nil, fmt.Errorf("find the process that was started: %w", err)
		}
		p.ended = c.PTY.End
	} else {
		var err error
		if p.proc, err = os.StartProcess(c.Path, c.Argv, &os.ProcAttr{Dir: who.dir, Env: env, Files: c.Files[:], Sys: sys}); err != nil {
			return nil, fmt.Errorf("start %s: %w", c.Path, err)
		}
	}
	p.Pid = p.proc.Pid
	if err := release(uint32(p.Pid), jobs); err != nil {
		_ = p.proc.Kill()
		return nil, err
	}
	return p, nil
}

// release puts a process that is held into its jobs and lets it run.
func release(pid uint32, jobs []windows.Handle) error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE|windows.PROCESS_SUSPEND_RESUME, false, pid)
	if err != nil {
		return fmt.Errorf("open the process that was started: %w", err)
	}
	defer windows.CloseHandle(h)
	for _, job := range jobs {
		if err := windows.AssignProcessToJobObject(job, h); err != nil {
			return fmt.Errorf("put the process into the session's job: %w", err)
		}
	}
	if st, _, _ := resumeProcess.Call(uintptr(h)); st != 0 {
		return fmt.Errorf("let the process run: %w", windows.NTStatus(st))
	}
	return nil
}

// commandLine is argv as one string, as programs take it apart. cmd.exe does it in its own way: what follows /c is the
// command as it stands, and with /s exactly the outer quotation marks go.
func commandLine(path string, argv []string) string {
	if n := len(argv); n > 2 && strings.EqualFold(filepath.Base(path), "cmd.exe") && strings.EqualFold(argv[n-2], "/c") {
		return windows.ComposeCommandLine(argv[:n-1]) + ` "` + argv[n-1] + `"`
	}
	return windows.ComposeCommandLine(argv)
}

// merge joins environments; a later one wins. Names have no case.
func merge(envs ...[]string) []string {
	at := make(map[string]int)
	var out []string
	for _, env := range envs {
		for _, v := range env {
			name, _, ok := strings.Cut(v, "=")
			if !ok || name == "" { // "=C:=C:\…", cmd.exe's own
				continue
			}
			key := strings.ToUpper(name)
			if i, ok := at[key]; ok {
				out[i] = v
				continue
			}
			at[key] = len(out)
			out = append(out, v)
		}
	}
	return out
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
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	if _, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits))); err != nil {
		windows.CloseHandle(job)
		return fmt.Errorf("have the session's processes end with it: %w", err)
	}
	s.job = job
	return nil
}

// Kill kills every process of the scope.
func (s *Scope) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	s.terminate()
}

// terminate ends what runs in the job. The caller holds s.mu.
func (s *Scope) terminate() {
	if s.job != 0 {
		_ = windows.TerminateJobObject(s.job, 1)
	}
}

// Close ends the scope. On Windows that ends its processes: nothing there expects to outlive its session.
func (s *Scope) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	s.terminate()
	if s.job != 0 {
		windows.CloseHandle(s.job)
		s.job = 0
	}
	if s.who != nil {
		s.who.close()
		s.who = nil
	}
}

// Wait waits for the end of the process. What it left in its console ends with it, as when a window is closed.
func (p *Process) Wait() (Exit, bool) {
	st, err := p.proc.Wait()
	if p.ended != nil {
		p.ended()
	}
	if err != nil {
		return Exit{}, false
	}
	return Exit{Status: st.ExitCode()}, true
}

// Release does nothing: Wait returns at the end of the process.
func (p *Process) Release() {}

// Signal can only end what runs on Windows.
func (p *Process) Signal(name string) error {
	switch name {
	case "KILL", "TERM", "HUP", "INT", "QUIT":
		p.Hangup()
		return nil
	}
	return fmt.Errorf("there is no signal %s on Windows, only the end of a program: %w", name, errors.ErrUnsupported)
}

// Hangup ends the process and what it started: Windows has no hang-up.
func (p *Process) Hangup() {
	p.scope.mu.Lock()
	defer p.scope.mu.Unlock()
	p.scope.terminate()
}
