//go:build linux

package packages

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// differences lists how sessions differ from sshd's, each with its reason: "CASE|* KIND NAME: why".
//
//go:embed testdata/differences.txt
var differences string

// inventory is what a session can tell of itself, a fact a line: "KIND NAME VALUE". Its arguments are the $0 of the shell
// that calls it, and the file.
const inventory = `#!/bin/bash
for f in /proc/$$/fd/*; do [ -e "$f" ] && open+="${f##*/} "; done
exec 3>"$2.part" 4>&1 1>&3 2>&1
say=$(loginctl show-session "$XDG_SESSION_ID")
value() { sed -n "s/^$1=//p" <<<"$say"; }
echo "shell arg0 $1"
echo "shell tty $(tty)"
env -u _ | sed 's/^XDG_SESSION_ID=.*/XDG_SESSION_ID=N/;s/=/ /;s/^/env /'
sed '/^[A-Z]/!d;/^Id=/d;/^Audit=/d;/^Timestamp/d;/^IdleSince/d;s/session-[^.]*/session-N/;s/=/ /;s/^/login /' <<<"$say"
[ "$(value Id)" = "$XDG_SESSION_ID" ] && echo "login id is that of the environment"
case $(value Audit) in 0|$(cat /proc/self/sessionid)) echo "login audit is that of the kernel";; esac
[ "$(readlink -f "$XDG_RUNTIME_DIR")" = /run/user/$(id -u) ] && echo "login runtime $(stat -c '%U %G %a' "$XDG_RUNTIME_DIR")"
ulimit -a -S | sed 's/^/soft /;s/ *([^)]*) */|/'
ulimit -a -H | sed 's/^/hard /;s/ *([^)]*) */|/'
echo "id all $(id)"
echo "id groups $(id -G)"
echo "umask now $(umask)"
echo "process loginuid $(cat /proc/self/loginuid)"
echo "process session $([ $(cat /proc/self/sessionid) = 4294967295 ] && echo none || echo "of its own")"
echo "process directory $(pwd)"
echo "process oom $(cat /proc/self/oom_score_adj)"
echo "process nice $(nice)"
echo "process scheduler $(chrt -p $$ | sed 's/.*: //' | tr '\n' ' ')"
echo "process blocked $(sed -n 's/SigBlk:\t//p' /proc/self/status)"
echo "process ignored $(sed -n 's/SigIgn:\t//p' /proc/self/status)"
echo "process capabilities $(sed -n 's/Cap.*:\t//p' /proc/self/status | tr '\n' ' ')"
echo "process privileges $(sed -n 's/NoNewPrivs:\t//p' /proc/self/status)"
echo "process seccomp $(sed -n 's/Seccomp:\t//p' /proc/self/status)"
echo "process descriptors $open"
echo "process cgroup $(sed -n 's/session-[^.]*/session-N/;s/^0:://p' /proc/self/cgroup)"
echo "process keyring $(keyctl rdescribe @s) holds $(keyctl rlist @s | xargs -rn1 keyctl rdescribe | sort | tr '\n' ' ')"
if [ -t 4 ]; then
	stty -a <&4 | tr ';' '\n' | sed 's/^ *//;/^$/d;/^speed/d;s/ = / /;s/^/stty /'
	line=$(tty <&4)
	echo "tty owner $(stat -c '%U %G %a' $line)"
	echo "tty who $(who | grep -c "^$(id -un) *${line#/dev/} ")"
	echo "tty last $(last -n 1 -w $(id -un) | grep -c "^$(id -un) *${line#/dev/} .*still logged in")"
fi
mv "$2.part" "$2"
`

var limitLine = regexp.MustCompile(`^(soft|hard) ([^|]+)\|(.*)$`)

var lastLogin = regexp.MustCompile(`(?m)Last login: \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} from [0-9.]+\r*`)

// facts makes a map of an inventory.
func facts(text string) map[string]string {
	all := make(map[string]string)
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if m := limitLine.FindStringSubmatch(l); m != nil {
			all[m[1]+" "+strings.ReplaceAll(strings.TrimSpace(m[2]), " ", "-")] = m[3]
			continue
		}
		f := strings.SplitN(l, " ", 3)
		for len(f) < 3 {
			f = append(f, "")
		}
		all[f[0]+" "+f[1]] = f[2]
	}
	return all
}

// door is a way into a machine: ours, or sshd's.
type door struct {
	name string
	args []string // of ssh
	host string
}

