package start

import (
	"os"
	"syscall"
	"testing"
)

func TestFileTransferHasTheUmaskAndLimitsOfTheSystemsSessions(t *testing.T) {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &now); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0o22)
	defer syscall.Umask(old)
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &now) }()
	want := syscall.Rlimit{Cur: min(now.Max, 4096), Max: now.Max}
	t.Setenv(Variable, Options{Umask: 0o77, Limits: []Limit{{syscall.RLIMIT_CORE, want.Cur, want.Max}}}.String())
	Bounds()
	if got := syscall.Umask(0o22); got != 0o77 {
		t.Errorf("umask %03o", got)
	}
	var got syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &got); err != nil || got != want {
		t.Errorf("%+v, want %+v (%v)", got, want, err)
	}
	if _, there := os.LookupEnv(Variable); there {
		t.Error("the variable is still there")
	}
}
