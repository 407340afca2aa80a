package peercred

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestSocketNamesItsCaller(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("pipes are tested with the service's socket")
	}
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cred, err := Of(s)
	if err != nil || int(cred.UID) != os.Getuid() || int(cred.GID) != os.Getgid() {
		t.Fatalf("%+v %v", cred, err)
	}
	if cred.PID != 0 && cred.PID != os.Getpid() {
		t.Errorf("pid %d", cred.PID)
	}
}

func TestNetworkConnectionHasNone(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := Of(a); !errors.Is(err, ErrNotLocal) {
		t.Errorf("%v", err)
	}
}
