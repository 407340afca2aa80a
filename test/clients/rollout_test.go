//go:build linux

package clients

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// The Ansible role leaves what a machine needs to join by itself and what nobody on it may change, changes nothing the
// second time, and leaves no key on a machine that has joined.
func TestAnsibleRoleRollsOut(t *testing.T) {
	needsRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	l, err := lab.Open(ctx, lab.Options{Bin: filepath.Join("..", "..", ".build", "bin"), Machines: []string{office, web}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(40))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mgmt, err := l.StartMgmt(ctx, office)
	must(err)
	key, err := mgmt.SetupKey(ctx, "tag:web")
	must(err)
	m := l.Machine(web)
	const folder = "../../installer/ansible"
	must(filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to := "/root/roles" + strings.TrimPrefix(path, folder)
		b, err := os.ReadFile(path)
		return errors.Join(err, os.MkdirAll(m.Path(filepath.Dir(to)), 0o755), m.Write(to, "", 0o644, b))
	}))
	vars, err := json.Marshal(map[string]any{
		"lanyard_management_url": mgmt.Join, "lanyard_setup_key": key, "lanyard_package": "", "lanyard_start": false,
		"lanyard_managed": map[string]any{"allow_ssh": true},
	})
	must(err)
	must(m.Write("/root/vars.json", "", 0o600, vars))
	play := func(args ...string) string {
		t.Helper()
		c := m.Command(ctx, "", append([]string{
			"ansible-playbook", "-i", "localhost,", "-c", "local", "-e", "ansible_python_interpreter=/usr/bin/python3", "-e", "@/root/vars.json",
			"/root/roles/example.yml",
		}, args...)...)
		c.Env = append(c.Env, "PATH="+l.Bin()+":/usr/sbin:/usr/bin:/sbin:/bin", "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), key) {
			t.Error("Ansible shows the setup key")
		}
		return string(out)
	}
	play("--syntax-check")
	if out := play(); !strings.Contains(out, "failed=0") || strings.Contains(out, "changed=0") {
		t.Fatalf("the first run:\n%s", out)
	}
	for name, mode := range map[string]os.FileMode{"setup-key": 0o600, "rollout.env": 0o600, "managed.yaml": 0o644} {
		if fi, err := os.Stat(m.Path("/etc/lanyard/" + name)); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	if out := play(); !strings.Contains(out, "changed=0") {
		t.Errorf("the second run changed something:\n%s", out)
	}
	env, err := os.ReadFile(m.Path("/etc/lanyard/rollout.env"))
	must(err)
	var list []string
	for line := range strings.Lines(string(env)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	p, err := mgmt.Service(ctx, web, list...) // as the unit starts it
	must(err)
	must(lab.Until(ctx, "the machine to join by itself", func() error {
		s, err := p.Status(ctx)
		if err == nil && s.State != "connected" {
			err = errors.New(s.State)
		}
		return err
	}))
	said, err := p.Lanyard(ctx, "", "status")
	must(err)
	if want := "Settled by your administrator: allow_ssh (/etc/lanyard/managed.yaml)."; !strings.Contains(said, want) {
		t.Errorf("status does not say %q:\n%s", want, said)
	}
	if out, err := p.Lanyard(ctx, "", "up", "--allow-ssh=false"); err == nil || !strings.Contains(err.Error(), "settled allow_ssh") {
		t.Errorf("somebody switched SSH off: %s, %v", out, err)
	}
	must(lab.Until(ctx, "the key to be used up", func() error {
		if _, err := os.Stat(m.Path("/etc/lanyard/setup-key")); !os.IsNotExist(err) {
			return errors.New("it is still there")
		}
		return nil
	}))
	if out := play(); !strings.Contains(out, "changed=0") {
		t.Errorf("on a machine that has joined:\n%s", out)
	}
}
