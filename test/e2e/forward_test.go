//go:build linux

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// answers is a program that answers each connection at address with a line, until the test ends.
func answers(t *testing.T, at *lab.Peer, account, address, line string) {
	t.Helper()
	p, err := at.Start("answers-"+strings.ReplaceAll(address, "/", "_"), account, "python3", "-c", `
import os, socket, sys
address, line = sys.argv[1:]
if address.startswith("/"):
    s = socket.socket(socket.AF_UNIX)
    s.bind(address)
else:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", int(address)))
s.listen()
print("listens", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(line.encode() + b"\n")
    c.close()
`, address, line)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	if err := lab.Until(within(t, 60*time.Second), address, func() error {
		if !strings.Contains(p.Text(), "listens") {
			return fmt.Errorf("it does not listen yet: %s", p.Text())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// hears is what a program on a machine hears at an address: one line.
func hears(ctx context.Context, from *lab.Peer, account, address string) string {
	r := finish(from.Command(ctx, account, "python3", "-c", `
import socket, sys
address = sys.argv[1]
if address.startswith("/"):
    s = socket.socket(socket.AF_UNIX)
    s.connect(address)
else:
    s = socket.create_connection(("127.0.0.1", int(address)), 30)
sys.stdout.write(s.makefile().readline())
`, address))
	return strings.TrimSpace(r.out)
}

func (w *world) background(t *testing.T, name string, args ...string) *lab.Process {
	t.Helper()
	c := w.machine("ann").SSH(context.Background(), w.account("ann"), "ssh", append(args, "-o", "ExitOnForwardFailure=yes", w.target)...)
	p, err := w.machine("ann").StartCommand(name, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

func TestForwardsOfEveryKindCrossTheTunnel(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	w.admin("policy", "add", "forwards", "--from", "group:web-team", "--to", "tag:web", "--as", w.as,
		"--can", "exec,pty,forward-local,forward-remote,sockets,agent,x11")
	w.login("ann")
	client, server := w.peers[laptop], w.peers[web]
	until := func(t *testing.T, what string, f func() string, want string) {
		t.Helper()
		if err := lab.Until(within(t, 60*time.Second), what, func() error {
			if got := f(); got != want {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	ctx := within(t, 6*time.Minute)

	t.Run("-R", func(t *testing.T) {
		answers(t, client, "ann", "7001", "from the laptop")
		p := w.background(t, "remote", "-N", "-R", "7002:127.0.0.1:7001")
		until(t, "the forward", func() string { return hears(ctx, server, "", "7002") }, "from the laptop")
		if err := p.Stop(); err != nil {
			t.Log(err)
		}
		until(t, "its end", func() string { return hears(ctx, server, "", "7002") }, "")
	})
	t.Run("-L", func(t *testing.T) {
		answers(t, server, "", "7003", "from the server")
		w.background(t, "local", "-N", "-L", "7004:127.0.0.1:7003")
		until(t, "the forward", func() string { return hears(ctx, client, "ann", "7004") }, "from the server")
	})
	t.Run("Unix sockets both ways", func(t *testing.T) {
		near, far := filepath.Join(client.Home("ann"), "near"), filepath.Join(client.Home("ann"), "mine")
		answers(t, client, "ann", far, "from the laptop's socket")
		there, back := filepath.Join(server.Home(w.as), "there"), filepath.Join(server.Home(w.as), "back")
		answers(t, server, w.as, there, "from the server's socket")
		w.background(t, "sockets", "-N", "-L", near+":"+there, "-R", back+":"+far)
		until(t, "the local forward", func() string { return hears(ctx, client, "ann", near) }, "from the server's socket")
		until(t, "the remote forward", func() string { return hears(ctx, server, w.as, back) }, "from the laptop's socket")
	})
	t.Run("-A", func(t *testing.T) {
		r := finish(client.Command(ctx, "ann", "sh", "-c",
			`eval "$(ssh-agent)" >/dev/null; ssh-keygen -q -t ed25519 -N "" -C carried -f ~/carried; ssh-add -q ~/carried; ssh -A "$0" ssh-add -l; ssh-agent -k >/dev/null`, w.target))
		if r.code != 0 || !strings.Contains(r.out, "carried (ED25519)") {
			t.Errorf("ssh-add -l over ssh -A: %s", r)
		}
	})
	t.Run("-X", func(t *testing.T) {
		// The client's xauth needs an X server to ask: a cookie that is there already will do (ssh -Y).
		r := finish(client.Command(ctx, "ann", "sh", "-c",
			`xauth -q add :77 . 00112233445566778899aabbccddeeff; DISPLAY=:77 ssh -Y "$0" 'echo "$DISPLAY"; xauth list'`, w.target))
		if r.code != 0 || !strings.HasPrefix(r.out, "localhost:10.0\n") || !strings.Contains(r.out, "/unix:10  MIT-MAGIC-COOKIE-1  ") ||
			strings.Contains(r.out, "00112233445566778899aabbccddeeff") {
			t.Errorf("ssh -Y: %s", r)
		}
	})
}
