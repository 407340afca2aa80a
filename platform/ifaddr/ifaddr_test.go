package ifaddr

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestLoopbackIsListed(t *testing.T) {
	all, err := Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Prefix.Addr() == netip.MustParseAddr("127.0.0.1") && a.Loopback && a.Interface != "" && a.Prefix.Bits() == 8 {
			return
		}
	}
	t.Errorf("no 127.0.0.1/8 in %v", all)
}

func TestRoutesLeadSomewhere(t *testing.T) {
	all, err := Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if !r.Dst.IsValid() || r.Dst.Bits() == 0 {
			t.Errorf("%v is a default route, or none", r)
		}
	}
}

func TestTakenNameIsCountedOn(t *testing.T) {
	ifs, err := net.Interfaces()
	if err != nil || len(ifs) == 0 {
		t.Fatalf("no interfaces: %v", err)
	}
	if got := TUNName(ifs[0].Name); got == ifs[0].Name || exists(got) {
		t.Errorf("%s is taken, and so is %s", ifs[0].Name, got)
	}
	if got := TUNName("lanyard-x"); got != "lanyard-x" && got != "utun" {
		t.Errorf("a free name becomes %s", got)
	}
}

func TestInterfaceThatIsNotThereIsNamed(t *testing.T) {
	_, err := Configure("lanyard-none", 1280, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil)
	if err == nil || !strings.Contains(err.Error(), "lanyard-none") {
		t.Errorf("%v", err)
	}
}
