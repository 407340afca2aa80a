package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lanyard/platform/paths"
)

// machineMark stands above the line that InstallInclude adds.
const machineMark = "# Lanyard's machines; Lanyard takes these two lines out again.\n"

// InstallInclude makes the machine's ssh read the drop-in p.DropIn: it makes the folder for drop-ins, and adds one line to
// the machine's configuration where none reads that folder (FreeBSD, some of Windows). Without a configuration, ssh is
// not installed, and nothing is done. The line names our own file, so that nobody else's begins to count by it.
func InstallInclude(p paths.Paths) (changed bool, err error) { return installInclude(p, systemConfig) }

func installInclude(p paths.Paths, config string) (changed bool, err error) {
	old, perm, err := readSystem(config)
	if err != nil || old == nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(p.DropIn), 0o755); err != nil {
		return false, fmt.Errorf("make the folder for ssh's drop-ins: %w", err)
	}
	if includes(old, filepath.Dir(config), p.DropIn) {
		return false, nil
	}
	line, err := machineLine(p)
	if err != nil {
		return false, err
	}
	// At the top: further down it would belong to the last Host or Match.
	return true, paths.WriteFile(config, append([]byte(machineMark+line), old...), perm)
}

// RemoveInclude takes the line and the drop-in away again, and the folder when nothing else is in it and a line had to
// lead there.
func RemoveInclude(p paths.Paths) error {
	return errors.Join(Remove(p), removeInclude(p, systemConfig))
}

func removeInclude(p paths.Paths, config string) error {
	old, perm, err := readSystem(config)
	if err != nil || old == nil {
		return err
	}
	line, err := machineLine(p)
	if err != nil {
		return err
	}
	rest := bytes.Replace(old, []byte(machineMark+line), nil, 1)
	if len(rest) == len(old) { // as earlier versions wrote it
		rest = bytes.Replace(old, []byte(line), nil, 1)
	}
	if len(rest) == len(old) {
		return nil
	}
	err = paths.WriteFile(config, rest, perm)
	os.Remove(filepath.Dir(p.DropIn)) // fails unless it is empty
	return err
}

func machineLine(p paths.Paths) (string, error) {
	q, err := configWord(p.DropIn)
	if err != nil {
		return "", err
	}
	return "Include " + q + "\n", nil
}

// readSystem reads a machine's ssh_config; nil when there is none.
func readSystem(name string) ([]byte, os.FileMode, error) {
	fi, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	b, err := paths.ReadFile(name)
	if b == nil {
		b = []byte{}
	}
	return b, fi.Mode().Perm(), err
}

// includes reports whether an Include of config, in its first part that is for all hosts, covers the file.
func includes(config []byte, dir, file string) bool {
	for line := range strings.Lines(string(config)) {
		f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n=\"", r) })
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		switch strings.ToLower(f[0]) {
		case "host", "match":
			return false
		case "include":
			for _, pattern := range f[1:] {
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(dir, pattern)
				}
				if ok, err := filepath.Match(filepath.Clean(pattern), file); err == nil && ok {
					return true
				}
			}
		}
	}
	return false
}
