package managed

import (
	"errors"
	"io/fs"
	"os"

	"lanyard/platform/paths"
)

// policySource is where a configuration profile's settings for the domain internal.lanyard lie on a Mac. The folder is
// the system's own, and only root writes there.
const policySource = "/Library/Managed Preferences/internal.lanyard.plist"

func readPolicy() (*Settings, error) {
	if _, err := os.Lstat(policySource); errors.Is(err, fs.ErrNotExist) {
		return &Settings{}, nil
	}
	b, err := paths.ReadFile(policySource)
	if err != nil {
		return nil, err
	}
	return ParsePlist(b)
}
