//go:build unix

package sftp

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fence is a granted folder and what lies around it, all of it the account's: only the limit stands between.
type fence struct {
	dir, in, out, secret string
}

const secretText = "not for file transfer"

func newFence(t *testing.T) fence {
	t.Helper()
	dir := home(t)
	f := fence{dir: dir, in: filepath.Join(dir, "in"), out: filepath.Join(dir, "out"), secret: filepath.Join(dir, "out", "secret")}
	for _, d := range []string{f.in, filepath.Join(f.in, "sub"), f.out} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		give(t, d)
	}
	put(t, f.secret, secretText)
	put(t, filepath.Join(f.in, "file"), "inside")
	return f
}

// link makes a link that was there before the person came.
func (f fence) link(t *testing.T, to, name string) {
	t.Helper()
	p := filepath.Join(f.in, name)
	if err := os.Symlink(to, p); err != nil {
		t.Fatal(err)
	}
	give(t, p)
}

func TestFoldersOfTheRuleCannotBeLeft(t *testing.T) {
	f := newFence(t)
	f.link(t, f.secret, "absolute")
	f.link(t, "../out/secret", "relative")
	f.link(t, "../out", "folder")
	f.link(t, "/etc/shadow", "shadow")
	f.link(t, "sub/../../out/secret", "winding")
	f.link(t, "folder/", "slash") // open(2) follows a link whose name ends in a slash, whatever it is told
	f.link(t, "slash/.", "slash-dot")
	f.link(t, f.out+"/", "slash-out")
	c := serveHome(t, f.dir, Grant{f.in, true})

	ways := []string{
		f.secret, "../out/secret", "sub/../../out/secret", f.in + "/../out/secret", f.in + "/./sub/../../out/secret",
		"absolute", "relative", "winding", "folder/secret", "./folder/../folder/secret", "shadow",
		"slash", "slash/", "slash-dot", "slash-out", "slash-out/", "folder/", "slash/secret", "slash-dot/secret", "slash-out/secret",
		"/etc/shadow", "//etc/passwd",
		f.in + "x", f.dir, "/", "..", "/proc/self/root" + f.secret, "/proc/self/cwd/../out/secret", "file/../../out/secret",
	}
	for _, w := range ways {
		denied := func(what string, status int) {
			t.Helper()
			// A link that leads out may be looked at and removed, it lies inside; what it leads to may not.
			if status != statusPermissionDenied && status != statusNoSuchFile && status != statusBadMessage {
				t.Errorf("%s of %s: status %d", what, w, status)
			}
		}
		denied("open", second(c.open(w, flagRead)))
		denied("write", second(c.open(w, flagWrite)))
		denied("stat", c.do(fxpStat, w))
		denied("opendir", second(c.handle(fxpOpendir, w)))
		denied("chmod", c.do(fxpSetstat, w, attrMode, 0o666))
		denied("truncate", c.do(fxpSetstat, w, attrSize, uint64(0)))
		denied("times", c.do(fxpSetstat, w, attrTimes, 1, 1))
		denied("statvfs", c.extend("statvfs@openssh.com", w))
		denied("create in", second(c.open(w+"/new", flagWrite|flagCreate)))
		denied("mkdir in", c.do(fxpMkdir, w+"/new", 0))
		denied("remove in", c.do(fxpRemove, w+"/secret"))
		if filepath.Base(w) == filepath.Clean(w) { // a name inside
			continue
		}
		denied("lstat", c.do(fxpLstat, w))
		denied("remove", c.do(fxpRemove, w))
		denied("rmdir", c.do(fxpRmdir, w))
		denied("hard link to", c.extend("hardlink@openssh.com", w, "mine"))
		denied("rename of", c.do(fxpRename, w, "mine"))
		denied("posix-rename of", c.extend("posix-rename@openssh.com", w, "mine"))
	}
	for _, w := range []string{f.out + "/mine", "../out/mine", "folder/mine", "/tmp/mine"} {
		for what, status := range map[string]int{
			"rename":       c.do(fxpRename, "file", w),
			"posix-rename": c.extend("posix-rename@openssh.com", "file", w),
			"hardlink":     c.extend("hardlink@openssh.com", "file", w),
			"symlink":      c.do(fxpSymlink, "file", w),
		} {
			if status != statusPermissionDenied {
				t.Errorf("%s to %s: status %d", what, w, status)
			}
		}
	}
	for _, to := range []string{f.secret, "../out", "/", "sub/../../out"} {
		if s := c.do(fxpSymlink, to, "leads-out"); s != statusPermissionDenied {
			t.Errorf("a link to %s was made: %d", to, s)
		}
	}
	for _, p := range []string{"~root", "~/../out", "/etc", ".."} {
		if got, s := c.names(fxpExtended, "expand-path@openssh.com", p); s == 0 {
			t.Errorf("expand-path %s: %q", p, got)
		}
	}
	for _, folder := range []string{".", f.in} {
		if s := c.do(fxpRmdir, folder); s == 0 {
			t.Errorf("the granted folder itself was removed as %q", folder)
		}
		if s := c.extend("posix-rename@openssh.com", folder, "sub/x"); s == 0 {
			t.Errorf("the granted folder itself was moved as %q", folder)
		}
	}
	if got := content(t, f.secret); got != secretText {
		t.Errorf("the secret is now %q", got)
	}
	if names, _ := os.ReadDir(f.out); len(names) != 1 {
		t.Errorf("outside there are %v", names)
	}
	// What it is for still works.
	if got, s := c.get("file"); got != "inside" || s != 0 {
		t.Errorf("inside: %q, %d", got, s)
	}
	if got, s := c.names(fxpRealpath, "."); s != 0 || !slices.Equal(got, []string{f.in}) {
		t.Errorf("it begins in %q, %d", got, s)
	}
	if s := c.do(fxpSymlink, "file", "sub/link"); s != 0 {
		t.Errorf("a link within: %d", s)
	}
	if s := c.do(fxpRename, "file", "sub/file"); s != 0 {
		t.Errorf("a rename within: %d", s)
	}
	if got, s := c.get("sub/link"); got != "inside" || s != 0 {
		t.Errorf("through a link within: %q, %d", got, s)
	}
	refused := 0
	for _, e := range c.ended() {
		if e.Op == OpRefused {
			refused++
		}
	}
	if refused < 100 {
		t.Errorf("%d refusals were told", refused)
	}
}

