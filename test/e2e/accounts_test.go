//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/test/lab"
)

// identity is where somebody's sign-in lies on their machine: the private key; the certificate beside it ends in
// -cert.pub.
func (w *world) identity(t *testing.T, person string) string {
	t.Helper()
	home := "/home/" + w.account(person) + "/.ssh/"
	certs, err := filepath.Glob(w.machine(person).Path(home + "lanyard-default-*-cert.pub"))
	if err != nil || len(certs) != 1 {
		t.Fatalf("%s's certificates: %q, %v", person, certs, err)
	}
	return home + strings.TrimSuffix(filepath.Base(certs[0]), "-cert.pub")
}

// append writes a line at the end of a file of a machine.
func appendTo(t *testing.T, m *lab.Peer, file, line string) {
	t.Helper()
	f, err := os.OpenFile(m.Path(file), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line); err != nil {
		t.Fatal(err)
	}
}

// Names that some tool would take for root, an option, a path or a command lead to nobody, whatever the rule says.
func TestNamesThatMeanSomebodyElse(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 6*time.Minute)
	if err := w.mgmt.AddPolicy(ctx, "any", "user:"+people["ann"].Email, "tag:web", "*"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, w.peers[web], "/etc/passwd", "toor:x:0:0:another root:/root:/bin/bash\nservice1:x:301:301::/tmp:/bin/bash\n")
	appendTo(t, w.peers[web], "/etc/shadow", "toor:*:19000:0:99999:7:::\nservice1:*:19000:0:99999:7:::\n")
	w.login("ann")
	target, err := w.peers[web].Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	key := w.identity(t, "ann")
	// The names go over the wire as they are: ssh itself refuses to send some.
	if err := w.peers[laptop].Daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	const noAccount, privileged = "[no-account]", "[privileged]"
	names := []struct{ name, want string }{
		{"deploy", ""},
		{"carol", ""}, // who is meant: the rule's star covers both
		{"root", privileged},
		{"toor", privileged},
		{"service1", privileged}, // made for a service
		{"nobody", noAccount},    // its shell lets nobody in
		{"0", noAccount},
		{"00", noAccount},
		{"+0", noAccount},
		{"-0", noAccount},
		{"0x0", noAccount},
		{"64104", noAccount},
		{"root ", noAccount},
		{" root", noAccount},
		{"root\t", noAccount},
		{"root\n", noAccount},
		{"deploy\nroot", noAccount},
		{"root\x00", noAccount},
		{"deploy\x00root", noAccount},
		{"-oProxyCommand=id", noAccount},
		{"-froot", noAccount},
		{"--", noAccount},
		{"ROOT", noAccount},
		{"Deploy", noAccount},
		{"DEPLOY", noAccount},
		{"deploy:x:0:0", noAccount},
		{"../root", noAccount},
		{"..", noAccount},
		{".", noAccount},
		{"/root", noAccount},
		{"a/b", noAccount},
		{"$(id)", noAccount},
		{"`id`", noAccount},
		{"deploy;id", noAccount},
		{"deploy|id", noAccount},
		{"deploy root", noAccount},
		{"~root", noAccount},
		{"*", noAccount},
		{"{email.local}", noAccount},
		{"root@localhost", noAccount},
		{"deploy%root", noAccount},
		{"ro\u043et", noAccount}, // a Cyrillic o
		{"root\u200b", noAccount},
		{"\x1b]0;pwned\x07", noAccount},
		{strings.Repeat("a", 400), noAccount},
		{"nobody-here", noAccount},
		{"", noAccount},
	}
	// Who is refused more than ten times in a row waits before the next time: every ninth succeeds.
	for i := 8; i < len(names); i += 9 {
		names = slices.Insert(names, i, names[0])
	}
	refusals := 0
	args := []string{"login", target + ":22", key + "-cert.pub"}
	for _, n := range names {
		if n.want != "" {
			refusals++
		}
		args = append(args, fmt.Sprintf("%q", n.name))
	}
	all := w.attempts(t, w.peers[laptop], []string{"KEY=" + key}, args...)
	if len(all) != len(names) {
		t.Fatalf("%d of %d names were tried", len(all), len(names))
	}
	for i, n := range names {
		a := all[i]
		switch {
		case n.want != "":
			if a.Accepted || !strings.Contains(a.Said, n.want) {
				t.Errorf("as %q: want a refusal with %s: %+v", n.name, n.want, a)
			}
		case !a.Accepted || !strings.HasSuffix(a.Said, "\n"+n.name):
			t.Errorf("as %q, who is meant: %+v", n.name, a)
		}
	}

	t.Run("every refusal is in the audit log, as text that does nothing", func(t *testing.T) {
		// Refusals of one source and reason are counted into one event, which comes when the service stops at the latest.
		if err := w.peers[web].Daemon.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := w.peers[web].StartDaemon(ctx); err != nil {
			t.Fatal(err)
		}
		if err := lab.Until(within(t, 60*time.Second), "the refusals", func() error {
			events, err := w.auditLog("-n", "0")
			if err != nil {
				return err
			}
			n := 0
			for _, e := range events {
				if e.Type == audit.Refused {
					n += max(e.Count, 1)
				}
			}
			if n != refusals {
				return fmt.Errorf("%d refusals are in the log, want %d", n, refusals)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}
