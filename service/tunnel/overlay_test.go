package tunnel

import (
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"lanyard/platform/ifaddr"
)

func TestOverlayClashIsNamedAndAnotherRangeOffered(t *testing.T) {
	p := netip.MustParsePrefix
	overlay := p("100.110.0.0/16")
	for name, c := range map[string]struct {
		addrs  []ifaddr.Addr
		routes []ifaddr.Route
		want   []string // parts of the sentence; none: no clash
		not    string
	}{
		"nothing":           {addrs: []ifaddr.Addr{{Interface: "eth0", Prefix: p("192.168.1.5/24")}}},
		"carrier's NAT":     {addrs: []ifaddr.Addr{{Interface: "ppp0", Prefix: p("100.70.1.2/32")}}},
		"own interface":     {addrs: []ifaddr.Addr{{Interface: "lanyard0", Prefix: p("100.110.0.1/32")}}, routes: []ifaddr.Route{{Dst: overlay, Interface: "lanyard0"}}},
		"NetBird elsewhere": {addrs: []ifaddr.Addr{{Interface: "wt0", Prefix: p("100.92.3.4/16")}}},
		"NetBird":           {addrs: []ifaddr.Addr{{Interface: "wt0", Prefix: p("100.110.3.4/16")}}, want: []string{"NetBird", "wt0", "100.111.0.0/16 is free"}},
		"Tailscale":         {addrs: []ifaddr.Addr{{Interface: "tailscale0", Prefix: p("100.99.1.2/32")}}, want: []string{"Tailscale", "tailscale0", "10.110.0.0/16 is free"}, not: "100.111"},
		"an address":        {addrs: []ifaddr.Addr{{Interface: "eth1", Prefix: p("100.110.7.1/24")}}, want: []string{"eth1", "100.110.7.1/24"}},
		"a route":           {routes: []ifaddr.Route{{Dst: p("100.96.0.0/11"), Interface: "eth2"}}, want: []string{"route to 100.96.0.0/11", "eth2", "100.93.0.0/16"}},
	} {
		err := checkOverlay(overlay, c.addrs, c.routes)
		if (err != nil) != (len(c.want) > 0) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
		if c.not != "" && strings.Contains(err.Error(), c.not) {
			t.Errorf("%s: %q offers what clashes too", name, err)
		}
	}
}

func TestOverlayIsCheckedAgainstThisMachine(t *testing.T) {
	addrs, err := ifaddr.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if a.Prefix.Addr().Is4() && !a.Loopback {
			err := CheckOverlay(netip.PrefixFrom(a.Prefix.Addr(), 16).Masked())
			if now, _ := ifaddr.Addrs(); err == nil && !slices.Contains(now, a) {
				continue // somebody took it away
			}
			if err == nil {
				t.Errorf("no clash with %s of %s", a.Prefix, a.Interface)
			}
			return
		}
	}
	t.Skip("this machine has no IPv4 address")
}

func TestRoutesOfOtherTablesAreSeen(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		t.Skip("adding a route needs ip and root")
	}
	if out, err := exec.Command("ip", "route", "replace", "100.127.9.0/24", "dev", "lo", "table", "52").CombinedOutput(); err != nil {
		t.Skipf("this machine takes no routes: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "route", "del", "100.127.9.0/24", "table", "52").Run() })
	if err := CheckOverlay(netip.MustParsePrefix("100.127.0.0/16")); err == nil || !strings.Contains(err.Error(), "100.127.9.0/24") {
		t.Errorf("a VPN's own routing table is not looked at: %v", err)
	}
}
