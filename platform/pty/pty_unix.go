//go:build unix

package pty

import (
	"errors"
	"fmt"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// PTY is a pseudo-terminal. Reads and writes are on its master side.
type PTY struct {
	*os.File          // master
	Slave    *os.File // nil once the process has it (CloseSlave)
	name     string
}

// Open makes a terminal of this size with these modes.
func Open(size Size, modes []Mode) (*PTY, error) {
	m, s, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	if m, err = pollable(m); err != nil {
		s.Close()
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	p := &PTY{File: m, Slave: s, name: s.Name()}
	if err := p.setModes(modes); err != nil {
		p.Close()
		return nil, fmt.Errorf("set the modes of %s: %w", p.name, err)
	}
	if err := p.Resize(size); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Name is the path of the slave side: SSH_TTY.
func (p *PTY) Name() string { return p.name }

// Resize tells the terminal and the process in it of a new size.
func (p *PTY) Resize(s Size) error {
	ws := unix.Winsize{Row: clamp(s.Rows), Col: clamp(s.Cols), Xpixel: clamp(s.Width), Ypixel: clamp(s.Height)}
	rc, err := p.SyscallConn() // pty.Setsize would make reads block
	if err == nil {
		cerr := rc.Control(func(fd uintptr) { err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &ws) })
		err = errors.Join(cerr, err)
	}
	if err != nil {
		return fmt.Errorf("set the size of %s: %w", p.name, err)
	}
	return nil
}

// Break sends a break (RFC 4335). A pseudo-terminal has no line on which it would show: it is for programs that look.
func (p *PTY) Break() error {
	rc, err := p.SyscallConn()
	if err == nil {
		cerr := rc.Control(func(fd uintptr) { err = sendBreak(int(fd)) })
		err = errors.Join(cerr, err)
	}
	return err
}

// Readable reports whether the program has written what nobody has read yet.
func (p *PTY) Readable() bool {
	rc, err := p.SyscallConn()
	if err != nil {
		return false
	}
	readable := false
	_ = rc.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		readable = err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
	})
	return readable
}

// Give makes uid own the slave side. A group that the system gave to it (devpts mounts with gid=tty) stays and
// may write to it, for write(1) and wall(1).
func (p *PTY) Give(uid, gid uint32) error {
	mode := os.FileMode(0o600)
	var st unix.Stat_t
	if err := unix.Stat(p.name, &st); err == nil && st.Gid != 0 {
		gid, mode = st.Gid, 0o620
	}
	if err := p.Slave.Chown(int(uid), int(gid)); err != nil {
		return fmt.Errorf("give %s to the user: %w", p.name, err)
	}
	return p.Slave.Chmod(mode)
}

// CloseSlave closes our end of the slave side, so that the master reads an end once the last process has gone.
func (p *PTY) CloseSlave() {
	if p.Slave != nil {
		p.Slave.Close()
		p.Slave = nil
	}
}

// Close closes both sides; what still runs in the terminal is hung up.
func (p *PTY) Close() error {
	p.CloseSlave()
	return p.File.Close()
}

// control runs f with the slave's descriptor.
func (p *PTY) control(f func(fd int) error) error {
	rc, err := p.Slave.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
