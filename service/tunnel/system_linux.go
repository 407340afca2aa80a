package tunnel

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"lanyard/service/redirect"
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

// openConnections lists this network namespace's open TCP connections, from the kernel's socket table. IPv4 ones of
// sockets that take both families are shown as such.
func openConnections() (open []redirect.Pair) {
	for _, table := range []string{"tcp", "tcp6"} {
		// Not /proc/net: that is the namespace of the process's first thread.
		f, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		open = append(open, readConnections(f)...)
		_ = f.Close()
	}
	return open
}

func readConnections(table io.Reader) (open []redirect.Pair) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			continue
		}
		switch fields[3] { // include/net/tcp_states.h
		case "06", "07", "0A": // TIME_WAIT, CLOSE, LISTEN
			continue
		}
		l, lok := procAddr(fields[1])
		r, rok := procAddr(fields[2])
		if lok && rok {
			open = append(open, redirect.Pair{Local: l, Remote: r})
		}
	}
	return open
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
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), ok
}
