//go:build darwin || freebsd

package forward

import (
	"os"

	"lanyard/platform/accounts"
)

// switches reports whether acting for a means giving up root.
func switches(a accounts.Account) bool { return os.Geteuid() == 0 && a.Uid != 0 }
