package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"lanyard/mgmt/api"
)

// Words of the language.
const (
	anyAccount   = "*"
	emailLocal   = "{email.local}"
	fromEveryone = "everyone"
	toAll        = "all"
	toOwn        = "own"
)

const maxEntries = 1000 // of one list of a policy

// Validate checks a policy as an administrator wrote it. Its errors are sentences for them.
func Validate(p api.Policy) error {
	if strings.TrimSpace(p.Name) == "" || len(p.Name) > 100 || strings.ContainsFunc(p.Name, unicode.IsControl) {
		return errors.New("the policy needs a name of 1 to 100 printable characters")
	}
	for _, list := range []struct {
		what    string
		entries []string
		check   func(string) error
	}{
		{"from", p.From, func(s string) error { _, err := parseFrom(s); return err }},
		{"to", p.To, checkTo},
		{"as", p.As, checkAs},
	} {
		if len(list.entries) == 0 {
			return fmt.Errorf("the policy %q says nothing under %q", p.Name, list.what)
		}
		if len(list.entries) > maxEntries {
			return fmt.Errorf("the policy %q has more than %d entries under %q; use groups or tags", p.Name, maxEntries, list.what)
		}
		for _, e := range list.entries {
			if err := list.check(e); err != nil {
				return fmt.Errorf("the policy %q, under %q: %w", p.Name, list.what, err)
			}
		}
	}
	if err := checkConditions(p); err != nil {
		return fmt.Errorf("the policy %q: %w", p.Name, err)
	}
	return nil
}

func checkConditions(p api.Policy) error {
	c := p.Conditions
	if p.Deny {
		if len(c.Can)+len(c.ForwardTo)+len(c.Listen)+len(c.SFTPPaths)+len(c.ACR)+len(c.AMR)+len(c.Prompt) > 0 || c.OwnDevice || c.MaxTokenAge != 0 || c.MaxSession != 0 ||
			c.Idle != 0 || c.FileEvents != 0 || c.OfflineForever || c.AnyProcess {
			return errors.New("a policy that denies has no conditions: it would refuse in all cases")
		}
		return nil
	}
	for _, can := range c.Can {
		if !slices.Contains(api.AllCapabilities(), can) {
			return fmt.Errorf("there is no capability %q; there are %v", can, api.AllCapabilities())
		}
	}
	for _, f := range c.ForwardTo {
		if _, err := parseForward(f); err != nil {
			return err
		}
	}
	for _, l := range c.Listen {
		if f, err := parseForward(l); err != nil || f.name != "" {
			return fmt.Errorf("%q is no place to listen at; write \"address:port\": address an IP address ([…] around IPv6), a prefix or '*', port a number, a range like 8000-8100 or '*'", l)
		}
	}
	if len(c.Listen) > 0 && !slices.Contains(c.Can, api.CapForwardRemote) {
		return fmt.Errorf("it names addresses to listen at, but does not grant %q", api.CapForwardRemote)
	}
	if len(c.ForwardTo) > 0 && len(c.Can) > 0 && !slices.Contains(c.Can, api.CapForwardLocal) {
		return fmt.Errorf("it names forward destinations, but does not grant %q", api.CapForwardLocal)
	}
	if err := checkFiles(c); err != nil {
		return err
	}
	if err := checkPrompt(p); err != nil {
		return err
	}
	if c.MaxTokenAge < 0 || c.MaxSession < 0 || c.Idle < 0 {
		return errors.New("times must not be negative")
	}
	if c.FileEvents < 0 || c.FileEvents > maxFileEvents {
		return fmt.Errorf("at most %d operations on files can be recorded one by one", maxFileEvents)
	}
	for _, v := range slices.Concat(c.ACR, c.AMR) {
		if v == "" {
			return errors.New("acr and amr must not have empty entries")
		}
	}
	if c.AnyProcess && !slices.ContainsFunc(p.From, func(s string) bool {
		f, err := parseFrom(s)
		return err == nil && f.account != ""
	}) {
		return errors.New("any_process is about machines, and it names none; add \"machine:PEER/ACCOUNT\" or \"tag:NAME/ACCOUNT\" under \"from\"")
	}
	return nil
}

