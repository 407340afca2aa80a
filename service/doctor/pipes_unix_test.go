//go:build unix

package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lanyard/platform/paths"
)

// pipe is a file that nobody writes to: whoever reads it waits for ever.
func pipe(t *testing.T, name string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	// Who waits for it still is let go.
	t.Cleanup(func() {
		if f, err := os.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
	return name
}

// inTime runs f, which must not wait for anything.
func inTime(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s is waited for", what)
	}
}

func TestPipesOfAPersonAreNotWaitedFor(t *testing.T) {
	home := t.TempDir()
	c := func(system string, env map[string]string) computer {
		c := pretended(t, system, env, nil, nil)
		c.home = home
		return c
	}
	v := &visit{Patient: Patient{Paths: paths.Paths{SSHDir: filepath.Join(home, ".ssh")}}}
	config := pipe(t, filepath.Join(home, ".ssh", "config"))
	inTime(t, "~/.ssh/config", func() {
		got := weakened(t.Context(), v)
		if len(got) != 1 || !got[0].Warning || got[0].Finding != config+" is not a regular file." || !strings.Contains(got[0].Next, config) {
			t.Errorf("%+v", got)
		}
	})
	pipe(t, filepath.Join(home, ".gitconfig"))
	git := c("windows", map[string]string{"ProgramFiles": "%R"})
	own := filepath.Join(git.root, "Git", "usr", "bin", "ssh.exe")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	inTime(t, "~/.gitconfig", func() {
		if got := gitForWindows(git); len(got) != 1 || !got[0].Warning {
			t.Errorf("git: %+v", got)
		}
	})
	brew := c("darwin", nil)
	brewed := filepath.Join(brew.root, "usr", "local", "bin", "ssh")
	if err := os.MkdirAll(filepath.Dir(brewed), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(brewed, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	inTime(t, "~/.ssh/config", func() {
		if got := homebrew(brew); len(got) != 1 || !got[0].Warning {
			t.Errorf("homebrew: %+v", got)
		}
	})
	pipe(t, filepath.Join(home, ".config", "Code", "User", "settings.json"))
	inTime(t, "settings.json", func() {
		if got := vsCode(c("linux", nil)); len(got) != 0 {
			t.Errorf("VS Code: %+v", got)
		}
	})
	pipe(t, filepath.Join(home, ".config", "JetBrains"))
	inTime(t, "JetBrains' folder", func() {
		if got := jetBrains(c("linux", nil)); len(got) != 0 {
			t.Errorf("JetBrains: %+v", got)
		}
	})
	pipe(t, filepath.Join(home, "work.conf"))
	inTime(t, "a configuration that settings.json names", func() {
		if c("linux", nil).includes("~/work.conf") {
			t.Error("a pipe includes the drop-in")
		}
	})
}

// ssh itself waits for a pipe, and so does what it starts.
func TestSSHThatHangsIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	config := pipe(t, filepath.Join(dir, "config"))
	script := "#!/bin/sh\ncat '" + config + "' &\nwait\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	inTime(t, "ssh", func() {
		v := &visit{patience: 100 * time.Millisecond}
		if got, err := v.sshG(t.Context(), "100.64.0.1"); !errors.Is(err, errSSHHangs) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// What ssh has started may go on after it, with its output: what ssh said counts.
func TestSSHThatLeavesAProgramBehindIsHeard(t *testing.T) {
	dir := t.TempDir()
	config := pipe(t, filepath.Join(dir, "config"))
	script := "#!/bin/sh\ncat '" + config + "' &\necho user ann\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	inTime(t, "what ssh has started", func() {
		v := &visit{patience: time.Minute}
		if got, err := v.sshG(t.Context(), "100.64.0.1"); err != nil || got["user"] != "ann" {
			t.Errorf("%v, %v", got, err)
		}
	})
}
