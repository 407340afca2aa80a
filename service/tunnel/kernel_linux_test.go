package tunnel

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lanyard/service/redirect"
)

// lab is two namespaces with a cable between them, each with a tunnel: a is the client, b serves SSH.
type lab struct {
	t          *testing.T
	nsA, nsB   string
	a, b       *child
	ma, mb     machine
	lanA, lanB netip.Addr
}

func sh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (l *lab) inB(args ...string) string {
	l.t.Helper()
	return sh(l.t, append([]string{"ip", "netns", "exec", l.nsB}, args...)...)
}

// newLab makes the namespaces; before runs in them ahead of the tunnels.
func newLab(t *testing.T, before func(*lab)) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and TUN interfaces need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	id := strconv.Itoa(os.Getpid()) + strings.ToLower(t.Name()[4:8])
	l := &lab{
		t: t, nsA: "lyta" + id, nsB: "lytb" + id, ma: newMachine(t, 1), mb: newMachine(t, 2),
		lanA: netip.MustParseAddr("10.77.0.1"), lanB: netip.MustParseAddr("10.77.0.2"),
	}
	for _, ns := range []string{l.nsA, l.nsB} {
		sh(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		sh(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	sh(t, "ip", "-n", l.nsA, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", l.nsB)
	for ns, a := range map[string]netip.Addr{l.nsA: l.lanA, l.nsB: l.lanB} {
		sh(t, "ip", "-n", ns, "addr", "add", a.String()+"/24", "dev", "eth0")
		sh(t, "ip", "-n", ns, "link", "set", "eth0", "up")
	}
	if before != nil {
		before(l)
	}
	l.a, l.b = startChild(t, l.nsA), startChild(t, l.nsB)
	l.a.do(order{Do: "open", Machine: l.ma})
	l.b.do(order{Do: "open", Machine: l.mb})
	l.b.do(order{Do: "admit", SSH: true, Admit: []string{l.ma.ID}})
	l.b.do(order{Do: "serve"})
	l.a.do(order{Do: "peers", Peers: []Peer{l.mb.peer(netip.AddrPortFrom(l.lanB, 51820))}})
	l.b.do(order{Do: "peers", Peers: []Peer{l.ma.peer(netip.AddrPortFrom(l.lanA, 51820))}})
	// How long the first handshake may take is for TestCrossingHandshakesLoseNoTime to say, not for these tests.
	until(t, "the two have shaken hands", func() bool {
		p := l.a.do(order{Do: "status"}).Status.Peers
		return len(p) == 1 && !p[0].LastHandshake.IsZero()
	})
	return l
}

// sshd runs OpenSSH's server in b on every address.
func (l *lab) sshd() {
	l.t.Helper()
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(path); err != nil {
		l.t.Skip("openssh-server is not installed")
	}
	dir := l.t.TempDir()
	key := filepath.Join(dir, "key")
	sh(l.t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte("ListenAddress 0.0.0.0\nListenAddress ::\nPort 22\nUsePAM no\nPidFile none\nHostKey "+key+"\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", l.nsB, path, "-D", "-e", "-f", config)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(l.t, "sshd listens", func() bool { return strings.Contains(l.inB("ss", "-ltn"), "0.0.0.0:22") })
}

func (l *lab) wantListener(want string) Status {
	l.t.Helper()
	s := l.b.do(order{Do: "status"}).Status
	if s.Listener != want || s.ListenerWhy == "" || s.Mode != "kernel" || s.Interface != "lanyard0" {
		l.t.Errorf("status %+v, want listener %s", s, want)
	}
	return s
}

// wantServed reaches overlay:22 over both families.
func (l *lab) wantServed() {
	l.t.Helper()
	for _, to := range []netip.Addr{l.mb.A4, l.mb.A6} {
		r, err := l.a.try(order{Do: "served", Addr: netip.AddrPortFrom(to, 22), N: 300_000})
		if err != nil {
			l.t.Errorf("%s port 22: %v", to, err)
		} else if r.Took > handshakeTime {
			l.t.Errorf("%s port 22 took %v", to, r.Took)
		}
	}
}

func TestKernelRedirectBesideSshd(t *testing.T) {
	l := newLab(t, (*lab).sshd)
	l.wantServed()
	l.wantListener("kernel")
	if _, err := l.a.try(order{Do: "banner", Addr: netip.AddrPortFrom(l.lanB, 22)}); err != nil {
		t.Errorf("the machine's own sshd does not answer on the LAN: %v", err)
	}
	if _, err := l.b.try(order{Do: "banner", Addr: netip.MustParseAddrPort("127.0.0.1:22")}); err != nil {
		t.Errorf("the machine's own sshd does not answer on loopback: %v", err)
	}
	// The listener's own port serves nobody.
	direct := netip.AddrPortFrom(l.mb.A4, redirect.PortListen)
	direct6 := netip.AddrPortFrom(l.mb.A6, redirect.PortListen)
	sh(t, "ip", "-n", l.nsA, "route", "add", "100.110.0.250/32", "via", l.lanB.String()) // not the tunnel
	for name, f := range map[string]func() (reply, error){
		"peer":        func() (reply, error) { return l.a.try(order{Do: "served", Addr: direct, Timeout: time.Second}) },
		"peer, IPv6":  func() (reply, error) { return l.a.try(order{Do: "served", Addr: direct6, Timeout: time.Second}) },
		"itself":      func() (reply, error) { return l.b.try(order{Do: "served", Addr: direct}) },
		"itself over": func() (reply, error) { return l.b.try(order{Do: "served", Addr: direct6}) },
		"loopback": func() (reply, error) {
			return l.b.try(order{Do: "served", Addr: netip.MustParseAddrPort("127.0.0.1:22022")})
		},
		"LAN address": func() (reply, error) {
			return l.a.try(order{Do: "served", Addr: netip.AddrPortFrom(l.lanB, redirect.PortListen)})
		},
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: a connection to port %d was served", name, redirect.PortListen)
		}
	}
	// SSH off: the overlay does not reach the machine's own sshd instead.
	l.b.do(order{Do: "admit", SSH: false})
	if _, err := l.a.try(order{Do: "banner", Addr: netip.AddrPortFrom(l.mb.A4, 22), Timeout: time.Second}); err == nil {
		t.Error("with SSH off, the machine's sshd answered on the overlay")
	}
}

// TestLANCannotReachTheListener sends packets for the overlay address over the cable: Linux takes packets for any of its
// addresses on any interface.
func TestLANCannotReachTheListener(t *testing.T) {
	l := newLab(t, nil)
	stranger := startChild(t, l.nsA)
	l.a.end() // its interface goes, and with it its route
	sh(t, "ip", "-n", l.nsA, "route", "add", l.mb.A4.String()+"/32", "via", l.lanB.String())
	for _, port := range []uint16{22, redirect.PortListen} {
		if _, err := stranger.try(order{Do: "served", Addr: netip.AddrPortFrom(l.mb.A4, port), Timeout: time.Second}); err == nil {
			t.Errorf("port %d of the overlay address was served over the LAN", port)
		}
	}
}

func TestNftDropPolicyEndsFlowsInThisProcess(t *testing.T) {
	l := newLab(t, func(l *lab) {
		l.inB("nft", "add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }; "+
			"add rule inet f in ct state established,related accept; add rule inet f in udp dport 51820 accept; add rule inet f in tcp dport 22 accept")
	})
	s := l.wantListener("netstack")
	if !strings.Contains(s.ListenerWhy, "nftables") {
		t.Errorf("why: %q", s.ListenerWhy)
	}
	l.wantServed()
	l.a.do(order{Do: "connect", Addr: netip.AddrPortFrom(l.mb.A4, 22)})
	l.a.do(order{Do: "talk", N: 8 << 20})
}

func TestFirewallThatComesLaterIsNoticed(t *testing.T) {
	l := newLab(t, nil)
	l.wantServed()
	l.wantListener("kernel")
	l.inB("nft", "add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }; "+
		"add rule inet f in udp dport 51820 accept")
	// The kernel leaves the first SYN unanswered; the repeated ones (1 s, 3 s) make the tunnel look.
	if _, err := l.a.try(order{Do: "served", Addr: netip.AddrPortFrom(l.mb.A4, 22), Timeout: time.Minute}); err != nil {
		t.Errorf("after the firewall came: %v", err)
	}
	until(t, "the status says netstack", func() bool { return l.b.do(order{Do: "status"}).Status.Listener == "netstack" })
	l.wantServed()
}

func TestUfwEndsFlowsInThisProcess(t *testing.T) {
	if _, err := exec.LookPath("ufw"); err != nil {
		t.Skip("ufw is not installed")
	}
	l := newLab(t, func(l *lab) {
		// ufw's own rule set, loaded as `ufw enable` does, with its settings in a copy: the namespaces share /etc.
		dir := l.t.TempDir()
		script := fmt.Sprintf(`set -e
mount --make-rprivate / && cp -a /etc/ufw %[1]s/ufw && cp -a /lib/ufw %[1]s/lib && cp /etc/default/ufw %[1]s/default
mount --bind %[1]s/ufw /etc/ufw && mount --bind %[1]s/lib /lib/ufw && mount --bind %[1]s/default /etc/default/ufw
ufw allow 22/tcp && ufw allow 51820/udp && ufw --force enable`, dir)
		sh(l.t, "ip", "netns", "exec", l.nsB, "unshare", "-m", "sh", "-c", script)
		if out := l.inB("iptables", "-S", "INPUT"); !strings.Contains(out, "-P INPUT DROP") {
			l.t.Fatalf("ufw is not in force: %s", out)
		}
	})
	s := l.wantListener("netstack")
	t.Log(s.ListenerWhy)
	l.wantServed()
}

func TestOnlyWireGuardCrossesTheCable(t *testing.T) {
	l := newLab(t, nil)
	l.inB("nft", "add table inet count; add chain inet count in { type filter hook prerouting priority -300; }; "+
		"add rule inet count in iifname eth0 udp dport 51820 counter; "+
		"add rule inet count in iifname eth0 udp dport != 51820 counter comment other; "+
		"add rule inet count in iifname eth0 tcp dport 0-65535 counter comment other")
	l.wantServed()
	for _, line := range strings.Split(l.inB("nft", "list table inet count"), "\n") {
		switch {
		case strings.Contains(line, "other") && !strings.Contains(line, "packets 0"):
			t.Errorf("something else crossed: %s", line)
		case strings.Contains(line, "udp dport 51820 counter packets 0"):
			t.Errorf("WireGuard did not cross: %s", line)
		}
	}
	s := l.a.do(order{Do: "status"})
	if p := s.Status.Peers[0]; p.RxBytes < 600_000 || p.Endpoint != netip.AddrPortFrom(l.lanB, 51820) {
		t.Errorf("peer %+v", p)
	}
	if len(s.Endpoints) != 1 || s.Endpoints[0] != netip.AddrPortFrom(l.lanA, 51820) {
		t.Errorf("endpoints %v", s.Endpoints)
	}
}

// TestReplacedProcessKeepsConnections is the upgrade of package redirect's comment: the process that owns the TUN gives it
// to another one and stays only for the connection that it has accepted.
func TestReplacedProcessKeepsConnections(t *testing.T) {
	l := newLab(t, nil)
	l.a.do(order{Do: "connect", Addr: netip.AddrPortFrom(l.mb.A4, 22)})
	l.a.do(order{Do: "talk", N: 100_000})

	next := startChild(t, l.nsB)
	path := filepath.Join(t.TempDir(), "s")
	opened := make(chan error, 1)
	go func() {
		_, err := next.try(order{Do: "open", Machine: l.mb, Resume: true, Path: path})
		opened <- err
	}()
	until(t, "the new process waits", func() bool { _, err := os.Stat(path); return err == nil })
	start := time.Now()
	l.b.do(order{Do: "handover", Path: path})
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	next.do(order{Do: "admit", SSH: true, Admit: []string{l.ma.ID}})
	next.do(order{Do: "peers", Peers: []Peer{l.ma.peer()}}) // where it is comes with the handover
	if _, err := l.a.try(order{Do: "talk", N: 100_000}); err != nil {
		t.Fatalf("the open connection broke: %v", err)
	}
	t.Logf("the connection was still for at most %v", time.Since(start))
	if s := next.do(order{Do: "status"}).Status; s.Flows != 1 || s.ListenPort != 51820 || s.Interface != "lanyard0" {
		t.Errorf("the new process: %+v", s)
	}
	next.do(order{Do: "serve"})
	if s := next.do(order{Do: "status"}).Status; s.Listener != "kernel" {
		t.Errorf("the new process: %+v", s)
	}
	if _, err := l.a.try(order{Do: "served", Addr: netip.AddrPortFrom(l.mb.A4, 22)}); err != nil {
		t.Errorf("the new process does not serve: %v", err)
	}
	// The old process still serves the old connection; when it ends, the connection ends.
	l.a.do(order{Do: "talk", N: 1000})
	l.b.end()
	if _, err := l.a.try(order{Do: "talk", N: 1000}); err == nil {
		t.Error("the connection was not the old process's")
	}
	if _, err := l.a.try(order{Do: "served", Addr: netip.AddrPortFrom(l.mb.A4, 22)}); err != nil {
		t.Errorf("after the old process ended: %v", err)
	}
}

func TestPeerThatChangesItsAddressIsFollowed(t *testing.T) {
	l := newLab(t, nil)
	l.a.do(order{Do: "connect", Addr: netip.AddrPortFrom(l.mb.A4, 22)})
	l.a.do(order{Do: "talk", N: 1000})
	sh(t, "ip", "-n", l.nsA, "addr", "add", "10.77.0.9/24", "dev", "eth0")
	sh(t, "ip", "-n", l.nsA, "addr", "del", l.lanA.String()+"/24", "dev", "eth0")
	sh(t, "ip", "-n", l.nsA, "addr", "replace", "10.77.0.9/24", "dev", "eth0")
	if _, err := l.a.try(order{Do: "talk", N: 100_000}); err != nil {
		t.Fatalf("after the move: %v", err)
	}
	if got := l.b.do(order{Do: "status"}).Status.Peers[0].Endpoint; got.Addr() != netip.MustParseAddr("10.77.0.9") {
		t.Errorf("endpoint %s", got)
	}
}
