package daemon

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"lanyard/platform/release"
)

// helperName is the small program that does what every connection and every session needs (package service/helper).
const helperName = "lanyard-helper"

// helperOf is the helper of this release that lies beside program or, as packages put it, in ../lib/lanyard; else program
// itself, which does the same.
func helperOf(program string) string {
	if runtime.GOOS == "windows" {
		return program
	}
	own, err := os.Stat(program)
	if err != nil {
		return program
	}
	dir := filepath.Dir(program)
	for _, name := range []string{filepath.Join(dir, helperName), filepath.Join(filepath.Dir(dir), "lib", "lanyard", helperName)} {
		if sameHands(own, name) && stampOf(name) == release.Stamp() {
			return name
		}
	}
	return program
}

// stampOf is the release that a helper says it is of; "?" when it says nothing.
func stampOf(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, "version").Output()
	if err != nil {
		return "?"
	}
	return strings.TrimSuffix(string(out), "\n")
}
