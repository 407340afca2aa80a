package names

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// Hosts is the system's hosts file.
func Hosts() string {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		dir = `C:\Windows\System32`
	}
	return filepath.Join(dir, "drivers", "etc", "hosts")
}

const newline = "\r\n"

func chown(*os.File, fs.FileInfo) error { return nil }

// Security programs hold the file open, and then it cannot be renamed over.
func mountedOver(err error) bool { return os.IsPermission(err) }
