//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
)

// Reboot takes a machine down as a power cut does, with everything that runs on it, and makes it anew: other
// namespaces, no interfaces but the cable's, no processes. The folders keep are its disk. Root only.
func (l *Lab) Reboot(ctx context.Context, machine string, keep ...string) error {
	if !l.Root {
		return errors.New("reboot a machine: only machines with namespaces can")
	}
	m := l.Machine(machine)
	i := slices.Index(l.options.Machines, machine)
	disk, err := m.Output(ctx, "", append([]string{"tar", "-C", "/", "-cf", "-"}, keep...)...)
	if err != nil {
		return err
	}
	m.release()
	// The kernel takes a moment to take its end of the cable along.
	_ = exec.CommandContext(ctx, "nsenter", "-t", fmt.Sprint(l.wire.pid), "-n", "--", "ip", "link", "del", fmt.Sprintf("p%d", i)).Run()
	next, err := l.hold(ctx, holding{Name: machine, Accounts: l.options.Accounts, Machine: true, Peers: l.options.Machines})
	if err != nil {
		return err
	}
	m.pid, m.holder, m.hold, m.once = next.pid, next.holder, next.hold, sync.Once{}
	if err := l.plug(ctx, m, i); err != nil {
		return err
	}
	c := m.Command(ctx, "", "tar", "-C", "/", "-xpf", "-")
	c.Stdin = bytes.NewReader([]byte(disk))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("put the disk of %s back: %w: %s", machine, err, out)
	}
	return nil
}
