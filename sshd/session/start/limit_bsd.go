//go:build darwin || freebsd

package start

// limitFiles leaves the limit to the login class.
func limitFiles(uint64) {}

// newKeyring: there are none here.
func newKeyring() {}

func (l Limit) set() {}
