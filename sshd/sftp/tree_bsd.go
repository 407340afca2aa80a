//go:build darwin || freebsd

package sftp

// readOnlyOrNoSUID makes the flags of statvfs@openssh.com: 1 read-only, 2 no set-uid.
func readOnlyOrNoSUID(flags, readOnly, noSUID uint64) (f uint64) {
	if flags&readOnly != 0 {
		f |= 1
	}
	if flags&noSUID != 0 {
		f |= 2
	}
	return f
}
