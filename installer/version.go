package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// version is what the packages are called, and when everything in them is said to have been written.
type version struct {
	Major, Minor, Patch int
	Commits             int    // since the tag
	Commit              string // abbreviated; empty for a tagged version
	Changed             bool   // files differ from the commit
	Time                time.Time
}

var describe = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(?:(?:-(\d+)-g|\+(\d+)\.g)([0-9a-f]{7,40}))?(-dirty|\.dirty)?$`)

// parseVersion reads 1.2.3, v1.2.3-4-gabcdef0 as git describe prints it, or its own String.
func parseVersion(s string) (version, error) {
	m := describe.FindStringSubmatch(s)
	if m == nil {
		return version{}, fmt.Errorf("%q is not a version like 1.2.3", s)
	}
	var v version
	for i, to := range []*int{&v.Major, &v.Minor, &v.Patch} {
		n, err := strconv.Atoi(m[i+1])
		if err != nil || n > 9999 {
			return version{}, fmt.Errorf("%q is not a version like 1.2.3", s)
		}
		*to = n
	}
	v.Commits, _ = strconv.Atoi(m[4] + m[5])
	if v.Commits > 0 {
		v.Commit = m[6]
	}
	v.Changed = m[7] != ""
	return v, nil
}

// String is the version that the programs, deb, rpm and Arch carry. It sorts after the tag it builds upon.
func (v version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Commits > 0 {
		s += fmt.Sprintf("+%d.g%s", v.Commits, v.Commit)
	}
	if v.Changed {
		if v.Commits == 0 {
			s += "+0"
		}
		s += ".dirty"
	}
	return s
}

// Numbers is for systems that know numbers only: macOS, FreeBSD.
func (v version) Numbers() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Commits > 0 {
		s += fmt.Sprintf(".%d", v.Commits)
	}
	return s
}

// Alpine's grammar has no "+": _p is a patch level after the version.
func (v version) Alpine() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Commits > 0 {
		s += fmt.Sprintf("_p%d", v.Commits)
	}
	return s
}

// findVersion fills in from git what o leaves open.
func findVersion(ctx context.Context, o options) (version, error) {
	text := o.version
	if text == "" {
		var err error
		if text, err = git(ctx, o.source, "describe", "--tags", "--long", "--dirty", "--abbrev=12", "--match", "v[0-9]*"); err != nil {
			// No tag yet.
			count, err := git(ctx, o.source, "rev-list", "--count", "HEAD")
			if err != nil {
				return version{}, fmt.Errorf("this is no git checkout, so say --version and --stamp: %w", err)
			}
			if shallow, err := git(ctx, o.source, "rev-parse", "--is-shallow-repository"); err != nil || shallow == "true" {
				return version{}, errors.Join(errors.New("this is a part of a git checkout, which has no tag to name the packages by; fetch the rest ('git fetch --unshallow --tags'), or say --version"), err)
			}
			hash, err := git(ctx, o.source, "rev-parse", "--short=12", "HEAD")
			if err != nil {
				return version{}, err
			}
			state, err := git(ctx, o.source, "status", "--porcelain", "--untracked-files=no")
			if err != nil {
				return version{}, err
			}
			text = "0.0.0-" + count + "-g" + hash
			if state != "" {
				text += "-dirty"
			}
		}
	}
	v, err := parseVersion(text)
	if err != nil {
		return v, err
	}
	stamp := o.stamp
	if env := os.Getenv("SOURCE_DATE_EPOCH"); stamp == 0 && env != "" {
		if stamp, err = strconv.ParseInt(env, 10, 64); err != nil {
			return v, fmt.Errorf("SOURCE_DATE_EPOCH is %q, not a number of seconds", env)
		}
	}
	if stamp == 0 {
		s, err := git(ctx, o.source, "log", "-1", "--format=%ct")
		if err != nil {
			return v, fmt.Errorf("no git checkout tells the time of the commit, so say --stamp: %w", err)
		}
		if stamp, err = strconv.ParseInt(s, 10, 64); err != nil {
			return v, fmt.Errorf("git told a commit's time as %q", s)
		}
	}
	v.Time = time.Unix(stamp, 0).UTC()
	return v, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	// The checkout may belong to the account that asked for the build.
	c := exec.CommandContext(ctx, "git", append([]string{"-c", "safe.directory=*", "-C", dir}, args...)...)
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
