//go:build darwin || freebsd

package start

// limitFiles leaves the limit to the login class.
func limitFiles(uint64) {}
