package tunnel

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestKernelModeNeedsRights(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	if tn, err := Open(t.Context(), newMachine(t, 1).config()); err == nil {
		tn.Close()
		t.Error("an interface without rights")
	}
}

// asNobody runs the calling test once more, in a process without rights.
func asNobody(t *testing.T) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // everybody may run it there
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
