package sshconfig

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lanyard/mgmt/api"
)

// want is what a machine wants of the helper: how old a token may be, and which accounts of this machine it lets in
// without a sign-in, with commas between.
type want struct {
	age      api.Seconds
	accounts string
}

// maxAccounts bounds the list of accounts in a line, in bytes.
const maxAccounts = 400

func wantOf(p api.Peer) want {
	accounts, _ := machineAccounts(p)
	return want{p.TokenAge, accounts}
}

// machineAccounts are those of p's accounts that can stand in a command, and the others.
func machineAccounts(p api.Peer) (list string, left []string) {
	var b strings.Builder
	for _, a := range p.MachineAccounts {
		if !loginRE.MatchString(a) || b.Len()+1+len(a) > maxAccounts {
			left = append(left, a)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(a)
	}
	return b.String(), left
}

func wants(peers []api.Peer) []want {
	var all []want
	for _, p := range peers {
		if w := wantOf(p); !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b want) int {
		return cmp.Or(cmp.Compare(a.age, b.age), cmp.Compare(a.accounts, b.accounts))
	})
	return all
}

// machineSettings writes the machine certificate for the machines that take one. It comes after the login's, which ssh
// so offers first.
func (f *Files) machineSettings(b *bytes.Buffer, in Input, peers []api.Peer) error {
	for _, p := range peers {
		if _, left := machineAccounts(p); len(left) > 0 {
			f.LeftOut = append(f.LeftOut, fmt.Sprintf("plain ssh to %q is not set up for %d accounts of this machine (%q): an ssh configuration cannot hold their names", p.Name, len(left), left))
		}
	}
	key, cert, _ := in.Paths.MachineIdentity(in.Map.Self.ID)
	var settings strings.Builder
	for _, s := range []struct{ keyword, path string }{{"IdentityFile", key}, {"CertificateFile", cert}} {
		q, err := configWord(configPath(in.Paths, s.path))
		if err != nil {
			return err
		}
		fmt.Fprintf(&settings, "\t%s %s\n", s.keyword, q)
	}
	for _, list := range addressLists(peers, func(p api.Peer) bool { return wantOf(p).accounts != "" }) {
		fmt.Fprintf(b, "Match host %s\n%s", list, settings.String())
	}
	return nil
}
