//go:build darwin || windows

package keystore

func reachable() bool { return true }
