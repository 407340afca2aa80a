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
