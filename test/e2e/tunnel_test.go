//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// watch counts, on the wire between laptop and web-1 and at both ends, WireGuard's packets and all others.
const watch = `table netdev watch {
	counter wireguard { }
	counter other { }
	chain arriving {
		type filter hook ingress device eth0 priority -500; policy accept;
		ether saddr != %[1]s accept
		ether type arp accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
		udp dport %[2]d counter name wireguard accept
		counter name other
	}
}`

var counted = regexp.MustCompile(`counter (\w+) \{\s*packets (\d+) bytes (\d+)`)

func (w *world) watch(t *testing.T, at, from *lab.Peer) func() (wireguard, other int) {
	t.Helper()
	ctx := within(t, 3*time.Minute)
	status, err := at.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	link, err := from.Output(ctx, "", "ip", "-o", "link", "show", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	mac := regexp.MustCompile(`link/ether (\S+)`).FindStringSubmatch(link)
	if mac == nil {
		t.Fatalf("no hardware address in %q", link)
	}
	c := at.Command(ctx, "", "nft", "-f", "-")
	c.Stdin = strings.NewReader(fmt.Sprintf(watch, mac[1], status.Tunnel.ListenPort))
	if r := finish(c); r.code != 0 {
		t.Fatalf("nft: %s", r)
	}
	return func() (wireguard, other int) {
		out, err := at.Output(ctx, "", "nft", "list", "table", "netdev", "watch")
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, m := range counted.FindAllStringSubmatch(out, -1) {
			n[m[1]], _ = strconv.Atoi(m[3])
		}
		if len(n) < 2 {
			t.Fatalf("no counters in %s", out)
		}
		return n["wireguard"], n["other"]
	}
}

// greeting is what the first line of a TCP connection from one machine to an address is: empty when there is none.
func greeting(t *testing.T, from *lab.Peer, host string, port int) string {
	t.Helper()
	r := finish(from.Command(within(t, 60*time.Second), "", "timeout", "3", "bash", "-c",
		fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d && IFS= read -r -t 2 line <&3 && echo "$line"`, host, port)))
	return strings.TrimSpace(r.out)
}

func TestSessionCrossesTheTunnelOnly(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 6*time.Minute)
	server, client := w.peers[web], w.peers[laptop]
	serverAddr, err := server.Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	clientAddr, err := client.Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(ctx, "", "ssh-keygen", "-A"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Start("sshd", "", "/usr/sbin/sshd", "-D", "-e", "-o", "ListenAddress=0.0.0.0", "-o", "ListenAddress=::"); err != nil {
		t.Fatal(err)
	}
	w.login("ann")

	t.Run("the wire carries WireGuard alone", func(t *testing.T) {
		atServer, atClient := w.watch(t, server, client), w.watch(t, client, server)
		const size = 4 << 20
		file := filepath.Join(client.Home("ann"), "four-megabytes")
		if err := client.Write(file, "ann", 0o600, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if r := finish(client.SSH(ctx, "ann", "scp", "-q", file, w.target+":/tmp/up")); r.code != 0 {
			t.Fatal(r)
		}
		if r := finish(client.SSH(ctx, "ann", "scp", "-q", w.target+":/tmp/up", file+".back")); r.code != 0 {
			t.Fatal(r)
		}
		for name, read := range map[string]func() (int, int){web: atServer, laptop: atClient} {
			wireguard, other := read()
			if wireguard < size || other != 0 {
				t.Errorf("%s received %d bytes of WireGuard and %d of anything else from the other peer, want at least %d and 0", name, wireguard, other, size)
			}
		}
	})
	t.Run("SSH_CONNECTION shows overlay addresses", func(t *testing.T) {
		w := w.on(t)
		r := w.ssh("ann", "echo $SSH_CONNECTION")
		f := strings.Fields(r.out)
		if r.code != 0 || len(f) != 4 || f[0] != clientAddr || f[2] != serverAddr || f[3] != "22" {
			t.Errorf("SSH_CONNECTION from %s to %s: %s", clientAddr, serverAddr, r)
		}
	})
	t.Run("OpenSSH's sshd keeps the other addresses", func(t *testing.T) {
		for _, c := range []struct {
			where, host string
			from        *lab.Peer
			openSSH     bool
		}{
			{"on the LAN address", server.Addr, client, true},
			{"on loopback", "127.0.0.1", server, true},
			{"in the tunnel", serverAddr, client, false},
		} {
			until(t, c.where, func() error { // who answers at all is the right one
				got := greeting(t, c.from, c.host, 22)
				if got == "" {
					return errors.New("nobody answers")
				}
				if !strings.HasPrefix(got, "SSH-2.0-") || strings.Contains(got, "OpenSSH") != c.openSSH {
					t.Errorf("%s answers %q, OpenSSH's sshd wanted: %v", c.where, got, c.openSSH)
				}
				return nil
			})
		}
	})
	t.Run("22022 serves nobody directly", func(t *testing.T) {
		for _, c := range []struct {
			who  string
			from *lab.Peer
			to   string
		}{
			{"a peer in the tunnel", client, serverAddr},
			{"the LAN", client, server.Addr},
			{"loopback", server, "127.0.0.1"},
			{"its own overlay address", server, serverAddr},
			{"its own LAN address", server, server.Addr},
			{"IPv6 loopback", server, "::1"},
		} {
			if got := greeting(t, c.from, c.to, 22022); got != "" {
				t.Errorf("%s gets %q from %s:22022", c.who, got, c.to)
			}
		}
	})
	t.Run("without the client's daemon there is no way", func(t *testing.T) {
		w := w.on(t)
		// An ssh that only listens: it sends nothing that would open its way again.
		quiet, err := client.StartCommand("quiet-ssh", client.SSH(ctx, "ann", "ssh", w.target, "echo session open; until [ -e /tmp/speak ]; do sleep 0.1; done; echo heard"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := quiet.Match(within(t, 60*time.Second), sessionOpen); err != nil {
			t.Fatal(err)
		}
		if err := client.Daemon.Stop(); err != nil {
			t.Fatal(err)
		}
		c := client.SSH(within(t, 60*time.Second), "ann", "ssh", "-o", "ConnectTimeout=3", w.target, "true")
		if r := finish(c); r.code != 255 {
			t.Errorf("ssh with the daemon stopped: %s", r)
		}
		if err := client.StartDaemon(ctx); err != nil {
			t.Fatal(err)
		}
		if err := client.Knows(ctx, web); err != nil {
			t.Fatal(err)
		}
		if r := w.ssh("ann", "echo back"); r.out != "back\n" {
			t.Errorf("after the daemon's start: %s", r)
		}
		if err := server.Write("/tmp/speak", "", 0o644, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-quiet.Done():
			if quiet.Err() != nil || !strings.HasSuffix(quiet.Text(), "heard\n") {
				t.Errorf("an ssh that was open all the while: %v: %s", quiet.Err(), quiet.Text())
			}
		case <-time.After(90 * time.Second): // what was lost meanwhile is sent again after twice as long each time
			t.Errorf("an ssh that was open all the while hears nothing since the daemon's start: %s", quiet.Text())
		}
	})
	t.Run("after a reboot with the management server dead", func(t *testing.T) {
		w := w.on(t)
		w.mgmt.Process.Kill()
		for _, p := range []*lab.Peer{server, client} {
			p.Daemon.Kill()
		}
		for _, p := range []*lab.Peer{server, client} {
			if err := p.StartDaemon(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := server.Serves(ctx); err != nil {
			t.Fatal(err)
		}
		var last result
		if err := lab.Until(within(t, 60*time.Second), "a session", func() error {
			if last = w.ssh("ann", "echo still here"); last.out != "still here\n" {
				return fmt.Errorf("%s", last)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := w.mgmt.Start(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHostFirewall(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	server := w.peers[web]
	w.login("ann")
	port := 0
	if s, err := server.Status(t.Context()); err != nil {
		t.Fatal(err)
	} else {
		port = s.Tunnel.ListenPort
	}
	for _, c := range []struct {
		name    string
		on, off []string
	}{
		{
			"nftables with an input policy of drop",
			[]string{"bash", "-c", fmt.Sprintf(`nft -f - <<'END'
table inet fw {
	chain input {
		type filter hook input priority 0; policy drop;
		iif lo accept
		ct state established,related accept
		tcp dport 22 accept
		udp dport %d accept
		meta l4proto { icmp, ipv6-icmp } accept
	}
}
END`, port)},
			[]string{"nft", "delete", "table", "inet", "fw"},
		},
		{
			"ufw",
			[]string{"bash", "-c", fmt.Sprintf("ufw allow 22/tcp && ufw allow %d/udp && ufw --force enable", port)},
			[]string{"ufw", "--force", "disable"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.on(t)
			ctx := within(t, 3*time.Minute)
			// From the start: no case stands on what the one before left.
			if err := errors.Join(server.Daemon.Stop(), server.StartDaemon(ctx), server.Serves(ctx)); err != nil {
				t.Fatal(err)
			}
			if s, err := server.Status(ctx); err != nil || s.SSH.Mode != "kernel" {
				t.Fatalf("without a firewall flows should end in the kernel (%v): %+v", err, s)
			}
			if err := server.Run(ctx, "", c.on...); err != nil {
				t.Fatal(err)
			}
			if r := w.ssh("ann", "echo through; exit 7"); r.out != "through\n" || r.code != 7 {
				t.Errorf("ssh under %s: %s", c.name, r)
			}
			if err := lab.Until(within(t, 60*time.Second), "the daemon to notice", func() error {
				s, err := server.Status(ctx)
				if err == nil && s.SSH.Mode != "netstack" {
					err = fmt.Errorf("ssh %+v", s.SSH)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			text, err := server.Lanyard(ctx, "", "status")
			if err != nil || !strings.Contains(text, "netstack") {
				t.Errorf("status does not say netstack (%v):\n%s", err, text)
			}
			if err := server.Run(ctx, "", c.off...); err != nil {
				t.Fatal(err)
			}
		})
	}
}
