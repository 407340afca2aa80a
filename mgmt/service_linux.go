package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kardianos/service"

	"lanyard/installer/units"
)

const (
	serviceName = units.Mgmt
	seeLog      = "journalctl -u lanyard-mgmt"

	// optionsFile is what the unit and the init script read.
	optionsFile = "/etc/default/lanyard-mgmt"
)

func serverState() string { return units.ServerState }

func supported(s service.Service) error {
	switch s.Platform() {
	case "linux-systemd", "linux-openrc":
		return nil
	}
	return fmt.Errorf("of the supervisors of Linux only systemd and OpenRC are known, and here is %s", s.Platform())
}

func configure(*service.Config, []string) {}

func prepare(ctx context.Context, _ string, flags []string) error {
	if err := makeAccount(ctx); err != nil {
		return err
	}
	if err := ownState(units.ServerAccount); err != nil {
		return err
	}
	return writeMarked(optionsFile, fmt.Sprintf("LANYARD_MGMT_OPTIONS=\"%s\"\n", strings.Join(flags, " ")), flags)
}

func makeAccount(ctx context.Context) error {
	if hasAccount(units.ServerAccount) {
		return nil
	}
	if has("systemd-sysusers") {
		line, err := units.Sysusers()
		if err != nil {
			return err
		}
		return command(ctx, line, "systemd-sysusers", "-")
	}
	// Busybox, as on Alpine.
	_ = command(ctx, "", "addgroup", "-S", units.ServerAccount) // it may be there
	return command(ctx, "", "adduser", "-S", "-D", "-H", "-h", units.ServerState, "-s", "/sbin/nologin", "-G", units.ServerAccount, units.ServerAccount)
}

func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func forget(ctx context.Context, purge bool) error {
	err := removeMarked(optionsFile)
	if !purge {
		return err
	}
	if fi, statErr := os.Lstat(units.ServerState); statErr == nil && !fi.IsDir() {
		return errors.Join(err, fmt.Errorf("%s is not a folder; the data that it leads to is left alone", units.ServerState))
	}
	err = errors.Join(err, os.RemoveAll(units.ServerState))
	gone := []string{"/var/log/" + units.Mgmt + ".log"} // OpenRC's
	if units.Packaged(units.Mgmt) != "" {
		// The options, which the package would leave where somebody changed them, with copies that rpm and pacman made.
		gone = append(gone, optionsFile, optionsFile+".pac*", optionsFile+".apk-new", "/etc/sysconfig/"+units.Mgmt, "/etc/sysconfig/"+units.Mgmt+".rpm*")
	}
	for _, pattern := range gone {
		found, _ := filepath.Glob(pattern) // the patterns are good
		for _, f := range found {
			err = errors.Join(err, os.Remove(f))
		}
	}
	if !hasAccount(units.ServerAccount) {
		return err
	}
	if has("userdel") {
		return errors.Join(err, command(ctx, "", "userdel", units.ServerAccount)) // and the group of that name
	}
	return errors.Join(err, command(ctx, "", "deluser", units.ServerAccount))
}
