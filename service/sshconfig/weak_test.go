package sshconfig

import (
	"os"
	"path/filepath"
	"testing"

	"lanyard/platform/paths"
)

func TestWeakeningLinesAreFoundWithTheirPlace(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("LANYARD_STATE_DIR", home)
	p := paths.User("default")
	os.MkdirAll(p.SSHDir, 0o700)
	config := `# StrictHostKeyChecking no
Host build
  StrictHostKeyChecking no
Host * !build
  stricthostkeychecking=no
  UserKnownHostsFile "/dev/null"
  IdentitiesOnly yes
Match user bob
  HostKeyAlias x
Match all
  HostKeyAlias y
`
	os.WriteFile(filepath.Join(p.SSHDir, "config"), []byte(config), 0o600)
	var lines []int
	for _, w := range Weakened(p) {
		lines = append(lines, w.Line)
	}
	if len(lines) != 3 || lines[0] != 5 || lines[1] != 6 || lines[2] != 11 {
		t.Errorf("found %v in:\n%s", Weakened(p), config)
	}
}
