package server

import (
	"context"
	"net"
	"net/http"
)

// AdminSocket is the name of the admin socket in the state folder; on Windows it is a pipe.
const AdminSocket = "admin.sock"

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
