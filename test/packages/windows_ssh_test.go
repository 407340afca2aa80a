//go:build linux

package packages

import (
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// Real OpenSSH at a Linux machine, through the tunnel, to a service of Windows' service control manager.
func TestWindowsServesSSH(t *testing.T) {
	o, m := openOffice(t), openWindows(t)
	const program = `C:\Lanyard\lanyard.exe`
	if err := m.Put(windowsProgram(t, "lanyard.exe", "service", "dev"), program); err != nil {
		t.Fatal(err)
	}
	if out, err := m.Run(within(t, time.Minute), program, "service", "install"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key, err := o.mgmt.SetupKey(within(t, time.Minute), "tag:windows")
	if err != nil {
		t.Fatal(err)
	}
	up := m.Command(within(t, time.Minute), program, "up", o.mgmt.Join, "--name", winPeer, "--allow-ssh", "--setup-key-file", "-")
	up.Stdin = strings.NewReader(key + "\r\n")
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if s := serves(t, m, program); s.Tunnel.Mode != "userspace" {
		t.Errorf("the tunnel's mode is %q", s.Tunnel.Mode)
	}
	o.signIn()
	if r := o.ssh("echo hello& exit 7"); r.code != 7 || strings.TrimSpace(r.out) != "hello" {
		t.Errorf("a command: %s", r)
	}
	_ = lab.Me
}
