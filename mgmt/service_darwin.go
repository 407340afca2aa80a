package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/kardianos/service"

	"lanyard/installer/units"
)

const (
	serviceName = units.Mgmt
	seeLog      = units.ServerStateBSD + "/server.log"
)

func serverState() string { return units.ServerStateBSD }

func supported(service.Service) error { return nil }

func configure(*service.Config, []string) {}

// Numbers of macOS for accounts of services that an administrator adds; Apple's own are below.
const firstNumber, lastNumber = 350, 499

// prepare makes the account, hidden and without a password, and its folder.
func prepare(ctx context.Context, _ string, _ []string) error {
	const name = units.ServerAccountMacOS
	if !hasAccount(name) {
		number := ""
		for n := firstNumber; n <= lastNumber && number == ""; n++ {
			_, user404 := user.LookupId(strconv.Itoa(n))
			_, group404 := user.LookupGroupId(strconv.Itoa(n))
			if user404 != nil && group404 != nil {
				number = strconv.Itoa(n)
			}
		}
		if number == "" {
			return fmt.Errorf("every number from %d to %d is taken; make an account %s yourself", firstNumber, lastNumber, name)
		}
		for _, c := range [][]string{
			{"/Groups/" + name, "PrimaryGroupID", number},
			{"/Users/" + name, "UniqueID", number},
			{"/Users/" + name, "PrimaryGroupID", number},
			{"/Users/" + name, "UserShell", "/usr/bin/false"},
			{"/Users/" + name, "NFSHomeDirectory", units.ServerStateBSD},
			{"/Users/" + name, "RealName", "Lanyard's management server"},
			{"/Users/" + name, "IsHidden", "1"},
		} {
			if err := command(ctx, "", "/usr/bin/dscl", append([]string{".", "-create"}, c...)...); err != nil {
				return err
			}
		}
	}
	return ownState(name)
}

func forget(ctx context.Context, purge bool) error {
	if !purge {
		return nil
	}
	err := os.RemoveAll(units.ServerStateBSD)
	if !hasAccount(units.ServerAccountMacOS) {
		return err
	}
	return errors.Join(err,
		command(ctx, "", "/usr/bin/dscl", ".", "-delete", "/Users/"+units.ServerAccountMacOS),
		command(ctx, "", "/usr/bin/dscl", ".", "-delete", "/Groups/"+units.ServerAccountMacOS))
}
