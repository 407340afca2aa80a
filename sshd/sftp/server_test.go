//go:build unix

package sftp

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestExtensionsDoWhatOpenSSHSaysTheyDo(t *testing.T) {
	dir := home(t)
	in := func(n string) string { return filepath.Join(dir, n) }
	put(t, in("a"), "one")
	put(t, in("b"), "two")
	c := serveHome(t, dir)

	if s := c.do(fxpRename, in("a"), in("b")); s != statusFailure || content(t, in("b")) != "two" {
		t.Errorf("rename replaced a file: %d", s)
	}
	if s := c.extend("posix-rename@openssh.com", in("a"), in("b")); s != 0 || content(t, in("b")) != "one" {
		t.Errorf("posix-rename: %d", s)
	}
	if s := c.extend("hardlink@openssh.com", in("b"), in("hard")); s != 0 || content(t, in("hard")) != "one" {
		t.Errorf("hardlink: %d", s)
	}
	if s := c.do(fxpSymlink, "b", in("soft")); s != 0 {
		t.Errorf("symlink: %d", s)
	}
	if to, err := os.Readlink(in("soft")); err != nil || to != "b" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	h := c.must(c.open(in("b"), flagRead|flagWrite))
	if s := c.extend("fsync@openssh.com", h); s != 0 {
		t.Errorf("fsync: %d", s)
	}
	for _, q := range [][]any{{"statvfs@openssh.com", dir}, {"fstatvfs@openssh.com", h}} {
		k, f := c.ask(fxpExtended, q...)
		bsize, _, blocks, bfree := f.uint64(), f.uint64(), f.uint64(), f.uint64()
		for range 6 {
			f.uint64()
		}
		if namemax := f.uint64(); k != fxpExtendedReply || f.err != nil || len(f.b) != 0 || bsize == 0 || blocks < bfree || namemax < 100 {
			t.Errorf("%v: packet %d, %d bytes a block, %d of %d free, names of %d bytes", q[0], k, bsize, bfree, blocks, namemax)
		}
	}
	k, f := c.ask(fxpExtended, "limits@openssh.com")
	if a, b, d, n := f.uint64(), f.uint64(), f.uint64(), f.uint64(); k != fxpExtendedReply || a != 256<<10 || b != 255<<10 || d != 255<<10 || n == 0 {
		t.Errorf("limits: packet %d, %d %d %d %d", k, a, b, d, n)
	}
	for p, want := range map[string]string{"~": dir, "~/b": in("b"), "b": in("b"), "~root": "/root"} {
		if got, s := c.names(fxpExtended, "expand-path@openssh.com", p); s != 0 || !slices.Equal(got, []string{want}) {
			t.Errorf("expand-path %s: %q, %d", p, got, s)
		}
	}
	old := time.Unix(1_000_000_000, 0)
	if s := c.extend("lsetstat@openssh.com", in("soft"), attrTimes, uint32(old.Unix()), uint32(old.Unix())); s != 0 {
		t.Errorf("lsetstat: %d", s)
	}
	if fi, err := os.Lstat(in("soft")); err != nil || !fi.ModTime().Equal(old) {
		t.Errorf("the link is of %v, %v", fi.ModTime(), err)
	}
	if fi, err := os.Stat(in("b")); err != nil || fi.ModTime().Equal(old) {
		t.Errorf("what the link leads to is of %v, %v", fi.ModTime(), err)
	}
	k, f = c.ask(fxpExtended, "users-groups-by-id@openssh.com", string([]byte{0, 0, 0, 0, 0x7e, 0, 0, 0}), string([]byte{0, 0, 0, 0}))
	users, groups := &fields{b: f.bytes()}, &fields{b: f.bytes()}
	if u, none := users.string(), users.string(); k != fxpExtendedReply || u != "root" || none != "" || groups.string() == "" || users.err != nil {
		t.Errorf("users-groups-by-id: %q, %q", u, none)
	}
}

