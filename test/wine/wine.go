//go:build linux

// Package wine pretends Windows machines, each a prefix of Wine with a life of its own: a registry, a drive C, a
// service control manager. Programs of GOOS=windows run on it beside the Linux ones of a test, on the same loopback.
//
// It is Debian 12's Wine 8 with three programs of shim/ in it: a DLL that every Go program loads and that adds the few
// calls which Wine 8 lacks, one that gives a program in a pseudo-console its standard handles, and one that runs a
// program with the rights of a person's desktop. What Wine answers
// without doing it proves nothing about Windows: logging on (it takes any password), access lists, the firewall, the
// configuration of interfaces, and the size of a console.
package wine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode/utf16"
)

//go:embed shim/*.c
var shim embed.FS

// Programs of Debian's wine64 package, by their place: its wrapper in /usr/bin asks for 32-bit ones.
const (
	loader = "/usr/lib/wine/wine64"
	server = "/usr/lib/wine/wineserver64"
)

// Machine is a pretended Windows machine that runs.
type Machine struct {
	Dir  string // the prefix
	User string // the account of everything that runs on it

	stop    chan struct{}
	stopped chan error
}

// Open makes a machine from a template, which is made once and kept in build, the checkout's .build folder.
func Open(ctx context.Context, build string) (_ *Machine, err error) {
	root, err := filepath.Abs(filepath.Join(build, "wine"))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	from, err := template(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("make Wine's template: %w", err)
	}
	dir, err := os.MkdirTemp(root, "machine-")
	if err != nil {
		return nil, err
	}
	m := &Machine{Dir: dir, User: from.user}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	// The system's files are never written in place and may be the template's own; the rest is copied.
	if out, err := exec.CommandContext(ctx, "cp", "-al", from.dir+"/.", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy Wine's template: %w: %s", err, out)
	}
	for _, name := range []string{"system.reg", "user.reg", "userdef.reg", ".update-timestamp"} {
		if err := ownCopy(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return m, m.serve(ctx)
}

// ownCopy parts a file from those that it is linked with.
func ownCopy(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

// serve starts the machine's wineserver, which dies with this process, and everything on the machine with it.
func (m *Machine) serve(ctx context.Context) error {
	m.stop, m.stopped = make(chan struct{}), make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the kernel takes the end of the thread for that of the parent
		defer runtime.UnlockOSThread()
		c := exec.Command(server, "-f", "-p")
		c.Env = m.Environ()
		c.Dir = m.Dir
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		err := c.Start()
		started <- err
		if err != nil {
			m.stopped <- nil
			return
		}
		<-m.stop
		// In order first: it writes the registry, which a test may read afterwards.
		end := exec.Command(server, "-k")
		end.Env = m.Environ()
		_ = end.Run()
		timer := time.AfterFunc(10*time.Second, func() { _ = c.Process.Kill() })
		defer timer.Stop()
		_ = c.Wait()
		m.stopped <- nil
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start Wine's server: %w", err)
	}
	// The first program starts the service control manager and what the machine starts at boot.
	return boot(ctx, m.Dir)
}

// boot starts what a machine starts at boot. That keeps the standard output open, so it is a file's.
func boot(ctx context.Context, dir string, args ...string) error {
	log, err := os.Create(filepath.Join(dir, "boot.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c := command(ctx, dir, "wineboot", args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Run(); err != nil {
		out, _ := os.ReadFile(log.Name())
		return fmt.Errorf("boot the Windows machine: %w: %s", err, out)
	}
	return nil
}

// Environ is the environment of a program on the machine: nothing of the caller's.
func (m *Machine) Environ() []string { return environ(m.Dir) }

func environ(dir string) []string {
	return []string{
		"PATH=/usr/bin:/bin", "HOME=" + filepath.Join(dir, "home"), "LANG=C.UTF-8", "WINEPREFIX=" + dir, "WINEARCH=win64",
		"WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=d",
	}
}

// Command prepares a Windows program (a path of either system, or a name that Wine finds). It runs in the machine's
// own folder: relative names mean nothing of the checkout.
func (m *Machine) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return command(ctx, m.Dir, program, args...)
}

func command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, loader, append([]string{program}, args...)...)
	c.Env = environ(dir)
	c.Dir = dir
	c.WaitDelay = time.Minute // what it started may have its output still, and takes its time to end on a busy machine
	return c
}

// Run runs a program to its end and returns what it wrote; its output is part of the error. What else it started, or its
// console, may go on with our pipe.
func (m *Machine) Run(ctx context.Context, program string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	c := m.Command(ctx, program, args...)
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("on the Windows machine: %s %s: %w\n%s%s", program, strings.Join(args, " "), err, errs.String(), out.String())
	}
	return out.String(), err
}

