package sshconfig

import (
	"fmt"
	"path/filepath"
	"strings"
)

const backslashPaths = true

// shellWord is the path of a program for Match exec and ProxyCommand, which cannot quote one with blanks here.
func shellWord(path string) (string, error) {
	if !filepath.IsAbs(path) || bad(path) || strings.Contains(path, " ") {
		return "", fmt.Errorf(errPath+" and blanks", path)
	}
	return filepath.ToSlash(path), nil
}
