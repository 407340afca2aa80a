package hostfw

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadsWhetherUfwIsOn(t *testing.T) {
	for text, want := range map[string]bool{
		"# comment\nENABLED=yes\nLOGLEVEL=low\n": true,
		"ENABLED=\"YES\"\n":                      true,
		"ENABLED=no\n":                           false,
		"#ENABLED=yes\n":                         false,
		"":                                       false,
	} {
		path := filepath.Join(t.TempDir(), "ufw.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ufwEnabled(path); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if ufwEnabled(filepath.Join(t.TempDir(), "absent")) {
		t.Error("a missing file counts as on")
	}
}
