//go:build unix

// Package start is the helper between the daemon and a session's program: it becomes the account (Become), goes home,
// does what sshd(8) does there, and becomes the program.
//
// The daemon must not do it itself, not even in the child that it forks: a home may lie on a file system that hangs (a
// dead file server, or one of the user's own making), and until the child executes something the whole daemon would
// hang with it. The helper runs in every session, so this package imports next to nothing: see service/early.
package start

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Verb is the helper's name in argv. A service that lives through a change of packages meets another release's helper:
// one that would understand a call differently must not know its name.
const Verb = "session-program"

// Variable of the helper's environment that holds its Options. The program does not get it.
const Variable = "LANYARD_START"

// Options are what the helper does besides going home.
type Options struct {
	Umask int // -1: stays as it is
	// Files is the soft limit of open files (RLIMIT_NOFILE); 0: stays as it is.
	Files uint64
	// Limits are further ones, which the account may set itself.
	Limits []Limit
	// Hold: wait until descriptor 3 ends, before anything else. What comes from it are variables, a line each.
	Hold bool
	// Keyring: begin a session keyring, see keyrings(7).
	Keyring bool
	// Motd are files to show, and Last a line after them, unless there is a ~/.hushlogin.
	Motd []string
	Last string
	// RC: run ~/.ssh/rc or /etc/ssh/sshrc (sshd(8), SSHRC). It gets the X11 cookie on its standard input.
	RC bool
	// X11 is "PROTOCOL COOKIE", and Xauth the path of xauth(1), which gets them unless an rc file did.
	X11, Xauth string
}

// String is the value of Variable.
func (o Options) String() string {
	var s string
	if o.Umask >= 0 {
		s += "umask=" + strconv.FormatInt(int64(o.Umask), 8) + "\n"
	}
	if o.Files > 0 {
		s += "files=" + strconv.FormatUint(o.Files, 10) + "\n"
	}
	for _, l := range o.Limits {
		s += "limit=" + strconv.Itoa(l.Resource) + ":" + strconv.FormatUint(l.Soft, 10) + ":" + strconv.FormatUint(l.Hard, 10) + "\n"
	}
	if o.Hold {
		s += "hold=1\n"
	}
	if o.Keyring {
		s += "keyring=1\n"
	}
	for _, m := range o.Motd {
		s += "motd=" + m + "\n"
	}
	if o.Last != "" {
		s += "last=" + o.Last + "\n"
	}
	if o.RC {
		s += "rc=1\n"
	}
	if o.X11 != "" {
		s += "x11=" + o.X11 + "\nxauth=" + o.Xauth + "\n"
	}
	return s
}

// The package strings would make this one wait for its turn, see service/early.

func prefixed(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

func cut(s string, sep byte) (before, after string) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func parse(s string) Options {
	o := Options{Umask: -1}
	for s != "" {
		var line string
		line, s = cut(s, '\n')
		name, value := cut(line, '=')
		switch name {
		case "umask":
			if n, err := strconv.ParseInt(value, 8, 32); err == nil {
				o.Umask = int(n)
			}
		case "files":
			if n, err := strconv.ParseUint(value, 10, 64); err == nil {
				o.Files = n
			}
		case "limit":
			if l, ok := parseLimit(value); ok {
				o.Limits = append(o.Limits, l)
			}
		case "hold":
			o.Hold = true
		case "keyring":
			o.Keyring = true
		case "motd":
			o.Motd = append(o.Motd, value)
		case "last":
			o.Last = value
		case "rc":
			o.RC = true
		case "x11":
			o.X11 = value
		case "xauth":
			o.Xauth = value
		}
	}
	return o
}

func parseLimit(s string) (l Limit, ok bool) {
	resource, rest := cut(s, ':')
	soft, hard := cut(rest, ':')
	var err1, err2, err3 error
	l.Resource, err1 = strconv.Atoi(resource)
	l.Soft, err2 = strconv.ParseUint(soft, 10, 64)
	l.Hard, err3 = strconv.ParseUint(hard, 10, 64)
	return l, err1 == nil && err2 == nil && err3 == nil
}

// Bounds does what Variable says of the umask and the limits, for a helper that becomes no other program.
func Bounds() {
	o := parse(os.Getenv(Variable))
	os.Unsetenv(Variable)
	if o.Umask >= 0 {
		syscall.Umask(o.Umask)
	}
	for _, l := range o.Limits {
		l.set()
	}
}

// Argv is how the helper is called to run path with argv in dir.
func Argv(helper []string, dir, path string, argv []string) []string {
	all := make([]string, 0, len(helper)+3+len(argv))
	all = append(all, helper...)
	all = append(all, Verb, dir, path)
	return append(all, argv...)
}

// Main is the helper. args is what follows Verb: dir, path, argv...
func Main(args []string) (exit int) {
	if len(args) < 3 {
		say("Lanyard: sessions call this by themselves")
		return 2
	}
	dir, path, argv := args[0], args[1], args[2:]
	value, ok := os.LookupEnv(Variable)
	o := Options{Umask: -1}
	if ok {
		o = parse(value)
	}
	env := withoutVariable(os.Environ())
	if o.Hold {
		env = append(env, hold()...)
	}
	if o.Umask >= 0 {
		syscall.Umask(o.Umask)
	}
	if o.Files > 0 {
		limitFiles(o.Files)
	}
	for _, l := range o.Limits {
		l.set()
	}
	if o.Keyring {
		newKeyring()
	}
	home := true
	if err := os.Chdir(dir); err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			err = pe.Err
		}
		say("Could not chdir to home directory " + dir + ": " + err.Error())
		home = false
	}
	if len(o.Motd) > 0 || o.Last != "" {
		o.greet(home)
	}
	if o.RC || o.X11 != "" {
		o.prepare(home, path, env)
	}
	err := syscall.Exec(path, argv, env)
	say("Lanyard: cannot start " + path + ": " + err.Error())
	if errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}

