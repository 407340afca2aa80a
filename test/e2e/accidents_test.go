//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

const (
	stateFile = "/var/lib/lanyard/default/state.json"
	mapFile   = "/var/lib/lanyard/default/map.json"
)

// read is a file of a machine.
func read(t *testing.T, p *lab.Peer, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(p.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write replaces what is in a file of a machine; its owner and mode stay.
func write(t *testing.T, p *lab.Peer, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(p.Path(file), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sentence checks that what a program said is one clear sentence: one line, with what it must name, and nothing of the
// program's inside.
func sentence(t *testing.T, what string, r result, want ...string) {
	t.Helper()
	text := strings.TrimSpace(r.err)
	if r.code == 0 || strings.Count(text, "\n") > 0 || text == "" || strings.Contains(text, "goroutine") {
		t.Errorf("%s: want one sentence and a failure: %s", what, r)
	}
	for _, s := range want {
		if !strings.Contains(text, s) {
			t.Errorf("%s: want %q in %q", what, s, text)
		}
	}
}

// run starts the service once and returns how it ended; it must end by itself.
func (w *world) runService(t *testing.T, p *lab.Peer) result {
	t.Helper()
	r := finish(p.Command(within(t, 90*time.Second), "", w.lab.Program("lanyard"), "service", "run"))
	lines := strings.Split(strings.TrimSpace(r.err), "\n")
	r.err = lines[len(lines)-1] // the log comes before
	return r
}

func TestSpoiltFilesAndCollisions(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 12*time.Minute)
	server := w.peers[web]
	w.login("ann")
	w.eventually("ann", "in\n", "echo in")
	start := func(t *testing.T) {
		t.Helper()
		if err := errors.Join(server.StartDaemon(ctx), server.Serves(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	stop := func(t *testing.T) {
		t.Helper()
		if err := server.Daemon.Stop(); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("the state file", func(t *testing.T) {
		w := w.on(t)
		stop(t)
		good := read(t, server, stateFile)
		for name, c := range map[string]struct {
			content []byte
			want    []string
		}{
			"truncated":          {good[:len(good)/2], []string{"damaged", "backup"}},
			"empty":              {nil, []string{"damaged", "backup"}},
			"garbled":            {[]byte("\x00\xff\x13garbled"), []string{"damaged", "backup"}},
			"of a newer version": {[]byte(strings.Replace(string(good), `"format": 1`, `"format": 99`, 1)), []string{"newer", "upgrade"}},
		} {
			write(t, server, stateFile, c.content)
			sentence(t, name, w.runService(t, server), c.want...)
			if got := read(t, server, stateFile); string(got) != string(c.content) {
				t.Errorf("%s: the file was changed", name)
			}
		}
		write(t, server, stateFile, good)
		start(t)
		w.eventually("ann", "in\n", "echo in")
	})
	t.Run("the stored map", func(t *testing.T) {
		w := w.on(t)
		for name, spoil := range map[string]func([]byte) []byte{
			"truncated": func(b []byte) []byte { return b[:len(b)/2] },
			"garbled":   func([]byte) []byte { return []byte("\x00\xff\x13garbled") },
			"changed":   func(b []byte) []byte { return []byte(strings.Replace(string(b), `"sig":"`, `"sig":"A`, 1)) },
		} {
			stop(t)
			write(t, server, mapFile, spoil(read(t, server, mapFile)))
			start(t)
			w.eventually("ann", "in\n", "echo in")
			if kept, _ := filepath.Glob(server.Path(mapFile + ".unusable*")); len(kept) == 0 {
				t.Errorf("%s: what lay there is not kept", name)
			}
		}
	})
	t.Run("a map of before", func(t *testing.T) {
		w := w.on(t)
		old := read(t, server, mapFile)
		w.admin("user", "block", people["ann"].Email)
		stop(t)
		write(t, server, mapFile, old)
		// As long as there is no newer one to be had, there is none.
		w.mgmt.Process.Kill()
		if err := server.StartDaemon(ctx); err != nil {
			t.Fatal(err)
		}
		until(t, "status to say that it is no good", func() error {
			out, err := server.Lanyard(ctx, "", "status")
			if err == nil && !strings.Contains(out, "cannot be used") {
				err = errors.New(out)
			}
			return err
		})
		if r := w.ssh("ann", "-o", "ConnectTimeout=3", "echo in"); r.code != 255 || r.out != "" {
			t.Errorf("ann, by the map of before: %s", r)
		}
		if err := errors.Join(w.mgmt.Start(ctx), server.Serves(ctx)); err != nil {
			t.Fatal(err)
		}
		if err := lab.Until(within(t, 60*time.Second), "the newest map again", func() error {
			if r := w.ssh("ann", "true"); r.code != 255 || !strings.Contains(r.err, "[blocked]") {
				return errors.New(r.String())
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		w.admin("user", "unblock", people["ann"].Email)
		w.login("ann")
		w.eventually("ann", "in\n", "echo in")
	})
	t.Run("a second service", func(t *testing.T) {
		w := w.on(t)
		sentence(t, "a second service", w.runService(t, server), "already runs", "lanyard status")
		if r := w.ssh("ann", "echo in"); r.out != "in\n" {
			t.Errorf("the first one goes on: %s", r)
		}
	})
	t.Run("the interface's name and the port are taken", func(t *testing.T) {
		w := w.on(t)
		stop(t)
		if err := server.Run(ctx, "", "ip", "link", "add", "lanyard0", "type", "bridge"); err != nil {
			t.Fatal(err)
		}
		taker, err := server.Start("port-taker", "", "python3", "-c",
			"import socket,time\nfor f,a in((socket.AF_INET,'0.0.0.0'),(socket.AF_INET6,'::')):\n s=socket.socket(f,socket.SOCK_DGRAM)\n if f==socket.AF_INET6: s.setsockopt(41,26,1)\n s.bind((a,51820)); globals()['s%d'%f]=s\nprint('taken',flush=True)\ntime.sleep(600)")
		if err != nil {
			t.Fatal(err)
		}
		defer taker.Kill()
		if err := lab.Until(within(t, 60*time.Second), "the port to be taken", func() error {
			if !strings.Contains(taker.Text(), "taken") {
				return errors.New(taker.Text())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		start(t)
		st, err := server.Status(ctx)
		if err != nil || st.Tunnel.ListenPort == 51820 || st.Tunnel.ListenPort == 0 {
			t.Errorf("the tunnel's port: %+v, %v", st, err)
		}
		w.eventually("ann", "in\n", "echo in")
		stop(t)
		if out, err := server.Output(ctx, "", "ip", "link", "show", "lanyard0"); err != nil || !strings.Contains(out, "lanyard0") {
			t.Errorf("somebody else's interface is gone: %v", err)
		}
		if err := server.Run(ctx, "", "ip", "link", "del", "lanyard0"); err != nil {
			t.Fatal(err)
		}
		start(t)
	})
	t.Run("the management server has another certificate", func(t *testing.T) {
		w := w.on(t)
		if err := w.mgmt.Process.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := w.mgmt.Run(ctx, "", "bash", "-c", "mkdir /tmp/tls && mv "+w.mgmt.State+"/*.crt "+w.mgmt.State+"/*.key /tmp/tls"); err != nil {
			t.Fatal(err)
		}
		before := w.mgmt.Join
		if err := w.mgmt.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if w.mgmt.Join == before {
			t.Fatal("the server has the same certificate")
		}
		if err := lab.Until(within(t, 2*time.Minute), "status to say so", func() error {
			out, err := server.Lanyard(ctx, "", "status")
			if err == nil && !strings.Contains(out, "certificate is not the one that the join command names") {
				err = errors.New(out)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		if r := w.ssh("ann", "echo in"); r.out != "in\n" {
			t.Errorf("by the last map: %s", r)
		}
		if err := w.mgmt.Process.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := w.mgmt.Run(ctx, "", "bash", "-c", "cp /tmp/tls/* "+w.mgmt.State+"/"); err != nil {
			t.Fatal(err)
		}
		if err := w.mgmt.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := lab.Until(within(t, 2*time.Minute), "the server to be back in touch", func() error {
			st, err := server.Status(ctx)
			if err == nil && st.State != "connected" {
				err = fmt.Errorf("state %s", st.State)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestJoiningThatCannotWork(t *testing.T) {
	needsRoot(t)
	w := open(t, false, "new-1", "new-2")
	ctx := within(t, 9*time.Minute)
	// The machine's service runs; it is not part of the network.
	joining := func(machine string) (*lab.Peer, func(key, name string) result) {
		t.Helper()
		p, err := w.mgmt.Service(ctx, machine)
		if err != nil {
			t.Fatal(err)
		}
		return p, func(key, name string) result {
			c := p.Command(within(t, 90*time.Second), "", w.lab.Program("lanyard"), "up", w.mgmt.Join, "--setup-key-file", "-", "--name", name)
			c.Stdin = strings.NewReader(key + "\n")
			return finish(c)
		}
	}
	fresh, up := joining("new-1")
	key := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(w.admin(append([]string{"setup-key", "new", "--tag", "tag:web"}, args...)...))
	}

	good := key("--uses", "1", "--expires", "1h")
	_, pin, _ := strings.Cut(good, ".")
	flipped := "A"
	if strings.HasPrefix(pin, "A") {
		flipped = "B"
	}
	sentence(t, "a key that is not whole", up(strings.TrimSuffix(good, "."+pin), "new-1"), "setup key")
	sentence(t, "a key that never was", up("lk_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."+pin, "new-1"), "wrong, used up or expired")
	var revoked struct {
		Key  string `json:"key"`
		Info struct {
			ID string `json:"id"`
		} `json:"info"`
	}
	if err := json.Unmarshal([]byte(w.admin("setup-key", "new", "--json")), &revoked); err != nil {
		t.Fatal(err)
	}
	w.admin("setup-key", "revoke", revoked.Info.ID)
	sentence(t, "a revoked key", up(revoked.Key, "new-1"), "wrong, used up or expired")
	short := key("--expires", "1s") // it would enrol the machine before that: it is tried when it has ended
	if err := lab.Until(within(t, 60*time.Second), "the key's end", func() error {
		if out := w.admin("setup-key", "list"); !strings.Contains(out, "expired") {
			return errors.New(out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	sentence(t, "an expired key", up(short, "new-1"), "wrong, used up or expired")
	for _, name := range []string{`a"b`, "a\nb", "a b", "-a", "A B", "$(id)", "../x", strings.Repeat("a", 64)} {
		sentence(t, fmt.Sprintf("the name %q", name), up(good, name), "name")
		sentence(t, fmt.Sprintf("another name %q", name), finish(w.mgmt.Command(ctx, "", w.lab.Program("lanyard-mgmt"), "--state", w.mgmt.State, "peer", "rename", web, "--", name)), "name")
	}
	sentence(t, "a key with another server's pin", up(strings.Replace(good, "."+pin, "."+flipped+pin[1:], 1), "new-1"), "signs maps with another key")
	if out := w.admin("peer", "list"); strings.Contains(out, "$(id)") || strings.Contains(out, strings.Repeat("a", 64)) {
		t.Errorf("a name got in:\n%s", out)
	}
	if out := w.admin("peer", "list"); strings.Contains(out, "new-1") {
		t.Errorf("the machine was enrolled by what was refused:\n%s", out)
	}
	// Nothing of all that has to be tidied up, and it has not used the key up.
	if r := up(good, "new-1"); r.code != 0 {
		t.Errorf("the key that was meant all the time: %s", r)
	}
	_, up2 := joining("new-2")
	once := key("--uses", "1")
	if r := up2(once, strings.Repeat("b", 63)); r.code != 0 || !strings.Contains(r.out, strings.Repeat("b", 63)) {
		t.Fatalf("a name of 63 characters: %s", r)
	}
	if err := fresh.Run(ctx, "", w.lab.Program("lanyard"), "status"); err != nil {
		t.Error(err)
	}
	w.admin("peer", "remove", "new-1")
	if err := lab.Until(within(t, 60*time.Second), "the removal", func() error {
		st, err := fresh.Status(ctx)
		if err == nil && st.State != "removed" {
			err = errors.New(st.State)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	sentence(t, "a used-up key", up(once, "twice"), "wrong, used up or expired")
}
