// Skew runs a program on a machine whose clock is wrong, for tests of what Lanyard makes of that.
//
//	skew FILE PROGRAM [ARGUMENT...]
//
// FILE holds by how much the clock is off, as in "-10m". It may change while the program runs: the clock is then set.
//
// The program is the one that is shipped and has no part in this. Programs ask the kernel's vDSO for the time; skew
// traces the program, writes other instructions over the vDSO's clock_gettime in its memory when it begins, and so for
// the programs that it starts, until one of them is Lanyard's own: those run many threads, and are let go once their
// clock is set. What is shifted is CLOCK_REALTIME only; time since boot passes as ever, as when somebody sets a clock.
// The kernel's own times, as of files, stay right.
package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: skew FILE PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "skew:", err)
		code = 1
	}
	os.Exit(code)
}

// clocks are the wrong clocks that are there.
type clocks struct {
	file string

	mu  sync.Mutex       // guards the rest
	off time.Duration    // what file said last
	at  map[int]uintptr  // where each process keeps its offset
	mem map[int]*os.File // its memory, open since it was traced
}

func run(file string, argv []string) (int, error) {
	runtime.LockOSThread() // ptrace(2) is a thread's
	c := &clocks{file: file, at: map[int]uintptr{}, mem: map[int]*os.File{}}
	if err := c.read(); err != nil {
		return 0, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	root := cmd.Process.Pid
	told := make(chan os.Signal, 8)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		for s := range told {
			_ = syscall.Kill(root, s.(syscall.Signal))
		}
	}()
	go c.follow()
	return c.trace(root)
}

// trace follows the program and what it starts, and returns how the program ended.
func (c *clocks) trace(root int) (int, error) {
	begun := map[int]bool{root: true}
	first := true
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for the program: %w", err)
		}
		switch {
		case status.Exited() || status.Signaled():
			c.forget(pid)
			if pid == root && status.Signaled() {
				return 128 + int(status.Signal()), nil
			}
			if pid == root {
				return status.ExitStatus(), nil
			}
			continue
		case !status.Stopped():
			continue
		}
		pass := status.StopSignal()
		switch {
		case pid == root && first: // the program has just begun
			first, pass = false, 0
			const follow = syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEEXEC
			if err := syscall.PtraceSetOptions(pid, follow); err != nil {
				return 0, fmt.Errorf("follow the program: %w", err)
			}
			if own, err := c.wrong(pid); err != nil {
				return 0, err
			} else if own {
				err = syscall.PtraceDetach(pid)
				if err != nil {
					return 0, err
				}
				continue
			}
		case status.TrapCause() == syscall.PTRACE_EVENT_EXEC:
			pass = 0
			own, err := c.wrong(pid)
			if err != nil {
				return 0, err
			}
			if own {
				_ = syscall.PtraceDetach(pid)
				continue
			}
		case status.TrapCause() > 0:
			pass = 0
		case !begun[pid] && pass == syscall.SIGSTOP: // how a traced child begins
			pass = 0
		}
		begun[pid] = true
		_ = syscall.PtraceCont(pid, int(pass)) // it may have been killed meanwhile
	}
}

// code stands in for clock_gettime(2): it asks the kernel, and adds the offset, which lies behind it, to
// CLOCK_REALTIME (0) and CLOCK_REALTIME_COARSE (5).
var code = []byte{
	0xb8, 228, 0, 0, 0, // mov $SYS_clock_gettime, %eax
	0x0f, 0x05, // syscall
	0x85, 0xc0, // test %eax, %eax
	0x75, 19, // jne to ret
	0x85, 0xff, // test %edi, %edi
	0x74, 5, // je to the addition
	0x83, 0xff, 5, // cmp $5, %edi
	0x75, 10, // jne to ret
	0x48, 0x8b, 0x0d, 5, 0, 0, 0, // mov offset(%rip), %rcx
	0x48, 0x01, 0x0e, // add %rcx, (%rsi)
	0xc3, 0xcc, // ret
}

// wrong sets the clock of a program that has just begun, and reports whether it is one of Lanyard's.
func (c *clocks) wrong(pid int) (own bool, err error) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false, err
	}
	base, size, err := vdso(pid)
	if err != nil {
		return false, err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	image := make([]byte, size)
	if _, err := mem.ReadAt(image, int64(base)); err != nil {
		return false, fmt.Errorf("read the vDSO: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return false, fmt.Errorf("read the vDSO: %w", err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return false, fmt.Errorf("read the vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		if s.Size < uint64(len(code))+8 || s.Value%8 != 0 || len(code)%8 != 0 {
			return false, fmt.Errorf("the vDSO's clock_gettime has %d bytes at %#x", s.Size, s.Value)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		at := base + uintptr(s.Value)
		if _, err := mem.WriteAt(append(bytes.Clone(code), seconds(c.off)...), int64(at)); err != nil {
			return false, fmt.Errorf("set the clock of %s: %w", exe, err)
		}
		if old := c.mem[pid]; old != nil {
			old.Close()
		}
		c.mem[pid], c.at[pid] = mem, at+uintptr(len(code))
		name := filepath.Base(exe)
		return strings.HasPrefix(name, "lanyard") && name != "lanyard-helper", nil // the helper may become lanyard
	}
	return false, errors.New("the vDSO has no clock_gettime")
}

func seconds(d time.Duration) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(int64(d/time.Second)))
}

// vdso is where a process has it.
func vdso(pid int) (base uintptr, size int, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		var end uintptr
		if !strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &base, &end); err != nil {
			return 0, 0, err
		}
		return base, int(end - base), nil
	}
	return 0, 0, errors.New("the program has no vDSO")
}

func (c *clocks) forget(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if mem := c.mem[pid]; mem != nil {
		mem.Close()
	}
	delete(c.mem, pid)
	delete(c.at, pid)
}

func (c *clocks) read() error {
	b, err := os.ReadFile(c.file)
	if err != nil {
		return err
	}
	off, err := time.ParseDuration(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if off == c.off {
		return nil
	}
	c.off = off
	for pid, at := range c.at {
		_, _ = c.mem[pid].WriteAt(seconds(off), int64(at)) // one aligned word; it may have ended
	}
	return nil
}

// follow sets the clocks whenever the file changes.
func (c *clocks) follow() {
	for range time.Tick(20 * time.Millisecond) {
		_ = c.read() // half written: next time
	}
}
