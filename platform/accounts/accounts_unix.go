//go:build unix

package accounts

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SameName reports whether Lookup may find the account of that canonical name when it is asked for the other.
func SameName(canonical, asked string) bool { return canonical == asked }

// Unresolved is what a name says of an account before anybody looks it up.
func Unresolved(name string) Account { return Account{Name: name} }

// database is where the account files lie, and the tools that ask others; the system's but in tests.
type database struct {
	etc   string
	tools tools
}

func system() database { return database{etc: "/etc", tools: systemTools} }

func lookup(name string) (Account, error) { return system().lookup(name) }

// lookup asks the files first and other sources (LDAP, SSSD, systemd) through the system's own tools, as a
// program without cgo cannot load name service modules.
func (d database) lookup(name string) (Account, error) {
	a, found, err := d.passwd(name)
	if err != nil {
		return Account{}, err
	}
	if found && !d.foreign("group", "initgroups") {
		a.Groups, err = d.groups(name, a.Gid)
	} else {
		if !found {
			if a, err = d.tools.other(name); err != nil {
				return Account{}, err
			}
		}
		a.Groups, err = d.tools.groupsOf(name, a.Gid)
	}
	if err != nil {
		return Account{}, fmt.Errorf("read the groups of %s: %w", name, err)
	}
	a.Privileged = a.Uid == 0
	a.System = a.Uid < d.firstPerson() || a.Uid == 65534
	a.NoLogin = noLogin(a.Shell)
	expired, err := d.expired(name, time.Now())
	if err != nil {
		return Account{}, err
	}
	a.Locked = a.Locked || expired
	if a.Uid != 0 {
		a.Notice, a.Closed = d.closed()
	}
	return a, nil
}

// closed looks where pam_nologin(8) does; systemd makes the second at shutdown.
func (d database) closed() (notice string, closed bool) {
	for _, name := range []string{"nologin", "../run/nologin"} {
		path := filepath.Join(d.etc, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		return readNotice(path), true
	}
	return "", false
}

const maxNotice = 4 << 10

// readNotice returns the text of a regular file, and "" where there is none to read.
func readNotice(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	b, _ := io.ReadAll(io.LimitReader(f, maxNotice))
	return strings.TrimSpace(strings.ToValidUTF8(string(b), ""))
}

func (d database) passwd(name string) (Account, bool, error) {
	b, err := os.ReadFile(filepath.Join(d.etc, "passwd"))
	if err != nil {
		return Account{}, false, fmt.Errorf("read the accounts of this machine: %w", err)
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok && len(rest) > 0 && rest[0] == ':' {
			a, err := parsePasswd(strings.TrimRight(string(line), "\r\n"))
			return a, err == nil, err
		}
	}
	return Account{}, false, nil
}

// parsePasswd reads a line of passwd(5).
func parsePasswd(line string) (Account, error) {
	f := strings.Split(line, ":")
	if len(f) == 10 { // FreeBSD's and macOS's master.passwd: class, change and expire stand before gecos
		f = slices.Delete(f, 4, 7)
	}
	if len(f) != 7 {
		return Account{}, fmt.Errorf("the account line of %q has %d fields, not 7", f[0], len(f))
	}
	uid, err1 := strconv.ParseUint(f[2], 10, 32)
	gid, err2 := strconv.ParseUint(f[3], 10, 32)
	// (uid_t)-1 means "leave it as it is" to setuid's relatives.
	if err1 != nil || err2 != nil || uint32(uid) == ^uint32(0) || uint32(gid) == ^uint32(0) {
		return Account{}, fmt.Errorf("the account line of %q has no valid numbers", f[0])
	}
	a := Account{Name: f[0], UID: strconv.FormatUint(uid, 10), Uid: uint32(uid), Gid: uint32(gid), Home: f[5], Shell: f[6]}
	a.Locked = strings.HasPrefix(f[1], "*LOCKED*") // pw(8) lock
	if a.Home == "" {
		a.Home = "/"
	}
	if a.Shell == "" {
		a.Shell = "/bin/sh" // passwd(5)
	}
	return a, nil
}

// groups reads the supplementary groups of name from group(5).
func (d database) groups(name string, gid uint32) ([]uint32, error) {
	gs := []uint32{gid}
	b, err := os.ReadFile(filepath.Join(d.etc, "group"))
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(name)) {
			continue
		}
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) != 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if g, err := strconv.ParseUint(f[2], 10, 32); err == nil && !slices.Contains(gs, uint32(g)) {
			gs = append(gs, uint32(g))
		}
	}
	return gs, nil
}

func noLogin(shell string) bool {
	switch filepath.Base(shell) {
	case "nologin", "false":
		return true
	}
	st, err := os.Stat(shell)
	return err != nil && !os.IsPermission(err) || err == nil && (st.IsDir() || st.Mode()&0o111 == 0)
}

// expired reports whether shadow(5) says that the account has expired: the file, or a directory that keeps it (LDAP). A
// locked password is no reason to refuse: passwords are not used here, and useradd leaves every new account with one.
func (d database) expired(name string, now time.Time) (bool, error) {
	b, err := os.ReadFile(filepath.Join(d.etc, "shadow"))
	if err != nil {
		return false, nil // not root, or no such file: the system's own tools know no more
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok && len(rest) > 0 && rest[0] == ':' {
			return shadowExpired(string(line), name, now), nil
		}
	}
	if !d.foreign("shadow") {
		return false, nil
	}
	line, err := d.tools.shadow(name)
	return shadowExpired(line, name, now), err
}

// shadowExpired reads a line of shadow(5).
func shadowExpired(line, name string, now time.Time) bool {
	f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
	if f[0] != name || len(f) < 8 || f[7] == "" {
		return false
	}
	days, err := strconv.ParseInt(f[7], 10, 64)
	return err == nil && days >= 0 && now.Unix() >= days*24*60*60
}

func readLines(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.Split(string(b), "\n"), nil
}

// In reports whether the account is a member of the group of this name.
func In(a Account, group string) bool { return system().in(a, group) }

func (d database) in(a Account, group string) bool {
	lines, _ := readLines(filepath.Join(d.etc, "group"))
	for _, l := range lines {
		if name, rest, ok := strings.Cut(l, ":"); ok && name == group {
			return inLine(a, rest)
		}
	}
	if CheckName(group) != nil || !d.foreign("group", "initgroups") {
		return false
	}
	out, err := d.tools.run("getent", "group", "--", group)
	if err != nil {
		return false
	}
	name, rest, ok := strings.Cut(out, ":")
	return ok && name == group && inLine(a, rest)
}

// inLine reads what follows the name in a line of group(5).
func inLine(a Account, rest string) bool {
	f := strings.Split(rest, ":")
	if len(f) < 2 {
		return false
	}
	gid, err := strconv.ParseUint(f[1], 10, 32)
	return err == nil && (uint32(gid) == a.Gid || slices.Contains(a.Groups, uint32(gid)))
}
