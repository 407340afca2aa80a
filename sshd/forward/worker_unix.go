//go:build unix

package forward

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
	"lanyard/sshd/session/start"
)

// Worker opens sockets with the rights of an account: in a process of that account, which starts when it is needed
// and ends with Close. It passes what it opened to the daemon. What it made in the file system it removes, also when
// the daemon is gone.
type Worker struct {
	account  accounts.Account
	helper   []string
	scope    *spawn.Scope
	run      func(func())
	patience time.Duration

	start   sync.Mutex // one start at a time
	closing sync.Once

	mu      sync.Mutex // guards the rest
	closed  bool
	conn    *net.UnixConn
	ended   chan struct{} // closes when the process has ended
	next    uint64
	pending map[uint64]chan received
}

type received struct {
	answer
	files []*os.File
}

// NewWorker makes the worker of a connection, and starts nothing yet. scope is its own; run runs a goroutine that
// the server waits for. patience is how long the process may take to clean up and end by itself.
func NewWorker(a accounts.Account, helper []string, scope *spawn.Scope, run func(func()), patience time.Duration) *Worker {
	return &Worker{account: a, helper: helper, scope: scope, run: run, patience: patience, pending: make(map[uint64]chan received)}
}

// Close ends the process and waits for that. It may be called more than once.
func (w *Worker) Close() { w.closing.Do(w.close) }

func (w *Worker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.start.Lock() // one under way ends first
	conn, ended := w.conn, w.ended
	w.start.Unlock()
	if conn != nil {
		conn.Close() // it reads an end, removes its sockets and exits
		select {
		case <-ended:
		case <-time.After(w.patience):
		}
		w.scope.Kill() // what the account may have made of it
		<-ended
	}
	w.scope.Close()
}

// connect starts the process if it does not run.
func (w *Worker) connect() (*net.UnixConn, error) {
	w.start.Lock()
	defer w.start.Unlock()
	w.mu.Lock()
	conn, closed := w.conn, w.closed
	w.mu.Unlock()
	switch {
	case closed:
		return nil, ErrGone
	case conn != nil:
		return conn, nil
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer null.Close()
	argv := append(append([]string{}, w.helper...), Verb)
	p, err := w.scope.Start(spawn.Command{
		Path: w.helper[0], Argv: argv, Account: w.account, Files: [3]*os.File{theirs, null, null},
		Becomes: start.Becomes(w.account.Uid, w.account.Gid, w.account.Groups),
		Env:     []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + w.account.Home},
	})
	if err != nil {
		ours.Close()
		return nil, err
	}
	ended := make(chan struct{})
	w.run(func() {
		defer close(ended)
		_, _ = p.Wait()
		ours.Close()
	})
	w.run(func() { w.read(ours) })
	w.mu.Lock()
	w.conn, w.ended = ours, ended
	w.mu.Unlock()
	return ours, nil
}

func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	theirs = os.NewFile(uintptr(fds[1]), "worker")
	mine := os.NewFile(uintptr(fds[0]), "worker")
	defer mine.Close()
	c, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), theirs, nil
}

// maxFiles come with one answer.
const maxFiles = 2

// read hands the answers out. The process is the account's, which may have taken it over: nothing that comes from
// it is trusted further than the account is.
func (w *Worker) read(conn *net.UnixConn) {
	defer conn.Close()
	in := &fileReader{conn: conn}
	lines := bufio.NewReaderSize(in, 8<<10)
	for {
		line, err := lines.ReadSlice('\n')
		var a answer
		if err == nil {
			err = json.Unmarshal(line, &a)
		}
		if err == nil && (a.Files < 0 || a.Files > len(in.files)) {
			err = errors.New("an answer without its files")
		}
		if err != nil {
			break
		}
		files := in.files[:a.Files:a.Files]
		in.files = in.files[a.Files:]
		w.mu.Lock()
		to := w.pending[a.ID]
		delete(w.pending, a.ID)
		w.mu.Unlock()
		if to == nil {
			closeFiles(files)
			continue
		}
		to <- received{a, files}
	}
	closeFiles(in.files)
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, to := range w.pending {
		delete(w.pending, id)
		close(to)
	}
}

// fileReader reads bytes and keeps the files that came with them.
type fileReader struct {
	conn  *net.UnixConn
	files []*os.File
}

func (r *fileReader) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(p, oob)
	if err != nil {
		return 0, err
	}
	if oobn > 0 {
		control, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return 0, err
		}
		for _, m := range control {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				continue
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				r.files = append(r.files, os.NewFile(uintptr(fd), "socket"))
			}
		}
	}
	if flags&unix.MSG_CTRUNC != 0 || len(r.files) > maxFiles {
		return 0, errors.New("too many files")
	}
	if n == 0 {
		return 0, net.ErrClosed
	}
	return n, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// do asks and waits for the answer.
