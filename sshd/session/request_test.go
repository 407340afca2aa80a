package session

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/platform/pty"
	"lanyard/sshd/sftp"
)

type wirePTY struct {
	Term                      string
	Cols, Rows, Width, Height uint32
	Modes                     string
}

func modes(pairs ...uint32) string {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = binary.BigEndian.AppendUint32(append(b, byte(pairs[i])), pairs[i+1])
	}
	return string(b)
}

func TestTerminalModesEndWhereTheRFCSays(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want int // -1: refused
	}{
		"none":                       {"", 0},
		"only the end":               {"\x00", 0},
		"three and the end":          {modes(3, 127, 53, 1, 128, 38400) + "\x00", 3},
		"no end":                     {modes(3, 127), 1},
		"an opcode of unknown shape": {modes(3, 127) + "\xa0junk", 1},
		"data behind the end":        {modes(3, 127) + "\x00\x01", 1},
		"a cut argument":             {modes(3, 127) + "\x03\x00", -1},
		"too many":                   {strings.Repeat(modes(3, 127), maxModes+1), -1},
	} {
		got, err := parseModes([]byte(c.in))
		if c.want < 0 && err == nil || c.want >= 0 && (err != nil || len(got) != c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestTermIsNoPath(t *testing.T) {
	for term, want := range map[string]string{
		"xterm-256color": "xterm-256color", "../../tmp/x": "dumb", "": "dumb", "/etc": "dumb", "a\nb": "dumb",
	} {
		r, err := parsePTY(ssh.Marshal(wirePTY{Term: term}))
		if err != nil || r.Term != want {
			t.Errorf("%q: %q, %v", term, r.Term, err)
		}
	}
}

func TestClientSetsOnlyHarmlessVariables(t *testing.T) {
	for v, want := range map[string]bool{
		"LANG=C.UTF-8": true, "LC_ALL=de_DE": true, "COLORTERM=truecolor": true, "TZ=Europe/Berlin": true,
		"GIT_PROTOCOL=version=2": true, "LD_PRELOAD=/tmp/x.so": false, "LC_X;=y": false, "LANG=/tmp/evil": false,
		"LANGUAGE=de:en_GB": true, "LANGUAGE=de:../../tmp/evil": false,
		"TZ=/etc/shadow": false, "TZ=:/etc/shadow": false, "TZ=../../etc/shadow": false, "PATH=/tmp": false,
		"BASH_ENV=/tmp/x": false, "LANYARD_SESSION=s1": false, "LANG=a\nb": false, "LC_=": false, "IFS=x": false,
	} {
		name, value, _ := strings.Cut(v, "=")
		if got := acceptEnv(name, value); got != want {
			t.Errorf("%s: %v", v, got)
		}
	}
}

func TestLastVariableOfANameCounts(t *testing.T) {
	got := strings.Join(unique([]string{"A=1", "B=2", "A=3"}), " ")
	if got != "A=3 B=2" {
		t.Error(got)
	}
}

func FuzzPTYRequest(f *testing.F) {
	f.Add(ssh.Marshal(wirePTY{"xterm", 80, 24, 640, 480, modes(1, 3, 53, 1) + "\x00"}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parsePTY(b)
		if err == nil && (len(r.Modes) > maxModes || len(r.Term) > maxTerm || !termRE.MatchString(r.Term)) {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzEnvRequest(f *testing.F) {
	f.Add(ssh.Marshal(struct{ N, V string }{"LANG", "C"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, value, err := parseEnv(b)
		if err == nil && acceptEnv(name, value) && (strings.ContainsAny(name, "=\x00\n") || strings.ContainsAny(value, "\x00\n") || strings.HasPrefix(name, "LD_")) {
			t.Errorf("%q=%q", name, value)
		}
	})
}

func FuzzStringRequest(f *testing.F) {
	f.Add(ssh.Marshal(struct{ S string }{"echo"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseString(b, maxTerm); err == nil && (len(s) > maxTerm || strings.Contains(s, "\x00")) {
			t.Errorf("%q", s)
		}
	})
}

func FuzzWindowChange(f *testing.F) {
	f.Add(ssh.Marshal(pty.Size{Cols: 80, Rows: 24, Width: 640, Height: 480}))
	f.Add(ssh.Marshal(pty.Size{Cols: 1<<32 - 1, Rows: 1<<32 - 1}))
	f.Add([]byte{0, 0, 0, 80})
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := parseSize(b)
		if err == nil && !bytes.Equal(ssh.Marshal(size), b) {
			t.Errorf("%x is taken for %+v", b, size)
		}
	})
}

func FuzzX11Request(f *testing.F) {
	f.Add(ssh.Marshal(x11Request{true, "MIT-MAGIC-COOKIE-1", "00ff", 0}))
	f.Add(ssh.Marshal(x11Request{false, "MIT-MAGIC-COOKIE-1", "00ff\nadd :0 x 00", 0}))
	f.Add(ssh.Marshal(x11Request{false, "MIT-MAGIC-COOKIE-1", "00ff", 1 << 31}))
	f.Add(ssh.Marshal(x11Request{false, "a b", "00ff", 255}))
	f.Add(ssh.Marshal(x11Request{false, "x", strings.Repeat("0", 257), 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseX11(b)
		// Both stand in xauth's commands, which end with a line.
		if err == nil && (strings.Trim(r.Cookie, "0123456789abcdefABCDEF") != "" || strings.ContainsFunc(r.Protocol, func(c rune) bool {
			return c <= ' ' || c > '~' || c == '"'
		}) || len(r.Protocol) > 64 || len(r.Cookie) > 256 || r.Screen > 255) {
			t.Errorf("%+v", r)
		}
	})
}

// silent is a channel whose client reads everything and says nothing.
type silent struct{ out bytes.Buffer }

func (*silent) Read([]byte) (int, error)                       { return 0, io.EOF }
func (*silent) Write(b []byte) (int, error)                    { return len(b), nil }
func (*silent) Close() error                                   { return nil }
func (*silent) CloseWrite() error                              { return nil }
func (*silent) SendRequest(string, bool, []byte) (bool, error) { return false, nil }
func (s *silent) Stderr() io.ReadWriter                        { return &s.out }

// FuzzRequests sends a client's requests, of any kind and in any order, to a channel whose rule grants nothing: each has
// one answer, and nothing is opened or started. An input is requests: type, payload, type, payload...
func FuzzRequests(f *testing.F) {
	text := func(s ...string) (b []byte) {
		for _, x := range s {
			b = append(b, ssh.Marshal(struct{ S string }{x})...)
		}
		return b
	}
	str := func(s string) string { return string(ssh.Marshal(struct{ S string }{s})) }
	env := string(ssh.Marshal(struct{ N, V string }{"LC_ALL", "C"}))
	term := string(ssh.Marshal(wirePTY{"xterm", 80, 24, 640, 480, modes(1, 3) + "\x00"}))
	x11 := string(ssh.Marshal(x11Request{true, "MIT-MAGIC-COOKIE-1", "00ff", 0}))
	f.Add(text("env", env, "pty-req", term, "shell", ""))
	f.Add(text("auth-agent-req@openssh.com", "", "x11-req", x11, "exec", str("true")))
	f.Add(text("subsystem", str("sftp"), "subsystem", str("netconf"), "window-change", string(ssh.Marshal(pty.Size{Cols: 1}))))
	f.Add(text("signal", str("KILL"), "break", "", "exec", str("a\x00b"), "eow@openssh.com", ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		refused := 0
		l := &Login{
			Can: func(api.Capability) bool { return false }, Refused: func(string, string, api.Capability) { refused++ },
			Begin: func(what, _ string) (func(Result), error) {
				t.Errorf("%s begins", what)
				return nil, errPayload
			},
			Agent: func() (string, error) { return "", errPayload },
			X11:   func(bool) (int, func(), error) { return 0, nil, errPayload },
			Files: func() []sftp.Grant { return nil },
			Log:   slog.New(slog.DiscardHandler), Go: func(f func()) { f() },
		}
		s := New(l, &silent{})
		for n := 0; len(b) > 0 && n < 64; n++ {
			var q struct {
				Type, Payload string
				Rest          []byte `ssh:"rest"`
			}
			if ssh.Unmarshal(b, &q) != nil {
				return
			}
			b = q.Rest
			if s.request(&ssh.Request{Type: q.Type, Payload: []byte(q.Payload)}) == yes && q.Type != "env" {
				t.Errorf("%s is granted", q.Type)
			}
		}
		if len(s.env) > maxVars || s.pty != nil || s.proc != nil || refused > 2+64 {
			t.Errorf("%d variables, terminal %v, process %v, %d refusals", len(s.env), s.pty, s.proc, refused)
		}
	})
}
