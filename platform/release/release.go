// Package release knows which version of Lanyard this program is.
package release

import "runtime/debug"

// stamped is set by the linker: go build -ldflags "-X lanyard/platform/release.stamped=1.2.3".
var stamped string

// Stamp is the version that the program was built for a package with, or nothing.
func Stamp() string { return stamped }

// Version is the program's version as it was built for a package, else as the go command recorded it.
func Version() string {
	if stamped != "" {
		return stamped
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}
