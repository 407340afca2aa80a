//go:build linux

// Package packages installs the built packages on booted machines: a real systemd in containers on this one.
package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// built is the folder of everything that is built.
const built = "../../.build"

// pack is the program that makes packages, stamp the time of those that the tests make, in seconds since 1970.
var pack = filepath.Join(built, "bin", "lanyard-pack")

const stamp = "1700000000"

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: systemd-nspawn and namespaces")
	}
}

// run runs a program on this machine and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// until polls for a condition.
func until(t *testing.T, limit time.Duration, what string, ok func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %s: %v", what, limit, err)
}

var treeOnce sync.Once

// treePackages are on every machine. With rpm it is as good as another distribution for packages in that format.
const treePackages = "systemd,systemd-sysv,dbus,udev,iproute2,openssh-client,openssh-server,sudo,procps,kmod,adduser,init-system-helpers," +
	"libpam-systemd,libnss-extrausers,keyutils,rpm"

// debian is a tree of Debian with systemd, made once and kept under .build.
func debian(t *testing.T) string {
	t.Helper()
	tree, err := filepath.Abs(filepath.Join(built, fmt.Sprintf("tree-%08x", crc32.ChecksumIEEE([]byte(treePackages)))))
	if err != nil {
		t.Fatal(err)
	}
	treeOnce.Do(func() {
		if _, err := os.Stat(filepath.Join(tree, "usr/lib/systemd/systemd")); err == nil {
			return
		}
		part := tree + ".part"
		for try := 1; ; try++ { // of downloads
			os.RemoveAll(part)
			out, err := exec.CommandContext(t.Context(), "mmdebstrap", "--quiet", "--variant=minbase", "--aptopt=Acquire::Retries \"5\"",
				"--include="+treePackages, "bookworm", part).CombinedOutput()
			if err == nil {
				break
			}
			if try == 3 {
				t.Fatalf("mmdebstrap: %v\n%s", err, out)
			}
			t.Logf("mmdebstrap, once more: %v\n%s", err, out)
		}
		// Machines have no other sshd unless a test starts it.
		if err := os.Remove(filepath.Join(part, "etc/systemd/system/multi-user.target.wants/ssh.service")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(part, tree); err != nil {
			t.Fatal(err)
		}
	})
	return tree
}

// town is a switch with machines on it.
type town struct {
	t    *testing.T
	dir  string
	name string
}

// towns counts them: they may stand side by side.
var towns atomic.Int32

func newTown(t *testing.T) *town {
	t.Helper()
	needsRoot(t)
	dir, err := os.MkdirTemp("/var/tmp", "lanyard-boxes-")
	if err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, dir: dir, name: fmt.Sprintf("lp%d%c", os.Getpid()%100000, 'a'+towns.Add(1)%26)}
	t.Cleanup(func() { os.RemoveAll(dir) })
	run(t, "mount", "-t", "tmpfs", "-o", "size=8g,mode=755", "boxes", dir)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	w.netns(w.name)
	run(t, "ip", "-n", w.name, "link", "add", "br0", "type", "bridge")
	run(t, "ip", "-n", w.name, "link", "set", "br0", "up")
	return w
}

func (w *town) netns(name string) {
	w.t.Helper()
	run(w.t, "ip", "netns", "add", name)
	w.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	run(w.t, "ip", "-n", name, "link", "set", "lo", "up")
}

// box is a booted machine.
type box struct {
	t      *testing.T
	name   string
	addr   string
	root   string
	leader string
	nspawn *exec.Cmd
	log    *bytes.Buffer
	before map[string]string // what it held before Lanyard came, where a test compares
}

// boot starts a clean machine.
func (w *town) boot(name string, number int) *box {
	w.t.Helper()
	b := w.make(name, number)
	b.start()
	return b
}

// make prepares a machine without starting it.
func (w *town) make(name string, number int) *box {
	t := w.t
	t.Helper()
	b := &box{t: t, name: w.name + name, addr: fmt.Sprintf("10.77.0.%d", number), root: filepath.Join(w.dir, name, "root")}
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(w.dir, name, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	base := filepath.Join(w.dir, name)
	run(t, "mount", "-t", "overlay", "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", debian(t), base, base), "overlay", b.root)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", b.root).Run() })
	w.netns(b.name)
	run(t, "ip", "-n", w.name, "link", "add", "p"+strconv.Itoa(number), "type", "veth", "peer", "name", "eth0", "netns", b.name)
	run(t, "ip", "-n", w.name, "link", "set", "p"+strconv.Itoa(number), "master", "br0", "up")
	run(t, "ip", "-n", b.name, "addr", "add", b.addr+"/24", "dev", "eth0")
	run(t, "ip", "-n", b.name, "link", "set", "eth0", "up")
	// No timer of the system's own may change the machine meanwhile, as apt's do at some moment of each half day.
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system"} {
		if err := os.RemoveAll(filepath.Join(b.root, dir, "timers.target.wants")); err != nil {
			t.Fatal(err)
		}
	}
	b.write("/etc/hostname", name+"\n")
	b.write("/etc/machine-id", fmt.Sprintf("%032x\n", number+1))
	b.write("/etc/hosts", "127.0.0.1 localhost "+name+"\n")
	return b
}

