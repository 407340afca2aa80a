//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Machine is one pretended machine.
type Machine struct {
	Name string
	Addr string // its address beside the tunnel

	lab    *Lab
	dir    string // rootless: its folders
	pid    int    // root: of the holder, as the host sees it
	holder *exec.Cmd
	hold   io.Closer
	clock  bool // its programs run by a clock of its own; see SetClock
	once   sync.Once
}

func (m *Machine) release() {
	if m.holder == nil {
		return
	}
	m.once.Do(func() {
		m.hold.Close()
		done := make(chan struct{})
		go func() { defer close(done); _ = m.holder.Wait() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = m.holder.Process.Kill()
			<-done
		}
		fmt.Fprintf(m.lab.tell, "gone %d\n", m.pid)
	})
}

// Home is an account's home on this machine. Rootless, every account is the caller's own and its HOME is a
// folder of the lab.
func (m *Machine) Home(account string) string {
	switch {
	case !m.lab.Root:
		return filepath.Join(m.dir, "home")
	case account == "" || account == "root":
		return "/root"
	default:
		return "/home/" + account
	}
}

// Path is where this process finds a file of the machine.
func (m *Machine) Path(p string) string {
	if !m.lab.Root {
		return p
	}
	return fmt.Sprintf("/proc/%d/root%s", m.pid, p)
}

// Scratch is a folder on the machine that any account may write to.
func (m *Machine) Scratch() string {
	if !m.lab.Root {
		return m.dir
	}
	return "/tmp"
}

// Environ is the environment of an account's programs on this machine: nothing of the caller's but PATH.
func (m *Machine) Environ(account string) []string {
	name := account
	if name == "" {
		name = "root"
	}
	if !m.lab.Root {
		name = Me()
	}
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + m.Home(account),
		"USER=" + name, "LOGNAME=" + name, "SHELL=/bin/bash", "LANG=C.UTF-8", "TERM=dumb",
	}
	if !m.lab.Root {
		env = append(env,
			"LANYARD_STATE_DIR="+filepath.Join(m.dir, "state"), "LANYARD_RUN_DIR="+filepath.Join(m.dir, "run"),
			"XDG_CONFIG_HOME="+filepath.Join(m.dir, "config"), "XDG_CACHE_HOME="+filepath.Join(m.dir, "cache"),
			"XDG_STATE_HOME="+filepath.Join(m.dir, "state"), "XDG_RUNTIME_DIR="+filepath.Join(m.dir, "run"))
	}
	return env
}

// Me is the name of the account that runs the lab.
func Me() string {
	u, err := user.Current()
	if err != nil {
		return strconv.Itoa(os.Geteuid())
	}
	return u.Username
}

// Command prepares a program on the machine as an account ("" is root; rootless it is always the caller), in the
// account's home. It is its own process group; ending ctx kills the group.
func (m *Machine) Command(ctx context.Context, account string, argv ...string) *exec.Cmd {
	full := argv
	if m.lab.Root {
		full = []string{"nsenter", "-t", strconv.Itoa(m.pid), "-n", "-m", "-p", "-u", "-i"}
		if account != "" && account != "root" {
			id := m.uid(account)
			full = append(full, "-S", id, "-G", id)
		}
		full = append(full, "--", "env", "-C", m.Home(account))
		if m.clock {
			full = append(full, m.lab.Program("skew"), clockFile)
		}
		full = append(full, argv...)
	}
	c := exec.CommandContext(ctx, full[0], full[1:]...)
	c.Env = m.Environ(account)
	if !m.lab.Root {
		c.Dir = m.Home(account)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	return c
}

const clockFile = "/tmp/clock"

// SetClock makes the machine's clock wrong by off: for what was started on it after the first SetClock, and for the
// programs that these start. Root only. See test/skew for what is shifted.
func (m *Machine) SetClock(off time.Duration) error {
	if !m.lab.Root {
		return errors.New("set a machine's clock: only machines with namespaces have one")
	}
	m.clock = true
	if err := m.Write(clockFile+".new", "", 0o644, []byte(off.String())); err != nil {
		return err
	}
	return os.Rename(m.Path(clockFile+".new"), m.Path(clockFile))
}

func (m *Machine) uid(account string) string {
	data, _ := os.ReadFile(m.Path("/etc/passwd"))
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(line, ":"); len(f) > 3 && f[0] == account {
			return f[2]
		}
	}
	panic("lab: no account " + account + " on " + m.Name)
}

// Run runs a program to its end; its output is part of the error.
func (m *Machine) Run(ctx context.Context, account string, argv ...string) error {
	_, err := m.Output(ctx, account, argv...)
	return err
}

// Output runs a program to its end and returns its standard output.
func (m *Machine) Output(ctx context.Context, account string, argv ...string) (string, error) {
	c := m.Command(ctx, account, argv...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("on %s: %s: %w\n%s%s", m.Name, strings.Join(argv, " "), err, errs.String(), out.String())
	}
	return out.String(), nil
}

// Write puts a file on the machine, owned by account.
func (m *Machine) Write(path, account string, mode os.FileMode, data []byte) error {
	if err := os.WriteFile(m.Path(path), data, mode); err != nil {
		return err
	}
	if err := os.Chmod(m.Path(path), mode); err != nil {
		return err
	}
	if !m.lab.Root || account == "" || account == "root" {
		return nil
	}
	id, err := strconv.Atoi(m.uid(account))
	if err != nil {
		return err
	}
	return os.Chown(m.Path(path), id, id)
}
