//go:build unix

package accounts

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNamesThatCouldMeanSomethingElseAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "0", "00", "0x0", "1000", "+0", "-0", "+root", "-root", "--help", "~root", "root:x", "root ", " root", "root\n",
		"../root", "root\x00", "ro*t", strings.Repeat("a", maxName+1), "NO-SUCH-ACCOUNT",
	} {
		if a, err := Lookup(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q leads to %+v, %v", name, a, err)
		}
	}
}

// Also where a directory has an account of that very name: other tools on the way take it for a number.
func TestNumbersAreNoNames(t *testing.T) {
	for _, name := range []string{"0", "00", "1000", "0x0", "0x1F", "0X1f", "0x"} {
		if err := CheckName(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q is taken for a name: %v", name, err)
		}
	}
	for _, name := range []string{"a0", "0a", "x0", "0xg"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestRoot(t *testing.T) {
	a, err := Lookup("root")
	if err != nil || a.Uid != 0 || a.UID != "0" || !a.Privileged || !a.System || a.Locked || a.Home == "" {
		t.Fatalf("%+v, %v", a, err)
	}
}

func TestFiles(t *testing.T) {
	d := database{etc: t.TempDir()}
	for name, content := range map[string]string{
		"passwd":        "root:x:0:0::/root:/bin/sh\nannabel:x:1002:1002::/home/annabel:/bin/sh\nann:x:1001:1005:Ann:/home/ann:\nsvc:x:300:300::/:/usr/sbin/nologin\nold:x:1003:1003::/h:/bin/sh\nminus:x:4294967295:1::/:/bin/sh\n",
		"group":         "ann:x:1005:\nwheel:x:10:root,ann\nnot:x:11:annabel\ndev:x:12:bob,ann,eve\n",
		"shadow":        "ann:!:19000:0:99999:7:::\nold:$6$x:19000:0:99999:7::19001:\n",
		"login.defs":    "# UID_MIN 5\nUID_MIN\t\t 1000\n",
		"nsswitch.conf": "passwd: files systemd\ngroup: files [SUCCESS=merge] systemd # ldap\n",
	} {
		if err := os.WriteFile(filepath.Join(d.etc, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a, err := d.lookup("ann")
	if err != nil || a.Name != "ann" || a.Uid != 1001 || a.Shell != "/bin/sh" || a.Locked || a.NoLogin || a.System || a.Privileged {
		t.Errorf("%+v, %v", a, err)
	}
	if slices.Sort(a.Groups); !slices.Equal(a.Groups, []uint32{10, 12, 1005}) {
		t.Errorf("groups %v", a.Groups)
	}
	if a, err := d.lookup("svc"); err != nil || !a.System || !a.NoLogin {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := d.lookup("old"); err != nil || !a.Locked {
		t.Errorf("an expired account: %+v, %v", a, err)
	}
	if a, err := d.lookup("minus"); err == nil {
		t.Errorf("(uid_t)-1: %+v", a)
	}
}

func TestClosedMachineTakesRootOnly(t *testing.T) {
	for _, at := range []string{"etc/nologin", "run/nologin"} {
		dir := t.TempDir()
		for _, d := range []string{"etc", "run"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		d := database{etc: filepath.Join(dir, "etc")}
		for name, content := range map[string]string{
			"passwd": "root:x:0:0::/root:/bin/sh\nann:x:1001:1005:Ann:/home/ann:\n", "group": "ann:x:1005:\n", "login.defs": "",
		} {
			if err := os.WriteFile(filepath.Join(d.etc, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		notice := ""
		closed := func(name string) bool {
			a, err := d.lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			notice = a.Notice
			return a.Closed
		}
		if closed("ann") {
			t.Error("an open machine is closed")
		}
		if err := os.WriteFile(filepath.Join(dir, at), []byte("Back at seven.\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if !closed("ann") || notice != "Back at seven." || closed("root") {
			t.Errorf("%s: ann %v with %q, root %v", at, closed("ann"), notice, closed("root"))
		}
	}
}

func FuzzPasswdLine(f *testing.F) {
	f.Add("ann:x:1001:1005:Ann:/home/ann:/bin/sh")
	f.Fuzz(func(t *testing.T, line string) {
		if a, err := parsePasswd(line); err == nil && (a.Home == "" || a.Shell == "" || a.Uid == ^uint32(0)) {
			t.Errorf("%+v", a)
		}
	})
}

func TestMembersOfAGroupAreKnownByItsName(t *testing.T) {
	etc := t.TempDir()
	for name, text := range map[string]string{"group": "ops:x:70:\nann:x:1000:\nodd\n", "nsswitch.conf": "group: files\n"} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, ann := database{etc: etc}, Account{Name: "ann", Gid: 1000, Groups: []uint32{1000, 70}}
	for group, want := range map[string]bool{"ops": true, "ann": true, "op": false, "odd": false, "": false, "70": false} {
		if got := d.in(ann, group); got != want {
			t.Errorf("%q: %v", group, got)
		}
	}
	if d.in(Account{Name: "bob", Gid: 1001, Groups: []uint32{1001}}, "ops") {
		t.Error("bob is in ops")
	}
	if root, err := Lookup("root"); err != nil || In(root, "no-such-group") {
		t.Errorf("%+v %v", root, err)
	}
}

// Before anybody looks, a name here is that of its account and of no other, to the letter.
func TestNameSaysNoMoreThanItself(t *testing.T) {
	for _, name := range []string{"ann", "root", "0", `CORP\ann`, ""} {
		if a := Unresolved(name); a.Name != name || a.UID != "" || a.Privileged {
			t.Errorf("%q: %+v", name, a)
		}
	}
	if !SameName("ann", "ann") || SameName("ann", "Ann") || SameName("ann", `.\ann`) {
		t.Error("another name is the same")
	}
}
