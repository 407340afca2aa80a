//go:build linux

package calm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the program that is stopped: it says when its clock goes, and how far it came once it reads a line.
func TestMain(m *testing.M) {
	if os.Getenv("CALM_TEST") == "" {
		os.Exit(m.Run())
	}
	began := time.Now()
	c := Start()
	fmt.Println("started")
	var line string
	fmt.Scanln(&line)
	fmt.Println(c.Stop().Milliseconds(), time.Since(began).Milliseconds())
}

func TestClockGoesByTheWallsAtMost(t *testing.T) {
	began, before := time.Now(), time.Duration(0)
	c := Start()
	for c.Took() < 20*most { // it does go on
		took := c.Took()
		if took < before || took > time.Since(began) {
			t.Fatalf("%s, after %s and %s by the wall's", took, before, time.Since(began))
		}
		before = took
		time.Sleep(time.Millisecond)
	}
	if took := c.Stop(); took > time.Since(began) {
		t.Errorf("%s, and %s by the wall's", took, time.Since(began))
	}
}

// What a program is not served does not count.
func TestClockStandsStillWithItsProgram(t *testing.T) {
	const still = time.Second
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "CALM_TEST=1")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil || word != "started" {
		t.Fatal(word, err)
	}
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped(t, c.Process.Pid)
	time.Sleep(still)
	if err := c.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(in); err != nil {
		t.Fatal(err)
	}
	var calm, wall int64 // in ms
	if _, err := fmt.Fscan(out, &calm, &wall); err != nil {
		t.Fatal(err)
	}
	if wall < still.Milliseconds() || calm > wall-(still-most-step).Milliseconds() {
		t.Errorf("of %d ms, of which it stood still for %s, %d ms count", wall, still, calm)
	}
}

// stopped waits until a signal has stopped a process (proc_pid_stat(5)).
func stopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && strings.Contains(string(stat), ") T ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d is not stopped: %s, %v", pid, stat, err)
		}
	}
}