// Path is where Linux finds a file of drive C, as in Path(`C:\ProgramData\Lanyard`). The case of letters must be right.
func (m *Machine) Path(windows string) string {
	rest, ok := strings.CutPrefix(windows, `C:\`)
	if !ok {
		panic("wine: not on drive C: " + windows)
	}
	return filepath.Join(m.Dir, "drive_c", filepath.FromSlash(strings.ReplaceAll(rest, `\`, "/")))
}

// Put copies a Linux file to the machine.
func (m *Machine) Put(file, windows string) error {
	to := m.Path(windows)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Registry is everything below a key, as 'reg export' writes it, in UTF-8; empty when there is no such key.
func (m *Machine) Registry(ctx context.Context, key string) (string, error) {
	f, err := os.CreateTemp(m.Dir, "export-")
	if err != nil {
		return "", err
	}
	f.Close()
	defer os.Remove(f.Name())
	if out, err := m.Command(ctx, "reg", "query", key).CombinedOutput(); err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 && ctx.Err() == nil {
			return "", nil
		}
		return "", fmt.Errorf("ask for the registry's %s: %w: %s", key, err, out)
	}
	if out, err := m.Command(ctx, "reg", "export", key, `Z:`+strings.ReplaceAll(f.Name(), "/", `\`), "/y").CombinedOutput(); err != nil {
		return "", fmt.Errorf("export the registry's %s: %w: %s", key, err, out)
	}
	b, err := os.ReadFile(f.Name())
	return UTF8(b), err
}

// Program builds a program of ours for Windows, once, and returns its file in build, the checkout's .build folder.
// flags are more of the linker's.
func Program(ctx context.Context, build, name, folder, version string, flags ...string) (string, error) {
	out, err := filepath.Abs(filepath.Join(build, "windows", version, name))
	if err != nil {
		return "", err
	}
	flags = append([]string{"-s", "-w", "-X", "lanyard/platform/release.stamped=" + version}, flags...)
	c := exec.CommandContext(ctx, "go", "build", "-ldflags="+strings.Join(flags, " "), "-o", out, "lanyard/"+folder)
	c.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if msg, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s for Windows: %w\n%s", name, err, msg)
	}
	return out, nil
}

// Close ends everything on the machine and removes it.
func (m *Machine) Close() error {
	if m.stop != nil {
		close(m.stop)
		<-m.stopped //nolint:errcheck // it was ended
		m.stop = nil
	}
	var err error
	for range 600 { // programs that were killed may be at their end still
		if err = os.RemoveAll(m.Dir); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// made is a template: a prefix that nothing runs in.
type made struct{ dir, user string }

// template returns the template of this Wine and this shim, made when it is not there yet. Others wait meanwhile.
func template(ctx context.Context, root string) (made, error) {
	if _, err := os.Stat(loader); err != nil {
		return made{}, fmt.Errorf("%w: install Debian's wine64 ('make check-tools-packages' does)", err)
	}
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return made{}, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return made{}, err
	}
	version, err := exec.CommandContext(ctx, loader, "--version").Output()
	if err != nil {
		return made{}, fmt.Errorf("ask Wine for its version: %w", err)
	}
	sum := sha256.New()
	sum.Write(version)
	files, err := shim.ReadDir("shim")
	if err != nil {
		return made{}, err
	}
	for _, f := range files {
		b, err := shim.ReadFile("shim/" + f.Name())
		if err != nil {
			return made{}, err
		}
		sum.Write(b)
	}
	dir := filepath.Join(root, "template-"+hex.EncodeToString(sum.Sum(nil))[:12])
	if _, err := os.Stat(dir); err != nil {
		if err := build(ctx, dir); err != nil {
			return made{}, err
		}
	}
	users, err := os.ReadDir(filepath.Join(dir, "drive_c", "users"))
	if err != nil {
		return made{}, err
	}
	for _, u := range users {
		if u.Name() != "Public" {
			return made{dir, u.Name()}, nil
		}
	}
	return made{}, errors.New("the template has no account")
}

func build(ctx context.Context, dir string) (err error) {
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(half, "home"), 0o755); err != nil {
		return err
	}
	if err := boot(ctx, half, "-i"); err != nil {
		return err
	}
	if err := idle(ctx, half); err != nil {
		return err
	}
	windows := filepath.Join(half, "drive_c", "windows")
	for out, args := range map[string][]string{
		filepath.Join(windows, "system32", "bcryptprimitives.dll"): {"bcryptprimitives.c", "-shared", "-lntdll", "-lws2_32"},
		filepath.Join(windows, "conrun.exe"):                       {"conrun.c"},
		filepath.Join(windows, "person.exe"):                       {"person.c"},
	} {
		if err := compile(ctx, out, args[0], args[1:]...); err != nil {
			return err
		}
	}
	c := command(ctx, half, "winecfg", "/v", "win10")
	if err := c.Run(); err != nil {
		return fmt.Errorf("say that it is Windows 10: %w", err)
	}
	// Wine makes the account's folders links into its home on Linux.
	links, err := filepath.Glob(filepath.Join(half, "drive_c", "users", "*", "*"))
	if err != nil {
		return err
	}
	for _, l := range links {
		if _, err := os.Readlink(l); err == nil {
			if err := errors.Join(os.Remove(l), os.Mkdir(l, 0o755)); err != nil {
				return err
			}
		}
	}
	if err := idle(ctx, half); err != nil {
		return err
	}
	return os.Rename(half, dir)
}

// idle waits until nothing runs in a prefix any more: then its registry is on disk.
func idle(ctx context.Context, dir string) error {
	c := exec.CommandContext(ctx, server, "-w")
	c.Env = environ(dir)
	if err := c.Run(); err != nil {
		return fmt.Errorf("wait for Wine: %w", err)
	}
	return nil
}

// UTF8 reads UTF-16 with a byte order mark, as Windows writes it, or leaves the text as it is.
func UTF8(b []byte) string {
	if len(b) < 2 || b[0] != 0xff || b[1] != 0xfe {
		return string(b)
	}
	u := make([]uint16, 0, len(b)/2)
	for b = b[2:]; len(b) > 1; b = b[2:] {
		u = append(u, uint16(b[0])|uint16(b[1])<<8)
	}
	return strings.ReplaceAll(string(utf16.Decode(u)), "\r\n", "\n")
}

// compile builds a program of shim/.
func compile(ctx context.Context, out, source string, flags ...string) error {
	src, err := shim.ReadFile("shim/" + source)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "x86_64-w64-mingw32-gcc", append([]string{"-O2", "-x", "c", "-", "-o", out}, flags...)...)
	c.Stdin = bytes.NewReader(src)
	if msg, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w: %s", source, err, msg)
	}
	return nil
}
