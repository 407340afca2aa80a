package tunnel

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzHandover is the message that carries a tunnel from one process to the next, with descriptors or without.
func FuzzHandover(f *testing.F) {
	f.Add([]byte(`{"port":51820,"endpoints":{"a":"192.0.2.1:51820"},"listeners":1}`), byte(2))
	f.Add([]byte(`{"listeners":-1}`), byte(0))
	f.Add([]byte(`{"listeners":9}`), byte(9))
	f.Add([]byte(`{"port":65536}`), byte(1))
	path := filepath.Join(f.TempDir(), "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		f.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close(); null.Close() })
	f.Fuzz(func(t *testing.T, b []byte, files byte) {
		if len(b) > maxHandover {
			return
		}
		theirs, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var rights []byte
		if n := int(files % 16); n > 0 {
			fds := make([]int, n)
			for i := range fds {
				fds[i] = int(null.Fd())
			}
			rights = unix.UnixRights(fds...)
		}
		_, _, _ = theirs.WriteMsgUnix(b, rights, nil)
		theirs.Close()
		h, err := ReceiveHandover(c)
		if err != nil {
			return
		}
		if h.TUN == nil || len(h.Listeners) != int(files%16)-1 {
			t.Errorf("%+v of %d descriptors", h, files%16)
		}
		for name, at := range h.Endpoints {
			if at != (netip.AddrPort{}) && !at.IsValid() {
				t.Errorf("%s is at %v", name, at)
			}
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
}
