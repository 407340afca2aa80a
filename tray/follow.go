package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
)

// again is how soon a service that was not there is looked for again. It bounds how long the tray is wrong after the
// service has started.
const again = 500 * time.Millisecond

// follow hears a profile's service until ctx ends: heard gets each status, and absent why there is none.
func follow(ctx context.Context, profile string, heard func(*ipc.Status), absent func(error)) {
	for ctx.Err() == nil {
		err := hear(ctx, profile, heard)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = ipc.ErrNotRunning // it stopped and ended the stream
		}
		absent(err)
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func hear(ctx context.Context, profile string, heard func(*ipc.Status)) error {
	d, err := ipc.Dial(profile)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Events(ctx, func(s *ipc.Status) error {
		heard(s)
		return ctx.Err()
	})
}

// whyAbsent is a sentence for the person.
func whyAbsent(err error) string {
	if errors.Is(err, ipc.ErrNotRunning) {
		return noService
	}
	return sentence(err)
}

// profilesHere lists the networks that this machine and this person have.
func profilesHere(current string) []string {
	all := []string{current}
	for _, p := range []paths.Paths{paths.System(paths.DefaultProfile), paths.User(paths.DefaultProfile)} {
		found, _ := filepath.Glob(filepath.Join(filepath.Dir(p.State), "*", "state.json"))
		for _, f := range found {
			if name := filepath.Base(filepath.Dir(f)); api.CheckName(name) == nil {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
