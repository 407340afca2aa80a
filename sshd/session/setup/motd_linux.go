package setup

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// motdTime is how long the scripts of update-motd(5) may take; then the old message is shown.
const motdTime = 2 * time.Second

// updateMotd runs the scripts that make /run/motd.dynamic, as pam_motd(8) does at each login. Nobody waits for another
// login's.
func (p *Plan) updateMotd() {
	if !p.sys.motd.TryLock() {
		return
	}
	defer p.sys.motd.Unlock()
	dir := filepath.Join(p.sys.root, "/etc/update-motd.d")
	if names, err := os.ReadDir(dir); err != nil || len(names) == 0 {
		return
	}
	tool := ""
	for _, t := range []string{"/usr/bin/run-parts", "/bin/run-parts"} {
		if _, err := os.Stat(t); err == nil {
			tool = t
			break
		}
	}
	if tool == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), motdTime)
	defer cancel()
	c := exec.CommandContext(ctx, tool, "--lsbsysinit", dir)
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 100 * time.Millisecond
	var text bytes.Buffer
	c.Stdout = &text
	if err := c.Run(); err != nil && ctx.Err() != nil {
		p.ask.Log.Warn("the scripts of /etc/update-motd.d take too long", "err", err)
		return
	}
	path := filepath.Join(p.sys.root, "/run/motd.dynamic")
	if os.WriteFile(path+".new", text.Bytes(), 0o644) != nil || os.Rename(path+".new", path) != nil {
		os.Remove(path + ".new")
	}
}
