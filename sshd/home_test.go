//go:build linux

package sshd

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lanyard/mgmt/api/audit"
)

func TestMissingHomeIsToldAndSparesTheSession(t *testing.T) {
	l := newLab(t)
	if err := os.Remove(l.home); err != nil {
		t.Fatal(err)
	}
	got := l.ssh(l.login("ann", 0), "web-1", "pwd")
	if got.exit != 0 || got.stdout != "/\n" || !strings.HasPrefix(got.stderr, "Could not chdir to home directory "+l.home+": ") {
		t.Errorf("%+v", got)
	}
}

func TestMissingShellIsTold(t *testing.T) {
	l := newLab(t)
	missing := "/no/such/shell"
	l.shell.Store(&missing)
	got := l.ssh(l.login("ann", 0), "web-1", "pwd")
	if got.exit != 127 || !strings.Contains(got.stderr, "cannot start "+missing) {
		t.Errorf("%+v", got)
	}
}

// hang mounts a file system over dir that never says whether one may enter it. It tells when somebody has asked.
func hang(t *testing.T, dir string) (asked <-chan struct{}) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs FUSE:", err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("lanyard-test", dir, "fuse", 0, opts); err != nil {
		unix.Close(fd)
		t.Skip("cannot mount:", err)
	}
	// Should the server stand still with the home, this program does, and no deadline of its own helps.
	guard := exec.Command("sh", "-c", `sleep 120; umount -f -l "$0"`, dir)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) // who waits gets an error
		unix.Close(fd)
		<-served
		_ = syscall.Kill(-guard.Process.Pid, syscall.SIGKILL)
		_ = guard.Wait()
	})
	hung := make(chan struct{})
	go func() {
		defer close(served)
		serveHang(fd, hung)
	}()
	return hung
}

// serveHang answers what a folder needs to exist (fuse(4): fuse_in_header, opcodes of linux/fuse.h).
func serveHang(fd int, hung chan struct{}) {
	const getattr, initialize, access = 3, 26, 34
	le := binary.LittleEndian
	in := make([]byte, 1<<20)
	for {
		n, err := unix.Read(fd, in)
		if err == unix.EINTR || err == unix.ENOENT {
			continue
		}
		if err != nil || n < 40 {
			return
		}
		var out []byte
		status := int32(0)
		switch le.Uint32(in[4:]) {
		case initialize: // fuse_init_out
			out = make([]byte, 64)
			le.PutUint32(out, 7)
			le.PutUint32(out[4:], 31)
			le.PutUint32(out[20:], 1<<16)
		case getattr: // fuse_attr_out: no caching, then fuse_attr
			out = make([]byte, 16+88)
			le.PutUint64(out[16:], 1)
			le.PutUint32(out[16+60:], unix.S_IFDIR|0o755)
			le.PutUint32(out[16+64:], 2)
		case access:
			select {
			case <-hung:
			default:
				close(hung)
			}
			continue
		default:
			status = -int32(unix.ENOSYS)
		}
		head := make([]byte, 16)
		le.PutUint32(head, uint32(16+len(out)))
		le.PutUint32(head[4:], uint32(status))
		copy(head[8:], in[8:16])
		_, _ = unix.Write(fd, append(head, out...))
	}
}

// Whoever mounts a file system over their home decides when it answers.
func TestHangingHomeStopsNobodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a file system")
	}
	inTime(t, func() time.Duration {
		l := newLabWith(t, asInService)
		ann := l.login("ann", 0)
		asked := hang(t, l.home)
		s := l.start(l.tool("ssh", ann, "web-1", "true"))
		select {
		case <-asked:
		case <-time.After(waitTime):
			t.Fatal("nobody goes home", s.stderr())
		}
		at := time.Now()
		runtime.GC() // stops the world, which a thread in vfork does not leave
		still := time.Since(at)
		eventually(t, "list of sessions", func() bool { return len(l.srv.Sessions()) == 1 })
		at = time.Now()
		l.setMap(block("ann"))
		l.srv.Changed()
		took := ended(t, s.wait(), s.stderr(), "[blocked]", at)
		eventually(t, "end of the session", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
		return max(still, took, time.Since(at))
	})
}
