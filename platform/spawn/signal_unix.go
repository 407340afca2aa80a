//go:build unix

package spawn

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// killAs sends a signal to the process's group with the rights of the account, so that it reaches what the account could
// reach itself, and not what sudo runs in the same group. That takes a process: a thread of this one that had the
// account's rights would also be the account's to kill, and the whole program with it.
func (p *Process) killAs(name string) error {
	a := p.as
	if os.Geteuid() != 0 || a.Uid == 0 {
		return syscall.Kill(-p.Pid, signals[name])
	}
	// The account may stop that process, too: it is not waited for without end.
	ctx, cancel := context.WithTimeout(context.Background(), signalTime)
	defer cancel()
	group := strconv.Itoa(p.Pid)
	c := exec.CommandContext(ctx, "/bin/sh", "-c", `kill -s "$0" -- "-$1"`, name, group)
	c.Env = []string{"PATH=/usr/bin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if p.becomes != "" && len(p.signals) > 0 {
		args := append(p.signals[1:len(p.signals):len(p.signals)], strconv.Itoa(int(signals[name])), group)
		c = exec.CommandContext(ctx, p.signals[0], args...)
		c.Env = []string{p.becomes}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	} else {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: a.Uid, Gid: a.Gid, Groups: a.Groups}
	}
	c.Dir = "/"
	if err := c.Run(); err != nil { // without its output: whoever took it over could hold that open
		return fmt.Errorf("send the signal %s as %s: %w", name, a.Name, err)
	}
	return nil
}

// signalTime is how long sending a signal may take.
const signalTime = time.Second
