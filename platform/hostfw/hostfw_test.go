//go:build !linux

package hostfw

import "testing"

func TestTheSystemsFirewallIsNamed(t *testing.T) {
	if Name() == "" {
		t.Error("it has no name")
	}
}
