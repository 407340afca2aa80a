//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

const heir = "heir" // takes a name that has become free

// A name is taken over by another machine. Nothing that was granted, known or open under it goes along.
func TestFreedNameTakesNothingAlong(t *testing.T) {
	needsRoot(t)
	w := open(t, false, heir)
	ctx := within(t, 6*time.Minute)
	old := w.peers[web]
	for _, name := range []string{laptop, desk} { // a name that is gone is asked of nobody
		if err := w.peers[name].Write("/etc/resolv.conf", "", 0o644, []byte("nameserver 127.0.0.1\n")); err != nil {
			t.Fatal(err)
		}
	}
	// A policy by the machine's name: what it means is the machine.
	w.admin("policy", "add", "by-name", "--from", "user:"+people["bob"].Email, "--to", "peer:"+web, "--as", w.as)
	for _, person := range []string{"ann", "bob", "carol"} {
		w.login(person)
	}
	w.eventually("bob", web+"\n", "cat /proc/sys/kernel/hostname")
	oldAddr, err := old.Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	oldKey := w.hostKey(t)
	s := w.open("ann")
	w.admin("peer", "remove", web)
	watch := lab.StartWatch()
	defer watch.Stop()
	if _, _, err := s.endsWithin(watch, 10*time.Second); err != nil {
		t.Error(err)
	}
	if err := s.check("machine-removed"); err != nil {
		t.Error(err)
	}
	until(t, "the removal", func() error {
		st, err := old.Status(ctx)
		if err == nil && (st.State != "removed" || st.SSH.Serving || len(st.Peers) > 0) {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	until(t, "the name to be forgotten", func() error {
		if r := w.ssh("carol", "true"); r.code != 255 || strings.Contains(r.err, "Lanyard: ") {
			return errors.New(r.String())
		}
		return nil
	})

	// The name rests first, longer than any map or known_hosts file that has it is believed.
	p, err := w.mgmt.Service(ctx, heir)
	if err != nil {
		t.Fatal(err)
	}
	w.peers[heir] = p
	key, err := w.mgmt.SetupKey(ctx, "tag:heir")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write("/tmp/setup-key", "", 0o600, []byte(key)); err != nil {
		t.Fatal(err)
	}
	if out, err := p.Lanyard(ctx, "", "up", w.mgmt.Join, "--setup-key-file", "/tmp/setup-key", "--name", web, "--allow-ssh"); err != nil || !strings.Contains(out, `"`+web+`-2"`) {
		t.Fatalf("%v\n%s", err, out)
	}
	rename := []string{w.lab.Program("lanyard-mgmt"), "--state", w.mgmt.State, "peer", "rename", web + "-2", web}
	sentence(t, "the name too early", finish(w.mgmt.Command(ctx, "", rename...)), "not long ago")
	// Put back what the clock cannot be waited for: when the old machine was removed.
	if err := w.mgmt.Run(ctx, "", "python3", "-c", `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=10)
db.execute("UPDATE peers SET removed = removed - 31*24*3600*1000 WHERE removed > 0")
db.commit()`, w.mgmt.State+"/mgmt.db"); err != nil {
		t.Fatal(err)
	}
	w.admin("peer", "rename", web+"-2", web)
	// As long as no policy names it, it is nobody's.
	for _, person := range []string{"ann", "bob", "carol"} {
		if out := w.admin("explain", people[person].Email, w.as+"@"+web); !strings.Contains(out, "[no-rule]") {
			t.Errorf("%s, by what was granted on the old machine: %s", person, out)
		}
		if r := w.ssh(person, "true"); r.code != 255 {
			t.Errorf("%s: %s", person, r)
		}
	}
	if st, err := p.Status(ctx); err != nil || len(st.Peers) > 0 || st.SSH.Serving {
		t.Errorf("the heir: %+v, %v", st, err)
	}
	w.admin("policy", "add", "heir", "--from", "user:"+people["carol"].Email, "--to", "tag:heir", "--as", w.as)
	w.eventually("carol", heir+"\n", "cat /proc/sys/kernel/hostname")
	if key := w.hostKey(t); key == oldKey || key == "" {
		t.Errorf("the host key that ssh checks: %q, before %q", key, oldKey)
	}
	if r := w.ssh("carol", "true"); r.code != 0 || r.err != "" {
		t.Errorf("ssh has something to say of the new host key: %s", r)
	}
	if r := w.ssh("bob", "true"); r.code != 255 {
		t.Errorf("bob, by the policy of the old machine's name: %s", r)
	}

	// The old machine, started again with all it had, gets nothing and is nobody.
	if err := errors.Join(old.Daemon.Stop(), old.StartDaemon(ctx)); err != nil {
		t.Fatal(err)
	}
	if st, err := old.Status(ctx); err != nil || st.State != "removed" || len(st.Peers) > 0 || st.SSH.Serving {
		t.Errorf("the old machine: %+v, %v", st, err)
	}
	if r := finish(w.peers[desk].SSH(ctx, "carol", "ssh", "-o", "ConnectTimeout=2", "-o", "StrictHostKeyChecking=no", w.as+"@"+oldAddr, "true")); r.code != 255 {
		t.Errorf("the old machine's address: %s", r)
	}
	w.eventually("carol", heir+"\n", "cat /proc/sys/kernel/hostname")
}

// hostKey is the line of web-1's host key that ssh on the desk checks by.
func (w *world) hostKey(t *testing.T) string {
	t.Helper()
	r := finish(w.peers[desk].SSH(within(t, 60*time.Second), "carol", "ssh", "-G", w.target))
	var file, host string
	for line := range strings.Lines(r.out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "globalknownhostsfile":
			file = strings.Trim(value, `"`)
		case "hostname":
			host = value
		}
	}
	b, err := os.ReadFile(w.peers[desk].Path(file))
	if err != nil {
		t.Fatal(err, r)
	}
	for line := range strings.Lines(string(b)) {
		if _, key, ok := strings.Cut(line, " ssh-"); ok && strings.Contains(line, host) {
			return key
		}
	}
	t.Fatalf("no host key of %s in %s:\n%s", host, file, b)
	return ""
}
