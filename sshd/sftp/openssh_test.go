//go:build unix

package sftp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Both servers get the same requests, one after the other, and must give the same answers: kind of packet, status,
// attributes and names.
func TestAnswersAreThoseOfOpenSSH(t *testing.T) {
	theirs := "/usr/lib/openssh/sftp-server"
	if _, err := os.Stat(theirs); err != nil {
		if theirs, err = exec.LookPath("sftp-server"); err != nil {
			t.Skip("OpenSSH's sftp-server is not installed")
		}
	}
	type request struct {
		kind  byte
		parts []any
	}
	r := func(kind byte, parts ...any) request { return request{kind, parts} }
	x := func(name string, parts ...any) request {
		return request{fxpExtended, append([]any{name}, parts...)}
	}
	long := strings.Repeat("n", 300)
	script := []request{
		r(fxpRealpath, "."), r(fxpRealpath, "./x/.."), r(fxpRealpath, "nothing"), r(fxpRealpath, "nothing/below"), r(fxpRealpath, ""),
		r(fxpStat, "nothing"), r(fxpStat, "f"), r(fxpLstat, "link"), r(fxpStat, "link"), r(fxpLstat, "d"), r(fxpStat, "f/below"), r(fxpStat, long),
		r(fxpLstat, "dangling"), r(fxpStat, "dangling"), r(fxpStat, "loop"), r(fxpRealpath, "link"), r(fxpRealpath, "dlink/.."),
		r(fxpOpen, "f", flagRead, 0), r(fxpRead, ids{}, uint64(0), 4), r(fxpRead, ids{}, uint64(4), 100), r(fxpRead, ids{}, uint64(99), 4),
		r(fxpFstat, ids{}), r(fxpWrite, ids{}, uint64(0), "x"), r(fxpReaddir, ids{}), r(fxpClose, ids{}), r(fxpClose, ids{}),
		r(fxpRead, ids{}, uint64(0), 4), r(fxpRead, "", uint64(0), 4), r(fxpFstat, "handle"),
		r(fxpOpen, "nothing", flagRead, 0), r(fxpOpen, "nothing/below", flagWrite|flagCreate, 0), r(fxpOpen, "d", flagWrite, 0),
		r(fxpOpen, "f", flagWrite|flagCreate|flagExcl, 0), r(fxpOpen, long, flagWrite|flagCreate, 0), r(fxpOpen, "secret", flagRead, 0),
		r(fxpOpen, "made", flagWrite|flagCreate, attrMode, 0o640), r(fxpWrite, ids{}, uint64(3), "abc"), r(fxpFstat, ids{}),
		r(fxpFsetstat, ids{}, attrSize, uint64(2)), r(fxpFsetstat, ids{}, attrMode, 0o600), r(fxpFsetstat, ids{}, attrTimes, 1_000_000_000, 1_100_000_000),
		r(fxpFstat, ids{}), r(fxpClose, ids{}), r(fxpOpen, "default", flagWrite|flagCreate, 0), r(fxpClose, ids{}), r(fxpStat, "default"),
		r(fxpSetstat, "made", attrSize, uint64(9)), r(fxpSetstat, "made", attrTimes, 5, 6), r(fxpSetstat, "nothing", attrMode, 0o600), r(fxpSetstat, "secret", attrSize, uint64(0)),
		r(fxpSetstat, "made", attrOwner, 0, 0), r(fxpStat, "made"), r(fxpMkdir, "new", 0), r(fxpMkdir, "new", 0), r(fxpMkdir, "new/sub", attrMode, 0o700), r(fxpStat, "new"), r(fxpStat, "new/sub"),
		r(fxpRmdir, "new"), r(fxpRemove, "new/sub"), r(fxpRmdir, "new/sub"), r(fxpRmdir, "f"), r(fxpRmdir, "nothing"), r(fxpRemove, "nothing"),
		r(fxpRename, "made", "f"), r(fxpRename, "made", "moved"), r(fxpRename, "nothing", "x"), r(fxpRename, "new", "newer"), r(fxpRename, "d", "newer"), r(fxpRename, "moved", "nothing/x"),
		x("posix-rename@openssh.com", "moved", "default"), x("posix-rename@openssh.com", "nothing", "x"),
		r(fxpSymlink, "target", "soft"), r(fxpReadlink, "soft"), r(fxpSymlink, "again", "soft"), r(fxpReadlink, "f"), r(fxpReadlink, "nothing"),
		x("hardlink@openssh.com", "f", "hard"), x("hardlink@openssh.com", "f", "hard"), x("hardlink@openssh.com", "nothing", "x"), r(fxpStat, "hard"),
		x("lsetstat@openssh.com", "soft", attrTimes, 7, 8), x("lsetstat@openssh.com", "soft", attrSize, uint64(1)), r(fxpLstat, "soft"), x("lsetstat@openssh.com", "nothing", attrTimes, 7, 8),
		x("expand-path@openssh.com", "f"), x("expand-path@openssh.com", "~nobody-of-that-name/f"),
		x("statvfs@openssh.com", "nothing"), x("fstatvfs@openssh.com", ids{}), x("fsync@openssh.com", ids{}), x("nothing@example.com", "x"),
		r(fxpOpendir, "nothing"), r(fxpOpendir, "f"), r(fxpOpendir, "empty"), r(fxpReaddir, ids{}), r(fxpReaddir, ids{}), r(fxpRead, ids{}, uint64(0), 1), r(fxpClose, ids{}),
	}
	answers := func(serve func(dir string) *client) (all []string) {
		dir := home(t)
		in := func(n string) string { return filepath.Join(dir, n) }
		put(t, in("f"), "123456789")
		for _, d := range []string{"d", "empty"} {
			if err := os.Mkdir(in(d), 0o755); err != nil {
				t.Fatal(err)
			}
			give(t, in(d))
		}
		for name, to := range map[string]string{"link": "f", "dangling": "nowhere", "loop": "loop", "dlink": "d"} {
			if err := os.Symlink(to, in(name)); err != nil {
				t.Fatal(err)
			}
			give(t, in(name))
		}
		put(t, in("secret"), "x")
		if err := os.Chmod(in("secret"), 0o200); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(in("secret"), 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		c := serve(dir)
		for _, q := range script {
			k, f := c.ask(q.kind, q.parts...)
			text := fmt.Sprintf("packet %d", k)
			switch k {
			case fxpStatus:
				text += fmt.Sprintf(" status %d", f.uint32()) // the text is for people
			case fxpAttrs:
				a := f.attrs()
				if a.mtime > 2_000_000_000 || a.mtime < 1_000_000_000 && a.mtime > 100 || a.has&attrTimes == 0 {
					text += " odd times"
				}
				if a.mtime > 1_200_000_000 { // made just now
					a.atime, a.mtime = 0, 0
				}
				if a.atime > 1_200_000_000 {
					a.atime = 0
				}
				if a.mode&modeKind != modeFile {
					a.size, a.atime = 0, 0
				}
				text += fmt.Sprintf(" %+v", a)
			case fxpData:
				text += " " + f.string()
			case fxpName:
				for n := f.uint32(); n > 0; n-- {
					text += " " + f.string()
					// ".." is the folder around, whose times and owner are not ours: only its form counts.
					l := strings.Fields(f.string())
					a := f.attrs()
					text += fmt.Sprintf(" (%d words, %o, %x)", len(l), a.mode, a.has)
				}
			}
			all = append(all, strings.ReplaceAll(text, dir, "HOME"))
		}
		return all
	}
	want := answers(func(dir string) *client { return serveBy(t, dir, []string{theirs}) })
	got := answers(func(dir string) *client { return serveHome(t, dir) })
	for i, q := range script {
		if got[i] != want[i] {
			t.Errorf("packet %d %q:\n  ours:   %s\n  theirs: %s", q.kind, q.parts, got[i], want[i])
		}
	}
}

// The listing's lines are those of OpenSSH's server, which clients show as they are.
func TestListingLooksLikeOpenSSHs(t *testing.T) {
	theirs := "/usr/lib/openssh/sftp-server"
	if _, err := os.Stat(theirs); err != nil {
		t.Skip("OpenSSH's sftp-server is not installed")
	}
	dir := home(t)
	put(t, filepath.Join(dir, "file"), "12345")
	old := filepath.Join(dir, "old")
	put(t, old, "")
	if err := os.Chmod(old, 0o640|os.ModeSetuid|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("touch", "-d", "2001-02-03 04:05:06Z", old).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	lines := func(c *client) map[string]string {
		h := c.must(c.handle(fxpOpendir, "."))
		k, f := c.ask(fxpReaddir, h)
		if k != fxpName {
			t.Fatalf("packet %d", k)
		}
		all := map[string]string{}
		for n := f.uint32(); n > 0; n-- {
			name := f.string()
			all[name] = f.string()
			f.attrs()
		}
		return all
	}
	want := lines(serveBy(t, dir, []string{theirs}))
	for name, line := range lines(serveHome(t, dir)) {
		if name != ".." && line != want[name] {
			t.Errorf("%s\n  ours:   %q\n  theirs: %q", name, line, want[name])
		}
	}
}
