package session

import (
	"os/user"
	"strings"
	"testing"

	"lanyard/platform/accounts"
)

func TestShellWithoutNetworkCredentialsSaysSo(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	own, err := accounts.Lookup(u.Username)
	if err != nil {
		t.Fatal(err)
	}
	other := accounts.Account{Name: "other", UID: "S-1-5-21-1-2-3-1234"}
	for _, c := range []struct {
		what string
		a    accounts.Account
		want bool
	}{{"shell", other, true}, {"exec", other, false}, {"sftp", other, false}, {"shell", own, false}} {
		got := notice(c.what, c.a)
		if (got != "") != c.want || c.want && (!strings.Contains(got, "no network credentials") || !strings.HasSuffix(got, "\r\n") || strings.Count(got, "\n") != 1) {
			t.Errorf("%s of %s: %q", c.what, c.a.Name, got)
		}
	}
}
