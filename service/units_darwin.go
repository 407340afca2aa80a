package main

import (
	"github.com/kardianos/service"

	"lanyard/installer/units"
)

// serviceOptions gives kardianos the property list of the packages in place of its own, which does not run at load.
func serviceOptions(program string) (service.KeyValue, error) {
	plist, err := units.Launchd(units.Name, program)
	return service.KeyValue{"LaunchdConfig": plist}, err
}
