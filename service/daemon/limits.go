package daemon

import (
	"os"
	"time"

	"lanyard/mgmt/api"
	"lanyard/service/limits"
)

// readLimits reads the machine's own limits. Wrong ones let nobody in, and status and doctor say so.
func (n *network) readLimits() {
	name := n.d.paths.Limits
	fi, _ := os.Lstat(name) // nil where there is none
	own, err := limits.Load(name)
	if err != nil {
		n.d.log.Error("the machine's limits cannot be used", "err", err)
		own = limits.Broken()
	}
	n.problem("limits", err)
	n.limits.Store(own)
	n.mu.Lock()
	n.limitsAt = fi
	n.mu.Unlock()
}

// limitsChanged reports whether the file is another one than was read.
func (n *network) limitsChanged() bool {
	fi, _ := os.Lstat(n.d.paths.Limits)
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.limitsAt
	switch {
	case fi == nil || old == nil:
		return (fi == nil) != (old == nil)
	case !os.SameFile(fi, old):
		return true
	}
	return !fi.ModTime().Equal(old.ModTime()) || fi.Size() != old.Size() || fi.Mode() != old.Mode()
}

// askEvery bounds how often this machine asks for keys that it does not know: whoever reaches its port 22 can bring
// tokens that name some.
const askEvery = 10 * time.Second

// unknownKey asks the management server for a key, without waiting for anything.
func (n *network) unknownKey(issuer, kid string) {
	n.mu.Lock()
	now := n.d.now()
	if now.Sub(n.asked) < askEvery && !now.Before(n.asked) {
		n.mu.Unlock()
		return
	}
	n.asked = now
	n.mu.Unlock()
	select {
	case n.unknown <- api.UnknownKey{Issuer: issuer, KID: kid}:
	default:
	}
}
