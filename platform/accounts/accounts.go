// Package accounts resolves a login name to one local account, exactly.
//
// A name that a stranger sends must lead to the account of that very name or to nothing. The system's own
// tools are more generous: getent takes "0" and "+0" for root, some directories ignore case. Lookup refuses
// such names before it asks anyone and compares the canonical name of the answer with what was asked.
package accounts

import (
	"errors"
	"fmt"
	"strings"
)

// Account is a local account as the system knows it.
type Account struct {
	Name   string   // canonical
	UID    string   // decimal uid, or a SID on Windows
	Uid    uint32   // Unix only
	Gid    uint32   // Unix only
	Groups []uint32 // Unix only: Gid and all supplementary groups
	Home   string
	Shell  string

	Privileged bool   // uid 0; SYSTEM or a member of Administrators
	System     bool   // made for a service, not for a person
	Locked     bool   // expired or locked by an administrator
	NoLogin    bool   // its shell lets nobody in
	Closed     bool   // the machine takes nobody but root now: it is shutting down, or so an administrator said (nologin(5))
	Notice     string // what nologin(5) says of it, at most 4 KiB; UTF-8 text of this machine's administrator
}

// ErrNotFound says that no account has this name. Names that may not be asked for wrap it too: the person who
// was refused need not learn the difference.
var ErrNotFound = errors.New("no such account")

// Lookup returns the account whose canonical name is name.
func Lookup(name string) (Account, error) {
	if err := CheckName(name); err != nil {
		return Account{}, err
	}
	a, err := lookup(name)
	if err != nil {
		return Account{}, err
	}
	if !SameName(a.Name, name) {
		return Account{}, fmt.Errorf("%q is called %q here: %w", name, a.Name, ErrNotFound)
	}
	return a, nil
}

// maxName is longer than any system's own limit (Linux: 32, Windows with a domain: about 270).
const maxName = 300

// CheckName refuses names that some tool could take for a number, an option, a path or several names.
func CheckName(name string) error {
	bad := func(why string) error { return fmt.Errorf("the account name %q %s: %w", name, why, ErrNotFound) }
	switch {
	case name == "":
		return bad("is empty")
	case len(name) > maxName:
		return fmt.Errorf("the account name is too long: %w", ErrNotFound)
	case strings.ContainsAny(name[:1], "+-~."):
		return bad("begins with a sign")
	case numeric(name):
		return bad("is a number")
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(":/,;*?\"'`$()<>|&#!=%{}[]", r) || r == '\uFFFD' {
			return bad("has a character that names may not have")
		}
	}
	return nil
}

// numeric reports whether s reads as a number in any base that strtoul(…, 0) knows.
func numeric(s string) bool {
	t := strings.ToLower(s)
	t = strings.TrimPrefix(t, "0x")
	if t == "" {
		return true
	}
	digits := "0123456789"
	if len(t) != len(s) {
		digits += "abcdef"
	}
	return strings.Trim(t, digits) == ""
}
