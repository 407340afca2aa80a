//go:build unix

package pam

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is one line of a stack.
type Module struct {
	Name string // as in "pam_limits"
	Args []string
	// Unsure: which modules come after it depends on what it answers, which nobody asks here.
	Unsure bool

	control string // as in "[success=1 default=ignore]", without the brackets
	level   int    // of substacks
}

// Limits on configuration files, which are the administrator's and small.
const (
	maxFile  = 256 << 10 // bytes
	maxDepth = 16        // of includes
	maxStack = 512       // modules
)

// services whose PAM configuration holds, the first that is there: one for Lanyard alone, and what sessions of others
// have.
var services = []string{"lanyard", "sshd", "login"}

// Read says what sessions get on the machine, and the service that says so; "": there is no PAM configuration. root is ""
// but in tests.
func Read(root string) (s Session, service string) {
	for _, service := range services {
		if stack, _, ok := Stack(root, service); ok {
			return Of(root, stack), service
		}
	}
	return Session{Mode: -1}, ""
}

// Stack is the session modules of a service, in order, with includes followed and without those that others pass over,
// as they stand in the folders of root (root is "" but in tests). Files that it read are files. ok is false where nothing is said of the service.
func Stack(root, service string) (all []Module, files []string, ok bool) {
	s := stack{root: root}
	s.read(service, 0)
	return flow(service, s.modules), s.files, s.found
}

type stack struct {
	root    string
	modules []Module
	files   []string
	found   bool
	level   int
}

// folders in the order in which libpam looks.
var folders = []string{"/etc/pam.d", "/usr/lib/pam.d"}

func (s *stack) read(service string, depth int) {
	if depth > maxDepth {
		return
	}
	paths := []string{service}
	if !filepath.IsAbs(service) {
		paths = nil
		for _, f := range folders {
			paths = append(paths, filepath.Join(f, service))
		}
	}
	for _, p := range paths {
		p = filepath.Join(s.root, p)
		s.files = append(s.files, p)
		b, err := readFile(p)
		if err != nil {
			continue
		}
		s.found = true
		s.parse(b, depth)
		return
	}
}

// parse reads lines of pam.d(5): TYPE CONTROL MODULE ARGUMENTS, or @include FILE.
func (s *stack) parse(b []byte, depth int) {
	b = bytes.ReplaceAll(b, []byte("\\\n"), []byte(" "))
	for l := range bytes.Lines(b) {
		text, _, _ := strings.Cut(string(l), "#")
		f := words(text)
		if len(f) == 2 && f[0] == "@include" {
			s.read(f[1], depth+1)
			continue
		}
		if len(f) < 3 || strings.ToLower(strings.TrimPrefix(f[0], "-")) != "session" || len(s.modules) >= maxStack {
			continue
		}
		switch strings.ToLower(f[1]) {
		case "include":
			s.read(f[2], depth+1)
			continue
		case "substack":
			s.modules = append(s.modules, Module{level: s.level})
			s.level++
			s.read(f[2], depth+1)
			s.level--
			continue
		}
		s.modules = append(s.modules, Module{
			Name: strings.TrimSuffix(filepath.Base(f[2]), ".so"), Args: f[3:], control: f[1], level: s.level,
		})
	}
}

