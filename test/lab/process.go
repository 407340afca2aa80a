//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Process is a program that runs on a machine until it is stopped. Its output goes to a log in the lab's folder.
type Process struct {
	Name string
	Log  string // path of the log

	m       *Machine
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // of Wait; read after done
	stopped atomic.Bool
}

// Start starts a program. name is the log's.
func (m *Machine) Start(name, account string, argv ...string) (*Process, error) {
	return m.StartCommand(name, m.Command(context.Background(), account, argv...))
}

// StartCommand starts what Command prepared.
func (m *Machine) StartCommand(name string, c *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(m.lab.Dir, "log", name+".log"), m: m, cmd: c, done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, m.Name, err)
	}
	fmt.Fprintf(m.lab.tell, "kill %d\n", c.Process.Pid)
	m.lab.mu.Lock()
	m.lab.procs = append(m.lab.procs, p)
	m.lab.mu.Unlock()
	go func() {
		p.err = c.Wait()
		fmt.Fprintf(m.lab.tell, "gone %d\n", c.Process.Pid)
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the program ended; only after Done.
func (p *Process) Err() error { return p.err }

// Stop asks the program to end, kills it after a minute, and waits. An unclean end of a running one is an error.
func (p *Process) Stop() error {
	if p.stopped.Swap(true) {
		<-p.done
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
	}
	if pid := p.PID(); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(time.Minute):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s on %s did not stop within a minute and was killed", p.Name, p.m.Name)
}

// Kill ends the program at once, as a power cut would.
func (p *Process) Kill() {
	p.stopped.Store(true)
	// The program alone: nsenter, its parent, ends after it and not before, so that Kill returns when it is gone.
	if pid := p.PID(); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
}

// PID of the program itself as the host sees it (in a machine with own process ids nsenter is its parent).
func (p *Process) PID() int {
	if !p.m.lab.Root {
		return p.cmd.Process.Pid
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		pid := p.cmd.Process.Pid
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return 0
		}
		if f := strings.Fields(string(data)); len(f) > 0 {
			child, _ := strconv.Atoi(f[0])
			return child
		}
		time.Sleep(time.Millisecond)
	}
	return 0
}

// Text is the log so far.
func (p *Process) Text() string {
	b, _ := os.ReadFile(p.Log)
	return string(b)
}

// Match waits until the log has a match of re and returns its groups.
func (p *Process) Match(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	for {
		if m := re.FindStringSubmatch(p.Text()); m != nil {
			return m, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s on %s did not print %q: %w\n%s", p.Name, p.m.Name, re, ctx.Err(), p.Text())
		case <-p.done:
			if m := re.FindStringSubmatch(p.Text()); m != nil {
				return m, nil
			}
			return nil, fmt.Errorf("%s on %s ended (%v) before it printed %q\n%s", p.Name, p.m.Name, p.err, re, p.Text())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Until polls cond until it returns nil; its last error is returned when ctx ends first.
func Until(ctx context.Context, what string, cond func() error) error {
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w (%v)", what, err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ExitCode of a finished command's error: 0 for nil, -1 when it did not exit by itself.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
