package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// target is one program for one system and processor.
type target struct {
	program  program
	os, arch string
}

// errNoTray: the tray of macOS needs Apple's compiler.
var errNoTray = errors.New("the tray of this system cannot be compiled here")

// has reports whether the source has the program.
func (j *job) has(p program) bool {
	files, _ := filepath.Glob(filepath.Join(j.source, p.Folder, "*.go"))
	return len(files) > 0
}

// compile returns the file of a program; each is compiled once.
func (j *job) compile(ctx context.Context, p program, system, arch string) (string, error) {
	t := target{p, system, arch}
	if file, ok := j.programs[t]; ok {
		return file, nil
	}
	if p == tray && system == "darwin" {
		return "", errNoTray
	}
	name := fmt.Sprintf("%s-%s-%s", p.Name, system, arch)
	if system == "windows" {
		name += ".exe"
	}
	file := filepath.Join(j.work, name)
	flags := "-s -w -X lanyard/platform/release.stamped=" + j.version.String()
	if p == helper {
		flags = "-s -w -X main.stamped=" + j.version.String()
	}
	if system == "windows" && p == tray {
		flags += " -H windowsgui"
	}
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags="+flags, "-o", file, "./"+p.Folder)
	c.Dir = j.source
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("compile %s for %s/%s: %w", p.Name, system, arch, err)
	}
	if err := os.Chmod(file, 0o755); err != nil {
		return "", err
	}
	if system == "windows" {
		if err := j.sign.authenticode(ctx, file); err != nil {
			return "", err
		}
	}
	j.programs[t] = file
	return file, nil
}

// here compiles a program for this machine, to ask it for its manual pages and completions.
func (j *job) here(ctx context.Context, p program) (string, error) {
	return j.compile(ctx, p, runtime.GOOS, runtime.GOARCH)
}

// ask runs one of our programs and returns what it prints.
func (j *job) ask(ctx context.Context, p program, args ...string) ([]byte, error) {
	file, err := j.here(ctx, p)
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, file, args...)
	c.Env = []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", j.version.Time.Unix()), "HOME=" + j.work, "PATH=/usr/bin:/bin", "TZ=UTC"}
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %v: %w", p.Name, args, err)
	}
	return out, nil
}
