package main

import (
	"github.com/kardianos/service"

	"lanyard/installer/units"
)

// serviceOptions gives kardianos the rc.d script of the packages in place of its own, which has no rcvar.
func serviceOptions(program string) (service.KeyValue, error) {
	script, err := units.RCD(units.Name, program)
	return service.KeyValue{"SysvScript": script}, err
}
