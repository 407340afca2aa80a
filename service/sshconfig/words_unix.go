//go:build unix

package sshconfig

import (
	"fmt"
	"path/filepath"
	"strings"
)

const backslashPaths = false

// shellWord is the path of a program for the shell that runs Match exec and ProxyCommand.
func shellWord(path string) (string, error) {
	if !filepath.IsAbs(path) || bad(path) {
		return "", fmt.Errorf(errPath, path)
	}
	if strings.Contains(path, " ") {
		return "'" + path + "'", nil
	}
	return path, nil
}
