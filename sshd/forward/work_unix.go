//go:build unix

package forward

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// WorkerMain is the worker's process: it runs as the account already. Standard input is the socket to the daemon.
func WorkerMain() (exit int) {
	unix.Umask(0o177) // sockets are 0600
	if os.Getuid() != 0 && (os.Getuid() != os.Geteuid() || syscall.Setuid(0) == nil) {
		return 1 // root's rights could be taken back
	}
	c, err := net.FileConn(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Lanyard: sessions call this by themselves")
		return 2
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return 2
	}
	w := &work{conn: conn, made: make(map[string]os.FileInfo)}
	w.serve()
	return 0
}

// work is the state of the worker's process.
type work struct {
	conn *net.UnixConn

	mu   sync.Mutex             // guards what follows, and writes to conn
	made map[string]os.FileInfo // sockets in the file system, to be removed
	dirs []string
}

func (w *work) serve() {
	defer w.clean()
	lines := bufio.NewReaderSize(w.conn, 8<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		var o order
		if json.Unmarshal(line, &o) != nil {
			return
		}
		if o.Op == opDial {
			go w.answer(o) // takes as long as the network does
			continue
		}
		w.answer(o)
	}
}

func (w *work) answer(o order) {
	a := answer{ID: o.ID}
	files, err := w.do(o, &a)
	if err != nil {
		a.Error = plain(err)
	}
	a.Files = len(files)
	defer closeFiles(files)
	line, err := json.Marshal(a)
	if err != nil {
		return
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _, _ = w.conn.WriteMsgUnix(append(line, '\n'), rights, nil)
}

func (w *work) do(o order, a *answer) ([]*os.File, error) {
	switch o.Op {
	case opListen:
		return one(listenTCP(o.Addr))
	case opListenUnix:
		return one(w.listenUnix(string(o.Path)))
	case opRemove:
		w.remove(string(o.Path))
		return nil, nil
	case opDial:
		d := net.Dialer{Timeout: dialTime, KeepAlive: -1}
		return connected(d.Dial("tcp", o.Addr.String()))
	case opDialUnix:
		d := net.Dialer{Timeout: workerTime}
		return connected(d.Dial("unix", string(o.Path)))
	case opAgent:
		l, path, err := w.agent()
		a.Path = path
		return one(l, err)
	case opX11:
		files, n, err := display()
		a.Number = n
		return files, err
	}
	return nil, fmt.Errorf("there is no %q", o.Op)
}

// fileOf is the file of a listener or a connection, which it closes.
func fileOf(x interface {
	File() (*os.File, error)
	Close() error
},
) (*os.File, error) {
	defer x.Close()
	return x.File()
}

func one(l net.Listener, err error) ([]*os.File, error) {
	if err != nil {
		return nil, err
	}
	var f *os.File
	switch l := l.(type) {
	case *net.TCPListener:
		f, err = fileOf(l)
	case *net.UnixListener:
		f, err = fileOf(l)
	}
	return []*os.File{f}, err
}

func connected(c net.Conn, err error) ([]*os.File, error) {
	if err != nil {
		return nil, err
	}
	var f *os.File
	switch c := c.(type) {
	case *net.TCPConn:
		f, err = fileOf(c)
	case *net.UnixConn:
		f, err = fileOf(c)
	}
	return []*os.File{f}, err
}

// listenTCP listens at this address alone: for "::" not also at 0.0.0.0.
func listenTCP(addr netip.AddrPort) (net.Listener, error) {
	network := "tcp6"
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	return net.Listen(network, addr.String())
}

func (w *work) listenUnix(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	st, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, err
	}
	w.mu.Lock()
	w.made[path] = st
	w.mu.Unlock()
	return l, nil
}

// remove removes a socket, unless somebody has put another in its place.
func (w *work) remove(path string) {
	w.mu.Lock()
	made := w.made[path]
	delete(w.made, path)
	w.mu.Unlock()
	if made == nil {
		return
	}
	if st, err := os.Lstat(path); err == nil && os.SameFile(st, made) {
		os.Remove(path)
	}
}

// agent makes the socket where programs look for it: scripts know OpenSSH's /tmp/ssh-XXXXXXXXXX/agent.PID.
func (w *work) agent() (*net.UnixListener, string, error) {
	dir := filepath.Join(os.TempDir(), "ssh-"+rand.Text()[:10])
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // the umask has taken the x
		return nil, "", err
	}
	w.mu.Lock()
	w.dirs = append(w.dirs, dir)
	w.mu.Unlock()
	path := filepath.Join(dir, "agent."+strconv.Itoa(os.Getpid()))
	l, err := w.listenUnix(path)
	return l, path, err
}

// display finds a number whose port is free on all addresses of loopback.
func display() (files []*os.File, number int, err error) {
	for n := firstDisplay; n <= lastDisplay; n++ {
		port := uint16(x11Port + n)
		four, err := listenTCP(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		six, err := listenTCP(netip.AddrPortFrom(netip.IPv6Loopback(), port))
		if errors.Is(err, unix.EADDRINUSE) {
			four.Close()
			continue
		}
		if files, err = one(four, nil); err != nil {
			return nil, 0, err
		}
		if six != nil { // there may be no IPv6
			more, err := one(six, nil)
			if err != nil {
				closeFiles(files)
				return nil, 0, err
			}
			files = append(files, more...)
		}
		return files, n, nil
	}
	return nil, 0, errors.New("no display is free")
}

// clean removes what is left when the daemon hangs up or is gone.
func (w *work) clean() {
	w.mu.Lock()
	paths := make([]string, 0, len(w.made))
	for p := range w.made {
		paths = append(paths, p)
	}
	dirs := w.dirs
	w.mu.Unlock()
	for _, p := range paths {
		w.remove(p)
	}
	for _, d := range dirs {
		os.Remove(d)
	}
}
