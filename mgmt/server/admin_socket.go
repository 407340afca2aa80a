package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
)

// AdminSocket is the name of the admin socket in the state folder.
const AdminSocket = "admin.sock"

// maxSocketPath is what the shortest sockaddr_un of our systems holds (macOS, FreeBSD: 104 with the final zero).
const maxSocketPath = 103

// listenAdmin opens the socket for the folder's owner. The folder's lock is held, so a socket that is there is of a
// process that ended.
func listenAdmin(path string) (net.Listener, error) {
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

type adminKey struct{}

// adminContext marks the requests of the admin socket that come from its owner, as the kernel says, whatever the
// socket's mode became.
func adminContext(ctx context.Context, c net.Conn) context.Context {
	if !fromOwner(c) {
		return ctx
	}
	return context.WithValue(ctx, adminKey{}, actor{name: "socket", scopes: []string{ScopeAll}})
}

// ownerOnly refuses requests that adminContext did not mark.
func (s *Server) ownerOnly(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		if _, ok := actorOf(r.Context()); !ok {
			return refuse(http.StatusForbidden, "The admin socket is for the user that runs lanyard-mgmt only.")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}
