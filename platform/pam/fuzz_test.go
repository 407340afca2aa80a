//go:build unix

package pam

import (
	"strconv"
	"strings"
	"testing"
)

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

func FuzzStack(f *testing.F) {
	f.Add([]byte("session required pam_limits.so conf=/x\n@include y\nsession [a=b c] pam_env.so [envfile=a b]\n"))
	f.Add([]byte("session include session\n-session \\\n optional pam_motd.so motd=:\n[\n"))
	f.Add([]byte("session [success=-1 default=99999999999999999999] pam_permit.so\nsession substack x\nsession sufficient pam_succeed_if.so service in\nsession [=] pam_deny.so service in a:b c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := stack{root: t.TempDir()}
		s.parse(b, maxDepth) // without files
		if len(s.modules) > maxStack {
			t.Error("too many modules")
		}
		Of(s.root, flow("sshd", s.modules))
	})
}

func FuzzEnvironment(f *testing.F) {
	f.Add([]byte("A=\"b\"\nexport C='d' # e\nLD_X=1\n=\n\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range parseEnvironment(b) {
			name, value, ok := strings.Cut(v, "=")
			if !ok || !isName(name) || strings.HasPrefix(name, "LD_") || strings.ContainsAny(value, "\n\x00") {
				t.Errorf("%q", v)
			}
		}
	})
}

func FuzzLimits(f *testing.F) {
	f.Add([]byte("* soft nofile 10\n@ops - nproc unlimited\n1: hard nice -30\n:5 - cpu 1\n@:9 hard as 99999999999999999999\n%x - maxlogins 1\nu -\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := limitParser{m: Member{Name: "u", Uid: 5, Gid: 9, In: func(g string) bool { return g == "ops" }}, at: make(map[string]*bounds), prioritySource: bySystem}
		p.parse(b)
		for _, l := range p.rules().Limits {
			if soft, hard := l.Within(1024, 4096); soft > hard {
				t.Errorf("%+v: %d > %d", l, soft, hard)
			}
		}
	})
}
