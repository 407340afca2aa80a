//go:build unix

package pam

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestStackFollowsIncludesAndTakesSessionModulesOnly(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/pam.d/sshd": "# session required pam_no.so\nauth required pam_unix.so\n@include common-session\n" +
			"-session\toptional\tpam_motd.so  motd=/run/motd.dynamic # shown\n" +
			"session [success=ok ignore=ignore default=bad] pam_selinux.so close\n" +
			"session include postlogin\nsession required \\\n  /lib/security/pam_env.so [envfile=/etc/a b] user_readenv=1\n",
		"etc/pam.d/common-session": "session optional pam_systemd.so\n@include sshd\n", // a circle
		"usr/lib/pam.d/postlogin":  "SESSION required pam_access.so\n",
	})
	all, _, ok := Stack(root, "sshd")
	var names []string
	for _, m := range all {
		names = append(names, m.Name)
	}
	if !ok || len(names) < 5 || !slices.Equal(names[len(names)-4:], []string{"pam_motd", "pam_selinux", "pam_access", "pam_env"}) || !slices.Contains(names, "pam_systemd") || slices.Contains(names, "pam_unix") {
		t.Fatalf("%v %q", ok, names)
	}
	if last := all[len(all)-1]; !reflect.DeepEqual(last.Args, []string{"envfile=/etc/a b", "user_readenv=1"}) {
		t.Errorf("%q", last.Args)
	}
	s := Of(root, all)
	if !s.Logind || !slices.Equal(s.Others, []string{"pam_access"}) || s.Limits != nil || s.Env[0].Path != filepath.Join(root, "/etc/a b") {
		t.Errorf("%+v", s)
	}
	if _, _, ok := Stack(root, "login"); ok {
		t.Error("a service that is not there")
	}
}

// As libpam goes on from one module to the next.
func TestJumpsPassOverModules(t *testing.T) {
	for _, c := range []struct {
		stack, want string
		unsure      string
	}{
		{"[default=1] permit|requisite deny|required permit|optional systemd", "permit permit systemd", ""}, // Debian's
		{"[success=1 default=ignore] succeed_if service in crond quiet use_uid|required unix", "succeed_if unix", ""},
		{"[success=1 default=ignore] succeed_if service !~ gdm* service !~ su* quiet|[default=1] lastlog nowtmp|optional lastlog silent", "succeed_if lastlog", ""}, // Red Hat's
		{"[success=2 default=ignore] limits|optional env|optional motd|optional umask", "limits umask", ""},
		{"[success=1 default=ignore] succeed_if uid >= 1000|required limits", "succeed_if limits", "succeed_if"},
		{"[success=1] succeed_if uid >= 1000 service = cron|required limits", "succeed_if limits", ""},
		{"[success=1 default=ignore] localuser|required limits", "localuser limits", "localuser"},
		{"[default=ignore] localuser|required limits", "localuser limits", ""},
		{"[default=1] localuser|required limits|optional env", "localuser env", ""},
		{"[success=ok default=1] deny|required limits|optional env", "deny env", ""},
		{"[success=ok session_err=ignore default=1] deny|required limits", "deny limits", ""},
		{"sufficient permit|required limits", "permit", ""},
		{"sufficient deny|required limits", "deny limits", ""},
		{"sufficient sss|required limits", "sss limits", "sss"},
		{"[success=done] limits|required env", "limits", ""},
		{"optional limits|[success=99] env|required motd", "limits env", ""},
		{"[success=-1] limits|required env", "limits env", ""},
		{"substack sub|required env", "permit env", ""},                        // its end is no other's
		{"[success=1] limits|substack sub|required env", "limits env", ""},     // which counts as one
		{"[success=1] limits|substack sub|substack sub", "limits permit", ""},  // each
		{"[success=1] limits|include sub|required env", "limits motd env", ""}, // and an include as what it holds
		{"include jump|required motd|required env", "permit env", ""},          // out of which a jump leads
		{"substack jump|required motd|required env", "permit motd env", ""},    // and not out of a substack
		{"optional warn|[ignore=1 default=ok] warn|required env", "warn warn", ""},
	} {
		var text strings.Builder
		for l := range strings.SplitSeq(c.stack, "|") {
			control, rest, _ := strings.Cut(l, " ")
			if strings.HasPrefix(l, "[") {
				control, rest, _ = strings.Cut(l, "] ")
				control += "]"
			}
			if control != "include" && control != "substack" {
				rest = "pam_" + strings.Replace(rest+" ", " ", ".so ", 1)
			}
			text.WriteString("session " + control + " " + rest + "\n")
		}
		root := tree(t, map[string]string{
			"etc/pam.d/sshd": text.String(),
			"etc/pam.d/sub":  "session sufficient pam_permit.so\nsession required pam_motd.so\n",
			"etc/pam.d/jump": "session [success=1] pam_permit.so\n",
		})
		all, _, _ := Stack(root, "sshd")
		var names []string
		for _, m := range all {
			names = append(names, strings.TrimPrefix(m.Name, "pam_"))
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.stack, got, c.want)
		}
		if s, service := Read(root); strings.TrimPrefix(strings.Join(s.Unsure, " "), "pam_") != c.unsure || service != "sshd" {
			t.Errorf("%s: unsure %q of %s, want %q", c.stack, s.Unsure, service, c.unsure)
		}
	}
}

