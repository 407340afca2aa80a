//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Peer is a machine with a running daemon.
type Peer struct {
	*Machine
	Daemon *Process

	mgmt    *Mgmt
	argv    []string
	profile []string // the flag that names another profile than the default one
}

// Joining says how a machine joins.
type Joining struct {
	Tags      []string
	SSH       bool   // serves SSH over the tunnel
	Userspace bool   // netstack even as root; rootless always
	Name      string // in the network; empty: the machine's
	Profile   string // of a machine that is part of several networks
}

// Enrol starts the daemon on a machine and enrols it with a setup key.
func (g *Mgmt) Enrol(ctx context.Context, machine string, j Joining) (*Peer, error) {
	m := g.lab.Machine(machine)
	p, err := g.service(ctx, machine, j.Profile)
	if err != nil {
		return nil, err
	}
	if j.Name == "" {
		j.Name = machine
	}
	key, err := g.SetupKey(ctx, j.Tags...)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(m.Scratch(), "setup-key")
	if err := m.Write(file, "", 0o600, []byte(key+"\n")); err != nil {
		return nil, err
	}
	args := []string{"up", g.Join, "--setup-key-file", file, "--name", j.Name}
	if j.Userspace || !g.lab.Root {
		args = append(args, "--userspace")
	}
	if j.SSH {
		args = append(args, "--allow-ssh")
	}
	if _, err := p.Lanyard(ctx, "", args...); err != nil {
		return nil, err
	}
	return p, os.Remove(m.Path(file))
}

// Service starts the daemon on a machine that is not part of a network yet, with more variables in its environment.
func (g *Mgmt) Service(ctx context.Context, machine string, env ...string) (*Peer, error) {
	return g.service(ctx, machine, "", env...)
}

func (g *Mgmt) service(ctx context.Context, machine, profile string, env ...string) (*Peer, error) {
	p := &Peer{Machine: g.lab.Machine(machine), mgmt: g}
	if profile != "" {
		p.profile = []string{"--profile", profile}
	}
	p.argv = append(append([]string{"env"}, env...), g.lab.Program("lanyard"))
	p.argv = append(append(p.argv, p.profile...), "service", "run")
	if err := p.StartDaemon(ctx); err != nil {
		return p, err
	}
	g.peers = append(g.peers, p)
	return p, nil
}

// EnrolBy starts the daemon on a machine and makes the machine somebody's own: they sign in for it.
func (g *Mgmt) EnrolBy(ctx context.Context, machine string, who Person, args ...string) (*Peer, error) {
	p, err := g.Service(ctx, machine)
	if err != nil {
		return nil, err
	}
	_, err = p.signIn(ctx, "", who, append([]string{g.lab.Program("lanyard"), "up", g.Join, "--name", machine}, args...)...)
	return p, err
}

// StartDaemon starts the daemon and waits until it answers.
func (p *Peer) StartDaemon(ctx context.Context) (err error) {
	name := fmt.Sprintf("daemon-%s-%s", p.Name, time.Now().Format("150405.000"))
	if p.Daemon, err = p.Start(name, "", p.argv...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return Until(ctx, "the daemon on "+p.Name, func() error {
		select {
		case <-p.Daemon.Done():
			return fmt.Errorf("it ended: %v\n%s", p.Daemon.Err(), p.Daemon.Text())
		default:
		}
		_, err := p.Status(ctx)
		return err
	})
}

// Lanyard runs a command of the product's CLI as an account.
func (p *Peer) Lanyard(ctx context.Context, account string, args ...string) (string, error) {
	return p.Output(ctx, account, append(append([]string{p.lab.Program("lanyard")}, p.profile...), args...)...)
}

// Status is what `lanyard status --json` prints, as far as the lab needs it.
type Status struct {
	State string `json:"state"`
	Self  *struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Addr4 string `json:"addr4"`
	} `json:"self"`
	Peers []struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		ShortName bool   `json:"short_name"`
		Addr4     string `json:"addr4"`
		LoginAs   string `json:"login_as"`
		Online    *bool  `json:"online"`
	} `json:"peers"`
	SSH struct {
		Allowed bool   `json:"allowed"`
		Serving bool   `json:"serving"`
		Mode    string `json:"mode"`
		Detail  string `json:"detail"`
	} `json:"ssh"`
	Sessions []struct {
		ID        string   `json:"id"`
		User      string   `json:"user"`
		LocalUser string   `json:"local_user"`
		Source    string   `json:"source"`
		Channels  []string `json:"channels"`
	} `json:"sessions"`
	Map *struct {
		IssuedAt time.Time `json:"issued_at"`
	} `json:"map"`
	Tunnel struct {
		Mode       string `json:"mode"`
		ListenPort int    `json:"listen_port"`
	} `json:"tunnel"`
	Audit struct {
		Pending int `json:"pending"`
	} `json:"audit"`
}

// Status asks the daemon.
func (p *Peer) Status(ctx context.Context) (*Status, error) {
	out, err := p.Lanyard(ctx, "", "status", "--json")
	if err != nil {
		return nil, err
	}
	var s Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, fmt.Errorf("'lanyard status --json' printed %q: %w", out, err)
	}
	return &s, nil
}

