package setup

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lanyard/platform/accounts"
	"lanyard/platform/logind"
	"lanyard/platform/pam"
	"lanyard/platform/utmp"
	"lanyard/sshd/session/start"
)

// System is this machine.
type System struct {
	root    string // "", but in tests
	manager *logind.Manager
	files   utmp.Files

	mu      sync.Mutex // guards the rest
	profile *profile
	lacking string     // modules of PAM that the log names already
	motd    sync.Mutex // held while the scripts of update-motd(5) run
}

// Open looks for nothing yet.
func Open() *System { return &System{manager: logind.Open(), files: utmp.System()} }

// Close leaves the login manager.
func (s *System) Close() error { return s.manager.Close() }

// profile is what the machine's files say, read again when it is older than fresh.
type profile struct {
	read      time.Time
	pam       pam.Session
	stack     bool // there is a PAM configuration
	env       []string
	umask     int
	printLast bool
	rules     map[string]pam.Rules // by account
}

// fresh is how long an administrator may wait for a change to hold.
const fresh = 2 * time.Second

func (s *System) load() *profile {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.profile; p != nil && time.Since(p.read) < fresh {
		return p
	}
	p := &profile{read: time.Now(), umask: defaultUmask, rules: make(map[string]pam.Rules)}
	var service string
	p.pam, service = pam.Read(s.root)
	p.stack = service != ""
	config := readConfig(filepath.Join(s.root, "/etc/ssh/sshd_config"))
	if !p.stack {
		for _, f := range []string{"/etc/environment", "/etc/default/locale"} {
			p.pam.Env = append(p.pam.Env, pam.EnvFile{Path: filepath.Join(s.root, f)})
		}
	}
	for _, f := range p.pam.Env {
		p.env = append(p.env, f.Environment()...)
	}
	if len(p.pam.Motd) > 0 {
		p.env = append(p.env, "MOTD_SHOWN=pam")
	}
	// sshd(8) shows it itself, unless the configuration leaves that to PAM.
	if config.get("printmotd", len(p.pam.Motd) == 0 || config.there) {
		p.pam.Motd = append(p.pam.Motd, pam.Motd{Path: filepath.Join(s.root, "/etc/motd")})
	}
	p.printLast = config.get("printlastlog", true)
	if p.pam.Umask {
		p.umask = loginUmask(filepath.Join(s.root, "/etc/login.defs"))
		if p.pam.Mode >= 0 {
			p.umask = p.pam.Mode
		}
	}
	s.profile = p
	return p
}

// loginUmask is that of login.defs(5).
func loginUmask(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return defaultUmask
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 2 || f[0] != "UMASK" {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 8, 32); err == nil && n <= 0o777 {
			return int(n)
		}
	}
	return defaultUmask
}

// Plan is what a program gets.
type Plan struct {
	Env   []string
	Umask int
	// Files is the soft limit of open files: what the kernel, systemd and so sshd's sessions begin with, while the
	// daemon's own may be far higher. Programs that use select(2) rely on it. 0: the daemon's, which without root is the
	// account's own.
	Files uint64
	// Hold: the program waits for Settle.
	Hold    bool
	Limits  []start.Limit
	Keyring bool     // a session keyring of its own
	Motd    []string // files to show
	Last    string   // line to show after them

	sys    *System
	ask    Ask
	rules  pam.Rules
	raise  []start.Limit
	logind bool
	update bool

	mu      sync.Mutex // guards the rest
	over    bool
	session *logind.Session
	entry   *utmp.Entry
}

const openFiles = 1024

// Plan says what a program gets. Without root only what the account could do itself.
func (s *System) Plan(a Ask) *Plan {
	f := s.load()
	s.warn(f, a.Log)
	p := &Plan{Env: f.env, Umask: f.umask, sys: s, ask: a}
	root := os.Geteuid() == 0
	if a.Login {
		for _, m := range f.pam.Motd {
			p.Motd = append(p.Motd, m.Path)
			p.update = p.update || root && m.Update
		}
		if last, ok := s.files.Last(a.Account.Uid); ok && f.printLast {
			p.Last = "Last login: " + last.Time.Format(time.ANSIC)
			if last.Host != "" {
				p.Last += " from " + oneLine(last.Host)
			}
		}
	}
	if !root {
		p.Env = append(p.Env[:len(p.Env):len(p.Env)], runtimeDir(a.Account)...)
		return p
	}
	p.Files = openFiles
	p.Keyring = f.pam.Keyring
	if f.pam.Limits != nil {
		p.rules = s.rulesFor(f, a)
	}
	p.bounds()
	p.logind = f.pam.Logind && s.manager.Runs()
	if !p.logind {
		p.Env = append(p.Env[:len(p.Env):len(p.Env)], runtimeDir(a.Account)...)
	}
	p.Hold = p.logind || p.update || a.TTY != "" || len(p.raise) > 0 || p.rules.Priority != nil
	return p
}

// warn names the modules of PAM that sessions go without, once.
func (s *System) warn(f *profile, log *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lacking := strings.Join(f.pam.Others, " ")
	if lacking != s.lacking && lacking != "" {
		log.Warn("sessions begin without modules of the PAM configuration that are not known here", "modules", lacking)
	}
	s.lacking = lacking
}

