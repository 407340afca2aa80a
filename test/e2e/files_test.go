//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/test/lab"
)

// A policy that names folders is kept to by every way of transferring files, and the audit log tells what was done.
func TestPolicyKeepsFileTransferToItsFolders(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	w.login("carol")
	if r := w.ssh("carol", "mkdir in; echo secret >outside"); r.code != 0 {
		t.Fatal(r)
	}
	w.admin("policy", "add", "carol", "--from", "user:"+people["carol"].Email, "--to", "tag:web", "--as", w.as, "--can", "sftp", "--sftp-path", "~/in")
	run := func(program string, args ...string) result {
		return finish(w.machine("carol").SSH(within(t, 90*time.Second), "carol", program, args...))
	}
	if err := w.peers[desk].Write("/home/carol/file", "carol", 0o644, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(within(t, 60*time.Second), "the folder alone to be granted", func() error {
		if r := run("scp", "-q", "file", w.target+":/home/deploy/in/"); r.code != 0 {
			return fmt.Errorf("scp into the folder: %s", r)
		}
		if r := run("scp", "-q", w.target+":/home/deploy/outside", "stolen"); r.code == 0 {
			return fmt.Errorf("scp from outside: %s", r)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]result{
		"scp -O":  run("scp", "-qO", "file", w.target+":in/"),
		"command": w.ssh("carol", "cat outside"),
	} {
		if r.code == 0 || !strings.Contains(r.err, "[capability]") {
			t.Errorf("%s: %s", what, r)
		}
	}
	if err := lab.Until(within(t, 60*time.Second), "the audit log", func() error {
		events, err := w.auditLog()
		if err != nil {
			return err
		}
		var wrote, refused bool
		for _, e := range events {
			wrote = wrote || e.Type == audit.FileOp && e.What == "close" && e.Target == "/home/deploy/in/file" && e.BytesIn == 6
			refused = refused || e.Type == audit.Refused && e.Target == "/home/deploy/outside"
		}
		if !wrote || !refused {
			return fmt.Errorf("written %v, refused %v", wrote, refused)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
