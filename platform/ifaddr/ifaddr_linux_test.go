package ifaddr

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An interface in a network of this test's own, configured twice.
func TestInterfaceGetsAddressesAndRoutes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its network with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		const name = "overlay0"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "far0"}); err != nil {
			t.Error(err)
			return
		}
		four, six := netip.MustParseAddr("100.110.0.1"), netip.MustParseAddr("fd00::1")
		nets := []netip.Prefix{netip.MustParsePrefix("100.110.0.0/16"), netip.MustParsePrefix("fd00::/48")}
		for range 2 {
			if skipped, err := Configure(name, 1280, []netip.Addr{four, six}, nets); err != nil || len(skipped) > 0 && skipped[0] != six {
				t.Errorf("skipped %v: %v", skipped, err)
				return
			}
		}
		all, err := Addrs()
		if err != nil || !slices.Contains(all, Addr{name, netip.PrefixFrom(four, 32), false}) {
			t.Errorf("the addresses are %v, %v", all, err)
		}
		routes, err := Routes()
		if err != nil || !slices.Contains(routes, Route{nets[0], name}) {
			t.Errorf("the routes are %v, %v", routes, err)
		}
		if l, err := netlink.LinkByName(name); err != nil || l.Attrs().MTU != 1280 {
			t.Errorf("%+v, %v", l, err)
		}
	}()
	<-done
}
