package accounts

import (
	"os/user"
	"strings"
	"testing"
)

func TestLocalAccountGoesByItsName(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	machine, short, _ := strings.Cut(u.Username, `\`)
	for _, name := range []string{short, machine + `\` + short} {
		a, err := Lookup(name)
		if err != nil || !strings.EqualFold(a.Name, short) || strings.Contains(a.Name, `\`) || a.UID != u.Uid || a.Home != u.HomeDir || !strings.HasSuffix(a.Shell, "cmd.exe") || a.Locked {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for _, name := range []string{"NO-SUCH-ACCOUNT", `ELSEWHERE\` + short, "0", "+0", short + " "} {
		if a, err := Lookup(name); err == nil {
			t.Errorf("%q leads to %+v", name, a)
		}
	}
}

func TestSystemIsPrivileged(t *testing.T) {
	a, err := Lookup("SYSTEM")
	if err != nil || !a.Privileged || !a.System || a.UID != "S-1-5-18" {
		t.Errorf("%+v, %v", a, err)
	}
}

// Before Windows is asked, a rule's account and the short forms of its name count as one, and nothing else does.
func TestNamesOfOneAccountAreTheSame(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	machine, _, _ := strings.Cut(u.Username, `\`)
	for _, name := range []string{"ann", `.\ann`, machine + `\ann`} {
		if a := Unresolved(name); a.Name != "ann" || !strings.HasPrefix(a.UID, "S-1-") || !SameName("Ann", name) {
			t.Errorf("%q: %+v", name, a)
		}
	}
	if a := Unresolved(`CORP\ann`); a.Name != `CORP\ann` {
		t.Errorf("%+v", a)
	}
	for _, c := range []struct {
		known, asked string
		want         bool
	}{
		{`CORP\ann`, "ANN", true},
		{`CORP\ann`, `corp\Ann`, true},
		{`CORP\ann`, `OTHER\ann`, false},
		{"ann", `CORP\ann`, false},
		{"ann", "anna", false},
	} {
		if SameName(c.known, c.asked) != c.want {
			t.Errorf("%q asked for as %q: want %v", c.known, c.asked, c.want)
		}
	}
}
