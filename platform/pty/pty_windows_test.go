package pty

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"
)

func TestConsoleIsTypedIntoAndRead(t *testing.T) {
	p, err := Open(Size{Cols: 1 << 20, Rows: 0}, []Mode{{Op: 53, Value: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, err := range map[string]error{"pty.PTY.Resize": p.Resize(Size{Cols: 100, Rows: 30}), "pty.PTY.Break": p.Break()} {
		if errors.Is(err, errors.ErrUnsupported) {
			t.Attr("unsupported", name)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.Readable() || p.Name() != "" {
		t.Errorf("readable: %v, called %q", p.Readable(), p.Name())
	}
	p.CloseSlave()
	cmd := os.Getenv("COMSPEC")
	_, h, err := p.Start(cmd, []string{cmd, "/d", "/c", "set /p x=& call echo typed %^x%"}, &syscall.ProcAttr{Env: os.Environ(), Sys: &syscall.SysProcAttr{}})
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(windows.Handle(h))
	if _, err := p.Write([]byte("words\r")); err != nil {
		t.Fatal(err)
	}
	if _, err := windows.WaitForSingleObject(windows.Handle(h), 20_000); err != nil {
		t.Error(err)
	}
	p.End()
	text, err := io.ReadAll(p)
	if err != nil || !strings.Contains(string(text), "typed words") {
		t.Errorf("%q, %v", text, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read from a console that is closed: %v", err)
	}
	if err := p.Resize(Size{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("resized one that has ended: %v", err)
	}
	if _, _, err := p.Start(cmd, []string{cmd}, &syscall.ProcAttr{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("started in one that has ended: %v", err)
	}
}
