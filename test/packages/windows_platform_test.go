//go:build linux

package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests of platform/ run on the Windows machine, too.
func TestPlatformOnWindows(t *testing.T) {
	m := openWindows(t)
	dirs, err := filepath.Glob("../../platform/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no packages: %v", err)
	}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), name+".test.exe")
			c := exec.Command("go", "test", "-c", "-o", program, "lanyard/platform/"+name)
			c.Env = append(os.Environ(), "GOOS=windows", "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if _, err := os.Stat(program); err != nil {
				return // it has no tests on Windows
			}
			out, err := m.Run(within(t, 3*time.Minute), program, "-test.v", "-test.timeout=2m")
			if err != nil || !strings.Contains(out, "PASS") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
