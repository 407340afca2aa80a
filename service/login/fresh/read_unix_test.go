//go:build unix

package fresh

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestPipeIsNotWaitedFor(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.fresh")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := Read(name)
		read <- err
	}()
	select {
	case err := <-read:
		if err == nil {
			t.Error("a pipe says something")
		}
	case <-time.After(time.Minute):
		t.Fatal("it is waited for")
	}
}
