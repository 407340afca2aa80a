package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/kardianos/service"

	"lanyard/installer/units"
)

const (
	serviceName = "lanyard_mgmt" // rc.d's names have no hyphens
	seeLog      = "/var/log/messages"
)

func serverState() string { return units.ServerStateBSD }

func supported(service.Service) error { return nil }

func configure(*service.Config, []string) {}

func prepare(ctx context.Context, _ string, flags []string) error {
	if !hasAccount(units.ServerAccount) {
		_ = command(ctx, "", "pw", "groupadd", units.ServerAccount) // it may be there
		if err := command(ctx, "", "pw", "useradd", units.ServerAccount, "-g", units.ServerAccount, "-d", units.ServerStateBSD,
			"-s", "/usr/sbin/nologin", "-c", "Lanyard's management server"); err != nil {
			return err
		}
	}
	if err := ownState(units.ServerAccount); err != nil {
		return err
	}
	return command(ctx, "", "sysrc", "lanyard_mgmt_enable=YES", "lanyard_mgmt_options="+strings.Join(flags, " "))
}

func forget(ctx context.Context, purge bool) error {
	err := command(ctx, "", "sysrc", "-i", "-x", "lanyard_mgmt_enable", "lanyard_mgmt_options")
	if !purge {
		return err
	}
	err = errors.Join(err, os.RemoveAll(units.ServerStateBSD))
	if !hasAccount(units.ServerAccount) {
		return err
	}
	return errors.Join(err, command(ctx, "", "pw", "userdel", units.ServerAccount)) // and the group of that name
}
