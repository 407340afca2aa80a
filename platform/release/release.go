// Package release knows which version of Lanyard this program is.
package release

import (
	"runtime/debug"
	"strings"
)

// stamped is set by the linker: go build -ldflags "-X lanyard/platform/release.stamped=1.2.3".
var stamped string

// Stamp is the version that the program was built for a package with, or nothing.
func Stamp() string { return stamped }

// Version is the program's version as it was built for a package, else as the go command recorded it.
func Version() string {
	if stamped != "" {
		return stamped
	}
	b, _ := debug.ReadBuildInfo()
	return recorded(b)
}

// commitLength is how many characters of a commit tell it from others, as in the versions that make stamps.
const commitLength = 12

// recorded is a tag's version, or "devel" with the commit where that is known. b may be nil.
func recorded(b *debug.BuildInfo) string {
	const devel = "devel"
	if b == nil {
		return devel
	}
	// Of a commit without a tag the go command makes a pseudo-version.
	if v := b.Main.Version; v != "" && v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-") {
		return v
	}
	commit, changed := "", ""
	for _, s := range b.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = "-" + s.Value[:min(commitLength, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ".dirty"
		}
	}
	return devel + commit + changed
}
