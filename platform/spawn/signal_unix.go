//go:build unix

package spawn

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"lanyard/platform/accounts"
)

// killAs sends a signal to a process group with the rights of the account, so that it reaches what the account could
// reach itself, and not what sudo runs in the same group. That takes a process: a thread of this one that had the
// account's rights would also be the account's to kill, and the whole program with it.
func killAs(a accounts.Account, pgid int, name string) error {
	if os.Geteuid() != 0 || a.Uid == 0 {
		return syscall.Kill(-pgid, signals[name])
	}
	c := exec.Command("/bin/sh", "-c", `kill -s "$0" -- "-$1"`, name, strconv.Itoa(pgid))
	c.Dir, c.Env = "/", []string{"PATH=/usr/bin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Credential: &syscall.Credential{Uid: a.Uid, Gid: a.Gid, Groups: a.Groups},
	}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("send the signal %s as %s: %w: %s", name, a.Name, err, bytes.TrimSpace(out))
	}
	return nil
}