// checkFiles checks the folders of file transfer. A shell or a command reaches every file: beside them, folders would
// limit nothing.
func checkFiles(c api.Conditions) error {
	if len(c.SFTPPaths) == 0 {
		return nil
	}
	if len(c.SFTPPaths) > maxFolders {
		return fmt.Errorf("it names more than %d folders for file transfer", maxFolders)
	}
	for _, p := range c.SFTPPaths {
		if !isFolder(p) {
			return fmt.Errorf("%q is no folder for file transfer; write an absolute path without \"..\", or \"~\" or \"~/FOLDER\" for the account's home", p)
		}
	}
	if !slices.Contains(c.Can, api.CapSFTP) && !slices.Contains(c.Can, api.CapSFTPRead) {
		return fmt.Errorf("it names folders for file transfer, but does not grant %q or %q", api.CapSFTP, api.CapSFTPRead)
	}
	for _, wide := range []api.Capability{api.CapShell, api.CapExec} {
		if slices.Contains(c.Can, wide) {
			return fmt.Errorf("it limits file transfer to folders, but grants %q, which reaches every file; grant one of both", wide)
		}
	}
	return nil
}

// checkPrompt: "own", machines and tags, in a policy that is about people.
func checkPrompt(p api.Policy) error {
	for _, s := range p.Prompt {
		id, isPeer := strings.CutPrefix(s, "peer:")
		if s == toOwn || isPeer && api.CheckName(id) == nil || strings.HasPrefix(s, "tag:") && api.CheckTag(s) == nil {
			continue
		}
		return fmt.Errorf("%q is none of \"own\", \"peer:NAME\", \"tag:NAME\", which may stand under \"prompt\"", s)
	}
	if len(p.Prompt) > maxEntries {
		return fmt.Errorf("it has more than %d entries under \"prompt\"; use tags", maxEntries)
	}
	if len(p.Prompt) > 0 && !slices.ContainsFunc(p.From, func(s string) bool {
		f, err := parseFrom(s)
		return err == nil && f.account == ""
	}) {
		return errors.New("prompt is about people who sign in, and it names none; add \"user:EMAIL\", \"group:NAME\" or \"everyone\" under \"from\"")
	}
	return nil
}

const maxFolders = 32 // of one policy: they are arguments of the process that serves files

// isFolder reports whether p is a path as a policy may name it: absolute on Unix or with a drive letter on Windows,
// or below the account's home.
func isFolder(p string) bool {
	if len(p) > 1024 || p != strings.TrimSpace(p) || strings.ContainsFunc(p, unicode.IsControl) {
		return false
	}
	slashed := strings.ReplaceAll(p, `\`, "/")
	var rest string
	switch {
	case p == "~":
		return true
	case strings.HasPrefix(p, "~/"):
		rest = p[2:]
	case len(slashed) >= 3 && slashed[1] == ':' && slashed[2] == '/' && (slashed[0]|0x20) >= 'a' && (slashed[0]|0x20) <= 'z':
		rest = slashed[3:]
	case strings.HasPrefix(p, "/"):
		rest = p[1:]
	default:
		return false
	}
	return !slices.Contains(strings.Split(rest, "/"), "..")
}

// from is a parsed entry of Policy.From.
type from struct {
	everyone bool
	user     string // id or email
	group    api.GroupRef
	peer     string // id or name
	tag      string // "tag:web"
	account  string // on peer or tag
}

func parseFrom(s string) (from, error) {
	kind, rest, _ := strings.Cut(s, ":")
	bad := fmt.Errorf("%q is none of \"user:EMAIL-OR-ID\", \"group:NAME\", \"group:NAME@ISSUER\", \"machine:PEER/ACCOUNT\", \"tag:NAME/ACCOUNT\", \"everyone\"", s)
	if strings.ContainsFunc(s, unicode.IsControl) || s != strings.TrimSpace(s) || s != fromEveryone && rest == "" {
		return from{}, bad
	}
	switch {
	case s == fromEveryone:
		return from{everyone: true}, nil
	case kind == "user":
		return from{user: rest}, nil
	case kind == "group":
		// An issuer is a URL; a group's name may have an '@'.
		if i := strings.LastIndex(rest, "@http"); i > 0 && strings.Contains(rest[i:], "://") {
			return from{group: api.GroupRef{Issuer: rest[i+1:], Name: rest[:i]}}, nil
		}
		return from{group: api.GroupRef{Issuer: api.LocalIssuer, Name: rest}}, nil
	case kind == "machine", kind == "tag":
		name, account, ok := strings.Cut(rest, "/")
		if !ok || name == "" {
			return from{}, bad
		}
		if err := checkAccount(account); err != nil {
			return from{}, err
		}
		if kind == "machine" {
			return from{peer: name, account: account}, nil
		}
		return from{tag: "tag:" + name, account: account}, api.CheckTag("tag:" + name)
	}
	return from{}, bad
}

func checkTo(s string) error {
	switch {
	case s == toAll, s == toOwn:
		return nil
	case strings.HasPrefix(s, "tag:"):
		return api.CheckTag(s)
	}
	if id, ok := strings.CutPrefix(s, "peer:"); ok && api.CheckName(id) == nil {
		return nil
	}
	return fmt.Errorf("%q is none of \"peer:NAME\", \"tag:NAME\", \"own\", \"all\"", s)
}

func checkAs(s string) error {
	if s == anyAccount || s == emailLocal {
		return nil
	}
	return checkAccount(s)
}

// checkAccount refuses what cannot be the canonical name of a local account, above all numbers: getent and
// chown take "0" and "+0" for root.
func checkAccount(s string) error {
	bad := s == "" || len(s) > 256 || s[0] == '-' || s[0] == '+' || strings.Contains(s, "..") ||
		strings.ContainsAny(s, "/:*{}$'\"`;&|<>()") ||
		strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) && r != ' ' }) ||
		s != strings.TrimSpace(s)
	if _, err := strconv.ParseUint(s, 0, 64); bad || err == nil {
		return fmt.Errorf("%q is no name of an account; use a name as the system writes it, \"*\" or \"{email.local}\"", s)
	}
	return nil
}