// sessionsAreOpenSSHs compares sessions of ours on web with those of its sshd. Both are reached from runner.
func sessionsAreOpenSSHs(t *testing.T, office, web, runner *box) {
	// An administrator's work, as the manuals of PAM say.
	web.write("/var/lib/extrausers/passwd", "dora:x:70000:70000:Dora of the directory:/home/dora:/bin/bash\n")
	web.write("/var/lib/extrausers/group", "dora:x:70000:\nops:x:70001:deploy,dora\nremote users:x:70002:dora\n")
	web.write("/var/lib/extrausers/shadow", "dora:*:19000:0:99999:7:::\n")
	web.do("sed", "-i", "-E", "s/^(passwd|group|shadow):.*/& extrausers/", "/etc/nsswitch.conf")
	web.do("install", "-d", "-o", "70000", "-g", "70000", "-m", "700", "/home/dora")
	web.write("/etc/environment", "# of the site\nEDITOR=vim\nQUOTED=\"two words\"\nexport EXPORTED='single'\nLD_LIBRARY_PATH=/nowhere\nSPACED = no\nHASH=a#b\nBOTH=$HOME\n")
	web.write("/etc/default/locale", "LANG=C.UTF-8\nLC_PAPER=\"C\"\n")
	web.write("/etc/security/limits.d/site.conf", strings.Join([]string{
		"# of the site", "* soft core 1000", "deploy soft nofile 4000", "deploy hard nofile 8000", "deploy - priority 3",
		"@ops hard nproc 900", "dora hard nofile 600000", "dora soft nofile 590000", "%ops - maxlogins 50", "ftp hard nproc 0",
		"70000: - msgqueue 100000", "* hard stack unlimited", "* soft data 800000", "deploy soft data unlimited", "@nobody hard fsize 1", "",
	}, "\n"))
	web.write("/etc/motd", "Be kind to this machine.\n")
	web.write("/usr/local/bin/inventory", inventory)
	web.do("chmod", "755", "/usr/local/bin/inventory")
	web.do("install", "-d", "-m", "1777", "/var/tmp/inventory")
	runner.do("runuser", "-u", "ansible", "--", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/home/ansible/plain")
	web.write("/etc/ssh/parity_keys", runner.do("cat", "/home/ansible/plain.pub"))
	web.write("/etc/ssh/sshd_config.d/site.conf", "AuthorizedKeysFile /etc/ssh/parity_keys\n")
	web.do("systemctl", "restart", "ssh")
	office.do("lanyard-mgmt", "policy", "add", "directory", "--from", "machine:runner/ansible", "--to", "tag:web", "--as", "dora")

	ours := door{name: "lanyard", host: "web-1.lanyard.internal"}
	sshds := door{name: "sshd", host: web.addr, args: []string{
		"-F", "none", "-i", "/home/ansible/plain", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
	}}
	options := []string{"-o", "LogLevel=ERROR", "-o", "SetEnv=LC_TIME=C LANG=C LD_PRELOAD=/y.so FOO=bar COLORTERM=truecolor"}
	session := func(d door, user string, flags []string, input string, command ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		args := slices.Concat([]string{"-u", "ansible", "--", "env", "HOME=/home/ansible", "TERM=xterm", "ssh"}, d.args, options, flags, []string{user + "@" + d.host}, command)
		c := runner.command(ctx, "runuser", args...)
		c.Stdin = strings.NewReader(input)
		out, err := c.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ssh to %s: %w", d.name, err)
		}
		return string(out), err
	}
	for _, d := range []door{ours, sshds} {
		for _, user := range []string{"deploy", "dora"} {
			until(t, 120*time.Second, d.name+" lets "+user+" in", func() error {
				if out, err := session(d, user, nil, "", "true"); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
	}
	type reasonKey struct{ kind, name string }
	reasons := make(map[reasonKey]string)
	for l := range strings.Lines(differences) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' {
			continue
		}
		what, why, ok := strings.Cut(l, ": ")
		kind, name, ok2 := strings.Cut(what, " ")
		if !ok || !ok2 || why == "" {
			t.Fatalf("testdata/differences.txt: %q is not CASE NAME: why", l)
		}
		reasons[reasonKey{kind, name}] = why
	}
	used := make(map[reasonKey]int)
	listed := func(kind, name string) bool {
		for _, k := range []string{kind, "*"} {
			if key := (reasonKey{k, name}); reasons[key] != "" {
				used[key]++
				return true
			}
		}
		return false
	}
	kinds := []struct {
		name, user string
		flags      []string
		shell      bool
	}{
		{name: "exec", user: "deploy"},
		{name: "terminal", user: "deploy", flags: []string{"-tt"}},
		{name: "login", user: "deploy", flags: []string{"-tt"}, shell: true},
		{name: "directory", user: "dora"},
		{name: "directory-terminal", user: "dora", flags: []string{"-tt"}},
		{name: "hushed", user: "dora", flags: []string{"-tt"}, shell: true},
	}
	web.do("install", "-o", "70000", "-g", "70000", "/dev/null", "/home/dora/.hushlogin")
	// A change of the configuration is seen within two seconds.
	if err := lab.Until(within(t, 60*time.Second), "the new configuration", func() error {
		out, err := session(ours, "deploy", nil, "", "echo $EDITOR")
		if err == nil && !strings.Contains(out, "vim") {
			err = fmt.Errorf("EDITOR is %q", out)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	// Whoever is at their end still has a terminal, whose number the next one does not get then.
	forgotten := func() {
		t.Helper()
		until(t, 90*time.Second, "the login manager has forgotten the sessions", func() error {
			if out := web.do("loginctl", "--no-legend", "list-sessions") + web.do("who") + web.do("find", "/dev/pts", "-name", "[0-9]*"); strings.TrimSpace(out) != "" {
				return errors.New(out)
			}
			return nil
		})
	}
	// A session waits for the login manager for a moment only and begins without it then, which is no session to compare.
	slow := func() int {
		t.Helper()
		return strings.Count(web.do("journalctl", "-q", "--no-pager", "-u", "lanyard"), "the session is not the login manager's")
	}
	for _, kind := range kinds {
		got := make(map[string]map[string]string)
		for _, d := range []door{ours, sshds} {
			forgotten()
			file := "/var/tmp/inventory/" + d.name + "-" + kind.name
			var out string
			var err error
			for try := 0; try < 5; try++ {
				before := slow()
				if kind.shell {
					out, err = session(d, kind.user, kind.flags, "PS1=; exec inventory $0 "+file+"\n")
				} else {
					out, err = session(d, kind.user, kind.flags, "", "exec inventory $0 "+file)
				}
				if slow() == before {
					break
				}
				forgotten()
			}
			text, readErr := os.ReadFile(filepath.Join(web.root, file))
			if err := errors.Join(err, readErr); err != nil {
				t.Fatalf("%s %s: %v\n%s\n%s", d.name, kind.name, err, out, web.journal())
			}
			got[d.name] = facts(string(text))
			if len(got[d.name]) < 60 {
				t.Fatalf("%s %s tells only\n%s", d.name, kind.name, text)
			}
			if keyring := got[d.name]["process keyring"]; !strings.HasPrefix(keyring, "keyring;") {
				t.Fatalf("%s %s has no session keyring that it may look at: %q", d.name, kind.name, keyring)
			}
			if kind.shell {
				n := 0
				for l := range strings.Lines(out) {
					l = lastLogin.ReplaceAllString(strings.TrimRight(l, "\r\n"), "Last login: DATE from HOST")
					if l != "" && !strings.Contains(l, "PS1=") { // what the terminal echoes
						n++
						got[d.name][fmt.Sprintf("screen %d", n)] = l
					}
				}
				if greeted := strings.Contains(out, "Be kind") && lastLogin.MatchString(out); greeted != (kind.name == "login") {
					t.Errorf("%s %s shows %q", d.name, kind.name, out)
				}
			}
		}
		a, b := got["lanyard"], got["sshd"]
		names := slices.Sorted(maps.Keys(a))
		for _, name := range slices.Sorted(maps.Keys(b)) {
			if _, ok := a[name]; !ok {
				names = append(names, name)
			}
		}
		for _, name := range names {
			x, inOurs := a[name]
			y, inTheirs := b[name]
			if (inOurs != inTheirs || x != y) && !listed(kind.name, name) {
				t.Errorf("%s: %s is %q (%v), and %q (%v) in sshd's session", kind.name, name, x, inOurs, y, inTheirs)
			}
		}
	}
	for k := range reasons {
		if n := used[k]; n == 0 || k.kind == "*" && n != len(kinds) {
			t.Errorf("testdata/differences.txt lets %s %s differ, which it does %d times", k.kind, k.name, n)
		}
	}
	// And nothing stays.
	forgotten()
	until(t, 60*time.Second, "last", func() error {
		if out := web.do("last", "-w", "deploy"); strings.Contains(out, "still logged in") || strings.Count(out, "pts/") < 4 {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
}