func TestCopyDataStaysOnTheServer(t *testing.T) {
	dir := home(t)
	big := strings.Repeat("0123456789abcdef", 50_000) // more than one piece
	put(t, filepath.Join(dir, "from"), big)
	c := serveHome(t, dir)
	from := c.must(c.open("from", flagRead|flagWrite))
	to := c.must(c.open("to", flagWrite|flagCreate))
	if s := c.extend("copy-data", from, uint64(1), uint64(0), to, uint64(3)); s != 0 {
		t.Fatalf("to the end: %d", s)
	}
	if got := content(t, filepath.Join(dir, "to")); got != "\x00\x00\x00"+big[1:] {
		t.Errorf("%d bytes arrived, want %d", len(got), len(big)+2)
	}
	if s := c.extend("copy-data", from, uint64(0), uint64(4), to, uint64(0)); s != 0 || content(t, filepath.Join(dir, "to"))[:5] != "01232" {
		t.Errorf("four bytes: %d", s)
	}
	for _, overlap := range [][3]uint64{{0, 0, 5}, {0, 10, 5}, {5, 10, 0}, {0, 10, 0}} {
		if s := c.extend("copy-data", from, overlap[0], overlap[1], from, overlap[2]); s != statusBadMessage {
			t.Errorf("%v within one file: %d", overlap, s)
		}
	}
	if s := c.extend("copy-data", from, uint64(0), uint64(10), from, uint64(20)); s != 0 || content(t, filepath.Join(dir, "from"))[20:30] != big[:10] {
		t.Errorf("beside each other: %d", s)
	}
}

func TestAppendGoesToTheEnd(t *testing.T) {
	dir := home(t)
	put(t, filepath.Join(dir, "log"), "one\n")
	c := serveHome(t, dir)
	h := c.must(c.open("log", flagWrite|flagAppend))
	for range 2 {
		if s := c.do(fxpWrite, h, uint64(0), "two\n"); s != 0 {
			t.Fatal(s)
		}
	}
	if got := content(t, filepath.Join(dir, "log")); got != "one\ntwo\ntwo\n" {
		t.Errorf("%q", got)
	}
	if s := c.do(fxpFsetstat, h, attrSize, uint64(3)); s != 0 || content(t, filepath.Join(dir, "log")) != "one" {
		t.Errorf("truncate: %d", s)
	}
	if s := c.do(fxpSetstat, "log", attrSize, uint64(5)); s != 0 || content(t, filepath.Join(dir, "log")) != "one\x00\x00" {
		t.Errorf("truncate by name: %d", s)
	}
	c.must(c.open("log", flagWrite|flagTrunc))
	if content(t, filepath.Join(dir, "log")) != "" {
		t.Error("an open that truncates left something")
	}
}

