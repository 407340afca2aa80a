//go:build unix

package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is what the shortest sockaddr_un of our systems holds (macOS, FreeBSD: 104 with the final zero).
const maxSocketPath = 103

// DialAdmin opens the admin socket of the server that runs on a state folder.
func DialAdmin(ctx context.Context, state string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(state, AdminSocket))
}

// listenAdmin opens the socket for the folder's owner. The folder's lock is held, so a socket that is there is of a
// process that ended.
func listenAdmin(state string) (net.Listener, error) {
	path := filepath.Join(state, AdminSocket)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path %s is too long for a socket; choose a state folder with a shorter name", path)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the old admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the admin socket %s: %w", path, err)
	}
	// Until this line the folder's mode (0700) keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect the admin socket: %w", err)
	}
	return l, nil
}
