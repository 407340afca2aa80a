//go:build unix

package pty

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSizeAndModes(t *testing.T) {
	p, err := Open(Size{Cols: 120, Rows: 40}, []Mode{{Op: 3, Value: 8}, {Op: 53, Value: 0}, {Op: 1, Value: 255}, {Op: 250, Value: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if !strings.HasPrefix(p.Name(), "/dev/") {
		t.Errorf("the terminal is called %q", p.Name())
	}
	stty := func(args ...string) string {
		t.Helper()
		c := exec.Command("stty", args...)
		c.Stdin = p.Slave
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if got := stty("size"); got != "40 120\n" {
		t.Errorf("size %q", got)
	}
	all := stty("-a")
	for _, want := range []string{"erase = ^H", "-echo ", "intr = <undef>"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in %s", want, all)
		}
	}
	if err := p.Resize(Size{Cols: 1 << 20, Rows: 1}); err != nil {
		t.Fatal(err)
	}
	if got := stty("size"); got != "1 65535\n" {
		t.Errorf("size %q", got)
	}
}

func TestEveryModeReachesTheTerminal(t *testing.T) {
	stty := func(p *PTY) string {
		c := exec.Command("stty", "-a")
		c.Stdin = p.Slave
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(out), "\n", " ")
	}
	for op, name := range map[byte]string{ // as stty calls them
		30: "ignpar", 31: "parmrk", 32: "inpck", 33: "istrip", 34: "inlcr", 35: "igncr", 36: "icrnl", 38: "ixon", 39: "ixany",
		40: "ixoff", 41: "imaxbel", 42: "iutf8", 50: "isig", 51: "icanon", 53: "echo", 54: "echoe", 55: "echok", 56: "echonl",
		57: "noflsh", 58: "tostop", 59: "iexten", 60: "echoctl", 61: "echoke", 70: "opost", 72: "onlcr", 73: "ocrnl",
		74: "onocr", 75: "onlret", 93: "parodd", // 92, parity, the kernel leaves off on pseudo-terminals
	} {
		for value, want := range map[uint32]string{1: " " + name + " ", 0: " -" + name + " "} {
			p, err := Open(Size{}, []Mode{{Op: op, Value: value}})
			if err != nil {
				t.Fatal(err)
			}
			if all := stty(p); !strings.Contains(all, want) {
				t.Errorf("opcode %d with %d: no %q in %s", op, value, want, all)
			}
			p.Close()
		}
	}
	for op, name := range map[byte]string{
		1: "intr", 2: "quit", 3: "erase", 4: "kill", 5: "eof", 6: "eol", 7: "eol2", 8: "start", 9: "stop", 10: "susp",
		12: "rprnt", 13: "werase", 14: "lnext", 18: "discard",
	} {
		p, err := Open(Size{}, []Mode{{Op: op, Value: 7}})
		if err != nil {
			t.Fatal(err)
		}
		if all := stty(p); !strings.Contains(all, name+" = ^G;") {
			t.Errorf("opcode %d: no %s = ^G in %s", op, name, all)
		}
		p.Close()
	}
	p, err := Open(Size{}, []Mode{{Op: 128, Value: 9600}, {Op: 129, Value: 9600}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if all := stty(p); !strings.Contains(all, "speed 9600 baud") {
		t.Error(all)
	}
	if err := p.Break(); err != nil {
		t.Error(err)
	}
}

func TestMasterEndsWithTheSlave(t *testing.T) {
	p, err := Open(Size{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Slave.WriteString("last words\n")
	p.CloseSlave()
	r := bufio.NewReader(p)
	if line, err := r.ReadString('\n'); err != nil || line != "last words\r\n" {
		t.Errorf("%q, %v", line, err)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the master does not end")
	}
}

func TestReadableIsWhatNobodyHasRead(t *testing.T) {
	p, err := Open(Size{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Readable() {
		t.Error("nothing was written")
	}
	if _, err := p.Slave.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !p.Readable(); {
		if time.Now().After(end) {
			t.Fatal("what was written is not readable")
		}
	}
}

func TestTerminalIsGivenToItsUserAndToNobodyElse(t *testing.T) {
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534
	}
	p, err := Open(Size{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Give(uint32(uid), uint32(os.Getegid())); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(p.Name())
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	want := os.FileMode(0o600)
	if st.Gid != 0 { // the system's group for terminals
		want = 0o620
	}
	if int(st.Uid) != uid || fi.Mode().Perm() != want {
		t.Errorf("it is uid %d's, group %d, mode %v; want uid %d, mode %v", st.Uid, st.Gid, fi.Mode().Perm(), uid, want)
	}
}
