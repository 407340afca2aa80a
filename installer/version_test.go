package main

import "testing"

func TestVersionsOfEachSystem(t *testing.T) {
	for _, c := range []struct{ in, text, numbers, alpine string }{
		{"1.2.3", "1.2.3", "1.2.3", "1.2.3"},
		{"v1.2.3-0-gabcdef012345", "1.2.3", "1.2.3", "1.2.3"},
		{"v1.2.3-14-gabcdef012345", "1.2.3+14.gabcdef012345", "1.2.3.14", "1.2.3_p14"},
		{"v1.2.3-14-gabcdef012345-dirty", "1.2.3+14.gabcdef012345.dirty", "1.2.3.14", "1.2.3_p14"},
		{"1.2.3+14.gabcdef012345", "1.2.3+14.gabcdef012345", "1.2.3.14", "1.2.3_p14"},
	} {
		v, err := parseVersion(c.in)
		if err != nil || v.String() != c.text || v.Numbers() != c.numbers || v.Alpine() != c.alpine {
			t.Errorf("%s: %s %s %s %v", c.in, v, v.Numbers(), v.Alpine(), err)
		}
		if again, err := parseVersion(v.String()); err != nil || again.String() != v.String() {
			t.Errorf("%s does not read itself: %v", v, err)
		}
	}
	for _, bad := range []string{"", "1.2", "x1.2.3", "1.2.3-rc1", "1.2.3;rm", "99999.0.0"} {
		if _, err := parseVersion(bad); err == nil {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}
