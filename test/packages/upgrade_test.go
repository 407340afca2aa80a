//go:build linux

package packages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lanyard/test/lab"
)

// held is a session that goes on until somebody ends it.
type held struct {
	ended chan error

	mu   sync.Mutex // guards said
	said bytes.Buffer
}

func (h *held) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said.Write(p)
}

func (h *held) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said.String()
}

// hold opens a session of ansible's and waits until its command runs.
func (b *box) hold(target string) *held {
	b.t.Helper()
	h := &held{ended: make(chan error, 1)}
	c := b.command(context.Background(), "runuser", "-u", "ansible", "--", "env", "HOME=/home/ansible", "ssh", target, "echo it runs; sleep 3600")
	c.Stdout, c.Stderr = h, h
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Process.Kill() })
	go func() { h.ended <- c.Wait() }()
	until(b.t, 90*time.Second, "a session that stays open", func() error {
		if !strings.Contains(h.text(), "it runs") {
			return errors.New(h.text())
		}
		return nil
	})
	return h
}

// ends waits for the session's end, which must say why and come in time; that this machine holds programs up is no fault of it.
func (h *held) ends(t *testing.T, limit time.Duration, why string) {
	t.Helper()
	watch := lab.StartWatch()
	defer watch.Stop()
	select {
	case err := <-h.ended:
		if err == nil || !strings.Contains(h.text(), why) {
			t.Errorf("the session ended with %v and said %q, want %q", err, h.text(), why)
		}
		t.Logf("ended after %s", time.Since(watch.Began()).Round(time.Millisecond))
		if took := watch.Took(); took > limit {
			t.Errorf("the session ended after %s, want %s", took, limit)
		}
	case <-time.After(limit + time.Minute):
		t.Errorf("the session still runs after %s", limit+time.Minute)
	}
}

// oldEnds waits until one service runs, and its keeper.
func (b *box) oldEnds() {
	b.t.Helper()
	b.services(2)
}

// services waits until so many processes of the service run: one that is about to start another program looks for a moment
// like one more.
func (b *box) services(want int) {
	b.t.Helper()
	until(b.t, 60*time.Second, fmt.Sprintf("%d processes of the service", want), func() error {
		if out := strings.TrimSpace(b.do("sh", "-c", "ps -C lanyard -o args= | grep -c 'service run'")); out != strconv.Itoa(want) {
			return fmt.Errorf("%s run", out)
		}
		return nil
	})
}

// otherProtocol builds a service that cannot go on beside those of today.
func otherProtocol(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../../service/handover/handover.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(text, []byte("const Protocol = 1\n"), []byte("const Protocol = 1000\n"), 1)
	if bytes.Equal(other, text) {
		t.Fatal("the protocol's number is not where it was; change this test")
	}
	dir := t.TempDir()
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: filepath.Join(dir, "handover.go")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"handover.go": other, "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "lanyard")
	c := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", out, "lanyard/service")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	return out
}

// incompatible puts such a service on the machine: open sessions end, with the reason, and new ones are served.
func incompatible(t *testing.T, web, runner *box, target string) {
	t.Helper()
	session := runner.hold(target)
	data, err := os.ReadFile(otherProtocol(t))
	if err != nil {
		t.Fatal(err)
	}
	web.write("/usr/bin/lanyard.new", string(data))
	web.do("chmod", "755", "/usr/bin/lanyard.new")
	web.do("mv", "/usr/bin/lanyard.new", "/usr/bin/lanyard")
	web.do("systemctl", "restart", "lanyard")
	session.ends(t, time.Minute, "upgraded to a version that cannot go on")
	until(t, 60*time.Second, "ssh to the new service", func() error {
		out, err := runner.as("ansible", "ssh", target, "id -un")
		if err != nil || !strings.HasSuffix(out, "deploy\n") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	web.oldEnds()
}

// booting is how long the first process took to have everything running.
func (b *box) booting() time.Duration {
	b.t.Helper()
	stamp := func(args ...string) int64 {
		n, err := strconv.ParseInt(strings.TrimSpace(b.do("systemctl", append([]string{"show", "-P"}, args...)...)), 10, 64)
		if err != nil {
			b.t.Fatal(err)
		}
		return n
	}
	return time.Duration(stamp("ActiveEnterTimestampMonotonic", "multi-user.target")-stamp("UserspaceTimestampMonotonic")) * time.Microsecond
}

// bootsAlone boots an enrolled machine whose management server does not answer, not even with a refusal.
func bootsAlone(t *testing.T, office, b *box) {
	t.Helper()
	run(t, "ip", "-n", office.name, "link", "set", "eth0", "down")
	defer run(t, "ip", "-n", office.name, "link", "set", "eth0", "up")
	boots := func() time.Duration {
		b.stop()
		b.start()
		return b.booting()
	}
	with := boots()
	if s := b.property("lanyard", "ActiveState"); s != "active" {
		t.Errorf("booted without the management server, the service is %s\n%s", s, b.journal())
	}
	if s := b.property("network-online.target", "ActiveState"); s != "inactive" {
		t.Errorf("something waits for the network: network-online.target is %s", s)
	}
	if out := b.do("lanyard", "status", "--json"); strings.Contains(out, `"state": "connected"`) || !strings.Contains(out, `"web-1"`) {
		t.Errorf("without the management server the machine says\n%s", out)
	}
	b.do("systemctl", "disable", "lanyard")
	without := boots()
	if s := b.property("lanyard", "ActiveState"); s != "inactive" {
		t.Errorf("disabled, it is %s after a boot", s)
	}
	// What else this machine does adds to a boot and never takes away.
	for try := 0; try < 2 && with > without+3*time.Second; try++ {
		b.do("systemctl", "enable", "lanyard")
		with = min(with, boots())
		b.do("systemctl", "disable", "lanyard")
	}
	t.Logf("booted in %s with the management server away, in %s without the service", with.Round(time.Millisecond), without.Round(time.Millisecond))
	if with > without+3*time.Second {
		t.Error("the service holds the boot up")
	}
}