func (w *Worker) do(ctx context.Context, o order, limit time.Duration) (received, error) {
	conn, err := w.connect()
	if err != nil {
		return received{}, err
	}
	to := make(chan received, 1)
	w.mu.Lock()
	w.next++
	o.ID = w.next
	w.pending[o.ID] = to
	line, err := json.Marshal(o)
	if err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(workerTime))
		_, err = conn.Write(append(line, '\n')) // one at a time; it is shorter than the socket's buffer
	}
	if err != nil {
		delete(w.pending, o.ID)
	}
	w.mu.Unlock()
	if err != nil {
		return received{}, ErrGone
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case r, ok := <-to:
		switch {
		case !ok:
			return r, ErrGone
		case r.Error != "":
			closeFiles(r.files)
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	_, waiting := w.pending[o.ID]
	delete(w.pending, o.ID)
	w.mu.Unlock()
	if !waiting { // it is on its way
		if r, ok := <-to; ok {
			closeFiles(r.files)
		}
	}
	return received{}, ctx.Err()
}

// listeners makes listeners of an answer's files.
func listeners(r received) ([]net.Listener, error) {
	defer closeFiles(r.files)
	var all []net.Listener
	for _, f := range r.files {
		l, err := net.FileListener(f)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, errors.New("no socket was opened")
	}
	return all, nil
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		l.Close()
	}
}

// Listen listens at addr; port 0 lets the system choose.
func (w *Worker) Listen(ctx context.Context, addr netip.AddrPort) (net.Listener, error) {
	r, err := w.do(ctx, order{Op: opListen, Addr: addr}, workerTime)
	if err != nil {
		return nil, err
	}
	ls, err := listeners(r)
	if err != nil {
		return nil, err
	}
	// What was granted is what counts, whoever answered.
	at, ok := ls[0].Addr().(*net.TCPAddr)
	if !ok || len(ls) != 1 || at.AddrPort().Addr().Unmap() != addr.Addr() || addr.Port() != 0 && at.Port != int(addr.Port()) {
		closeAll(ls)
		return nil, fmt.Errorf("asked for %s, but the socket is at %s", addr, ls[0].Addr())
	}
	return ls[0], nil
}

// ListenUnix makes a socket of the account, mode 0600. It fails where path exists.
func (w *Worker) ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	r, err := w.do(ctx, order{Op: opListenUnix, Path: []byte(path)}, workerTime)
	if err != nil {
		return nil, err
	}
	return oneUnix(r)
}

func oneUnix(r received) (net.Listener, error) {
	ls, err := listeners(r)
	if err != nil {
		return nil, err
	}
	if _, ok := ls[0].(*net.UnixListener); !ok || len(ls) != 1 {
		closeAll(ls)
		return nil, errors.New("the socket is of another kind")
	}
	return ls[0], nil
}

// Remove removes a socket that ListenUnix made.
func (w *Worker) Remove(path string) {
	_, _ = w.do(context.Background(), order{Op: opRemove, Path: []byte(path)}, workerTime)
}

// Agent makes the socket for SSH_AUTH_SOCK: 0600 in a folder 0700 of its own.
func (w *Worker) Agent(ctx context.Context) (net.Listener, string, error) {
	r, err := w.do(ctx, order{Op: opAgent}, workerTime)
	if err != nil {
		return nil, "", err
	}
	l, err := oneUnix(r)
	return l, r.Path, err
}

// X11 listens on loopback for a display that is free, and returns its number.
func (w *Worker) X11(ctx context.Context) ([]net.Listener, int, error) {
	r, err := w.do(ctx, order{Op: opX11}, workerTime)
	if err != nil {
		return nil, 0, err
	}
	ls, err := listeners(r)
	if err != nil {
		return nil, 0, err
	}
	for _, l := range ls {
		at, ok := l.Addr().(*net.TCPAddr)
		if !ok || !at.IP.IsLoopback() || at.Port != x11Port+r.Number || r.Number < firstDisplay || r.Number > lastDisplay {
			closeAll(ls)
			return nil, 0, fmt.Errorf("display %d is at %s", r.Number, l.Addr())
		}
	}
	return ls, r.Number, nil
}

// DialUnix connects to a Unix socket.
func (w *Worker) DialUnix(ctx context.Context, path string) (net.Conn, error) {
	r, err := w.do(ctx, order{Op: opDialUnix, Path: []byte(path)}, workerTime)
	if err != nil {
		return nil, err
	}
	return oneConn(r)
}

func oneConn(r received) (net.Conn, error) {
	defer closeFiles(r.files)
	if len(r.files) != 1 {
		return nil, errors.New("no socket was opened")
	}
	return net.FileConn(r.files[0])
}
