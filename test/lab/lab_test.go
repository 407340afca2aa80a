//go:build linux

package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	if os.Getenv("LAB_TEST_CRASH") != "" {
		crash()
	}
	os.Exit(m.Run())
}

func open(t *testing.T, machines ...string) *Lab {
	t.Helper()
	l, err := Open(t.Context(), Options{Bin: t.TempDir(), Machines: machines, Accounts: []string{"ann", "bob"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
			t.Errorf("%s is left behind", l.Dir)
		}
	})
	return l
}

func TestMachinesOwnTheirFilesAndNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes namespaces")
	}
	l := open(t, "one", "two")
	one, two := l.Machine("one"), l.Machine("two")
	const probe = "/etc/lanyard-lab-probe"
	if err := one.Run(t.Context(), "", "touch", probe, "/root/probe", "/run/lanyard-lab-probe", "/var/lib/lanyard-lab-probe"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{probe, "/root/probe", "/run/lanyard-lab-probe", "/var/lib/lanyard-lab-probe"} {
		for _, elsewhere := range []string{p, two.Path(p)} {
			if _, err := os.Stat(elsewhere); !os.IsNotExist(err) {
				t.Errorf("a file written on one machine is seen as %s", elsewhere)
			}
		}
	}
	who, err := two.Output(t.Context(), "bob", "sh", "-c", "id -un; hostname; pwd; echo $HOME; cat /proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		t.Fatal(err)
	}
	if want := "bob\ntwo\n/home/bob\n/home/bob\n"; strings.TrimSuffix(strings.TrimSuffix(who, "cubic\n"), "reno\n") != want {
		t.Errorf("a program of bob's on two sees %q, want %q and cubic or reno", who, want)
	}
	ifaces, err := two.Output(t.Context(), "", "ls", "/sys/class/net", "/sys/fs/cgroup")
	if err != nil || !strings.Contains(ifaces, "eth0\nlo\n") || len(strings.Fields(ifaces)) < 6 {
		t.Errorf("/sys shows %q (%v)", ifaces, err)
	}
	p, err := two.Start("listener", "", "/usr/sbin/sshd", "-D", "-e", "-o", "ListenAddress="+two.Addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Until(ctx, "a connection from one to two", func() error {
		return one.Run(ctx, "ann", "bash", "-c", "read -r x </dev/tcp/"+two.Addr+"/22 && [[ $x == SSH-* ]]")
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.Text())
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// crash opens a lab, says where it is and waits to be killed.
func crash() {
	l, err := Open(context.Background(), Options{Bin: os.TempDir() + "/.", Machines: []string{"one"}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	p, err := l.Machine("one").Start("sleeper", "", "sleep", "98765")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(l.Dir, p.PID())
	select {}
}

func TestKilledLabLeavesNothing(t *testing.T) {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "LAB_TEST_CRASH=1", "TMPDIR="+t.TempDir())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	var pid int
	line, _ := bufio.NewReader(out).ReadString('\n')
	if _, err := fmt.Sscan(line, &dir, &pid); err != nil {
		t.Fatalf("the lab said %q: %v", line, err)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Until(ctx, "the janitor", func() error {
		if _, err := os.Stat(dir); err == nil {
			return fmt.Errorf("%s is still there", dir)
		}
		if cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(cmd), "98765") {
			if st, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); !strings.Contains(string(st), ") Z ") {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	}); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
