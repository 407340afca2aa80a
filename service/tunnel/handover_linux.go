package tunnel

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// littleEndian: the order in which this processor stores words, and /proc prints them.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

const maxHandover = 64 << 10 // bytes of JSON

type handoverJSON struct {
	Port      uint16                    `json:"port"`
	Endpoints map[string]netip.AddrPort `json:"endpoints"`
	Listeners int                       `json:"listeners"`
}

// dupTUN copies the descriptor: the interface lives as long as one is open.
func dupTUN(d tun.Device) (int, error) {
	raw, err := d.File().SyscallConn() // File.Fd would make it blocking
	if err != nil {
		return 0, err
	}
	fd, derr := 0, error(nil)
	if err := raw.Control(func(p uintptr) { fd, derr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, err
	}
	return fd, derr
}

func resumeTUN(h *Handover, mtu int) (tun.Device, error) {
	if h.TUN == nil {
		return nil, errors.New("resume a tunnel: the handover has no interface")
	}
	raw, err := h.TUN.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, derr := 0, error(nil)
	if err := raw.Control(func(p uintptr) { fd, derr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, derr
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	_ = h.TUN.Close()
	return tun.CreateTUNFromFile(os.NewFile(uintptr(fd), "/dev/net/tun"), mtu)
}

// Send gives the handover to another process (SCM_RIGHTS, unix(7)) over a "unixpacket" socket and closes
func (h *Handover) Send(c *net.UnixConn) error {
	body, err := json.Marshal(handoverJSON{h.Port, h.Endpoints, len(h.Listeners)})
	if err != nil {
		return err
	}
	if len(body) > maxHandover {
		return fmt.Errorf("hand the tunnel over: %d bytes of peers are too many", len(body))
	}
	fds := []int{int(h.TUN.Fd())}
	for _, f := range h.Listeners {
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := c.WriteMsgUnix(body, unix.UnixRights(fds...), nil); err != nil {
		return fmt.Errorf("hand the tunnel over: %w", err)
	}
	return h.Close()
}

// ReceiveHandover takes what another process sends.
func ReceiveHandover(c *net.UnixConn) (*Handover, error) {
	body := make([]byte, maxHandover)
	oob := make([]byte, unix.CmsgSpace(4*8))
	n, oobn, flags, _, err := c.ReadMsgUnix(body, oob)
	if err != nil {
		return nil, fmt.Errorf("take the tunnel over: %w", err)
	}
	h := &Handover{}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, fmt.Errorf("take the tunnel over: %w", err)
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			f := os.NewFile(uintptr(fd), "handover")
			if h.TUN == nil {
				h.TUN = f
			} else {
				h.Listeners = append(h.Listeners, f)
			}
		}
	}
	var j handoverJSON
	err = json.Unmarshal(body[:n], &j)
	if err != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || h.TUN == nil || len(h.Listeners) != j.Listeners {
		_ = h.Close()
		return nil, fmt.Errorf("take the tunnel over: the message is not whole (%d bytes)", n)
	}
	h.Port, h.Endpoints = j.Port, j.Endpoints
	return h, nil
}
