//go:build darwin || freebsd

package setup

import (
	"os"

	"lanyard/platform/pam"
)

const openFiles = 1024

func plain() *Plan {
	p := &Plan{Umask: defaultUmask, Env: pam.EnvFile{Path: "/etc/environment"}.Environment()}
	if os.Geteuid() == 0 {
		p.Files = openFiles
	}
	return p
}
