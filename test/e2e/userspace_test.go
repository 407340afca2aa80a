//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// listeners lists the listening TCP sockets of a process and its children, from /proc.
func listeners(t *testing.T, pid int) (found []string) {
	t.Helper()
	sockets := map[string]bool{}
	pids := []int{pid}
	for len(pids) > 0 {
		p := pids[0]
		pids = pids[1:]
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p))
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
				sockets[strings.Trim(to, "socket:[]")] = true
			}
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p, p))
		for f := range strings.FieldsSeq(string(children)) {
			var c int
			if _, err := fmt.Sscan(f, &c); err == nil {
				pids = append(pids, c)
			}
		}
	}
	if len(sockets) == 0 {
		t.Fatalf("process %d has no sockets at all; the check sees nothing", pid)
	}
	for _, table := range []string{"tcp", "tcp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && sockets[f[9]] {
				found = append(found, table+" "+f[1])
			}
		}
	}
	return found
}

// Without root: the whole way in folders of the caller's own, netstack at both ends.
func TestUserspaceServerOwnsNoListener(t *testing.T) {
	w := open(t, true)
	server, client := w.peers[web], w.peers[laptop]
	w.login("ann")
	r := w.ssh("ann", "echo $SSH_CONNECTION")
	if f := strings.Fields(r.out); r.code != 0 || len(f) != 4 || f[3] != "22" || strings.HasPrefix(f[2], "127.") {
		t.Fatalf("SSH_CONNECTION: %s", r)
	}
	if got := listeners(t, server.Daemon.PID()); len(got) > 0 {
		t.Errorf("the server peer's daemon listens on TCP: %v", got)
	}
	if got := listeners(t, w.mgmt.Process.PID()); len(got) == 0 {
		t.Error("the check does not even see the management server's listener")
	}
	ctx := within(t, 3*time.Minute)
	data := bytes.Repeat([]byte("lanyard "), 1<<18)
	file, there := filepath.Join(client.Home("ann"), "file"), filepath.Join(server.Scratch(), "file")
	if err := client.Write(file, "ann", 0o600, data); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-q", file, w.target + ":" + there}, {"-q", w.target + ":" + there, file + ".back"}} {
		if r := finish(client.SSH(ctx, w.account("ann"), "scp", args...)); r.code != 0 {
			t.Fatalf("scp %v: %s", args, r)
		}
	}
	back, err := os.ReadFile(client.Path(file + ".back"))
	if err != nil || sha256.Sum256(back) != sha256.Sum256(data) {
		t.Errorf("the file came back different (%v, %d bytes of %d)", err, len(back), len(data))
	}
	s := w.open("ann")
	w.admin("user", "block", "ann@example.com")
	watch := lab.StartWatch()
	defer watch.Stop()
	if _, _, err := s.endsInTime(watch); err != nil {
		t.Fatal(err)
	}
	if err := s.check("blocked"); err != nil {
		t.Error(err)
	}
	if err := client.Daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	if r := w.ssh("ann", "true"); r.code != 255 {
		t.Errorf("ssh with the client's daemon stopped: %s", r)
	}
}
