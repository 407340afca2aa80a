//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mgmt is a running management server with its admin commands.
type Mgmt struct {
	*Machine
	Process *Process
	State   string // its state folder on the machine
	Join    string // what follows "lanyard up"
	URL     string

	argv  []string
	peers []*Peer // that joined by it
}

var (
	readyLine = regexp.MustCompile(`ready at (https?://\S+)`)
	joinLine  = regexp.MustCompile(`lanyard up (https?://\S+)`)
)

// StartMgmt starts lanyard-mgmt: with its own CA on the machine's address as root, as plain HTTP on loopback
// without. flags are more of serve's.
func (l *Lab) StartMgmt(ctx context.Context, machine string, flags ...string) (*Mgmt, error) {
	m := l.Machine(machine)
	g := &Mgmt{Machine: m, State: "/var/lib/lanyard-mgmt"}
	g.argv = []string{l.Program("lanyard-mgmt"), "serve", "--listen", m.Addr + ":8443"}
	if !l.Root {
		g.State = filepath.Join(m.dir, "state", "mgmt")
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		g.argv = []string{l.Program("lanyard-mgmt"), "serve", "--http", fmt.Sprintf("127.0.0.1:%d", port)}
	}
	g.argv = append(append(g.argv, "--state", g.State), flags...)
	return g, g.Start(ctx)
}

// Start starts the server again after Process.Stop or Kill.
func (g *Mgmt) Start(ctx context.Context) (err error) {
	if g.Process, err = g.Machine.Start("mgmt-"+time.Now().Format("150405.000"), "", g.argv...); err != nil {
		return err
	}
	ready, err := g.Process.Match(ctx, readyLine)
	if err != nil {
		return err
	}
	g.URL = ready[1]
	join, err := g.Process.Match(ctx, joinLine)
	if err != nil {
		return err
	}
	g.Join = join[1]
	if g.CA() == "" {
		return nil
	}
	// The browsers of the lab trust it as an administrator would make them.
	pem, err := os.ReadFile(g.Path(filepath.Join(g.State, "ca.crt")))
	if errors.Is(err, os.ErrNotExist) { // its certificate comes from elsewhere, and the test wrote the file
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(g.CA(), pem, 0o644)
}

// CA is the file of the server's own CA, as the machines see it; empty when the server has none.
func (g *Mgmt) CA() string {
	if !g.lab.Root {
		return ""
	}
	return filepath.Join(g.lab.Dir, "ca-"+g.Name+".pem")
}

// Admin runs an admin command, as in Admin(ctx, "user", "block", "ann@example.com"). A policy that was added is in force on
// the machines that run, also where it took them longer than the command waits.
func (g *Mgmt) Admin(ctx context.Context, args ...string) (string, error) {
	began := time.Now()
	out, err := g.Output(ctx, "", append([]string{g.lab.Program("lanyard-mgmt"), "--state", g.State}, args...)...)
	if _, late, ok := strings.Cut(out, "NOT in force yet on "); ok && err == nil && len(args) > 1 && args[0] == "policy" && args[1] == "add" {
		late, _, _ = strings.Cut(late, ":")
		err = g.reach(ctx, strings.Split(late, ", "), began)
	}
	return out, err
}

// reach waits until the machines of these names have a map that was made since.
func (g *Mgmt) reach(ctx context.Context, names []string, since time.Time) error {
	for _, p := range g.peers {
		if err := Until(ctx, p.Name+" to have a new map", func() error {
			select {
			case <-p.Daemon.Done():
				return nil
			default:
			}
			s, err := p.Status(ctx)
			if err == nil && s.Self != nil && slices.Contains(names, s.Self.Name) && s.Map != nil && s.Map.IssuedAt.Before(since) {
				err = fmt.Errorf("its map is of %s", s.Map.IssuedAt)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// AddUser makes a person with a password, which travels in a file.
func (g *Mgmt) AddUser(ctx context.Context, email, name, password string) error {
	file := filepath.Join(g.Scratch(), "password-"+name)
	if err := g.Write(file, "", 0o600, []byte(password+"\n")); err != nil {
		return err
	}
	_, err := g.Admin(ctx, "user", "add", email, "--name", name, "--password-file", file)
	return err
}

// AddPolicy lets people in: from, to, as and can as the command takes them.
func (g *Mgmt) AddPolicy(ctx context.Context, name, from, to, as string, can ...string) error {
	args := []string{"policy", "add", name, "--from", from, "--to", to, "--as", as}
	if len(can) > 0 {
		args = append(args, "--can", strings.Join(can, ","))
	}
	_, err := g.Admin(ctx, args...)
	return err
}

var setupKey = regexp.MustCompile(`lk_[A-Za-z0-9_.-]+`)

// SetupKey makes a key that enrols one machine, with tags.
func (g *Mgmt) SetupKey(ctx context.Context, tags ...string) (string, error) {
	args := []string{"setup-key", "new", "--uses", "1", "--expires", "1h"}
	for _, t := range tags {
		args = append(args, "--tag", t)
	}
	out, err := g.Admin(ctx, args...)
	if err != nil {
		return "", err
	}
	key := setupKey.FindString(out)
	if key == "" {
		return "", fmt.Errorf("'lanyard-mgmt setup-key new' printed no key: %q", out)
	}
	return key, nil
}

// FreePort is a port of loopback that nobody listens at. It is below those that the system gives to whoever asks for any
// (ip_local_port_range begins at 32768), so that nobody is given it before it is used; nor is any other process that
// calls FreePort, until this one ends.
func FreePort() (int, error) {
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		if !reserve(port) {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no port of loopback is free")
}

// reserve takes a name for a port that only one process can have at a time. The descriptor is closed by this one's end.
func reserve(port int) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@lanyard-lab-port-%d", port)}); err != nil {
		unix.Close(fd)
		return false
	}
	return true
}