// Overlay is the machine's address in the tunnel.
func (p *Peer) Overlay(ctx context.Context) (string, error) {
	s, err := p.Status(ctx)
	if err != nil {
		return "", err
	}
	if s.Self == nil || s.Self.Addr4 == "" {
		return "", fmt.Errorf("%s has no overlay address yet (state %q)", p.Name, s.State)
	}
	return s.Self.Addr4, nil
}

// Knows waits until this peer's map holds the named one, and its ssh is told of it, which is a moment later.
func (p *Peer) Knows(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return Until(ctx, p.Name+" to hear of "+name, func() error {
		s, err := p.Status(ctx)
		if err != nil {
			return err
		}
		for _, o := range s.Peers {
			if o.Name == name {
				return p.told(o.Name)
			}
		}
		return fmt.Errorf("%d peers, none is %s", len(s.Peers), name)
	})
}

// told checks that ssh's configuration names a machine.
func (p *Peer) told(name string) error {
	profile := "default"
	if len(p.profile) > 0 {
		profile = p.profile[1]
	}
	file := filepath.Join(p.dir, "state", profile, "ssh_config")
	if p.lab.Root {
		file = "/etc/ssh/ssh_config.d/20-lanyard.conf"
		if profile != "default" {
			file = "/etc/ssh/ssh_config.d/20-lanyard-" + profile + ".conf"
		}
	}
	text, err := os.ReadFile(p.Path(file))
	if err == nil && !strings.Contains(string(text), name+".") {
		err = fmt.Errorf("%s does not name %s", file, name)
	}
	return err
}

// SSHName is what ssh on this peer calls the named one: the short name where an administrator approved it.
func (p *Peer) SSHName(ctx context.Context, name string) (string, error) {
	s, err := p.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, o := range s.Peers {
		if o.Name == name && o.ShortName {
			return name, nil
		}
	}
	return name + ".lanyard.internal", nil
}

// Serves waits until this peer serves SSH.
func (p *Peer) Serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return Until(ctx, p.Name+" to serve SSH", func() error {
		s, err := p.Status(ctx)
		if err == nil && !s.SSH.Serving {
			err = fmt.Errorf("state %s, ssh %+v", s.State, s.SSH)
		}
		return err
	})
}

// Person is somebody who signs in.
type Person struct {
	Email, Password string
}

// Login signs a person in as an account: `lanyard login` opens $BROWSER, which is the scripted one. args are more of its.
func (p *Peer) Login(ctx context.Context, account string, who Person, args ...string) (string, error) {
	return p.signIn(ctx, account, who, append(append(append([]string{p.lab.Program("lanyard")}, p.profile...), "login"), args...)...)
}

// signIn runs a program that opens the scripted browser, in which somebody signs in.
func (p *Peer) signIn(ctx context.Context, account string, who Person, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	env, done, err := p.Browser(account, who)
	if err != nil {
		return "", err
	}
	defer done()
	c := p.Command(ctx, account, argv...)
	c.Env = append(c.Env, env...)
	out, err := c.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(p.Path(filepath.Join(p.Home(account), ".browser.log")))
		return string(out), fmt.Errorf("%s as %s on %s: %w\n%s%s", strings.Join(argv, " "), who.Email, p.Name, err, out, log)
	}
	return string(out), nil
}

// Browser is the environment in which a program of account's finds a desktop whose browser signs who in. done takes
// the password away again.
func (p *Peer) Browser(account string, who Person) (env []string, done func(), err error) {
	secret := filepath.Join(p.Home(account), ".browser-login")
	if err := p.Write(secret, account, 0o600, []byte(who.Email+"\n"+who.Password+"\n")); err != nil {
		return nil, nil, err
	}
	return []string{
		"BROWSER=" + p.lab.Program("browser"), "DEMO_LOGIN_FILE=" + secret, "DEMO_CA=" + p.mgmt.CA(),
		"DEMO_LOG=" + filepath.Join(p.Home(account), ".browser.log"), "DISPLAY=:0",
	}, func() { os.Remove(p.Path(secret)) }, nil
}

// TypeCode signs somebody in for whoever shows a code: at the management server's page, with a browser of this machine.
// It returns what the pages said.
func (p *Peer) TypeCode(ctx context.Context, code string, who Person) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	env, done, err := p.Browser("", who)
	if err != nil {
		return "", err
	}
	defer done()
	c := p.Command(ctx, "", p.lab.Program("browser"), p.mgmt.URL+"/device")
	c.Env = append(append(c.Env, env...), "DEMO_CODE="+code, "DEMO_LOG=") // to its standard error
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("type a code on %s: %w\n%s", p.Name, err, out)
	}
	return string(out), err
}

// SSH prepares a program of OpenSSH ("ssh", "scp", "sftp") as an account. As root the drop-in does the rest;
// rootless its options name the generated file.
func (p *Peer) SSH(ctx context.Context, account, program string, args ...string) *exec.Cmd {
	argv := []string{program}
	if !p.lab.Root {
		argv = append(argv, "-F", filepath.Join(p.dir, "state", "default", "ssh_config"))
	}
	return p.Command(ctx, account, append(argv, args...)...)
}
