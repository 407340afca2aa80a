//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"lanyard/platform/paths"
	"lanyard/platform/supervisor"
	"lanyard/service/daemon"
	"lanyard/service/ipc"
	"lanyard/service/keeper"
)

// runService runs until ctx ends, which SIGTERM does. Under systemd, this process is the keeper of another that runs;
// launchd and daemon(8) want nothing else.
func runService(ctx context.Context, opt daemon.Options, run func(context.Context, daemon.Options) error) error {
	if sup := supervisor.Find(); sup != nil {
		exit, err := keeper.Run(ctx, sup, opt.Program, opt.Log)
		if err == nil && exit != 0 {
			err = exitCode(exit)
		}
		return err
	}
	link := keeper.Find()
	if link == nil {
		return run(ctx, opt)
	}
	ready := opt.Ready
	opt.Leave, opt.Leaving = link.Leave, link.Leaving
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opt.Ready = func() {
		ready()
		link.Ready()
		if link.Watchdog > 0 {
			go alive(ctx, opt.Profile, link)
		}
	}
	return run(ctx, opt)
}

// alive tells the keeper that the service still answers, as long as it does: a service that is caught in a lock of its
// own is restarted.
func alive(ctx context.Context, profile string, link *keeper.Link) {
	tick := time.NewTicker(link.Watchdog / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if answered(ctx, profile, link.Watchdog/4) == nil {
			link.Alive()
		}
	}
}

func answered(ctx context.Context, profile string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d, err := ipc.Dial(profile)
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.Status(ctx)
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

// asAdministrator is what somebody types who is none.
func asAdministrator(command string) string { return "sudo " + command }

// howToEnd is what to type to end a service that the system does not run.
func howToEnd(pid int) string { return fmt.Sprintf("kill %d", pid) }

// logWriter is where the service's log goes: its supervisor keeps what it says.
func logWriter(console io.Writer, _ string) io.Writer { return console }

// removeRun removes the folder of the service's sockets.
func removeRun(dir string) error { return removeFolder(dir) }

// removeFiles removes files that may not be there.
func removeFiles(patterns ...string) error {
	var errs []error
	for _, p := range patterns {
		found, _ := filepath.Glob(p) // the patterns are good
		for _, f := range found {
			errs = append(errs, os.Remove(f))
		}
	}
	return errors.Join(errs...)
}

// packageCommands: packages of these systems need none.
func packageCommands() []*cobra.Command { return nil }

// forOpenSSH is how ssh_config names this program.
func forOpenSSH(program string) (string, error) { return program, nil }
