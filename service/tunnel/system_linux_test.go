package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"lanyard/service/redirect"
)

func TestOpenConnectionsAreRead(t *testing.T) {
	l, err := net.Listen("tcp", "[::]:0") // takes both families
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, host := range []string{"127.0.0.1", "::1"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(host), uint16(l.Addr().(*net.TCPAddr).Port))
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		local := c.LocalAddr().(*net.TCPAddr).AddrPort()
		for _, want := range []redirect.Pair{{Local: local, Remote: at}, {Local: at, Remote: local}} {
			// The kernel may take a moment for the far end, and lists what comes and goes meanwhile once, twice or not.
			until(t, fmt.Sprintf("%v is among the open connections", want), func() bool { return slices.Contains(openConnections(), want) })
		}
		c.Close()
	}
	if slices.ContainsFunc(openConnections(), func(p redirect.Pair) bool { return p.Remote.Port() == 0 }) {
		t.Error("a listener counts as a connection")
	}
}

func FuzzSocketTable(f *testing.F) {
	f.Add("  sl  local_address rem_address   st\n   0: 0100007F:1F90 0200007F:A000 01 0:0 0:0\n")
	f.Add("   1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:A000 08\n")
	f.Add("   1: 01:1 02:2 01\n 2: : : 01\n")
	f.Fuzz(func(t *testing.T, table string) {
		for _, p := range readConnections(strings.NewReader(table)) {
			if !p.Local.IsValid() || !p.Remote.IsValid() || p.Local.Addr().Is4In6() || p.Remote.Addr().Is4In6() {
				t.Errorf("%v", p)
			}
		}
	})
}
