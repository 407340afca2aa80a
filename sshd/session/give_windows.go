package session

func (s *Session) givePTY() error { return nil }