// Resolve replaces the names of peers by their ids, as policies are stored: a name may be given to another
// machine later.
func Resolve(w *World, p api.Policy) (api.Policy, error) {
	find := func(nameOrID string) (string, error) {
		for _, peer := range w.Peers {
			if peer.ID == nameOrID {
				return peer.ID, nil
			}
		}
		for _, peer := range w.Peers {
			if peer.Name == nameOrID {
				return peer.ID, nil
			}
		}
		return "", fmt.Errorf("the policy %q names the machine %q, which is not enrolled; 'lanyard-mgmt peer list' shows those that are", p.Name, nameOrID)
	}
	p.To, p.From = slices.Clone(p.To), slices.Clone(p.From)
	for i, s := range p.To {
		if name, ok := strings.CutPrefix(s, "peer:"); ok {
			id, err := find(name)
			if err != nil {
				return p, err
			}
			p.To[i] = "peer:" + id
		}
	}
	p.Prompt = slices.Clone(p.Prompt)
	for i, s := range p.Prompt {
		if name, ok := strings.CutPrefix(s, "peer:"); ok {
			id, err := find(name)
			if err != nil {
				return p, err
			}
			p.Prompt[i] = "peer:" + id
		}
	}
	for i, s := range p.From {
		if rest, ok := strings.CutPrefix(s, "machine:"); ok {
			name, account, _ := strings.Cut(rest, "/")
			id, err := find(name)
			if err != nil {
				return p, err
			}
			p.From[i] = "machine:" + id + "/" + account
		}
	}
	return p, nil
}

// forward is a parsed entry of Conditions.ForwardTo.
type forward struct {
	any    bool
	name   string // lower case
	addr   netip.Addr
	prefix netip.Prefix
	lo, hi uint16
}

func parseForward(s string) (forward, error) {
	bad := fmt.Errorf("%q is no forward destination; write \"host:port\": host a name, an address ([…] around IPv6), a prefix or '*', port a number, a range like 8000-8100 or '*'", s)
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return forward{}, bad
	}
	host, port := s[:i], s[i+1:]
	f := forward{lo: 1, hi: 65535}
	if port != "*" {
		lo, hi, ranged := strings.Cut(port, "-")
		if !ranged {
			hi = lo
		}
		a, err1 := strconv.ParseUint(lo, 10, 16)
		b, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil || a == 0 || b < a {
			return forward{}, bad
		}
		f.lo, f.hi = uint16(a), uint16(b)
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if bracketed {
		host = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" || addr.Is6() && !bracketed {
			return forward{}, bad
		}
		f.addr = addr.Unmap()
		return f, nil
	}
	if prefix, err := netip.ParsePrefix(host); err == nil {
		if prefix.Addr().Is4In6() || prefix.Addr().Is6() && !bracketed {
			return forward{}, bad
		}
		f.prefix = prefix.Masked()
		return f, nil
	}
	if bracketed {
		return forward{}, bad
	}
	if host == "*" {
		f.any = true
		return f, nil
	}
	f.name = canonicalHost(host)
	if f.name == "" || strings.ContainsAny(host, "*/[]:@ \t") || strings.ContainsFunc(host, unicode.IsControl) {
		return forward{}, bad
	}
	return f, nil
}

func canonicalHost(h string) string { return strings.ToLower(strings.TrimSuffix(h, ".")) }