func (b *box) start() {
	t := b.t
	t.Helper()
	b.log = &bytes.Buffer{}
	b.nspawn = exec.Command("systemd-nspawn", "-q", "-D", b.root, "--boot", "--network-namespace-path=/run/netns/"+b.name,
		"--machine="+b.name, "--register=no", "--keep-unit", "--console=pipe", "--bind=/dev/net/tun", "--capability=CAP_NET_ADMIN",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no", "--system-call-filter=@keyring")
	b.nspawn.Stdout, b.nspawn.Stderr = b.log, b.log
	if err := b.nspawn.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.stop)
	until(t, 180*time.Second, b.name+" boots", func() error {
		kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", b.nspawn.Process.Pid, b.nspawn.Process.Pid))
		if err != nil || len(strings.Fields(string(kids))) == 0 {
			return fmt.Errorf("no first process: %s", b.log)
		}
		b.leader = strings.Fields(string(kids))[0]
		out, _ := b.command(context.Background(), "systemctl", "is-system-running").Output()
		if s := strings.TrimSpace(string(out)); s != "running" && s != "degraded" {
			return errors.New("it is " + s)
		}
		return nil
	})
}

// stop powers the machine off.
func (b *box) stop() {
	if b.nspawn == nil {
		return
	}
	// The first process first, and all of the machine with it: it would outlive systemd-nspawn.
	if pid, err := strconv.Atoi(b.leader); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = b.nspawn.Process.Signal(os.Kill)
	_ = b.nspawn.Wait()
	b.nspawn, b.leader = nil, ""
}

func (b *box) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "nsenter", append([]string{
		"-t", b.leader, "-m", "-u", "-i", "-n", "-p", "-C", "--", "env", "-i",
		"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", name,
	}, args...)...)
	c.WaitDelay = 5 * time.Second
	return c
}

// try runs a program on the machine.
func (b *box) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 6*time.Minute)
	defer cancel()
	out, err := b.command(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// do is try that must succeed.
func (b *box) do(name string, args ...string) string {
	b.t.Helper()
	out, err := b.try(name, args...)
	if err != nil {
		b.t.Fatalf("%s: %s %s: %v\n%s\n%s", b.name, name, strings.Join(args, " "), err, out, b.journal())
	}
	return out
}

func (b *box) journal() string {
	out, _ := b.command(context.Background(), "journalctl", "-q", "--no-pager", "-n", "60", "-u", "lanyard", "-u", "lanyard-mgmt").CombinedOutput()
	return string(out)
}

func (b *box) write(path, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.root, path), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// ended checks that nothing of a program runs any more; what was told to end may take a moment.
func (b *box) ended(program, when string) {
	b.t.Helper()
	until(b.t, 30*time.Second, program+"'s end "+when, func() error {
		if out, err := b.try("pgrep", "-x", program); err == nil {
			return fmt.Errorf("there runs %s", out)
		}
		return nil
	})
}

// property of a unit.
func (b *box) property(unit, name string) string {
	b.t.Helper()
	return strings.TrimSpace(b.do("systemctl", "show", "-P", name, unit))
}

// install puts files of this machine onto it and installs them.
func (b *box) install(debs ...string) (string, error) {
	b.t.Helper()
	args := []string{"--install"}
	for _, d := range debs {
		data, err := os.ReadFile(d)
		if err != nil {
			b.t.Fatal(err)
		}
		name := "/root/" + filepath.Base(d)
		if err := os.WriteFile(filepath.Join(b.root, name), data, 0o644); err != nil {
			b.t.Fatal(err)
		}
		args = append(args, name)
	}
	return b.try("dpkg", args...)
}

func (b *box) mustInstall(debs ...string) {
	b.t.Helper()
	if out, err := b.install(debs...); err != nil {
		b.t.Fatalf("%s: %v\n%s\n%s", b.name, err, out, b.journal())
	}
}
