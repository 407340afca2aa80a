package keystore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// session runs a program, and ends what it leaves behind. A bus starts a keyring when somebody asks for one, and a keyring
// that was about to begin as its bus ended would go on without end, with the test's output.
func session(argv []string) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		fmt.Println(err)
		return 1
	}
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) { // others end by themselves
		_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			return c.ProcessState.ExitCode()
		}
		if time.Now().After(end) {
			endOrphans()
		}
	}
}

// endOrphans kills this process's children (proc_pid_stat(5)).
func endOrphans() {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range all {
		stat, _ := os.ReadFile(name)
		pid, rest, _ := strings.Cut(string(stat), " ")
		f := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
		if n, err := strconv.Atoi(pid); err == nil && len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
}
