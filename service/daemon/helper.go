package daemon

import (
	"context"
	"fmt"
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
// itself, which does the same but takes longer to start, and why. Windows has no helper.
func helperOf(program string) (name, why string) {
	if runtime.GOOS == "windows" {
		return program, ""
	}
	own, err := os.Stat(program)
	if err != nil {
		return program, err.Error()
	}
	dir := filepath.Dir(program)
	for _, name := range []string{filepath.Join(dir, helperName), filepath.Join(filepath.Dir(dir), "lib", "lanyard", helperName)} {
		if _, err := os.Lstat(name); err != nil {
			continue
		}
		if !sameHands(own, name) {
			why = name + " is not a program that everybody may run, and that nobody but the owner of " + program + " or root may change"
		} else if stamp := stampOf(name); stamp != release.Stamp() {
			why = fmt.Sprintf("%s is of version %.40q, and %s of %q", name, stamp, program, release.Stamp())
		} else {
			return name, ""
		}
	}
	if why == "" {
		why = "there is no " + helperName + " beside " + program + ", nor in ../lib/lanyard"
	}
	return program, why
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
