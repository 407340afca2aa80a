package supervisor

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

func TestNobodyIsToldWithoutASupervisor(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s := Find()
	if err := s.Notify("READY=1"); err != nil || s.Watchdog() != 0 || s != nil {
		t.Errorf("%v, %v", s, err)
	}
}

func TestSupervisorIsToldAndNobodyElseKnowsIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("sockets of this kind are not on Windows, and neither is systemd")
	}
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for pid, want := range map[string]time.Duration{"": 30 * time.Second, strconv.Itoa(os.Getpid()): 30 * time.Second, "1": 0} {
		t.Setenv("NOTIFY_SOCKET", path)
		t.Setenv("WATCHDOG_USEC", "30000000")
		t.Setenv("WATCHDOG_PID", pid)
		s := Find()
		if _, there := os.LookupEnv("NOTIFY_SOCKET"); there || s.Watchdog() != want {
			t.Errorf("for process %q the watchdog is %v; in the environment: %v", pid, s.Watchdog(), there)
		}
		if err := s.Notify("READY=1"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		_ = l.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := l.Read(b); err != nil || string(b[:n]) != "READY=1" {
			t.Errorf("%q, %v", b[:n], err)
		}
	}
}
