// Package sshconfig makes the machine's own OpenSSH reach the machines of the network map: an ssh_config drop-in and
// a known_hosts file, both generated from the map.
//
// For each machine that serves SSH a block turns its name into its overlay address:
//
//	Host web-1 web-1.lanyard.internal
//	    HostName 100.110.0.5
//
// Where the person's own configuration sends the name elsewhere, the address differs and nothing of ours applies.
// Everything else follows once for a list of addresses, since every line costs each ssh of this machine: the account,
// where a person has exactly one; the login's certificate and strict host key checking against the managed file,
// which knows the machines by these addresses. Machines that let accounts of this machine in without a sign-in have
// the account's machine certificate as a second one. A last block runs the helper that keeps the certificate fresh. It is
// alone, because strict checking must hold whatever the helper says: were it part of the block, a helper that fails
// would leave an address of ours to ssh's defaults, which ask the person to trust any host key and then a password.
// Other hosts match none of the lists, and start no process.
package sshconfig

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
	"lanyard/service/names"
)

// Input is all that the files depend on.
type Input struct {
	Map   *api.Map
	Paths paths.Paths
	// Program is the absolute path of lanyard. On Windows it must be free of blanks, and only administrators may
	// write it.
	Program string
	// Helper is the absolute path of what does "openssh prepare" in its place; Program when empty.
	Helper string
	// Userspace: the overlay is not an interface of this machine; ssh needs ProxyCommand as its way out.
	Userspace bool
}

// Files are the generated files.
type Files struct {
	Config     []byte
	KnownHosts []byte
	// LeftOut says, a sentence each, which machines were not written and why.
	LeftOut []string
}

// maxLine bounds a line of addresses: libssh cuts long lines off.
const maxLine = 900

var (
	idRE    = regexp.MustCompile(`^p[a-z0-9]{1,32}$`)
	loginRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
)

// Render makes the files. It trusts nothing in the map: names, ids and addresses are checked again, and host keys
// must be signed by the machine they belong to.
func Render(in Input) (*Files, error) {
	m := in.Map
	if !idRE.MatchString(m.Self.ID) {
		return nil, fmt.Errorf("this machine's id %q is not one; no ssh configuration is written", m.Self.ID)
	}
	if err := api.CheckName(in.Paths.Profile); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	program, err := shellWord(in.Program)
	if err != nil {
		return nil, err
	}
	helper := program
	if in.Helper != "" {
		if helper, err = shellWord(in.Helper); err != nil {
			return nil, err
		}
	}
	out := &Files{}
	peers := out.valid(m)
	var b, known bytes.Buffer
	b.WriteString("# Written by Lanyard from the network map. Do not edit: it is written anew at every change.\n")
	for _, p := range peers {
		fmt.Fprintf(&b, "Host %s\n\tHostName %s\n", strings.Join(HostNames(in.Paths.Profile, m, p.Name, p.ShortName), " "), p.Addr4)
		for _, line := range hostKeyLines(p) {
			known.WriteString(line)
		}
	}
	for _, login := range logins(peers) {
		for _, list := range addressLists(peers, func(p api.Peer) bool { return p.LoginAs == login }) {
			fmt.Fprintf(&b, "Match host %s\n\tUser %s\n", list, login)
		}
	}
	common, err := commonSettings(in, program)
	if err != nil {
		return nil, err
	}
	for _, list := range addressLists(peers, func(api.Peer) bool { return true }) {
		fmt.Fprintf(&b, "Match host %s\n%s", list, common)
	}
	if err := out.machineSettings(&b, in, peers); err != nil {
		return nil, err
	}
	for _, w := range wants(peers) {
		exec := fmt.Sprintf("%s openssh prepare %s %s", helper, in.Paths.Profile, m.Self.ID)
		if w.age > 0 || w.accounts != "" {
			exec += fmt.Sprintf(" %d", w.age)
		}
		if w.accounts != "" {
			exec += " " + w.accounts
		}
		// %h is the address of the list that matched: nothing that somebody else chose.
		for _, list := range addressLists(peers, func(p api.Peer) bool { return wantOf(p) == w }) {
			fmt.Fprintf(&b, "Match host %s exec \"%s %%h\"\n", list, exec)
		}
	}
	for _, r := range m.Refused {
		// By the name that is left after the person's own entries: one of those with another HostName stays theirs.
		if code := reason.Code(r.Code); api.CheckName(r.Name) == nil && code.Known() {
			fmt.Fprintf(&b, "Match host %s\n\tProxyCommand %s openssh refused %s\n",
				strings.Join(HostNames(in.Paths.Profile, m, r.Name, r.ShortName), ","), program, code)
		}
	}
	if api.CheckName(m.Self.Name) == nil {
		// Only the name in the zone: what the bare one means here was settled before us.
		fmt.Fprintf(&b, "Match host %s\n\tProxyCommand %s openssh refused %s\n", names.Full(in.Paths.Profile, m.Self.Name, m.ZoneName()), program, reason.ThisMachine)
	}
	b.WriteString("Match all\n")
	out.Config, out.KnownHosts = b.Bytes(), known.Bytes()
	return out, nil
}

