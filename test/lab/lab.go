//go:build linux

// Package lab builds a small network of pretended machines on this one and runs the built programs on them.
//
// As root every machine is a set of namespaces: its own network (one leg on a shared switch), its own mounts
// (/etc is a copy; /run, /home, /root, /tmp, /var/lib and /var/log are empty) and its own process ids. Nothing of
// the host is written to but one folder under /tmp. When the lab's process goes, however it goes, the kernel kills everything
// in the namespaces, because their first process waits for the end of a pipe that the lab holds.
//
// Without root the machines share the host's loopback and differ by their folders only: LANYARD_STATE_DIR,
// LANYARD_RUN_DIR and HOME point into the lab's folder.
//
// A program that uses lab calls Main first thing: the lab starts copies of that program as the machines' first
// processes.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options says what to build.
type Options struct {
	// Bin is the folder of the built programs. They are copied: the machines do not see the folder itself.
	Bin string
	// Self is this program's own file, copied too when set (for workers inside a machine).
	Self string
	// Machines are the names of the machines, at most 200.
	Machines []string
	// Accounts are made on every machine (root only), with a home and bash.
	Accounts []string
	// User forces the rootless way even as root. Tests of that way use it.
	User bool
	// Parent of the lab's folder; default /tmp. Short, because of the 108 bytes of a socket's path.
	Parent string
}

// Lab is a running set of machines.
type Lab struct {
	Dir  string // everything the lab writes on the host
	Root bool   // namespaces; false: loopback and folders

	options  Options
	janitor  *exec.Cmd
	tell     io.WriteCloser // lines to the janitor; its end makes the janitor clean up
	machines map[string]*Machine
	wire     *Machine // the switch; it lives as long as this holds it

	mu    sync.Mutex // guards procs
	procs []*Process
}

// Open builds the lab. A half-built one is taken down again.
func Open(ctx context.Context, o Options) (_ *Lab, err error) {
	if !mainCalled {
		return nil, errors.New("the program's TestMain or main must call lab.Main first")
	}
	l := &Lab{Root: os.Geteuid() == 0 && !o.User, machines: map[string]*Machine{}}
	parent := o.Parent
	if parent == "" {
		parent = "/tmp"
	}
	if l.Dir, err = os.MkdirTemp(parent, "lanyard-lab-"); err != nil {
		return nil, fmt.Errorf("make the lab's folder: %w", err)
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if err = os.Chmod(l.Dir, 0o755); err != nil {
		return nil, err
	}
	if err = l.startJanitor(); err != nil {
		return nil, err
	}
	if err = l.copyPrograms(o); err != nil {
		return nil, err
	}
	if l.Root {
		if err = l.build(ctx, o); err != nil {
			return nil, err
		}
		return l, nil
	}
	for _, name := range o.Machines {
		m := &Machine{Name: name, Addr: "127.0.0.1", lab: l, dir: filepath.Join(l.Dir, "m", name)}
		for _, d := range []string{"home", "home/.ssh", "state", "run", "config", "cache"} {
			if err = os.MkdirAll(filepath.Join(m.dir, d), 0o700); err != nil {
				return nil, err
			}
		}
		l.machines[name] = m
	}
	return l, nil
}

func (l *Lab) copyPrograms(o Options) error {
	if err := os.MkdirAll(l.Bin(), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(l.Dir, "log"), 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(o.Bin)
	if err != nil {
		return fmt.Errorf("the built programs are missing (run 'make build' first): %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			if err := copyFile(filepath.Join(o.Bin, e.Name()), filepath.Join(l.Bin(), e.Name()), 0o755); err != nil {
				return err
			}
		}
	}
	if o.Self != "" {
		return copyFile(o.Self, filepath.Join(l.Bin(), "self"), 0o755)
	}
	return nil
}

// build makes the switch and hangs every machine on it with a veth pair.
func (l *Lab) build(ctx context.Context, o Options) error {
	for _, tool := range []string{"ip", "nsenter", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("the lab needs %s: apt-get install iproute2 util-linux nftables", tool)
		}
	}
	sw, err := l.hold(ctx, holding{Name: "switch"})
	l.wire = sw
	if err != nil {
		return err
	}
	if err := sw.Run(ctx, "", "ip", "link", "add", "name", "br0", "type", "bridge"); err != nil {
		return err
	}
	if err := sw.Run(ctx, "", "ip", "link", "set", "br0", "up"); err != nil {
		return err
	}
	l.options = o
	for i, name := range o.Machines {
		m, err := l.hold(ctx, holding{Name: name, Accounts: o.Accounts, Machine: true, Peers: o.Machines})
		if err != nil {
			return err
		}
		m.Addr = address(i)
		l.machines[name] = m
		if err := l.plug(ctx, m, i); err != nil {
			return err
		}
	}
	return nil
}

// plug hangs the i-th machine on the switch.
func (l *Lab) plug(ctx context.Context, m *Machine, i int) error {
	port := fmt.Sprintf("p%d", i)
	script := [][]string{
		{"ip", "link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(m.pid)},
		{"ip", "link", "set", port, "master", "br0", "up"},
	}
	for _, argv := range script {
		// In the switch's network but with the host's process ids: "netns PID" names one of those.
		c := exec.CommandContext(ctx, "nsenter", append([]string{"-t", fmt.Sprint(l.wire.pid), "-n", "--"}, argv...)...)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
		}
	}
	for _, argv := range [][]string{
		{"ip", "addr", "add", m.Addr + "/24", "dev", "eth0"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "route", "add", "default", "via", "10.99.7.254"},
	} {
		if err := m.Run(ctx, "", argv...); err != nil {
			return err
		}
	}
	return nil
}

// address is the switch-side address of the i-th machine.
func address(i int) string { return fmt.Sprintf("10.99.7.%d", i+1) }

// Bin is the folder of the programs as every machine sees it.
func (l *Lab) Bin() string { return filepath.Join(l.Dir, "bin") }

// Program is the path of a built program as every machine sees it.
func (l *Lab) Program(name string) string { return filepath.Join(l.Bin(), name) }

// Machine returns the machine of that name; it panics on an unknown one, which is a mistake in the caller.
func (l *Lab) Machine(name string) *Machine {
	m := l.machines[name]
	if m == nil {
		panic("lab: no machine " + name)
	}
	return m
}

// Logs returns the last lines of every log, for a failed test.
func (l *Lab) Logs(lines int) string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(l.Dir, "log", "*.log"))
	slices.Sort(files)
	for _, f := range files {
		data, _ := os.ReadFile(f)
		all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
		if len(all) > lines {
			all = all[len(all)-lines:]
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", filepath.Base(f), strings.Join(all, "\n"))
	}
	return b.String()
}

// Close stops every process, newest first, takes the machines down and removes the folder.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs := slices.Clone(l.procs)
	l.mu.Unlock()
	slices.Reverse(procs)
	var errs []error
	for _, p := range procs {
		errs = append(errs, p.Stop())
	}
	for _, m := range l.machines {
		m.release()
	}
	if l.wire != nil {
		l.wire.release()
	}
	if l.tell != nil {
		l.tell.Close()
		errs = append(errs, l.janitor.Wait())
	}
	errs = append(errs, remove(l.Dir))
	return errors.Join(errs...)
}

// remove removes a folder that programs at their end may still write to.
func remove(dir string) (err error) {
	for range 100 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Chmod(mode); err != nil { // whatever the umask says
		out.Close()
		return err
	}
	return out.Close()
}
