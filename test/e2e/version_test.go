package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Lanyard takes a helper of its own version only, so each program must know of which it is.
func TestProgramsAreOfOneVersion(t *testing.T) {
	say := func(program string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), filepath.Join("../../.build/bin", program), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	version := say("lanyard-helper", "version")
	if version == "" {
		t.Fatal("the helper is of no version")
	}
	for _, program := range []string{"lanyard", "lanyard-mgmt"} {
		if said := say(program, "--version"); said != program+" version "+version {
			t.Errorf("%s says %q, and its helper is of %q", program, said, version)
		}
	}
}
