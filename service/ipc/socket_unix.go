//go:build unix

package ipc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"lanyard/platform/peercred"
)

// maxSocketPath is what sockaddr_un holds on every Unix (104 bytes on the BSDs and macOS, with the zero).
const maxSocketPath = 103

func dialLocal(ctx context.Context, path string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("this account may not talk to the Lanyard service: %w", err)
	}
	if err != nil {
		return nil, err
	}
	// Whoever may write in the folder could have put up a socket of their own, to be told secrets. The kernel says
	// who listens.
	cred, err := peercred.Of(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if cred.UID != 0 && int(cred.UID) != os.Geteuid() {
		conn.Close()
		return nil, fmt.Errorf("the program that listens runs as uid %d, neither root nor you, and is told nothing", cred.UID)
	}
	return conn, nil
}

// Listen opens the socket. A machine's (system) is for everyone in a folder that only root may change; a user's own
// is 0600 in 0700.
func Listen(path string, system bool) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the socket's path %s is longer than %d bytes; set LANYARD_RUN_DIR to a shorter folder", path, maxSocketPath)
	}
	dir, dirMode, mode := filepath.Dir(path), fs.FileMode(0o700), fs.FileMode(0o600)
	if system {
		dirMode, mode = 0o755, 0o666
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make the socket's folder: %w", err)
	}
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look at the socket: %w", err)
	case fi.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is in the way and is not a socket; move it away", path)
	default:
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			conn.Close()
			return nil, fmt.Errorf("another Lanyard service already listens on %s; 'lanyard status' shows it", path)
		}
		// Left over from a service that was killed.
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the old socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the socket: %w", err)
	}
	// Between the two calls the umask rules, which never gives more than mode.
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, fmt.Errorf("open the socket for callers: %w", err)
	}
	return l, nil
}

// checkFolder refuses a folder that somebody else owns or may write in: a socket there could be replaced.
func checkFolder(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the socket's folder: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.IsDir():
		return fmt.Errorf("%s is not a folder; move it away", dir)
	case !ok || int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another account (uid %d), who could replace a socket in it; set LANYARD_RUN_DIR to a folder of your own", dir, st.Uid)
	case fi.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s may be written by other accounts, who could replace a socket in it; run 'chmod go-w %s'", dir, dir)
	}
	return nil
}
