package accounts

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// firstPerson is the lowest uid that login.defs(5) gives to people.
func (d database) firstPerson() uint32 {
	lines, _ := readLines(filepath.Join(d.etc, "login.defs"))
	for _, l := range lines {
		if f := strings.Fields(l); len(f) == 2 && f[0] == "UID_MIN" {
			if n, err := strconv.ParseUint(f[1], 0, 32); err == nil {
				return uint32(n)
			}
		}
	}
	return 1000
}

// foreign reports whether nsswitch.conf(5) names a source of one of these databases that is not a file here.
func (d database) foreign(databases ...string) bool {
	lines, _ := readLines(filepath.Join(d.etc, "nsswitch.conf"))
	for _, l := range lines {
		l, _, _ = strings.Cut(l, "#")
		db, sources, ok := strings.Cut(l, ":")
		if db = strings.TrimSpace(db); !ok || !slices.Contains(databases, db) {
			continue
		}
		for _, s := range strings.Fields(sources) {
			if !strings.HasPrefix(s, "[") && !slices.Contains([]string{"files", "compat", "systemd"}, s) {
				return true
			}
		}
	}
	return false
}
