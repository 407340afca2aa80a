package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"lanyard/platform/paths"
	"lanyard/service/daemon"
)

// machineOf makes an installation with a folder for each profile, with the drop-in that a service writes, and returns a hosts
// file with the names of each.
func machineOf(t *testing.T, profiles ...string) (hosts string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "removal") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(dir, "s"))
	t.Setenv("LANYARD_RUN_DIR", filepath.Join(dir, "r"))
	t.Setenv("HOME", filepath.Join(dir, "home"))
	text := "127.0.0.1 localhost\n"
	for _, profile := range profiles {
		p := paths.System(profile)
		if err := os.MkdirAll(p.State, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.DropIn, []byte("# "+profile+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("# BEGIN Lanyard %s: written by the service, changes in here are lost\n192.0.2.1 %s\n# END Lanyard %s\n", profile, profile, profile)
	}
	hosts = filepath.Join(dir, "hosts")
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return hosts
}

// runs starts the service of a profile.
func runs(t *testing.T, profile string) (stop func()) {
	t.Helper()
	d, err := daemon.Open(daemon.Options{
		Profile: profile, Userspace: true, Program: "/usr/local/bin/lanyard", Release: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if d != nil {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			d = nil
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestPurgeIsRefusedWhileAnotherProfilesServiceRuns(t *testing.T) {
	machineOf(t, "default", "prod", "stopped")
	stop := runs(t, "prod")
	runs(t, "default") // a purge stops this one itself
	c := &cobra.Command{}
	c.SetContext(t.Context())
	for _, err := range []error{purge(t.Context()), uninstall(c, nil, true), mayPurgeCommand().RunE(c, nil)} {
		for _, words := range []string{`the profile "prod"`, "service run --profile prod", howToEnd(os.Getpid())} {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%q is not in: %v", words, err)
			}
		}
	}
	stop()
	if err := othersSilent(t.Context()); err != nil {
		t.Errorf("where only the service of the system runs: %v", err)
	}
}

// What a service leaves that does not answer goes, the default profile's always: whoever removes the package has just stopped it.
func TestRemovalLeavesWhatAnotherProfilesServiceUses(t *testing.T) {
	hosts := machineOf(t, "default", "prod", "killed")
	stop := runs(t, "prod")
	runs(t, "default")
	left := func(want ...string) {
		t.Helper()
		if err := leaveSystem(hosts); err != nil && paths.Privileged() { // the machine's own ssh_config is for root
			t.Fatal(err)
		}
		text, err := os.ReadFile(hosts)
		if err != nil {
			t.Fatal(err)
		}
		wanted := strings.Join(want, " ")
		for _, profile := range []string{"default", "prod", "killed"} {
			_, err := os.Stat(paths.System(profile).DropIn)
			stays := strings.Contains(wanted, profile)
			if (err == nil) != stays || strings.Contains(string(text), "192.0.2.1 "+profile) != stays {
				t.Errorf("%s is to stay: %v; its drop-in: %v; the hosts file:\n%s", profile, stays, err, text)
			}
		}
	}
	left("prod")
	stop()
	left()
}