// swap puts link in the place of real and back, over and over, until the function that it returns is called.
func swap(t *testing.T, real, link string) (end func()) {
	away := real + ".away"
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, step := range [][2]string{{real, away}, {link, real}, {real, link}, {away, real}} {
				if err := os.Rename(step[0], step[1]); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	return func() { close(stop); <-done }
}

// Somebody with a shell swaps a folder, and a file, for a link that leads out, over and over, while file transfer goes
// through it.
func TestSwappedLinkLeadsNowhere(t *testing.T) {
	f := newFence(t)
	put(t, filepath.Join(f.in, "sub", "secret"), "inside")
	f.link(t, f.out, "link")
	f.link(t, f.secret, "filelink")
	before, err := os.Stat(f.secret)
	if err != nil {
		t.Fatal(err)
	}
	endFolder := swap(t, filepath.Join(f.in, "sub"), filepath.Join(f.in, "link"))
	endFile := swap(t, filepath.Join(f.in, "file"), filepath.Join(f.in, "filelink"))
	ended := false
	end := func() {
		if !ended {
			endFolder()
			endFile()
		}
		ended = true
	}
	defer end()
	c := serveHome(t, f.dir, Grant{f.in, true})
	var inside, refused, fileInside, fileRefused int
	for until := time.Now().Add(5 * time.Minute); inside < 200 || refused < 200 || fileInside < 50 || fileRefused < 50; {
		if time.Now().After(until) {
			t.Fatalf("%d reads and %d refusals through the folder, %d and %d of the file, in five minutes", inside, refused, fileInside, fileRefused)
		}
		switch got, s := c.get("sub/secret"); {
		case s != 0:
			refused++
		case got != "inside":
			t.Fatalf("the race yielded %q", got)
		default:
			inside++
		}
		if h, s := c.open("sub/made", flagWrite|flagCreate); s == 0 {
			c.do(fxpClose, h)
		}
		c.do(fxpRemove, "sub/secret2")
		c.do(fxpMkdir, "sub/folder", 0)
		c.do(fxpSetstat, "sub/secret", attrMode, 0o600)
		c.extend("hardlink@openssh.com", "sub/secret", "sub/hard")
		c.extend("posix-rename@openssh.com", "sub/hard", "sub/harder")
		switch got, s := c.get("file"); {
		case s != 0:
			fileRefused++
		case got == secretText:
			t.Fatal("the race yielded the secret")
		default:
			fileInside++
		}
		c.do(fxpSetstat, "file", attrMode, 0o6777)
		c.do(fxpSetstat, "file", attrTimes, 1, 1)
		c.do(fxpSetstat, "file", attrSize, uint64(0))
		c.do(fxpSetstat, "file", attrOwner, account, account)
		c.extend("lsetstat@openssh.com", "file", attrMode, 0o6777)
		c.extend("hardlink@openssh.com", "file", "hard")
		if got, s := c.get("hard"); s == 0 && got == secretText {
			t.Fatal("a hard link in the race yielded the secret")
		}
		c.do(fxpRemove, "hard")
	}
	end()
	if names, _ := os.ReadDir(f.out); len(names) != 1 {
		t.Errorf("outside there are %v", names)
	}
	if fi, err := os.Stat(f.secret); err != nil || fi.Mode() != before.Mode() || !fi.ModTime().Equal(before.ModTime()) || content(t, f.secret) != secretText {
		t.Errorf("the secret changed: %v, %v", fi, err)
	}
	for _, name := range []string{"file", "sub", "sub/secret"} {
		if fi, err := os.Stat(filepath.Join(f.in, name)); err != nil || fi.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
}

// A folder that may only be read must not become writable by way of one that may be written.
func TestReadingAndWritingMayDiffer(t *testing.T) {
	f := newFence(t)
	inbox := filepath.Join(f.in, "sub")
	c := serveHome(t, f.dir, Grant{f.in, false}, Grant{inbox, true})
	if got, s := c.get(f.in + "/file"); got != "inside" || s != 0 {
		t.Errorf("reading: %q, %d", got, s)
	}
	if _, s := c.open(f.in+"/file", flagWrite); s != statusPermissionDenied {
		t.Errorf("writing what may be read: %d", s)
	}
	if s := c.extend("hardlink@openssh.com", f.in+"/file", inbox+"/file"); s != statusPermissionDenied {
		t.Errorf("a hard link from there: %d", s)
	}
	if s := c.do(fxpRename, f.in+"/file", inbox+"/file"); s != statusPermissionDenied {
		t.Errorf("a rename from there: %d", s)
	}
	if h, s := c.open(inbox+"/new", flagWrite|flagCreate); s != 0 || c.do(fxpWrite, h, uint64(0), "x") != 0 {
		t.Errorf("writing where it is granted: %d", s)
	}
	if s := c.do(fxpSymlink, "../file", inbox+"/link"); s != statusPermissionDenied {
		t.Errorf("a link out of what may be written: %d", s)
	}
	// Everything may be read, one folder written.
	c = serveHome(t, f.dir, Grant{Everything, false}, Grant{inbox, true})
	if got, s := c.get(f.secret); got != secretText || s != 0 {
		t.Errorf("reading everything: %q, %d", got, s)
	}
	if _, s := c.open(f.secret, flagWrite); s != statusPermissionDenied {
		t.Errorf("writing everything: %d", s)
	}
	if _, s := c.open(inbox+"/new", flagWrite); s != 0 {
		t.Errorf("writing the folder: %d", s)
	}
	if s := c.do(fxpRename, inbox+"/new", f.out+"/new"); s != statusPermissionDenied {
		t.Errorf("out of the folder: %d", s)
	}
}

func TestSeveralFoldersAreOneFromAnother(t *testing.T) {
	f := newFence(t)
	c := serveHome(t, f.dir, Grant{f.in, true}, Grant{f.out, true})
	if s := c.do(fxpRename, f.out+"/secret", f.in+"/other"); s != statusFailure {
		t.Errorf("from folder to folder: %d", s) // clients copy then
	}
	if s := c.extend("hardlink@openssh.com", f.out+"/secret", f.in+"/other"); s != statusFailure {
		t.Errorf("a link from folder to folder: %d", s)
	}
	if got, s := c.get(f.secret); got != secretText || s != 0 {
		t.Errorf("the second folder: %q, %d", got, s)
	}
	if s := c.do(fxpStat, f.dir); s != statusPermissionDenied {
		t.Errorf("what lies around both: %d", s)
	}
}

func TestGrantsOfTheHome(t *testing.T) {
	for _, c := range []struct {
		home, path string
		want       string
	}{
		{"/home/ann", "~", "--write=/home/ann"},
		{"/home/ann", "~/in/x/", "--write=/home/ann/in/x"},
		{"/home/ann", "/srv//www/", "--write=/srv/www"},
		{"/", "~", ""},     // an account without a home of its own
		{"", "~/in", ""},   // or with none
		{"/h", "~bob", ""}, // never somebody else's
		{"/h", "in", ""},   // relative to what?
	} {
		_, argv := Command([]string{"x"}, c.home, []Grant{{c.path, true}})
		if got := strings.Join(argv[2:], " "); got != c.want {
			t.Errorf("%s with home %q: %q, want %q", c.path, c.home, got, c.want)
		}
	}
	// Without a grant there is nothing.
	dir := home(t)
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	none := serveBy(t, dir, []string{p, Verb})
	if _, s := none.open("/etc/passwd", flagRead); s != statusPermissionDenied {
		t.Errorf("without a grant: %d", s)
	}
}

func TestGrantsCoverOneAnother(t *testing.T) {
	for _, c := range []struct {
		by, g Grant
		want  bool
	}{
		{Grant{"/", true}, Grant{"/", false}, true},
		{Grant{"/", false}, Grant{"/", true}, false},
		{Grant{"/", true}, Grant{"~/in", true}, true},
		{Grant{"/srv", true}, Grant{"/srv/www", true}, true},
		{Grant{"/srv/www", true}, Grant{"/srv", true}, false},
		{Grant{"/srv", true}, Grant{"/srvx", true}, false},
		{Grant{"~", true}, Grant{"~/in", false}, true},
		{Grant{"~", true}, Grant{"/home/ann", true}, false}, // whose home it is nobody knows here
	} {
		if got := Covers([]Grant{{"/other", true}, c.by}, c.g); got != c.want {
			t.Errorf("%v covers %v: %v", c.by, c.g, got)
		}
	}
}

func TestFolderMadeLaterIsServed(t *testing.T) {
	dir := home(t)
	later := filepath.Join(dir, "later")
	c := serveHome(t, dir, Grant{later, true})
	if s := c.do(fxpStat, later); s != statusNoSuchFile {
		t.Errorf("before: %d", s)
	}
	if err := os.Mkdir(later, 0o755); err != nil {
		t.Fatal(err)
	}
	give(t, later)
	h := c.must(c.open(later+"/f", flagWrite|flagCreate))
	if s := c.do(fxpClose, h); s != 0 {
		t.Error(s)
	}
}
