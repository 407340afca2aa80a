package sftp

// assertDropped has nothing to check: sessions run with the daemon's own token.
func assertDropped() error { return nil }
