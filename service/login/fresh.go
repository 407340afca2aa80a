package login

import (
	"time"

	"lanyard/platform/paths"
	"lanyard/service/login/fresh"
)

// Freshness is what the .fresh file beside a certificate says.
type Freshness = fresh.Line

// ReadFreshness reads a .fresh file.
func ReadFreshness(name string) (Freshness, error) { return fresh.Read(name) }

// Fresh reports whether this user's certificate for the machine peer may be offered as it is.
func Fresh(p paths.Paths, peer string, maxAge time.Duration, now time.Time) bool {
	_, _, name := p.Identity(peer)
	f, err := fresh.Read(name)
	return err == nil && f.Good(now, maxAge)
}

// Stale makes the next ssh refresh the token, after a server refused it.
func Stale(p paths.Paths, peer string) error {
	_, _, name := p.Identity(peer)
	f, err := fresh.Read(name)
	if err != nil {
		return nil //nolint:nilerr // nothing to spoil
	}
	f.RefreshAfter = time.Unix(0, 0)
	return paths.WriteFile(name, []byte(f.String()), 0o600)
}
