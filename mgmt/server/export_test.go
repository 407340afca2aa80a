package server

import "time"

// BePatient is for tests that want an answer, however long this machine stands still in between.
func (c *Config) BePatient() { c.patience = time.Minute }

// LimitAudit is for tests that do not want to send as much as is allowed.
func (s *Server) LimitAudit(burst int, refill time.Duration) {
	s.audits = bucket{burst: burst, refill: refill}
}
