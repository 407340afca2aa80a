package sftp

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From FreeBSD's sys/procctl.h and sys/wait.h.
const (
	pPID         = 0
	traceCtl     = 7
	traceDisable = 2
)

// hide forbids tracing, which procfs's mem file counts as (procctl(2)). procfs is not mounted by default: where the
// system refuses, files are served all the same.
func hide() error {
	off := int32(traceDisable)
	_, _, _ = unix.Syscall6(unix.SYS_PROCCTL, pPID, uintptr(os.Getpid()), traceCtl, uintptr(unsafe.Pointer(&off)), 0, 0)
	return nil
}
