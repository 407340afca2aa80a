//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// account is one that tests give files to; only root can.
const account = 65534

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: another account's files")
	}
}

// owner is the account that a file or a link belongs to.
func owner(t *testing.T, name string) uint32 {
	t.Helper()
	fi, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Uid
}

// What root gives to the server's account is what lies in the state folder and nowhere else.
func TestNothingOutsideTheStateIsGivenAway(t *testing.T) {
	needsRoot(t)
	base := t.TempDir()
	state, secret := filepath.Join(base, "state"), filepath.Join(base, "secret")
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(state, "acme"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(secret)
	write(filepath.Join(state, "mgmt.db"))
	if err := os.Symlink(secret, filepath.Join(state, "acme", "link")); err != nil {
		t.Fatal(err)
	}
	if err := ownFolder(state, account, account); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "mgmt.db", "acme", "acme/link"} {
		if uid := owner(t, filepath.Join(state, name)); uid != account {
			t.Errorf("%q belongs to %d", name, uid)
		}
	}
	hard := filepath.Join(state, "acme", "hard")
	if err := os.Link(secret, hard); err != nil {
		t.Fatal(err)
	}
	if err := ownFolder(state, account, account); err == nil || !strings.Contains(err.Error(), hard+" has other names") {
		t.Errorf("a file with a name elsewhere: %v", err)
	}
	if uid := owner(t, secret); uid != 0 {
		t.Errorf("a file outside of the state belongs to %d now", uid)
	}
}
