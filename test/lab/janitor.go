//go:build linux

package lab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// The janitor is a copy of the program that outlives it: when the lab's end of the pipe closes, in order or by a
// crash, it kills what is left and removes the lab's folder.
func (l *Lab) startJanitor() error {
	l.janitor = exec.Command("/proc/self/exe")
	l.janitor.Args[0] = "lanyard-lab-janitor"
	l.janitor.Env = append(os.Environ(), roleEnv+"=janitor "+l.Dir)
	l.janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	l.janitor.Stderr = os.Stderr
	var err error
	if l.tell, err = l.janitor.StdinPipe(); err != nil {
		return err
	}
	if err := l.janitor.Start(); err != nil {
		l.tell = nil
		return fmt.Errorf("start the lab's janitor: %w", err)
	}
	return nil
}

func janitorMain(dir string) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	alive := map[int]bool{} // process groups
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		pid, err := strconv.Atoi(arg)
		if err != nil || pid <= 1 {
			continue
		}
		switch verb {
		case "kill":
			alive[pid] = true
		case "gone":
			delete(alive, pid)
		}
	}
	for pid := range alive {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	if strings.Contains(dir, "/lanyard-lab-") {
		if err := remove(dir); err != nil {
			fmt.Fprintln(os.Stderr, "lab: clean up:", err)
		}
	}
}
