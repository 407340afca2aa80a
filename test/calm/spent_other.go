//go:build !linux

package calm

func spending() spent { return spent{} }