// words splits a line at white space; what stands in square brackets is one word, without them.
func words(l string) []string {
	var out []string
	for {
		l = strings.TrimLeft(l, " \t\r\n")
		if l == "" {
			return out
		}
		if l[0] == '[' {
			in, after, _ := strings.Cut(l[1:], "]")
			out, l = append(out, in), after
			continue
		}
		end := strings.IndexAny(l, " \t\r\n")
		if end < 0 {
			end = len(l)
		}
		out, l = append(out, l[:end]), l[end:]
	}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// EnvFile is one file with variables, of pam_env(8).
type EnvFile struct{ Path string }

// Motd is one call of pam_motd(8).
type Motd struct {
	Path   string // of the message
	Update bool   // the scripts of update-motd(5) are run first
}

// Session is what the modules of a stack give a session.
type Session struct {
	Env    []EnvFile
	Limits []string // files of limits.conf(5); nil: none are set
	Logind bool     // pam_systemd(8): the login manager is told
	Motd   []Motd
	Umask  bool // pam_umask(8)
	Mode   int  // its umask=, or -1
	// Keyring: pam_keyinit(8), a session keyring of its own.
	Keyring bool
	// Others are modules that do something which is not done here.
	Others []string
	// Unsure are modules by whose answer PAM may pass over others; here all of those count.
	Unsure []string
}

// done are modules with nothing left to do for us: they belong to passwords, or sessions have what they give.
var done = []string{
	"pam_permit", "pam_deny", "pam_unix", "pam_loginuid", "pam_selinux", "pam_succeed_if", "pam_localuser", "pam_rootok",
	"pam_nologin", "pam_sss", "pam_ldap", "pam_krb5", "pam_gnome_keyring", "pam_kwallet5", "pam_ecryptfs", "pam_cap",
	"pam_lastlog", "pam_lastlog2", "pam_wtmpdb", "pam_winbind", "pam_umask", "pam_faildelay", "pam_warn", "pam_debug",
}

// Of says what a stack gives.
func Of(root string, stack []Module) Session {
	s := Session{Mode: -1}
	for _, m := range stack {
		if m.Unsure && !slices.Contains(s.Unsure, m.Name) {
			s.Unsure = append(s.Unsure, m.Name)
		}
		switch m.Name {
		case "pam_env":
			if f := m.arg("envfile", "/etc/environment"); m.arg("readenv", "1") != "0" {
				s.Env = append(s.Env, EnvFile{filepath.Join(root, f)})
			}
		case "pam_limits":
			s.Limits = limitFiles(root, m.arg("conf", ""))
		case "pam_systemd":
			s.Logind = true
		case "pam_keyinit":
			s.Keyring = true
		case "pam_motd":
			s.motd(root, m)
		case "pam_umask":
			s.Umask = true
			if n, err := strconv.ParseUint(m.arg("umask", ""), 8, 32); err == nil && n <= 0o777 {
				s.Mode = int(n)
			}
		case "pam_mail":
		default:
			if !slices.Contains(done, m.Name) && !slices.Contains(s.Others, m.Name) {
				s.Others = append(s.Others, m.Name)
			}
		}
	}
	return s
}

func (s *Session) motd(root string, m Module) {
	update := !slices.Contains(m.Args, "noupdate")
	paths := strings.Split(m.arg("motd", "/etc/motd:/run/motd:/usr/lib/motd"), ":")
	dirs := m.arg("motd_dir", "/etc/motd.d:/run/motd.d:/usr/lib/motd.d")
	if m.arg("motd", "") != "" && m.arg("motd_dir", "") == "" {
		dirs = ""
	}
	for _, p := range paths { // the first that is there
		path := filepath.Join(root, p)
		if _, err := os.Stat(path); err == nil || len(paths) == 1 {
			s.Motd = append(s.Motd, Motd{Path: path, Update: update && filepath.Base(p) == "motd.dynamic"})
			break
		}
	}
	seen := make(map[string]bool)
	var more []string
	for d := range strings.SplitSeq(dirs, ":") { // a name in an earlier folder hides that in a later one
		names, _ := filepath.Glob(filepath.Join(root, d, "*"))
		for _, n := range names {
			if st, err := os.Stat(n); d != "" && err == nil && st.Mode().IsRegular() && !seen[filepath.Base(n)] {
				seen[filepath.Base(n)] = true
				more = append(more, n)
			}
		}
	}
	slices.SortFunc(more, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	for _, n := range more {
		s.Motd = append(s.Motd, Motd{Path: n})
	}
}

// arg is the value of NAME=VALUE among a module's arguments.
func (m Module) arg(name, other string) string {
	for _, a := range m.Args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return other
}
