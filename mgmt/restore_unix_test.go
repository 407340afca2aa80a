//go:build unix

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/store"
)

// The system runs the server as an account of its own, whose the state is; root puts a backup back, and it is still that
// account's.
func TestRootPutsABackupBackForTheServersAccount(t *testing.T) {
	needsRoot(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "lm")
	must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(os.Chmod(dir, 0o755)) // as /usr/bin: the account runs the program
	self, err := os.Executable()
	must(err)
	code, err := os.ReadFile(self)
	must(err)
	program, state, file := filepath.Join(dir, "lanyard-mgmt"), filepath.Join(dir, "state"), filepath.Join(dir, "backup.tar.gz")
	must(os.WriteFile(program, code, 0o755))
	must(os.Mkdir(state, 0o700))
	s, err := store.Open(t.Context(), state, time.Now)
	must(err)
	must(s.Close())
	must(filepath.WalkDir(state, func(path string, _ fs.DirEntry, err error) error {
		must(err)
		return os.Lchown(path, account, account)
	}))
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), program, append([]string{"--state", state}, args...)...).CombinedOutput()
		return string(out), err
	}
	// Nor does a backup take what the account may not read, wherever the names in its folder lead.
	secret, key := filepath.Join(dir, "secret"), filepath.Join(state, "ca.key")
	must(os.WriteFile(secret, []byte("root's alone"), 0o600))
	must(os.Symlink(secret, key))
	if out, err := run("backup", file); err == nil || !strings.Contains(out, "ca.key") {
		t.Errorf("root reads for the account what it may not: %v, %s", err, out)
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("a backup that failed is there")
	}
	must(os.Remove(key))
	if out, err := run("backup", file); err != nil || !strings.Contains(out, "Written to "+file) {
		t.Fatal(err, out)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 || owner(t, file) != 0 {
		t.Errorf("the backup is not root's alone: %v, %v", fi, err)
	}
	if out, err := run("restore", file); err == nil || !strings.Contains(out, "--force moves it aside") {
		t.Errorf("it replaces a database: %v, %s", err, out)
	}
	if out, err := run("restore", "--force", program); err == nil || !strings.Contains(out, program+" is no backup") {
		t.Errorf("it takes a program: %v, %s", err, out)
	}
	if out, err := run("restore", "--force", file); err != nil || !strings.Contains(out, "is in place") {
		t.Fatal(err, out)
	}
	found := 0
	must(filepath.WalkDir(state, func(path string, _ fs.DirEntry, err error) error {
		must(err)
		fi, err := os.Lstat(path)
		must(err)
		if owner(t, path) != account || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %s, and is not the server's alone", path, fi.Mode())
		}
		if filepath.Base(path) == store.Database {
			found++
		}
		return nil
	}))
	if found != 2 {
		t.Errorf("%d databases, want the one of the backup and the one that was there", found)
	}
}
