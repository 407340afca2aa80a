//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"lanyard/platform/paths"
)

// runService runs until ctx ends, which SIGTERM does. systemd, launchd and daemon(8) want nothing else.
func runService(ctx context.Context, _ *slog.Logger, run func(context.Context) error) error {
	return run(ctx)
}

// notifySupervisor tells systemd about the service's state (sd_notify(3)); without one it does nothing.
func notifySupervisor(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	os.Unsetenv("NOTIFY_SOCKET") // no session is to find it
	if name[0] == '@' {
		name = "\x00" + name[1:] // an abstract socket
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}

// howToStart is what to type when no service runs.
func howToStart(profile string) string {
	suffix := ""
	if profile != paths.DefaultProfile {
		suffix = " --profile " + profile
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil && suffix == "" {
		sudo := "sudo "
		if paths.Privileged() {
			sudo = ""
		}
		return fmt.Sprintf("%slanyard service install (the system runs it), or lanyard service run (a service of your own, in the foreground)", sudo)
	}
	return "lanyard service run" + suffix
}

// logWriter is where the service's log goes: its supervisor keeps what it says.
func logWriter(console io.Writer, _ string) io.Writer { return console }

// packageCommands: packages of these systems need none.
func packageCommands() []*cobra.Command { return nil }

// forOpenSSH is how ssh_config names this program.
func forOpenSSH(program string) (string, error) { return program, nil }
