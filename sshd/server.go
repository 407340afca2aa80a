package sshd

import (
	"errors"
	"net"

	"lanyard/mgmt/api/reason"
)

// Server serves SSH.
type Server struct {
	cfg Config
}

// New makes a server. Serve may be called for several listeners.
func New(cfg Config) (*Server, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// Serve serves the connections of l until it fails or the server is closed, when it returns nil.
func (s *Server) Serve(l net.Listener) error { return errors.New("not built yet") }

// Close ends all sessions with reason "shutdown", closes the listeners and waits for everything to stop.
func (s *Server) Close() error { return nil }

// Changed decides every session again after a change of State, ends those that are not allowed any more and
// returns their ids.
func (s *Server) Changed() []string { return nil }

// Sessions lists the authenticated connections, oldest first.
func (s *Server) Sessions() []SessionInfo { return nil }

// End ends a session with this reason, and reports whether there was one.
func (s *Server) End(id string, c reason.Code) bool { return false }

// HelperMain runs the helpers that sessions start as the target user. args is what follows Config.Helper in argv.
// It must be called before anything else in main: handled is false when args are not for it.
func HelperMain(args []string) (handled bool, exit int) { return false, 0 }
