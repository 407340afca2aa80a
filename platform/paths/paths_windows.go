package paths

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

var systemDropIn = filepath.Join(programData(), `ssh\ssh_config.d\20-lanyard.conf`)

// systemConfig is the state folder's parent, which only administrators write.
var systemConfig = filepath.Join(programData(), "Lanyard")

func programData() string {
	if d, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0); err == nil {
		return d
	}
	return `C:\ProgramData`
}

func privileged() bool { return windows.GetCurrentProcessToken().IsElevated() }

func systemState() string { return filepath.Join(programData(), "Lanyard") }
func systemRun() string   { return "" }

func userState() string {
	if d, err := windows.KnownFolderPath(windows.FOLDERID_LocalAppData, 0); err == nil {
		return filepath.Join(d, "Lanyard")
	}
	return filepath.Join(Home(), `AppData\Local\Lanyard`)
}

func userRun(state string) string { return state }

// socket names a pipe: pipes are machine-wide, so a user's own carries a hash of its folder.
func socket(run, profile string, system bool) string {
	if system && os.Getenv("LANYARD_RUN_DIR") == "" {
		return `\\.\pipe\lanyard-` + profile
	}
	sum := sha256.Sum256([]byte(run))
	return `\\.\pipe\lanyard-` + profile + "-" + hex.EncodeToString(sum[:8])
}

// running goes by the state file: to look at a pipe's name would use up one of its instances.
func running(p Paths) bool {
	_, err := os.Lstat(p.StateFile)
	return err == nil
}
