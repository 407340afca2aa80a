//go:build !linux

package handover

// supported: elsewhere an interface cannot go from one process to another.
const supported = false
