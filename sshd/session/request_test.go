package session

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
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
		if _, err := parseSize(b); err == nil && len(b) != 16 {
			t.Error("a window change of another length")
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
