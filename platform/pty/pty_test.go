//go:build unix

package pty

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
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
