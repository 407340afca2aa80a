package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/kardianos/service"

	"lanyard/installer/units"
	"lanyard/platform/hostfw"
	"lanyard/platform/paths"
)

const (
	serviceName = units.Mgmt
	seeLog      = `%ProgramData%\Lanyard-mgmt\server.log`

	// refused in a flag's value.
	refused = `"`

	// firewallRule is the name of our rule in Windows Firewall.
	firewallRule = "Lanyard management server"
)

func supported(service.Service) error { return nil }

// configure gives the service an account of its own, which Windows makes and which has no password and no rights.
func configure(c *service.Config, flags []string) {
	c.UserName = `NT SERVICE\` + units.Mgmt
	c.Arguments = append([]string{"serve", "--state", serverState()}, flags...)
}

func prepare(ctx context.Context, program string, flags []string) error {
	if err := paths.ServiceDir(serverState(), units.Mgmt); err != nil {
		return err
	}
	for _, f := range flags {
		if strings.HasPrefix(f, "--listen=") || strings.HasPrefix(f, "--domain=") {
			return hostfw.Allow(ctx, hostfw.Rule{Name: firewallRule, Program: program, Protocol: "TCP", Description: "HTTPS, for Lanyard's management server"})
		}
	}
	return nil
}

func forget(ctx context.Context, purge bool) error {
	_ = hostfw.Forbid(ctx, firewallRule) // a server on loopback has none
	if !purge {
		return nil
	}
	fi, err := os.Lstat(serverState())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s is not a folder; it is left alone", serverState())
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(serverState())
}