// HostNames is what ssh on this machine calls the one called name, the shortest first. A short one has to be approved.
func HostNames(profile string, m *api.Map, name string, short bool) []string {
	full := names.Full(profile, name, m.ZoneName())
	if short {
		return []string{names.Short(profile, name), full}
	}
	return []string{full}
}

// logins are the accounts that Render sets, each once.
func logins(peers []api.Peer) []string {
	var all []string
	for _, p := range peers {
		if loginRE.MatchString(p.LoginAs) && !slices.Contains(all, p.LoginAs) {
			all = append(all, p.LoginAs)
		}
	}
	return all
}

// Settings returns what `ssh -G` must say for peer, by its keyword in lower case; "" for what it must not set.
func Settings(in Input, peer api.Peer) map[string]string {
	key, cert, _ := in.Paths.Identity(in.Map.Self.ID)
	return map[string]string{
		"hostname":              peer.Addr4.String(),
		"hostkeyalias":          "",
		"identityfile":          configPath(in.Paths, key),
		"certificatefile":       configPath(in.Paths, cert),
		"identitiesonly":        "yes",
		"addkeystoagent":        "false",
		"stricthostkeychecking": "true",
		"globalknownhostsfile":  in.Paths.KnownHosts,
		"userknownhostsfile":    "none",
		"verifyhostkeydns":      "false",
	}
}

