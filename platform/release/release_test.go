package release

import (
	"runtime/debug"
	"testing"
)

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

func TestProgramThatIsNotStampedSaysDevelAndItsCommit(t *testing.T) {
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "90e4d700be2e4c2f9d1c90e4d700be2e4c2f9d1c"}
	clean, dirty := debug.BuildSetting{Key: "vcs.modified", Value: "false"}, debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for want, b := range map[string]*debug.BuildInfo{
		"devel-90e4d700be2e": {
			Main: debug.Module{Version: "v0.0.0-20261122120000-90e4d700be2e"}, Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, commit, clean},
		},
		"devel-90e4d700be2e.dirty": {Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{commit, dirty}},
		"devel-90e4":               {Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "90e4"}}},
		"devel":                    {Main: debug.Module{Version: "(devel)"}},
		"v1.2.3":                   {Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{commit, clean}},
	} {
		if v := recorded(b); v != want {
			t.Errorf("%+v is %q, want %q", b, v, want)
		}
	}
	if v := recorded(nil); v != "devel" {
		t.Errorf("without anything recorded: %q", v)
	}
}
