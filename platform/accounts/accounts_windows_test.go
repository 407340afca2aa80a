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
