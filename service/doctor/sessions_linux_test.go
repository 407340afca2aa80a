package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lanyard/service/ipc"
)

func TestModulesOfPAMThatSessionsLackAreNamed(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "etc/pam.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	find := func(stack string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "sshd"), []byte(stack), 0o644); err != nil {
			t.Fatal(err)
		}
		all := passedOver(root)
		if Bad(all) {
			t.Errorf("a failure: %+v", all)
		}
		var text strings.Builder
		Write(&text, all)
		return text.String()
	}
	if got := find("session required pam_limits.so\nsession optional pam_systemd.so\n"); got != "" {
		t.Errorf("nothing is missing: %s", got)
	}
	got := find("session required pam_mkhomedir.so\nsession [success=1 default=ignore] pam_localuser.so\nsession required pam_exec.so /bin/true\n")
	if !strings.HasPrefix(got, "warning") || !strings.Contains(got, "/etc/pam.d/sshd, which Lanyard does not know: pam_mkhomedir, pam_exec.") ||
		!strings.Contains(got, "takes all of those: pam_localuser.") {
		t.Errorf("%s", got)
	}
	if got := sessions(context.Background(), &visit{status: &ipc.Status{}}); got != nil {
		t.Errorf("a machine that serves nobody: %+v", got)
	}
}
