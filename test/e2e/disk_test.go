//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// smallDisk moves a folder of a machine whose program is stopped onto a file system of its own, of size KiB.
func smallDisk(t *testing.T, m *lab.Machine, folder string, size int) {
	t.Helper()
	script := fmt.Sprintf("cp -a %[1]s /tmp/moved && mount -t tmpfs -o size=%[2]dk,mode=0755 small %[1]s && cp -a /tmp/moved/. %[1]s/ && rm -r /tmp/moved", folder, size)
	if err := m.Run(within(t, 60*time.Second), "", "bash", "-c", script); err != nil {
		t.Fatal(err)
	}
}

// quiet waits until a peer has delivered all its events and nothing changes in its folder any more: a file that is put in
// the place of another one, or removed, makes room.
func quiet(t *testing.T, p *lab.Peer, folder string) {
	t.Helper()
	before := ""
	until(t, folder+" to rest", func() error {
		st, err := p.Status(t.Context())
		if err != nil || st.Audit.Pending > 0 {
			return fmt.Errorf("%+v, %w", st, err)
		}
		now, err := p.Output(within(t, time.Minute), "", "find", folder, "-printf", "%p %s %T@\n")
		if err == nil && now != before {
			time.Sleep(time.Second)
			before, err = now, errors.New("it changes")
		}
		return err
	})
}

// fillUp leaves no room in a folder.
func fillUp(t *testing.T, m *lab.Machine, folder string) {
	t.Helper()
	// dd fails when the disk is full, which is what it is here for; the second pass takes what is left of the last page.
	script := fmt.Sprintf("dd if=/dev/zero of=%[1]s/ballast bs=4k 2>/dev/null; dd if=/dev/zero of=%[1]s/ballast2 bs=1 2>/dev/null; test -s %[1]s/ballast", folder)
	if err := m.Run(within(t, 60*time.Second), "", "bash", "-c", script); err != nil {
		t.Fatal(err)
	}
}

func freeUp(t *testing.T, m *lab.Machine, folder string) {
	t.Helper()
	if err := m.Run(within(t, 60*time.Second), "", "rm", "-f", folder+"/ballast", folder+"/ballast2"); err != nil {
		t.Fatal(err)
	}
}

// The disk under a server peer's state and spool fills up: nobody gets in unrecorded, what is taken away is taken away,
// and everything goes on by itself when there is room again.
func TestFullDiskOfAServerPeer(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 9*time.Minute)
	server := w.peers[web]
	const folder = "/var/lib/lanyard"
	if err := server.Daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, server.Machine, folder, 512)
	if err := errors.Join(server.StartDaemon(ctx), server.Serves(ctx)); err != nil {
		t.Fatal(err)
	}
	w.login("ann")
	w.login("carol")
	w.eventually("carol", "in\n", "echo in")
	s := w.open("ann")

	quiet(t, server, folder)
	fillUp(t, server.Machine, folder)
	kept := string(read(t, server, mapFile))
	r := w.ssh("carol", "echo in")
	if r.code != 255 || !strings.Contains(r.err, "[audit-full]") || r.out != "" {
		t.Errorf("a new session on a full disk: %s", r)
	}
	if out, err := server.Lanyard(ctx, "", "status"); err != nil || !strings.Contains(out, "audit log is full") {
		t.Errorf("status does not say so: %v\n%s", err, out)
	}
	out := w.admin("user", "block", people["ann"].Email)
	watch := lab.StartWatch()
	defer watch.Stop()
	if _, _, err := s.endsWithin(watch, 10*time.Second); err != nil {
		t.Error(err)
	}
	if err := s.check("blocked"); err != nil {
		t.Error(err)
	}
	// It ended her session; that a restart would remember is not promised before it is on the disk.
	if !strings.Contains(out, "NOT in force yet on "+web) {
		t.Errorf("the answer to the block does not say that %s could not keep it:\n%s", web, out)
	}

	freeUp(t, server.Machine, folder)
	w.eventually("carol", "again\n", "echo again")
	if err := lab.Until(within(t, 2*time.Minute), "the same events at both ends", func() error {
		sent, err := spooled(server)
		if err != nil {
			return err
		}
		all, err := w.auditLog("-n", "0")
		if err != nil {
			return err
		}
		return errors.Join(contains(all, sent), balanced(all))
	}); err != nil {
		t.Error(err)
	}
	until(t, "a map on the disk that is newer than the block", func() error {
		if string(read(t, server, mapFile)) == kept {
			return errors.New("there is that of before")
		}
		return nil
	})
	// The block is on the disk now: it holds with the management server dead.
	w.mgmt.Process.Kill()
	server.Daemon.Kill()
	if err := errors.Join(server.StartDaemon(ctx), server.Serves(ctx)); err != nil {
		t.Fatal(err)
	}
	w.eventually("carol", "still\n", "echo still")
	if r := w.ssh("ann", "true"); r.code != 255 || !strings.Contains(r.err, "[blocked]") {
		t.Errorf("ann, who was blocked while the disk was full, after a restart: %s", r)
	}
}

// The disk under the management server's database fills up: what is in force stays, changes are refused in a sentence,
// and it goes on by itself.
func TestFullDiskOfTheManagementServer(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 9*time.Minute)
	if err := w.mgmt.Process.Stop(); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, w.mgmt.Machine, w.mgmt.State, 8<<10)
	if err := w.mgmt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	w.login("ann")
	w.eventually("ann", "in\n", "echo in")
	fillUp(t, w.mgmt.Machine, w.mgmt.State)
	if r := w.ssh("ann", "echo in"); r.out != "in\n" {
		t.Errorf("with the management server's disk full: %s", r)
	}
	// What is free inside of the database is used first.
	var err error
	var out string
	for i := range 2000 {
		if out, err = w.mgmt.Admin(ctx, "group", "add", fmt.Sprintf("group-%d-%s", i, strings.Repeat("x", 40))); err != nil {
			break
		}
	}
	if err == nil {
		t.Fatalf("2000 groups found room on a full disk: %s", out)
	}
	if text := err.Error(); !strings.Contains(text, "full") || strings.Contains(text, "goroutine") {
		t.Errorf("a change on a full disk is refused with %q", text)
	}
	if r := w.ssh("ann", "echo in"); r.out != "in\n" {
		t.Errorf("with the database full: %s", r)
	}
	freeUp(t, w.mgmt.Machine, w.mgmt.State)
	// A server that could not be followed is followed again within seconds; whether that is before the block, its answer
	// says.
	answer := w.admin("user", "block", people["ann"].Email)
	if err := lab.Until(within(t, 2*time.Minute), "the block", func() error {
		r := w.ssh("ann", "true")
		if r.code == 255 && strings.Contains(r.err, "[blocked]") {
			return nil
		}
		if !strings.Contains(answer, "NOT in force yet on "+web) {
			t.Fatalf("ann got in after a block that says\n%s%s", answer, r)
		}
		return errors.New(r.String())
	}); err != nil {
		t.Error(err)
	}
	if err := lab.Until(within(t, 3*time.Minute), "the events", func() error {
		sent, err := spooled(w.peers[web])
		if err != nil {
			return err
		}
		all, err := w.auditLog("-n", "0")
		if err != nil {
			return err
		}
		return errors.Join(contains(all, sent), balanced(all))
	}); err != nil {
		t.Error(err)
	}
}
