package start

import "syscall"

// newKeyring leaves the daemon's session keyring for a new one, which holds the account's (pam_keyinit(8)).
func newKeyring() {
	const join, link = 1, 8 // linux/keyctl.h
	ofUser, ofSession := -4, -3
	if _, _, e := syscall.RawSyscall(syscall.SYS_KEYCTL, join, 0, 0); e != 0 {
		return // a kernel without keyrings, or a container
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_KEYCTL, link, uintptr(ofUser), uintptr(ofSession))
}