func TestMessageOfTheDayIsTheOneThatPAMWouldShow(t *testing.T) {
	root := tree(t, map[string]string{"etc/motd": "", "usr/lib/motd": "", "etc/motd.d/b": "", "run/motd.d/b": "", "run/motd.d/a": ""})
	paths := func(args ...string) (out []string) {
		for _, m := range Of(root, []Module{{Name: "pam_motd", Args: args}}).Motd {
			p := strings.TrimPrefix(m.Path, root)
			if m.Update {
				p += "!"
			}
			out = append(out, p)
		}
		return out
	}
	for _, c := range []struct{ args, want []string }{
		{nil, []string{"/etc/motd", "/run/motd.d/a", "/etc/motd.d/b"}},
		{[]string{"noupdate", "motd=/etc/motd"}, []string{"/etc/motd"}},
		{[]string{"motd=/run/motd.dynamic"}, []string{"/run/motd.dynamic!"}},
		{[]string{"motd=/run/motd.dynamic", "noupdate"}, []string{"/run/motd.dynamic"}},
	} {
		if got := paths(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}

func TestEnvironmentFileIsReadAsPAMDoes(t *testing.T) {
	text := "# all\nA=1\n  export B=two words  \nC=\"quoted\"\nD='x\nE=a#b\nF = no\nLD_PRELOAD=/x.so\nnothing\nG=a=b\nH=\n1-2=no\nI=\"\"\n"
	want := []string{"A=1", "B=two words", "C=quoted", "D=x", "E=a", "G=a=b", "H=", "I="}
	if got := parseEnvironment([]byte(text)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := (EnvFile{"/no/such/file"}).Environment(); got != nil {
		t.Errorf("%q", got)
	}
}

func TestLimitsOfAnAccount(t *testing.T) {
	deploy := Member{Name: "deploy", Uid: 1000, Gid: 1000, Gids: []uint32{1000, 50}, In: func(g string) bool { return g == "ops" }}
	root := Member{Name: "root", In: func(string) bool { return true }}
	for _, c := range []struct {
		text string
		who  Member
		want string
	}{
		{"deploy soft nofile 4000\n* soft nofile 10\n", deploy, "nofile 4000 -"},
		{"* hard nofile 10\n@ops hard nofile 20\n", deploy, "nofile - 20"},
		{"@ops hard nofile 20\n* hard nofile 10\n", deploy, "nofile - 20"},
		{"* - nofile 10\n* - nofile 20\n", deploy, "nofile 20 20"},
		{"@other hard nofile 20\n%ops hard nofile 3\nann hard nofile 4\n", deploy, ""},
		{"* hard nofile 20\n@ops hard nofile 20\n", root, ""},
		{"root hard nofile 20\n", root, "nofile - 20"},
		{"1000: hard nproc 5\n", deploy, "nproc - 5"},
		{"900:999 hard nproc 5\n:1000 soft nproc 4\n", deploy, "nproc 4 -"},
		{"@:1000 hard nproc 5\n@40:60 soft nproc 6\n", deploy, "nproc 6 5"},
		{"* - core unlimited\n* hard cpu 2\n* hard fsize 3\n", deploy, "core max max,cpu - 120,fsize - 3072"},
		{"* - as 99999999999999999999\n* soft as 36028797018963968\n", deploy, "as max -"},
		{"* hard nice -5\n* - rtprio unlimited\n", deploy, "nice - 25"},
		{"* hard nofile 10\ndeploy -\n* hard nofile 9\n", deploy, ""},
		{"* hard nofile\n* hard nofile 1 2\n* nofile 3\n* x nofile 3\n* hard nosuch 3\n# * hard nofile 4\n", deploy, " nosuch"},
		{"deploy - priority 3\n* - priority 5\n", deploy, " priority=3"},
	} {
		file := filepath.Join(t.TempDir(), "limits.conf")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		r := LimitsOf([]string{file, "/no/such/file"}, c.who)
		if got := show(r); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func show(r Rules) string {
	value := func(n *uint64) string {
		switch {
		case n == nil:
			return "-"
		case *n == Unlimited:
			return "max"
		}
		return itoa(*n)
	}
	var all []string
	for _, l := range r.Limits {
		all = append(all, l.Item+" "+value(l.Soft)+" "+value(l.Hard))
	}
	s := strings.Join(all, ",")
	if r.Priority != nil {
		s += " priority=" + itoa(uint64(*r.Priority))
	}
	for _, o := range r.Others {
		s += " " + o
	}
	return s
}

func TestSoftLimitStaysWithinTheHardOne(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	for _, c := range []struct {
		l          Limit
		soft, hard uint64
	}{
		{Limit{}, 10, 20},
		{Limit{Hard: n(5)}, 5, 5},
		{Limit{Soft: n(30)}, 20, 20},
		{Limit{Soft: n(30), Hard: n(40)}, 30, 40},
	} {
		if soft, hard := c.l.Within(10, 20); soft != c.soft || hard != c.hard {
			t.Errorf("%+v: %d %d", c.l, soft, hard)
		}
	}
}
