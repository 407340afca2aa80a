// Package tools looks for the programs of others that tests run.
package tools

import (
	"os"
	"os/exec"
	"testing"
)

// Need looks for the programs that a make target installs for root. Where one is missing, the test fails as root, who
// skips nothing, and is skipped as anybody else.
func Need(t testing.TB, target string, programs ...string) {
	t.Helper()
	need(t, os.Geteuid() == 0, target, programs)
}

func need(t testing.TB, root bool, target string, programs []string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if root {
			t.Fatalf("%s is missing; 'make %s' installs it", name, target)
		}
		t.Skipf("needs root: %s is missing, which 'make %s' installs", name, target)
	}
}