func say(line string) { os.Stderr.WriteString(line + "\n") }

func withoutVariable(env []string) []string {
	kept := env[:0]
	for _, v := range env {
		if !prefixed(v, Variable+"=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// hold waits for the daemon, which has things to do to this process that take root: its limits, its place in the
// login manager.
func hold() (env []string) {
	const fd = 3
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			break
		}
		all = append(all, buf[:n]...)
	}
	syscall.Close(fd)
	return variables(string(all))
}

func variables(s string) (env []string) {
	for s != "" {
		var line string
		line, s = cut(s, '\n')
		env = append(env, line)
	}
	return env
}

// hush is the file by which somebody says that they do not care (sshd(8)).
const hush = ".hushlogin"

// greet shows the message of the day and when the account came last.
func (o Options) greet(home bool) {
	if home {
		if _, err := os.Stat(hush); err == nil {
			return
		}
	}
	for _, m := range o.Motd {
		b, err := os.ReadFile(m)
		if err != nil || len(b) == 0 {
			continue
		}
		b = b[:min(len(b), maxMotd)]
		if b[len(b)-1] != '\n' {
			b = append(b, '\n')
		}
		_, _ = os.Stdout.Write(b)
	}
	if o.Last != "" {
		os.Stdout.WriteString(o.Last + "\n")
	}
}

// maxMotd is how much of a message is shown, as with pam_motd(8).
const maxMotd = 64 << 10

const (
	userRC   = ".ssh/rc"
	systemRC = "/etc/ssh/sshrc"
)

// prepare is what sshd calls do_rc_files.
func (o Options) prepare(home bool, shell string, env []string) {
	input := ""
	if o.X11 != "" {
		input = o.X11 + "\n"
	}
	if o.RC && home {
		if _, err := os.Stat(userRC); err == nil {
			run(shell, []string{"sh", "-c", "/bin/sh " + userRC}, env, input)
			return
		}
	}
	if o.RC {
		if _, err := os.Stat(systemRC); err == nil {
			run("/bin/sh", []string{"sh", systemRC}, env, input)
			return
		}
	}
	if o.X11 == "" {
		return
	}
	// Programs look the cookie up by the name of the local display, as libX11 makes it of localhost:10.
	for _, v := range env {
		const display = "DISPLAY=localhost:"
		if prefixed(v, display) {
			name := v[len(display):]
			run(o.Xauth, []string{"xauth", "-q", "-"}, env, "remove unix:"+name+"\nadd unix:"+name+" "+o.X11+"\n")
		}
	}
}

// run runs a program with this input and waits for it.
func run(path string, argv, env []string, input string) {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	p, err := os.StartProcess(path, argv, &os.ProcAttr{Env: env, Files: []*os.File{r, os.Stdout, os.Stderr}})
	r.Close()
	if err == nil {
		_, _ = w.WriteString(input) // less than a pipe holds
	}
	w.Close()
	if err != nil {
		say("Could not run " + path + ": " + err.Error())
		return
	}
	_, _ = p.Wait()
}