func commonSettings(in Input, program string) (string, error) {
	key, cert, _ := in.Paths.Identity(in.Map.Self.ID)
	var b strings.Builder
	for _, s := range []struct{ keyword, path string }{
		{"IdentityFile", configPath(in.Paths, key)},
		{"CertificateFile", configPath(in.Paths, cert)},
		{"GlobalKnownHostsFile", in.Paths.KnownHosts},
	} {
		q, err := configWord(s.path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\t%s %s\n", s.keyword, q)
	}
	b.WriteString("\tIdentitiesOnly yes\n\tAddKeysToAgent no\n\tStrictHostKeyChecking yes\n" +
		"\tUserKnownHostsFile none\n\tVerifyHostKeyDNS no\n")
	if in.Userspace {
		// %h and %p are the address of this block and a number: nothing that somebody else chose.
		fmt.Fprintf(&b, "\tProxyCommand %s openssh connect %s %%h %%p\n", program, in.Paths.Profile)
	}
	return b.String(), nil
}

// configPath is a file of the .ssh folder as the configuration names it: relative to each user's home in a file that
// serves all of them.
func configPath(p paths.Paths, file string) string {
	return p.SSHDirConfig + "/" + filepath.Base(file)
}

// valid returns the machines to write, by name, and notes the others.
func (f *Files) valid(m *api.Map) []api.Peer {
	seen := map[string]int{}
	for _, p := range m.Peers {
		seen[p.Name]++
		seen[p.ID]++
		seen[p.Addr4.String()]++
	}
	var peers []api.Peer
	for _, p := range m.Peers {
		if !p.ServesSSH || p.ID == m.Self.ID {
			continue
		}
		if err := check(p, m, seen); err != nil {
			f.LeftOut = append(f.LeftOut, fmt.Sprintf("%q is left out of the ssh configuration: %v", p.Name, err))
			continue
		}
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b api.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return peers
}

func check(p api.Peer, m *api.Map, seen map[string]int) error {
	if err := api.CheckName(p.Name); err != nil {
		return err
	}
	switch {
	case !idRE.MatchString(p.ID):
		return fmt.Errorf("its id %q is not one", p.ID)
	case !p.Addr4.Is4() || m.Overlay4.IsValid() && !m.Overlay4.Contains(p.Addr4) || p.Addr4 == m.Self.Addr4:
		return fmt.Errorf("its address %s is not one of the overlay", p.Addr4)
	case seen[p.Name] > 1 || seen[p.ID] > 1 || seen[p.Addr4.String()] > 1:
		return errors.New("another machine has the same name, id or address")
	case p.TokenAge < 0:
		return errors.New("its token age is negative")
	}
	return nil
}

// hostKeyLines returns known_hosts lines for the keys that the machine's own key vouches for.
func hostKeyLines(p api.Peer) []string {
	if len(p.MachineKey) != ed25519.PublicKeySize {
		return nil
	}
	var lines []string
	for _, k := range p.HostKeys {
		if !ed25519.Verify(p.MachineKey, api.HostKeyMessage(k.Key), k.Sig) {
			continue
		}
		pub, err := ssh.ParsePublicKey(k.Key)
		if err != nil {
			continue
		}
		if _, isCert := pub.(*ssh.Certificate); isCert {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s %s\n", p.Addr4, pub.Type(), base64.StdEncoding.EncodeToString(k.Key)))
	}
	return lines
}

// addressLists returns comma-separated addresses of the machines that want, in lines of bounded length.
func addressLists(peers []api.Peer, want func(api.Peer) bool) []string {
	var lists []string
	var line []byte
	for _, p := range peers {
		if !want(p) {
			continue
		}
		if len(line) > 0 && len(line)+1+len(p.Addr4.String()) > maxLine {
			lists, line = append(lists, string(line)), nil
		}
		if len(line) > 0 {
			line = append(line, ',')
		}
		line = p.Addr4.AppendTo(line)
	}
	if len(line) > 0 {
		lists = append(lists, string(line))
	}
	return lists
}

// Lookup finds a machine of the map by its name, its name in the zone, its id or its overlay address.
func Lookup(m *api.Map, host string) (api.Peer, bool) {
	addr, _ := netip.ParseAddr(host)
	for _, p := range m.Peers {
		if p.Name == host || p.ID == host || host == p.Name+"."+m.ZoneName() || addr.IsValid() && (addr == p.Addr4 || addr == p.Addr6) {
			return p, true
		}
	}
	return api.Peer{}, false
}

var errPath = "the path %q has a character that an ssh configuration cannot hold safely; use a path without quotes, " +
	"'$', '%%', backslashes and control characters"

// configWord is a path as an argument in ssh_config.
func configWord(path string) (string, error) {
	if bad(path) {
		return "", fmt.Errorf(errPath, path)
	}
	path = filepath.ToSlash(path)
	if strings.Contains(path, " ") {
		return `"` + path + `"`, nil
	}
	return path, nil
}

func bad(path string) bool {
	return path == "" || strings.ContainsFunc(path, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '\uFFFD' || strings.ContainsRune("\"'`$%#;&|<>(){}*?!", r) || r == '\\' && !backslashPaths
	})
}
