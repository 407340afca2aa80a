package release

import "testing"

func TestPackagesStampTheirVersion(t *testing.T) {
	if Version() == "" {
		t.Error("a program without a version")
	}
	defer func(was string) { stamped = was }(stamped)
	stamped = "1.2.3"
	if v := Version(); v != "1.2.3" || Stamp() != v {
		t.Errorf("a stamped program says %q", v)
	}
}
