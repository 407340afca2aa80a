//go:build unix

package keeper

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"lanyard/platform/supervisor"
)

// TestMain is also the service that the tests keep: the keeper starts its own program again.
func TestMain(m *testing.M) {
	if l := Find(); l != nil {
		os.Exit(service(l, os.Getenv("TEST_SERVICE")))
	}
	os.Exit(m.Run())
}

// service does what its name says.
func service(l *Link, how string) int {
	if os.Getenv(env) != "" {
		return 99 // what it starts must not take itself for kept
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if err := os.WriteFile(os.Getenv("TEST_PID"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return 98
	}
	if l.Watchdog != 7*time.Second {
		return 97
	}
	l.Alive()
	l.Ready()
	switch how {
	case "ends":
		return 3
	case "leaves":
		<-l.Leave
		l.Leaving()
		<-term // it lingers
		return 0
	case "will not leave":
		<-l.Leave
		<-term
		return 4
	case "obeys":
		<-term
		return 0
	}
	return 96
}

// systemd hears what the keeper says of its service.
func systemd(t *testing.T) (*supervisor.Supervisor, func(want string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "7000000")
	return supervisor.Find(), func(want string) {
		t.Helper()
		l.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 256)
		n, err := l.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("systemd heard %q (%v), want %q", b[:n], err, want)
		}
	}
}

type ended struct {
	code int
	err  error
}

// keep runs a service until hear has heard that it is ready.
func keep(t *testing.T, how string) (pid int, hear func(string), stop func(), exit chan ended) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(t.TempDir(), "pid")
	t.Setenv("TEST_SERVICE", how)
	t.Setenv("TEST_PID", note)
	sup, hear := systemd(t)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	exit = make(chan ended, 1)
	go func() {
		code, err := Run(ctx, sup, self, slog.New(slog.NewTextHandler(t.Output(), nil)))
		exit <- ended{code, err}
	}()
	hear("WATCHDOG=1")
	hear("READY=1")
	b, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(string(b)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return pid, hear, stop, exit
}

func wait(t *testing.T, exit chan ended) ended {
	t.Helper()
	select {
	case e := <-exit:
		return e
	case <-time.After(time.Minute):
		t.Fatal("the keeper does not end")
		return ended{}
	}
}

func TestKeeperEndsWithItsServicesStatus(t *testing.T) {
	_, _, _, exit := keep(t, "ends")
	if e := wait(t, exit); e.code != 3 || e.err != nil {
		t.Errorf("%+v", e)
	}
}

func TestStopIsPassedOn(t *testing.T) {
	_, hear, stop, exit := keep(t, "obeys")
	stop()
	hear("STOPPING=1")
	if e := wait(t, exit); e.code != 0 || e.err != nil {
		t.Errorf("%+v", e)
	}
}

func TestServiceThatLeavesOutlivesItsKeeper(t *testing.T) {
	pid, _, _, exit := keep(t, "leaves")
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, exit); e.code != 0 || e.err != nil {
		t.Errorf("%+v", e)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the service is gone: %v", err)
	}
}

func TestServiceThatDoesNotLeaveIsStopped(t *testing.T) {
	_, _, _, exit := keep(t, "will not leave")
	began := time.Now()
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, exit); e.code != 4 || e.err != nil {
		t.Errorf("%+v", e)
	}
	if d := time.Since(began); d < leaveTime {
		t.Errorf("it had %s to leave", d)
	}
}

func TestServiceThatHangsIsKilledForTheWatchdog(t *testing.T) {
	pid, _, _, exit := keep(t, "obeys")
	if err := syscall.Kill(os.Getpid(), syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, exit); e.code == 0 || e.err != nil {
		t.Errorf("%+v", e)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the service still runs")
	}
}
