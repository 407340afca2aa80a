package tunnel

import (
	"bufio"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenTCP listens on an overlay address and takes only what comes in through the interface: without that, Linux hands
// packets for any of its addresses to the listener, whichever interface they came in through.
func listenTCP(ctx context.Context, iface string, on netip.AddrPort) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), iface) }); e != nil {
			return e
		}
		return err
	}}
	return lc.Listen(ctx, "tcp", on.String())
}

// establishedOn lists the remote ends of this network namespace's open TCP connections to local, from the kernel's
// socket table.
func establishedOn(local netip.AddrPort) []netip.AddrPort {
	// Not /proc/net: that is the namespace of the process's first thread.
	path := "/proc/thread-self/net/tcp"
	if local.Addr().Is6() {
		path += "6"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var remotes []netip.AddrPort
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			continue
		}
		switch fields[3] { // include/net/tcp_states.h
		case "06", "07", "0A": // TIME_WAIT, CLOSE, LISTEN
			continue
		}
		l, ok := procAddr(fields[1])
		if !ok || l != local {
			continue
		}
		if r, ok := procAddr(fields[2]); ok {
			remotes = append(remotes, r)
		}
	}
	return remotes
}

// procAddr reads an address of /proc/net/tcp: 32-bit words in the processor's order, the port in hex.
func procAddr(s string) (netip.AddrPort, bool) {
	ip, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(ip)
	p, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	if littleEndian {
		for i := 0; i < len(b); i += 4 {
			b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
		}
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(p)), ok
}
