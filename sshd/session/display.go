package session

import (
	"fmt"
	"os"
	"regexp"
	"slices"

	"golang.org/x/crypto/ssh"
)

// x11Request is "x11-req" (RFC 4254 §6.3.1).
type x11Request struct {
	Single   bool
	Protocol string
	Cookie   string // hex; the client's own invention, which it replaces by the real one
	Screen   uint32
}

var (
	protocolRE = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)
	cookieRE   = regexp.MustCompile(`^[0-9a-fA-F]{1,256}$`)
)

func parseX11(payload []byte) (x11Request, error) {
	var r x11Request
	if ssh.Unmarshal(payload, &r) != nil || !protocolRE.MatchString(r.Protocol) || !cookieRE.MatchString(r.Cookie) || r.Screen > 255 {
		return x11Request{}, errPayload
	}
	return r, nil
}

// forwardAgent is "auth-agent-req@openssh.com". The connection has one socket for all its sessions.
func (s *Session) forwardAgent() bool {
	if s.What() != "" {
		return false
	}
	path, err := s.login.Agent()
	if err != nil {
		s.login.Log.Info("no agent", "err", err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := "SSH_AUTH_SOCK=" + path; !slices.Contains(s.auth, v) { // once, however often it is asked for
		s.auth = append(s.auth, v)
	}
	return true
}

// xauthPaths are where xauth(1) may be; without it no program could find its cookie, and nothing is forwarded.
var xauthPaths = []string{"/usr/bin/xauth", "/usr/local/bin/xauth", "/opt/X11/bin/xauth", "/usr/X11R6/bin/xauth"}

func xauth() string {
	for _, p := range xauthPaths {
		if st, err := os.Stat(p); err == nil && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// forwardX11 is "x11-req".
func (s *Session) forwardX11(payload []byte) bool {
	req, err := parseX11(payload)
	s.mu.Lock()
	twice := s.x11 != nil || s.what != ""
	s.mu.Unlock()
	if err != nil || twice {
		return false
	}
	if xauth() == "" {
		s.login.Log.Info("X11 is not forwarded: there is no xauth here")
		return false
	}
	display, end, err := s.login.X11(req.Single)
	if err != nil {
		s.login.Log.Info("no X11", "err", err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x11, s.endX = &req, end
	s.auth = append(s.auth, fmt.Sprintf("DISPLAY=localhost:%d.%d", display, req.Screen))
	return true
}
