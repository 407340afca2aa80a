package pty

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/charmbracelet/x/conpty"
	"golang.org/x/sys/windows"
)

// notImplemented is E_NOTIMPL as the console's functions return it.
const notImplemented = syscall.Errno(0x80004001)

// PTY is a pseudo-console.
type PTY struct {
	con *conpty.ConPty
	out windows.Handle // our own handle of the console's output: what the console wrote last is read after its end

	mu     sync.RWMutex // held for writing to end; readers and writers hold it for reading
	ended  bool
	reads  sync.Mutex // one reader at a time; Close takes the rest of the output
	closed bool       // guarded by reads: out is closed
	over   sync.WaitGroup
}

// Open makes a console of this size. Windows consoles have no terminal modes to set.
func Open(size Size, _ []Mode) (*PTY, error) {
	c, err := conpty.New(cells(size.Cols, 80), cells(size.Rows, 25), 0)
	if err != nil {
		return nil, fmt.Errorf("open a console: %w; Windows 10 1809 or later is needed", err)
	}
	p := &PTY{con: c}
	me := windows.CurrentProcess()
	if err := windows.DuplicateHandle(me, windows.Handle(c.OutPipeReadFd()), me, &p.out, 0, false, windows.DUPLICATE_SAME_ACCESS); err != nil {
		c.Close()
		return nil, fmt.Errorf("open a console's output: %w", err)
	}
	return p, nil
}

// cells is what ConPTY takes: a COORD of signed 16-bit numbers, not zero.
func cells(n uint32, unset int) int {
	if n == 0 {
		return unset
	}
	return int(min(clamp(n), 0x7fff))
}

// Name is empty: a console has no path.
func (p *PTY) Name() string { return "" }

// Resize tells the console of a new size. Consoles that cannot change it (Wine's) keep the old one.
func (p *PTY) Resize(s Size) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.ended {
		return os.ErrClosed
	}
	err := p.con.Resize(cells(s.Cols, 80), cells(s.Rows, 25))
	if errors.Is(err, notImplemented) {
		return fmt.Errorf("this console keeps its size (those of Wine do): %w", errors.ErrUnsupported)
	}
	return err
}

// Start runs argv in the console.
func (p *PTY) Start(path string, argv []string, attr *syscall.ProcAttr) (pid int, handle uintptr, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.ended {
		return 0, 0, os.ErrClosed
	}
	return p.con.Spawn(path, argv, attr)
}

// Write types into the console.
func (p *PTY) Write(b []byte) (int, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.ended {
		return 0, os.ErrClosed
	}
	return p.con.Write(b)
}

// Read reads what the console shows, and io.EOF once it has ended and all was read.
func (p *PTY) Read(b []byte) (int, error) {
	p.reads.Lock()
	defer p.reads.Unlock()
	if p.closed {
		return 0, os.ErrClosed
	}
	var n uint32
	err := windows.ReadFile(p.out, b, &n, nil)
	if errors.Is(err, windows.ERROR_BROKEN_PIPE) || err == nil && n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return int(n), err
}

// CloseSlave does nothing: a console has no slave side.
func (p *PTY) CloseSlave() {}

// End ends the console once its program has ended; it returns at once. Reading goes on until all was read: a console
// ends by itself only when it is told to.
func (p *PTY) End() {
	p.over.Go(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.ended {
			p.ended = true
			p.con.Close() // Windows 10 waits here until the output was read
		}
	})
}

// Close ends the console and throws away what was not read.
func (p *PTY) Close() error {
	p.End()
	p.reads.Lock()
	if !p.closed {
		rest := make([]byte, 4096)
		var n uint32
		for windows.ReadFile(p.out, rest, &n, nil) == nil {
		}
		p.closed = true
		windows.CloseHandle(p.out)
	}
	p.reads.Unlock()
	p.over.Wait()
	return nil
}

// Break is not for consoles.
func (p *PTY) Break() error {
	return fmt.Errorf("a console has no line on which a break shows: %w", errors.ErrUnsupported)
}

// Readable is not known of a console.
func (p *PTY) Readable() bool { return false }