// Whoever may only transfer files must not be able to leave programs with others' rights.
func TestSetUIDBitsAreNotSet(t *testing.T) {
	dir := home(t)
	c := serveHome(t, dir)
	h := c.must(c.open("opened", flagWrite|flagCreate, 0o6755))
	if s := c.do(fxpMkdir, "folder", attrMode, 0o7755); s != 0 {
		t.Fatal(s)
	}
	check := func(name string) {
		t.Helper()
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	check("opened")
	check("folder")
	if s := c.do(fxpFsetstat, h, attrMode, 0o104755); s != 0 {
		t.Fatal(s)
	}
	check("opened")
	for _, name := range []string{"opened", "folder"} {
		if s := c.do(fxpSetstat, name, attrMode, 0o7755); s != 0 {
			t.Fatal(s)
		}
		check(name)
		if s := c.extend("lsetstat@openssh.com", name, attrMode, 0o7755); s != 0 && s != statusFailure {
			t.Error(s) // not every kernel can
		}
		check(name)
	}
}

// A file server with the account's whole system at hand must not be talked into running programs.
func TestOwnMemoryIsNoFile(t *testing.T) {
	if _, err := os.Stat("/proc/self/mem"); err != nil {
		return // no such system
	}
	c := serveHome(t, home(t))
	if _, s := c.open("/proc/self/mem", flagRead|flagWrite); s != statusPermissionDenied {
		t.Errorf("status %d", s)
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	dir := home(t)
	put(t, filepath.Join(dir, "there"), "as it was")
	for _, grants := range [][]Grant{{{Everything, false}}, {{dir, false}}} {
		c := serveHome(t, dir, grants...)
		h := c.must(c.open("there", flagRead))
		for what, status := range map[string]int{
			"create":       second(c.open("new", flagRead|flagCreate)),
			"truncate":     second(c.open("there", flagRead|flagTrunc)),
			"write":        second(c.open("there", flagWrite)),
			"append":       second(c.open("there", flagAppend)),
			"setstat":      c.do(fxpSetstat, "there", attrMode, 0o600),
			"fsetstat":     c.do(fxpFsetstat, h, attrMode, 0o600),
			"remove":       c.do(fxpRemove, "there"),
			"mkdir":        c.do(fxpMkdir, "new", 0),
			"rmdir":        c.do(fxpRmdir, "."),
			"rename":       c.do(fxpRename, "there", "new"),
			"posix-rename": c.extend("posix-rename@openssh.com", "there", "new"),
			"hardlink":     c.extend("hardlink@openssh.com", "there", "new"),
			"symlink":      c.do(fxpSymlink, "there", "new"),
			"lsetstat":     c.extend("lsetstat@openssh.com", "there", attrTimes, 1, 1),
		} {
			if status != statusPermissionDenied {
				t.Errorf("%s: status %d", what, status)
			}
		}
		if s := c.do(fxpWrite, h, uint64(0), "x"); s == 0 {
			t.Error("a file that was opened for reading was written")
		}
		if s := c.extend("copy-data", h, uint64(0), uint64(2), h, uint64(4)); s == 0 {
			t.Error("copy-data wrote")
		}
		if got, s := c.get("there"); got != "as it was" || s != 0 {
			t.Errorf("%q, %d", got, s)
		}
		if names, _ := os.ReadDir(dir); len(names) != 1 {
			t.Errorf("there are %v now", names)
		}
	}
}

func second(_ ids, status int) int { return status }

// A listing has what ls -l shows, and ends.
func TestFolderIsListed(t *testing.T) {
	dir := home(t)
	for i := range 2*pageNames + 5 {
		put(t, filepath.Join(dir, fmt.Sprintf("f%03d", i)), "x")
	}
	c := serveHome(t, dir)
	h := c.must(c.handle(fxpOpendir, "."))
	seen := map[string]bool{}
	for {
		names, s := c.names(fxpReaddir, h)
		if s == statusEOF {
			break
		}
		if s != 0 || len(names) == 0 {
			t.Fatalf("%q, %d", names, s)
		}
		for _, n := range names {
			if seen[n] {
				t.Errorf("%s came twice", n)
			}
			seen[n] = true
		}
	}
	if len(seen) != 2*pageNames+5+2 || !seen["."] || !seen[".."] || !seen["f204"] {
		t.Errorf("%d names", len(seen))
	}
	if s := c.do(fxpOpendir, "f000"); s != statusNoSuchFile {
		t.Errorf("a file was opened as a folder: %d", s)
	}
}

func TestClientThatDoesNotKeepToTheProtocolIsCutOff(t *testing.T) {
	for what, b := range map[string][]byte{
		"begins without a version": packet(fxpStat, 1, "/"),
		"sends half a packet":      append(packet(fxpInit, 3), packet(fxpStat, 1, raw{0, 0, 0, 9, '/'})...),
		"announces a huge one":     {0x7f, 0xff, 0xff, 0xff, fxpStat},
		"sends one too long":       append(packet(fxpInit, 3), packet(fxpStat, 1, raw(bytes.Repeat([]byte{0}, maxPacket)))...),
		"announces an empty one":   {0, 0, 0, 0},
		"ends within one":          append(packet(fxpInit, 3), 0, 0, 0, 9, fxpStat),
	} {
		var out, told bytes.Buffer
		s := newServer(&out, &told, "/", []Grant{{Everything, true}})
		if err := s.serve(bytes.NewReader(b)); err == nil {
			t.Errorf("a client that %s is served", what)
		}
		s.close()
	}
}

func TestTooManyOpenFilesAreRefused(t *testing.T) {
	dir := home(t)
	put(t, filepath.Join(dir, "f"), "")
	c := serveHome(t, dir)
	var last ids
	for i := range maxHandles {
		h, s := c.open("f", flagRead)
		if s != 0 {
			t.Fatalf("file %d: status %d", i, s)
		}
		last = h
	}
	if _, s := c.open("f", flagRead); s != statusFailure {
		t.Errorf("one more: status %d", s)
	}
	if s := c.do(fxpClose, last); s != 0 {
		t.Fatal(s)
	}
	c.must(c.open("f", flagRead))
}
