//go:build linux

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// roleEnv tells a copy of the program what it is; its value is "holder JSON" or "janitor DIR".
const roleEnv = "LANYARD_LAB_ROLE"

// mainCalled: without Main, a copy of the program that was started as a janitor would run the tests again, and each of
// them would start a janitor.
var mainCalled bool

// Main does the work of a holder or janitor and does not return, when this process was started as one. TestMain or main
// calls it before anything else; Open refuses to work without it.
func Main() {
	mainCalled = true
	role, arg, _ := strings.Cut(os.Getenv(roleEnv), " ")
	os.Unsetenv(roleEnv)
	var err error
	switch role {
	case "holder":
		err = holdMain(arg)
	case "janitor":
		janitorMain(arg)
	default:
		return
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// holding is what a holder is told.
type holding struct {
	Name     string
	Dir      string // the lab's folder, kept visible
	Machine  bool   // with own mounts, not just a network
	Accounts []string
	Peers    []string // all machines, for /etc/hosts
}

// hold starts the first process of a machine and waits until the machine is ready.
func (l *Lab) hold(ctx context.Context, h holding) (*Machine, error) {
	h.Dir = l.Dir
	spec, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	c := exec.Command("/proc/self/exe")
	c.Args[0] = "lanyard-lab-" + h.Name
	c.Env = append(os.Environ(), roleEnv+"=holder "+string(spec))
	c.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // Ctrl-C is for the lab, which then closes in order
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("make namespaces for %s (as root, CAP_SYS_ADMIN is needed): %w", h.Name, err)
	}
	m := &Machine{Name: h.Name, lab: l, pid: c.Process.Pid, holder: c, hold: in}
	fmt.Fprintf(l.tell, "kill %d\n", m.pid)
	stop := context.AfterFunc(ctx, m.release)
	defer stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "ready" {
		m.release()
		return nil, fmt.Errorf("the machine %s did not come up: %s (%v)", h.Name, strings.TrimSpace(line), err)
	}
	return m, nil
}

// ownSys mounts a /sys that shows the machine's own interfaces, and the host's control groups in it again.
func ownSys() error {
	cgroups, err := os.Open("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	defer cgroups.Close()
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", cgroups.Fd()), "/sys/fs/cgroup", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("put /sys/fs/cgroup back: %w", err)
	}
	return nil
}

// private folders of a machine: empty but for what holdMain puts there.
var private = []string{"/run", "/var/lib", "/var/log", "/home", "/root"}

func holdMain(arg string) error {
	var h holding
	if err := json.Unmarshal([]byte(arg), &h); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := ownSys(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(h.Name)); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	// bbr, where it is the default, paces veth to a fraction of its speed. Kernels let a network namespace have
	// cubic only where the host allows it to everyone; reno, which all allow, is as good on a wire without loss.
	const congestion = "/proc/sys/net/ipv4/tcp_congestion_control"
	if os.WriteFile(congestion, []byte("cubic"), 0) != nil {
		if err := os.WriteFile(congestion, []byte("reno"), 0); err != nil {
			return fmt.Errorf("set TCP's congestion control: %w", err)
		}
	}
	if h.Machine {
		if err := ownFiles(h); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	go func() {
		// As process 1: orphans are ours to reap.
		chld := make(chan os.Signal, 16)
		signal.Notify(chld, syscall.SIGCHLD)
		for range chld {
			for {
				if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}()
	_, err := io.Copy(io.Discard, os.Stdin) // until the lab closes or dies; the kernel then kills the rest
	return err
}

// ownFiles mounts the machine's own folders over the host's.
func ownFiles(h holding) error {
	labDir, err := os.Open(h.Dir)
	if err != nil {
		return err
	}
	defer labDir.Close()
	// /tmp first: the new one carries everything else; the lab's folder is put back into it.
	etc, err := os.MkdirTemp("", "lanyard-etc-")
	if err != nil {
		return err
	}
	if err := unix.Mount("lanyard-lab", etc, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount a folder for /etc: %w", err)
	}
	if out, err := exec.Command("cp", "-a", "/etc/.", etc).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w: %s", err, out)
	}
	if err := unix.Mount(etc, "/etc", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mount /etc: %w", err)
	}
	if err := os.Remove(etc); err != nil {
		return err
	}
	for _, dir := range append([]string{"/tmp"}, private...) {
		mode := "mode=0755"
		switch dir {
		case "/tmp":
			mode = "mode=1777"
		case "/root":
			mode = "mode=0700"
		}
		if err := unix.Mount("lanyard-lab", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, mode); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", labDir.Fd()), h.Dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep %s visible: %w", h.Dir, err)
	}
	for _, d := range []string{"/run/sshd", "/run/lock", "/run/user", "/var/lib/misc", "/var/log/private"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	// What login accounting wants to find, and no more of the host's Lanyard than its programs.
	for _, f := range []string{"/run/utmp", "/var/log/wtmp", "/var/log/lastlog", "/var/log/btmp"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			return err
		}
	}
	old, _ := filepath.Glob("/etc/ssh/ssh_config.d/*lanyard*")
	for _, f := range append(old, "/etc/lanyard", "/etc/nologin") {
		if err := os.RemoveAll(f); err != nil {
			return err
		}
	}
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	for i, name := range h.Peers {
		hosts += fmt.Sprintf("%s %s.lan\n", address(i), name)
	}
	if err := os.WriteFile("/etc/hosts", []byte(hosts), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/hostname", []byte(h.Name+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.Chmod("/root", 0o700); err != nil {
		return err
	}
	for i, name := range h.Accounts {
		if err := addAccount(name, firstUID+i); err != nil {
			return err
		}
	}
	return nil
}

// firstUID of the lab's accounts: a range that useradd does not give out.
const firstUID = 64101

func addAccount(name string, uid int) error {
	home := "/home/" + name
	for file, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("%s:x:%d:%d:%s of the lab:%s:/bin/bash\n", name, uid, uid, name, home),
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", name, uid),
		"/etc/shadow": name + ":*:19000:0:99999:7:::\n", // no password, not locked
	} {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteString(line); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	for _, d := range []string{home, home + "/.ssh"} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
		if err := os.Chown(d, uid, uid); err != nil {
			return err
		}
	}
	return nil
}
