//go:build unix

package start

import (
	"slices"
	"strings"
	"testing"
)

func TestRightsOfAnAccountTravelUnchanged(t *testing.T) {
	for _, groups := range [][]uint32{nil, {0}, {54322, 4294967294}} {
		value, ok := strings.CutPrefix(Becomes(54321, 54322, groups), As+"=")
		uid, gid, got, whole := parseAs(value)
		if !ok || !whole || uid != 54321 || gid != 54322 || len(got) != len(groups) || !slices.EqualFunc(got, groups, func(a int, b uint32) bool { return uint32(a) == b }) {
			t.Errorf("%v became %q: %d, %d, %v, %v", groups, value, uid, gid, got, whole)
		}
	}
}

// What cannot be read whole makes the helper end, and gives nobody root's rights.
func TestRightsThatCannotBeReadAreNotTakenOn(t *testing.T) {
	for _, s := range []string{"", ":", "::", "1", "1:", "1::x", "-1:1:", "x:1:", "1:1:1,,2", "4294967296:1:", "1:1:-1", " 1:1:"} {
		if _, _, _, ok := parseAs(s); ok {
			t.Errorf("%q was taken", s)
		}
		if become(s) == nil {
			t.Errorf("%q was taken on", s)
		}
	}
}
