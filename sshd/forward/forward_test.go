package forward

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestDestinationIsAHostAndAPort(t *testing.T) {
	for _, c := range []struct {
		host string
		port uint32
		want string // "": refused
	}{
		{"localhost", 80, "localhost"},
		{"[::1]", 80, "::1"},
		{"10.0.0.1", 65535, "10.0.0.1"},
		{"", 80, ""},
		{"a b", 80, ""},
		{"/run/x.sock", 80, ""},
		{"a\x00b", 80, ""},
		{"x", 0, ""},
		{"x", 65536, ""},
		{strings.Repeat("a", 254), 80, ""},
	} {
		host, _, err := parseTarget(ssh.Marshal(target{c.host, c.port, "127.0.0.1", 1}))
		if (err == nil) != (c.want != "") || host != c.want {
			t.Errorf("%q %d: %q, %v", c.host, c.port, host, err)
		}
	}
}

func FuzzDirectTCPIP(f *testing.F) {
	f.Add(ssh.Marshal(target{"localhost", 80, "127.0.0.1", 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		host, port, err := parseTarget(b)
		if err == nil && (host == "" || port == 0 || len(host) > 253 || strings.ContainsAny(host, " /\x00\n")) {
			t.Errorf("%q %d", host, port)
		}
	})
}

func FuzzListen(f *testing.F) {
	f.Add(ssh.Marshal(ListenRequest{"localhost", 0}))
	f.Add(ssh.Marshal(ListenRequest{"", 65536}))
	f.Add(ssh.Marshal(ListenRequest{"a b\n", 22}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseListen(b)
		if err == nil && (r.Port > 65535 || len(r.Host) > 253 || strings.ContainsAny(r.Host, " /\x00\n\x1b")) {
			t.Errorf("%+v", r)
		}
	})
}

// Paths of sockets, in "direct-streamlocal@openssh.com" and "streamlocal-forward@openssh.com".
func FuzzSocketPaths(f *testing.F) {
	direct := func(path string) []byte {
		return ssh.Marshal(struct {
			Path, Reserved string
			Number         uint32
		}{path, "", 0})
	}
	for _, p := range []string{"/run/x.sock", "@abstract", "", "a\x00b", strings.Repeat("x", 108)} {
		f.Add(direct(p))
		f.Add(ssh.Marshal(struct{ Path string }{p}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (string, error){parseSocketTarget, ParseSocketListen} {
			p, err := parse(b)
			// A leading '@' or a NUL names what lies in no folder, and has no owner.
			if err == nil && (p == "" || len(p) > 107 || p[0] == '@' || strings.Contains(p, "\x00")) {
				t.Errorf("%q", p)
			}
		}
	})
}
