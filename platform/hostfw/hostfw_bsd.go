//go:build darwin || freebsd

package hostfw

// Name is the firewall that filters what comes in: pf, on these systems, unless somebody put another one in.
func Name() string { return "pf" }
