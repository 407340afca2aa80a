//go:build !linux

package spawn

// Moved is Linux's, where the login manager moves processes to another control group.
func (s *Scope) Moved(int, string) {}
