package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"lanyard/installer/units"
	"lanyard/platform/paths"
	"lanyard/platform/supervisor"
	"lanyard/service/daemon"
)

// runService runs under the service control manager, or in a console until ctx ends.
func runService(ctx context.Context, opt daemon.Options, serve func(context.Context, daemon.Options) error) error {
	return supervisor.Run(ctx, units.Name, opt.Log, func(ctx context.Context) error {
		if supervisor.Interactive() {
			return serve(ctx, opt)
		}
		ctx, cancel := context.WithCancel(ctx)
		var sweeper sync.WaitGroup
		sweeper.Go(func() {
			dirs, err := folders()
			if err == nil {
				err = removeAside(ctx, dirs)
			}
			if err != nil {
				opt.Log.Warn("programs of an older version stay until the next upgrade", "err", err)
			}
		})
		defer sweeper.Wait()
		defer cancel()
		return serve(ctx, opt)
	})
}

// logWriter is where the service's log goes: to whoever started it in a console, else to a file in its state folder.
func logWriter(console io.Writer, profile string) io.Writer {
	if supervisor.Interactive() {
		return console
	}
	return &supervisor.LogFile{Path: filepath.Join(paths.For(profile).State, "service.log")}
}

// howToStart is what to type when no service runs.
func howToStart(profile string) string {
	if profile != paths.DefaultProfile {
		return "lanyard service run --profile " + profile
	}
	return "lanyard service install (as administrator), or lanyard service run (a service of your own, in the foreground)"
}

// asAdministrator is what somebody does who is none.
func asAdministrator(command string) string { return command + " (as administrator)" }

// howToEnd is what to type to end a service that the system does not run. A program in a console takes no gentler word.
func howToEnd(pid int) string { return fmt.Sprintf("taskkill /f /pid %d", pid) }