// rulesFor reads the limits of an account. A directory that is asked for groups may hang: nobody else waits for it.
func (s *System) rulesFor(f *profile, a Ask) pam.Rules {
	s.mu.Lock()
	r, ok := f.rules[a.Account.Name]
	s.mu.Unlock()
	if ok {
		return r
	}
	r = pam.LimitsOf(f.pam.Limits, pam.Member{
		Name: a.Account.Name, Uid: a.Account.Uid, Gid: a.Account.Gid, Gids: a.Account.Groups,
		In: func(group string) bool { return accounts.In(a.Account, group) },
	})
	if len(r.Others) > 0 {
		a.Log.Warn("limits.conf has limits that are not set here", "items", strings.Join(r.Others, " "), "user", a.Account.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.rules[a.Account.Name] = r
	return r
}

// oneLine keeps what is shown from steering the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// runtimeDir is the variable of a folder that is there already, as for an account that lingers.
func runtimeDir(a accounts.Account) []string {
	run := "/run/user/" + strconv.FormatUint(uint64(a.Uid), 10)
	var st unix.Stat_t
	if unix.Stat(run, &st) != nil || st.Uid != a.Uid {
		return nil
	}
	return []string{"XDG_RUNTIME_DIR=" + run}
}

// Settle does what root has to do to the process, and returns further variables for the program.
func (p *Plan) Settle(at Process) (env []string) {
	if p.sys == nil || os.Geteuid() != 0 {
		return nil
	}
	var updating sync.WaitGroup
	if p.update {
		updating.Go(p.updateMotd)
	}
	if p.logind {
		env = p.tellLogind(at)
	}
	p.limit(at.Pid)
	if p.ask.TTY != "" {
		p.record(at.Pid)
	}
	updating.Wait()
	return env
}

// tellLogind makes the session of the login manager, into whose control group the process moves.
func (p *Plan) tellLogind(at Process) []string {
	from := ""
	if p.ask.From.IsValid() && !p.ask.From.IsLoopback() {
		from = p.ask.From.String()
	}
	s, err := p.sys.manager.Create(logind.Request{
		Uid: p.ask.Account.Uid, Leader: at.Pid, TTY: strings.TrimPrefix(p.ask.TTY, "/dev/"), RemoteHost: from, Service: "lanyard",
	})
	if err != nil {
		if !errors.Is(err, logind.ErrNone) {
			p.ask.Log.Warn("the session is not the login manager's", "err", err)
		}
		return runtimeDir(p.ask.Account)
	}
	at.Scope.Moved(at.Pid, "session-"+s.ID+".scope")
	p.mu.Lock()
	over := p.over
	p.session = s
	p.mu.Unlock()
	if over {
		s.Close()
	}
	env := []string{"XDG_SESSION_ID=" + s.ID, "XDG_SESSION_TYPE=tty", "XDG_SESSION_CLASS=user"}
	if s.RuntimeDir != "" {
		env = append(env, "XDG_RUNTIME_DIR="+s.RuntimeDir)
		if _, err := os.Lstat(s.RuntimeDir + "/bus"); err == nil {
			env = append(env, "DBUS_SESSION_BUS_ADDRESS=unix:path="+s.RuntimeDir+"/bus")
		}
	}
	return env
}

// resources of limits.conf(5).
var resources = map[string]int{
	"core": unix.RLIMIT_CORE, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE, "memlock": unix.RLIMIT_MEMLOCK,
	"nofile": unix.RLIMIT_NOFILE, "rss": unix.RLIMIT_RSS, "stack": unix.RLIMIT_STACK, "cpu": unix.RLIMIT_CPU,
	"nproc": unix.RLIMIT_NPROC, "as": unix.RLIMIT_AS, "locks": unix.RLIMIT_LOCKS, "sigpending": unix.RLIMIT_SIGPENDING,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "rtprio": unix.RLIMIT_RTPRIO,
}

// bounds makes limits of the rules: the program begins with ours, but for the number of files.
func (p *Plan) bounds() {
	for _, l := range p.rules.Limits {
		r, ok := resources[l.Item]
		var now unix.Rlimit
		if !ok || unix.Getrlimit(r, &now) != nil {
			continue
		}
		if r == unix.RLIMIT_NOFILE {
			now.Cur = openFiles
		}
		soft, hard := l.Within(now.Cur, now.Max)
		if hard > now.Max {
			p.raise = append(p.raise, start.Limit{Resource: r, Soft: soft, Hard: hard})
		}
		p.Limits = append(p.Limits, start.Limit{Resource: r, Soft: soft, Hard: hard})
	}
}

// limit does what the program cannot do itself: hard limits go down only without root.
func (p *Plan) limit(pid int) {
	for _, l := range p.raise {
		err := unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			p.ask.Log.Warn("a limit of limits.conf cannot be set", "resource", l.Resource, "hard", l.Hard, "err", err)
		}
	}
	if n := p.rules.Priority; n != nil {
		if err := syscall.Setpriority(syscall.PRIO_PGRP, pid, *n); err != nil {
			p.ask.Log.Warn("the priority of limits.conf cannot be set", "err", err)
		}
	}
}

// record writes who(1)'s records.
func (p *Plan) record(pid int) {
	e := utmp.Entry{
		Account: p.ask.Account.Name, Uid: p.ask.Account.Uid, Pid: pid, Line: strings.TrimPrefix(p.ask.TTY, "/dev/"), Time: time.Now(),
	}
	if p.ask.From.IsValid() {
		e.Host, e.Addr = p.ask.From.String(), p.ask.From.AsSlice()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	if err := p.sys.files.Login(e); err != nil {
		p.ask.Log.Warn("the session does not show in who and last", "err", err)
	}
	p.entry = &e
}

// End says that the session is over.
func (p *Plan) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.over = true
	if p.session != nil {
		p.session.Close()
	}
	if e := p.entry; e != nil {
		e.Time = time.Now()
		if err := p.sys.files.Logout(*e); err != nil {
			p.ask.Log.Warn("the session's end does not show in who and last", "err", err)
		}
	}
}
