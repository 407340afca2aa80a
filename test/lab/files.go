//go:build linux

package lab

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Files is a list of file names on the host.
type Files map[string]bool

// busy are folders that other programs of a living machine write to all the time.
var busy = []string{
	"/run/systemd", "/run/udev", "/run/log", "/run/lock", "/run/dbus", "/run/utmp", "/var/log", "/var/cache", "/var/lib/systemd",
	"/var/lib/apt", "/var/lib/dpkg", "/var/tmp", "/var/spool", "/var/lib/docker", "/var/lib/containerd",
	"/var/lib/containers", "/run/netns", "/run/runc",
}

// ListFiles lists every name under roots that the caller may see, but for the Go caches, the folder keep (the
// checkout) and the folders that other programs write to all the time.
func ListFiles(keep string, roots ...string) Files {
	skip := slices.Clone(busy)
	if keep != "" {
		skip = append(skip, keep)
	}
	if out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOTELEMETRYDIR").Output(); err == nil {
		skip = append(skip, strings.Fields(string(out))...)
	}
	all := Files{}
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if slices.Contains(skip, path) {
				return fs.SkipDir
			}
			if err == nil { // else not ours to read, or gone meanwhile
				all[path] = true
			}
			return nil
		})
	}
	return all
}

// Diff tells what was added and removed since before.
func (f Files) Diff(before Files) []string {
	var out []string
	for p := range f {
		if _, err := os.Lstat(p); !before[p] && err == nil { // else it was somebody's for a moment
			out = append(out, "+ "+p)
		}
	}
	for p := range before {
		if _, err := os.Lstat(p); !f[p] && err != nil {
			out = append(out, "- "+p)
		}
	}
	slices.Sort(out)
	return out
}
