//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// up starts "stay" in the background and prints what it has to say.
func up(ctx context.Context, o options) error {
	dir, err := folder()
	if err != nil {
		return err
	}
	if pid, ok := running(dir); ok {
		return fmt.Errorf("a demo is running already (process %d); 'make demo-down' ends it", pid)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(self, "--bin", o.bin, "--userspace="+strconv.FormatBool(o.userspace), "stay")
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		if text, err := os.ReadFile(filepath.Join(dir, "ready")); err == nil {
			fmt.Print(string(text))
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), c.Process.Signal(syscall.SIGTERM), <-ended)
		case err := <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("it ended: %v\n%s", err, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stay runs the network until it is told to stop.
func stay(ctx context.Context, o options) (err error) {
	dir, err := folder()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return err
	}
	d, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.lab.Close(), os.RemoveAll(dir)) }()
	for _, chapter := range []func(context.Context) error{d.network, d.signIn} {
		if err := chapter(ctx); err != nil {
			fmt.Fprint(os.Stderr, d.lab.Logs(40))
			return err
		}
	}
	enter, err := d.enter(dir)
	if err != nil {
		return err
	}
	ready := filepath.Join(dir, "ready")
	if err := os.WriteFile(ready+".new", []byte(enter), 0o644); err != nil {
		return err
	}
	if err := os.Rename(ready+".new", ready); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// enter writes scripts that open a shell on each machine and says what to type there.
func (d *demo) enter(dir string) (string, error) {
	scripts := map[string]string{}
	for _, m := range []struct{ machine, account string }{{client, d.me}, {server, ""}, {office, ""}} {
		// An interactive shell keeps the caller's terminal: no process group of its own.
		c := d.lab.Machine(m.machine).Command(context.Background(), m.account, "bash", "--norc", "-i")
		path := filepath.Join(dir, m.machine)
		text := "#!/bin/sh\n# Opens a shell on the demo's " + m.machine + ".\nexec env -i"
		for _, e := range append(c.Env, "TERM=xterm", "PS1="+m.machine+" $ ") {
			if p, ok := strings.CutPrefix(e, "PATH="); ok {
				e = "PATH=" + d.lab.Bin() + ":" + p
			}
			text += " " + quoteWord(e)
		}
		for _, a := range c.Args {
			text += " " + quoteWord(a)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o755); err != nil {
			return "", err
		}
		scripts[m.machine] = path
	}
	ssh := "ssh " + d.target
	if !d.lab.Root {
		ssh = "lanyard ssh " + strings.TrimPrefix(d.target, d.as+"@")
	}
	return fmt.Sprintf(`The demo is running; Ann is signed in on %[1]s. In a terminal type

    %[2]s        a shell of Ann's on %[1]s
    %[3]s             and from there a session over the tunnel
    lanyard status

and in another

    %[4]s        a shell on the management server
    lanyard-mgmt --state %[5]s user block %[6]s

    make demo-down        ends everything
`, client, scripts[client], ssh, scripts[office], d.mgmt.State, ann), nil
}

func quoteWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// running reads the pid of a demo that stays.
func running(dir string) (int, bool) {
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, false
	}
	cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return pid, err == nil && strings.HasSuffix(strings.TrimRight(string(cmd), "\x00"), "stay")
}

func down() error {
	dir, err := folder()
	if err != nil {
		return err
	}
	pid, ok := running(dir)
	if !ok {
		fmt.Println("No demo is running.")
		return os.RemoveAll(dir)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, ok := running(dir); !ok {
			fmt.Println("The demo has ended.")
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

func dialUnix(path string) (net.Conn, error) { return net.DialTimeout("unix", path, 2*time.Second) }
