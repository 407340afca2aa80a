package server

import "time"

// LimitAudit is for tests that do not want to send as much as is allowed.
func (s *Server) LimitAudit(burst int, refill time.Duration) {
	s.audits = bucket{burst: burst, refill: refill}
}
