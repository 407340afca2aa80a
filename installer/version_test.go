package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lanyard/test/tools"
)

func TestVersionsOfEachSystem(t *testing.T) {
	for _, c := range []struct{ in, text, numbers, alpine string }{
		{"1.2.3", "1.2.3", "1.2.3", "1.2.3"},
		{"v1.2.3-0-gabcdef012345", "1.2.3", "1.2.3", "1.2.3"},
		{"v1.2.3-14-gabcdef012345", "1.2.3+14.gabcdef012345", "1.2.3.14", "1.2.3_p14"},
		{"v1.2.3-14-gabcdef012345-dirty", "1.2.3+14.gabcdef012345.dirty", "1.2.3.14", "1.2.3_p14"},
		{"1.2.3+14.gabcdef012345", "1.2.3+14.gabcdef012345", "1.2.3.14", "1.2.3_p14"},
	} {
		v, err := parseVersion(c.in)
		if err != nil || v.String() != c.text || v.Numbers() != c.numbers || v.Alpine() != c.alpine {
			t.Errorf("%s: %s %s %s %v", c.in, v, v.Numbers(), v.Alpine(), err)
		}
		if again, err := parseVersion(v.String()); err != nil || again.String() != v.String() {
			t.Errorf("%s does not read itself: %v", v, err)
		}
	}
	for _, bad := range []string{"", "1.2", "x1.2.3", "1.2.3-rc1", "1.2.3;rm", "99999.0.0"} {
		if _, err := parseVersion(bad); err == nil {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}

// checkout is a git checkout of the test's own, with nobody's configuration.
type checkout struct {
	t   *testing.T
	dir string
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	tools.Need(t, "check-tools-clients", "git")
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "GIT_") {
			t.Setenv(name, value) // restored afterwards
			os.Unsetenv(name)
		}
	}
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	t.Setenv("GIT_CEILING_DIRECTORIES", os.TempDir()) // nor the checkout that surrounds it
	t.Setenv("SOURCE_DATE_EPOCH", "")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "Ann")
		t.Setenv("GIT_"+who+"_EMAIL", "ann@example.com")
		t.Setenv("GIT_"+who+"_DATE", "1700000000 +0300")
	}
	c := &checkout{t, t.TempDir()}
	c.git("init", "-q", "-b", "main")
	return c
}

func (c *checkout) git(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "git", args...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c *checkout) write(text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "file"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *checkout) commit(text string) {
	c.t.Helper()
	c.write(text)
	c.git("add", "file")
	c.git("commit", "-q", "-m", text)
}

// is checks the version; HASH stands for the commit.
func (c *checkout) is(when, want string) {
	c.t.Helper()
	v, err := findVersion(c.t.Context(), options{source: c.dir})
	want = strings.ReplaceAll(want, "HASH", c.git("rev-parse", "--short=12", "HEAD"))
	if err != nil || v.String() != want || v.Time.Unix() != 1700000000 {
		c.t.Errorf("%s: the version is %s of %s (%v), want %s", when, v, v.Time, err, want)
	}
}

func TestVersionComesFromGit(t *testing.T) {
	c := newCheckout(t)
	c.commit("one")
	c.commit("two")
	c.is("without a tag", "0.0.0+2.gHASH")
	c.write("changed")
	c.is("without a tag, changed", "0.0.0+2.gHASH.dirty")
	c.git("checkout", "-q", "file")
	c.git("tag", "nightly") // says nothing of a version
	c.is("with another tag", "0.0.0+2.gHASH")
	c.git("tag", "v1.2.3")
	c.is("at a tag", "1.2.3")
	if err := os.WriteFile(filepath.Join(c.dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.is("at a tag, with a file that git does not know", "1.2.3")
	c.write("changed")
	c.is("at a tag, changed", "1.2.3+0.dirty")
	c.commit("three")
	c.commit("four")
	c.is("after a tag", "1.2.3+2.gHASH")
	c.write("changed")
	c.is("after a tag, changed", "1.2.3+2.gHASH.dirty")
	c.git("commit", "-q", "-a", "-m", "five")
	c.git("tag", "-a", "-m", "a release", "v1.3.0")
	c.is("at a tag with a message", "1.3.0")
	// The time may come from the environment; what was said goes before what git and the environment know.
	t.Setenv("SOURCE_DATE_EPOCH", "6")
	if v, err := findVersion(t.Context(), options{source: c.dir}); err != nil || v.String() != "1.3.0" || v.Time.Unix() != 6 {
		t.Errorf("from the environment: %s of %s, %v", v, v.Time, err)
	}
	if v, err := findVersion(t.Context(), options{source: c.dir, version: "9.8.7", stamp: 5}); err != nil || v.String() != "9.8.7" || v.Time.Unix() != 5 {
		t.Errorf("said: %s of %s, %v", v, v.Time, err)
	}
}

func TestVersionIsNotGuessedAt(t *testing.T) {
	c := newCheckout(t)
	c.commit("one")
	c.git("tag", "v1.2.3")
	c.commit("two")
	refused := func(when string, o options, want string) {
		t.Helper()
		if v, err := findVersion(t.Context(), o); err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
			t.Errorf("%s: %s, %v", when, v, err)
		}
	}
	part := &checkout{t, filepath.Join(t.TempDir(), "part")}
	c.git("clone", "-q", "--depth", "1", "file://"+c.dir, part.dir)
	refused("the newest commit alone", options{source: part.dir}, "git fetch --unshallow --tags.*--version")
	part.git("fetch", "-q", "--unshallow", "--tags")
	part.is("with the rest", "1.2.3+1.gHASH")

	bare := t.TempDir()
	refused("no checkout", options{source: bare}, "no git checkout.*--version and --stamp")
	refused("no checkout, with a version", options{source: bare, version: "1.2.3"}, "--stamp")
	if v, err := findVersion(t.Context(), options{source: bare, version: "1.2.3", stamp: 7}); err != nil || v.String() != "1.2.3" || v.Time.Unix() != 7 {
		t.Errorf("no checkout, with both: %s of %s, %v", v, v.Time, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	refused("a time of words", options{source: c.dir}, "SOURCE_DATE_EPOCH.*today")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	c.commit("three")
	c.git("tag", "v2.0.0-rc1")
	refused("a tag that is no version", options{source: c.dir}, "v2.0.0-rc1.*is not a version like 1.2.3")
}
