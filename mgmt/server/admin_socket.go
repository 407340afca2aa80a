package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"
)

// AdminSocket is the name of the admin socket in the state folder.
const AdminSocket = "admin.sock"

// listenAdmin opens the socket for the folder's owner. The folder's lock is held, so a socket that is there is of a
// process that ended.
func listenAdmin(path string) (net.Listener, error) {
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
	return ownerOnly{l}, nil
}

// ownerOnly drops connections of other users, whatever the socket's mode became.
type ownerOnly struct{ net.Listener }

func (l ownerOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if fromOwner(c) {
			return c, nil
		}
		// A sentence for the other side, so that it does not look like a fault.
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write([]byte("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n" +
			`{"status":403,"message":"The admin socket is for the user that runs lanyard-mgmt only."}`))
		c.Close()
	}
}

type adminKey struct{}

// adminContext marks the requests of the admin socket.
func adminContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, adminKey{}, actor{name: "socket", scopes: []string{ScopeAll}})
}
