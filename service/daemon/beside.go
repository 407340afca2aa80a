package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/netmap"
)

var errSameRange = errors.New("two networks of this machine have the same range")

// beside looks whether another profile of this installation has machines in the overlay range: ssh goes by their addresses,
// and would take one for the other. Without an interface, nothing but the profiles' files tells. Who was there first stays.
func (d *Daemon) beside(overlay netip.Prefix) error {
	if _, err := os.Stat(d.paths.DropIn); err == nil {
		return nil
	}
	entries, _ := os.ReadDir(filepath.Dir(d.paths.State)) // it holds this profile's own folder at least
	for _, e := range entries {
		other := e.Name()
		if !e.IsDir() || other == d.paths.Profile || api.CheckName(other) != nil {
			continue
		}
		p := paths.User(other)
		if d.paths.System {
			p = paths.System(other)
		}
		if _, err := os.Stat(p.DropIn); err != nil { // ssh does not know it: it is down, or part of nothing
			continue
		}
		if theirs, err := netmap.Overlay(p.MapFile); err == nil && theirs.Overlaps(overlay) {
			return fmt.Errorf("%w: %s is also that of the profile '%s', and ssh could not tell their machines apart; switch that one off "+
				"('lanyard --profile %[3]s down'), or give one of the networks another range before machines join it ('lanyard-mgmt serve --overlay4')",
				errSameRange, overlay, other)
		}
	}
	return nil
}
