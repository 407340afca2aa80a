package main

import (
	"github.com/kardianos/service"

	"lanyard/installer/units"
)

// serviceOptions gives kardianos the unit of the packages in place of its own, which restarts after two minutes.
func serviceOptions(program string) (service.KeyValue, error) {
	unit, err := units.Systemd(units.Name, program)
	return service.KeyValue{"SystemdScript": unit}, err
}
