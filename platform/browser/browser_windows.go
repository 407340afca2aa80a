package browser

import (
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// desktop uses the system's own rundll32, by its full path: the search path begins with the current folder.
func desktop(page string) ([]string, bool) {
	sys, err := windows.GetSystemDirectory()
	if err != nil || raised(windows.GetCurrentProcessToken()) {
		return nil, false
	}
	return []string{filepath.Join(sys, "rundll32.exe"), "url.dll,FileProtocolHandler", page}, true
}

// raised reports whether a browser would run with more rights than the person's desktop has: those that were asked for
// (UAC), or the system's own. An account whose desktop has them all (UAC off, the built-in Administrator) is at home.
func raised(t windows.Token) bool {
	const full = 2 // TokenElevationTypeFull of winnt.h: the other half of a split token
	var kind, n uint32
	if err := windows.GetTokenInformation(t, windows.TokenElevationType, (*byte)(unsafe.Pointer(&kind)), uint32(unsafe.Sizeof(kind)), &n); err != nil || kind == full {
		return true
	}
	u, err := t.GetTokenUser()
	return err != nil || u.User.Sid.IsWellKnown(windows.WinLocalSystemSid)
}

func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}
