package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lanyard/installer/macpkg"
	"lanyard/installer/units"
)

// minMacOS is the oldest that the Go toolchain's programs run on.
const minMacOS = "12.0"

// macos makes one package for both processors. The tray needs Apple's compiler: LANYARD_TRAY_DARWIN names one that was
// built on a Mac, to be put in; without it, the package has no tray.
func (j *job) macos(ctx context.Context) error {
	var files []macpkg.File
	add := func(path string, mode uint32, data []byte) {
		files = append(files, macpkg.File{Path: path, Mode: mode, Data: data})
	}
	for _, p := range []program{peer} {
		var parts [][]byte
		for _, arch := range j.archs {
			file, err := j.compile(ctx, p, "darwin", arch)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			parts = append(parts, b)
		}
		b, err := macpkg.Universal(parts...)
		if err != nil {
			return err
		}
		add("usr/local/bin/"+p.Name, 0o755, b)
	}
	page, err := j.manual(ctx, peer, 1)
	if err != nil {
		return err
	}
	add("usr/local/share/man/man1/lanyard.1", 0o644, page)
	plist, err := unit(units.Launchd, peer, "/usr/local/bin/lanyard")
	if err != nil {
		return err
	}
	add("Library/LaunchDaemons/lanyard.plist", 0o644, plist)
	hasTray, err := j.macosTray(add)
	if err != nil {
		return err
	}
	for _, name := range []string{"LICENSE", "CHANGELOG.md"} {
		b, err := os.ReadFile(filepath.Join(j.source, name))
		if err != nil {
			return err
		}
		add("usr/local/share/lanyard/"+name, 0o644, b)
	}
	uninstall, err := j.script("macos.uninstall", peer, hasTray)
	if err != nil {
		return err
	}
	add("usr/local/share/lanyard/uninstall", 0o755, []byte(uninstall))
	p := macpkg.Package{
		Identifier: peer.Name, Version: j.version.Numbers(), Title: "Lanyard", MinSystem: minMacOS, Files: files, Time: j.version.Time,
	}
	for _, arch := range j.archs {
		p.Archs = append(p.Archs, strings.Replace(arch, "amd64", "x86_64", 1))
	}
	slices.Sort(p.Archs)
	for _, name := range []string{"preinstall", "postinstall"} {
		s, err := j.script("macos."+name, peer, hasTray)
		if err != nil {
			return err
		}
		p.Scripts = append(p.Scripts, macpkg.File{Path: name, Mode: 0o755, Data: []byte(s)})
	}
	b, err := macpkg.New(p)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("lanyard-%s-macos.pkg", j.version)
	if err := j.write(name, b); err != nil {
		return err
	}
	return j.sign.macos(ctx, filepath.Join(j.out, name))
}

func (j *job) macosTray(add func(path string, mode uint32, data []byte)) (bool, error) {
	from := os.Getenv("LANYARD_TRAY_DARWIN")
	if from == "" {
		return false, nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return false, fmt.Errorf("LANYARD_TRAY_DARWIN: %w", err)
	}
	if _, err := macpkg.Universal(b); err != nil && !isFat(b) {
		return false, errors.Join(fmt.Errorf("LANYARD_TRAY_DARWIN is not a program of macOS"), err)
	}
	add("usr/local/bin/lanyard-tray", 0o755, b)
	plist, err := unit(units.Launchd, tray, "/usr/local/bin/lanyard-tray")
	if err != nil {
		return false, err
	}
	add("Library/LaunchAgents/lanyard-tray.plist", 0o644, plist)
	return true, nil
}

func isFat(b []byte) bool { return len(b) > 4 && string(b[:4]) == "\xca\xfe\xba\xbe" }
