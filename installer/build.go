package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	source, out, version string
	stamp                int64
	formats, archs       []string
	packages             []string
}

var allFormats = []string{"deb", "rpm", "apk", "arch", "macos", "freebsd", "msi", "oci", "tar", "sbom"}

// job is one run: everything that the makers of packages need to know.
type job struct {
	source, out string
	work        string // scratch
	version     version
	archs       []string
	packages    []program
	sign        signing
	log         io.Writer

	programs map[target]string // file of each compiled program
}

// A program is one of ours.
type program struct {
	Name   string
	Folder string // of its package main, below the source
}

var (
	peer   = program{"lanyard", "service"}
	tray   = program{"lanyard-tray", "tray"}
	server = program{"lanyard-mgmt", "mgmt"}
	helper = program{"lanyard-helper", "service/helper"} // a part of peer
)

func build(ctx context.Context, o options, log io.Writer) (err error) {
	for _, f := range o.formats {
		if !slices.Contains(allFormats, f) {
			return fmt.Errorf("there is no format %q; there are %s", f, strings.Join(allFormats, ", "))
		}
	}
	v, err := findVersion(ctx, o)
	if err != nil {
		return err
	}
	source, err := filepath.Abs(o.source)
	if err != nil {
		return err
	}
	if err := emptyFolder(o.out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "lanyard-pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	j := &job{
		source: source, out: o.out, work: work, version: v, archs: o.archs, sign: signingFromEnv(), log: log,
		programs: map[target]string{},
	}
	for _, p := range []program{peer, server} {
		if slices.Contains(o.packages, p.Name) {
			j.packages = append(j.packages, p)
		}
	}
	fmt.Fprintf(log, "Lanyard %s of %s\n", v, v.Time.Format(time.DateTime))
	makers := map[string]func(context.Context) error{
		"deb": j.linux("deb"), "rpm": j.linux("rpm"), "apk": j.linux("apk"), "arch": j.linux("archlinux"),
		"macos": j.macos, "freebsd": j.freebsd, "msi": j.windows, "oci": j.image, "tar": j.archives, "sbom": j.bills,
	}
	for _, f := range o.formats {
		start := time.Now()
		if err := makers[f](ctx); err != nil {
			return fmt.Errorf("make %s: %w", f, err)
		}
		fmt.Fprintf(log, "%-8s %5.1f s\n", f, time.Since(start).Seconds())
	}
	return j.sums()
}

// theirPrograms are those of the packages that are made; tray and helper are parts of the machines' one.
func (j *job) theirPrograms(system string) (list []program) {
	for _, p := range j.packages {
		list = append(list, p)
		if p == peer && system != "windows" {
			list = append(list, helper)
		}
		if p == peer && j.has(tray) {
			list = append(list, tray)
		}
	}
	return list
}

// emptyFolder removes what an earlier run made, and nothing else.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), "lanyard") && e.Name() != sumsName {
			return fmt.Errorf("%s holds %s, which is not one of Lanyard's packages; choose another folder with --out", dir, e.Name())
		}
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// write makes a file of the packages' folder; the umask has no say in its mode.
func (j *job) write(name string, data []byte) error {
	path := filepath.Join(j.out, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}
