package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// alpine is the root of a machine with busybox, whose ash is its shell, and with what the packages' scripts call of OpenRC
// and of the accounts, which note how they were called. What apk does around the scripts is done here.
type alpine struct {
	t         *testing.T
	root, pkg string
}

// What Debian's busybox leaves out, with the options of busybox' own.
const (
	addgroup = `[ "$1" = -S ] && [ $# = 2 ] || exit 2
! grep -q "^$2:" /etc/group || { echo "addgroup: group '$2' in use" >&2; exit 1; }
echo "$2:x:101:" >>/etc/group`
	adduser = `while getopts h:g:s:G:SDHu:k: o; do
	case $o in h) home=$OPTARG ;; g) gecos=$OPTARG ;; s) shell=$OPTARG ;; G) group=$OPTARG ;; S | D | H) all=$all$o ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))
[ $# = 1 ] && [ "$all" = SDH ] && grep -q "^$group:" /etc/group || exit 2
! grep -q "^$1:" /etc/passwd || { echo "adduser: user '$1' in use" >&2; exit 1; }
echo "$1:x:100:101:$gecos:$home:$shell" >>/etc/passwd`
)

// newAlpine builds the package of a program and installs its files.
func newAlpine(t *testing.T, p program) *alpine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: chroot")
	}
	s := newContents(t, "bsdtar", "busybox")
	a := &alpine{t, filepath.Join(t.TempDir(), "root"), p.Name}
	stand := filepath.Join(t.TempDir(), "program")
	standIn(t, stand, `[ ! -d /lib/apk ] || echo "$0 $*" >>/calls`)
	s.job.packages = []program{p}
	s.job.programs[target{p, "linux", "amd64"}] = stand
	if err := s.job.linux("apk")(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name := range s.made() {
		for _, dir := range []string{"bin", "etc", "dev", "run", "var/log", "lib/apk/exec"} {
			if err := os.MkdirAll(filepath.Join(a.root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s.do("bsdtar", "-x", "-p", "-f", filepath.Join(s.job.out, name), "-C", a.root)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	writeProgram(t, filepath.Join(a.root, "bin/busybox"), string(code))
	for name, text := range map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n", "dev/null": ""} {
		if err := os.WriteFile(filepath.Join(a.root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, applet := range []string{"sh", "rm", "rmdir", "grep"} {
		if err := os.Symlink("busybox", filepath.Join(a.root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	standIn(t, filepath.Join(a.root, "bin/addgroup"), addgroup)
	standIn(t, filepath.Join(a.root, "bin/adduser"), adduser)
	return a
}

// openRC puts OpenRC's programs there, which end with this status.
func (a *alpine) openRC(status string) {
	a.t.Helper()
	for _, name := range []string{"rc-service", "rc-update"} {
		standIn(a.t, filepath.Join(a.root, "sbin", name), `echo "$0 $*" >>/calls; exit `+status)
	}
}

// runs runs a script of the package as apk does: by itself, at the root, with little in the environment. It must end well
// and say nothing; what it called is compared.
func (a *alpine) runs(script string, want ...string) {
	a.t.Helper()
	calls := filepath.Join(a.root, "calls")
	if err := os.Remove(calls); err != nil && !errors.Is(err, os.ErrNotExist) {
		a.t.Fatal(err)
	}
	in := "lib/apk/exec/" + a.pkg + "-1.2.3-r1" + script
	if err := os.Rename(filepath.Join(a.root, script), filepath.Join(a.root, in)); err != nil && !errors.Is(err, os.ErrNotExist) {
		a.t.Fatal(err)
	}
	if err := a.command("/"+in, "1.2.3-r1"); err != nil {
		a.t.Errorf("%s %s: %v", a.pkg, script, err)
	}
	got, err := os.ReadFile(calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.t.Fatal(err)
	}
	if text := strings.Join(append(want, ""), "\n"); string(got) != text {
		a.t.Errorf("%s %s called\n%swant\n%s", a.pkg, script, got, text)
	}
}

func (a *alpine) command(name string, args ...string) error {
	c := exec.CommandContext(context.WithoutCancel(a.t.Context()), name, args...)
	c.Dir, c.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: a.root}
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		return errors.Join(errors.New(string(out)), err)
	}
	return nil
}

func (a *alpine) has(there bool, files ...string) {
	a.t.Helper()
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(a.root, f)); (err == nil) != there {
			a.t.Errorf("%s: %s is there: %v", a.pkg, f, err == nil)
		}
	}
}

// The scripts of Alpine's packages, run by busybox as the packages carry them: where OpenRC runs, where it fails, which no
// script may end of (apk would call the package broken), and in an image without it.
func TestApkScriptsRunInBusybox(t *testing.T) {
	for name, p := range map[string]program{"peer": peer, "server": server} {
		t.Run(name, func(t *testing.T) {
			a := newAlpine(t, p)
			var install, remove []string
			if p == peer {
				install, remove = []string{"/usr/bin/lanyard service ssh-config install"}, []string{"/usr/bin/lanyard service ssh-config remove"}
			}
			stop := []string{"/sbin/rc-service --quiet --ifstarted " + p.Name + " stop", "/sbin/rc-update --quiet delete " + p.Name}
			a.has(true, "etc/init.d/"+p.Name, "etc/default/"+p.Name, "usr/bin/"+p.Name)
			// No OpenRC; the second time, the account is there.
			for range 2 {
				a.runs(".post-install", install...)
			}
			a.runs(".post-upgrade")
			a.runs(".pre-deinstall", remove...)
			for _, status := range []string{"0", "1"} {
				a.openRC(status)
				a.runs(".post-install", install...)
				a.runs(".post-upgrade", "/sbin/rc-service --quiet --ifstarted "+p.Name+" restart")
				a.runs(".pre-deinstall", append(append([]string{}, stop...), remove...)...)
			}
			passwd, err := os.ReadFile(filepath.Join(a.root, "etc/passwd"))
			want := 0
			if p == server {
				want = 1
			}
			if err != nil || strings.Count(string(passwd), "lanyard-mgmt:x:100:101:Lanyard's management server:/var/lib/lanyard-mgmt:/sbin/nologin\n") != want {
				t.Errorf("the accounts are %q, %v", passwd, err)
			}
			log, run, state := "var/log/"+p.Name+".log", "run/"+p.Name, "var/lib/"+p.Name+"/state"
			const key, settings = "etc/lanyard/setup-key", "etc/lanyard/managed.yaml"
			for _, f := range []string{log, run + "/default.sock", state, key, settings} {
				standIn(t, filepath.Join(a.root, f), "")
			}
			a.runs(".post-upgrade", "/sbin/rc-service --quiet --ifstarted "+p.Name+" restart")
			a.has(true, key)
			a.runs(".post-deinstall")
			a.has(false, log, run)
			a.has(true, state, settings)
			a.has(p == server, key) // the machine's, beside the server
			if p == peer {
				if err := os.Remove(filepath.Join(a.root, settings)); err != nil {
					t.Fatal(err)
				}
				a.runs(".post-deinstall")
				a.has(false, "etc/lanyard")
				other := run + "/prod.sock" // of another profile, whose service somebody runs
				standIn(t, filepath.Join(a.root, other), "")
				a.runs(".post-deinstall")
				a.has(true, other)
			}
		})
	}
}
