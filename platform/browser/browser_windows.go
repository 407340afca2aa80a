package browser

import (
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"
)

// desktop uses the system's own rundll32, by its full path: the search path begins with the current folder.
func desktop(page string) ([]string, bool) {
	sys, err := windows.GetSystemDirectory()
	if err != nil || windows.GetCurrentProcessToken().IsElevated() {
		return nil, false
	}
	return []string{filepath.Join(sys, "rundll32.exe"), "url.dll,FileProtocolHandler", page}, true
}

func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}
