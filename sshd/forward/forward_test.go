package forward

import (
	"errors"
	"net"
	"net/netip"
	"os/user"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
	"lanyard/platform/accounts"
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

// asked is a channel that a client asks for.
type asked struct {
	payload []byte
	why     ssh.RejectionReason
	said    string
}

func (a *asked) Accept() (ssh.Channel, <-chan *ssh.Request, error) {
	return nil, nil, errors.New("accepted")
}
func (a *asked) ChannelType() string { return "direct-tcpip" }
func (a *asked) ExtraData() []byte   { return a.payload }
func (a *asked) Reject(why ssh.RejectionReason, said string) error {
	a.why, a.said = why, said
	return nil
}

// What is granted may be so no more when the connection stands, and who may go nowhere is not told which names exist.
func TestDestinationIsDecidedAgainAndNamesAreNotTold(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	own, err := accounts.Lookup(me.Username)
	if err != nil {
		t.Fatal(err)
	}
	port := uint32(ln.Addr().(*net.TCPAddr).Port)
	for _, c := range []struct {
		what, host string
		yes        int // so often the rule grants it
		why        ssh.RejectionReason
		refusals   int
	}{
		{"granted", "127.0.0.1", 9, 0, 0},
		{"granted when it was asked for only", "127.0.0.1", 1, ssh.Prohibited, 1},
		{"not granted", "127.0.0.1", 0, ssh.Prohibited, 1},
		{"a name that is not there, by who may go nowhere", "no-such-name.invalid", 0, ssh.Prohibited, 1},
		{"a name that is not there, by who may go there", "no-such-name.invalid", 9, ssh.ConnectionFailed, 0},
	} {
		refusals := 0
		a := &asked{payload: ssh.Marshal(target{c.host, port, "127.0.0.1", 1})}
		Direct(&Login{
			Account: own, Life: t.Context(),
			Allowed: func(_ string, ip netip.Addr, port uint16) (netip.AddrPort, bool) {
				c.yes--
				return netip.AddrPortFrom(ip, port), c.yes >= 0
			},
			Refused: func(string, reason.Code) { refusals++ },
		}, a)
		if a.why != c.why || refusals != c.refusals {
			t.Errorf("%s: rejected with %v (%q), %d refusals recorded", c.what, a.why, a.said, refusals)
		}
	}
}
