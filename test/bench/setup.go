//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lanyard/test/lab"
)

// What both servers are made to use.
const (
	kex    = "curve25519-sha256"
	cipher = "aes128-gcm@openssh.com" // brings its own MAC
)

// server is one of those that are compared.
type server struct {
	name string // "lanyard", "nopam", "stock": also the Host of the client's configuration
	port int    // sshd's own
	pid  int    // of the daemon, or of sshd's listener
	exe  string // base name of the server's programs, for the sum over processes
}

type bench struct {
	lab     *lab.Lab
	laptop  *lab.Peer
	web     *lab.Peer
	client  string // the client's overlay address
	overlay string // the server's
	version string
	target  string // deploy@name, through the drop-in
	config  string // the client's ssh_config without the drop-in
	key     string // private key of the login, on the laptop
	cert    string

	lanyard, nopam, stock *server
	current               *server
	worker                *worker
}

var person = lab.Person{Email: "ann@example.com", Password: "a password for the bench"}

func open(ctx context.Context, bin string) (_ *bench, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l, err := lab.Open(ctx, lab.Options{Bin: bin, Self: self, Machines: []string{"office", "laptop", "web-1"}, Accounts: []string{"ann", "deploy"}})
	if err != nil {
		return nil, err
	}
	b := &bench{lab: l}
	defer func() {
		if err != nil {
			fmt.Fprint(os.Stderr, l.Logs(30))
			b.close()
		}
	}()
	mgmt, err := l.StartMgmt(ctx, "office")
	if err != nil {
		return nil, err
	}
	if err := mgmt.AddUser(ctx, person.Email, "Ann", person.Password); err != nil {
		return nil, err
	}
	if err := mgmt.AddPolicy(ctx, "bench", "user:"+person.Email, "tag:web", "deploy"); err != nil {
		return nil, err
	}
	if b.web, err = mgmt.Enrol(ctx, "web-1", lab.Joining{Tags: []string{"tag:web"}, SSH: true}); err != nil {
		return nil, err
	}
	if b.laptop, err = mgmt.Enrol(ctx, "laptop", lab.Joining{}); err != nil {
		return nil, err
	}
	if err := b.web.Serves(ctx); err != nil {
		return nil, err
	}
	if err := b.laptop.Knows(ctx, "web-1"); err != nil {
		return nil, err
	}
	if _, err := b.laptop.Login(ctx, "ann", person); err != nil {
		return nil, err
	}
	if b.client, err = b.laptop.Overlay(ctx); err != nil {
		return nil, err
	}
	if b.overlay, err = b.web.Overlay(ctx); err != nil {
		return nil, err
	}
	name, err := b.laptop.SSHName(ctx, "web-1")
	if err != nil {
		return nil, err
	}
	b.target = "deploy@" + name
	out, _ := exec.CommandContext(ctx, "ssh", "-V").CombinedOutput()
	b.version, _, _ = strings.Cut(strings.TrimSpace(string(out)), ",")
	b.lanyard = &server{name: "lanyard", pid: b.web.Daemon.PID(), exe: "lanyard"}
	// One session through the drop-in: the key and certificate are there afterwards, and the tunnel is warm.
	if out, err := b.laptop.SSH(ctx, "ann", "ssh", b.target, "true").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ssh %s: %w\n%s", b.target, err, out)
	}
	if err := b.startSSHDs(ctx); err != nil {
		return nil, err
	}
	if err := b.startEnds(ctx); err != nil {
		return nil, err
	}
	if b.worker, err = b.startWorker(); err != nil {
		return nil, err
	}
	for _, s := range []*server{b.nopam, b.stock, b.lanyard} {
		if err := b.aim(ctx, s); err != nil {
			return nil, err
		}
		if err := b.ready(ctx, s); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) close() error {
	if b.worker != nil {
		b.worker.close()
	}
	return b.lab.Close()
}

// startSSHDs starts both sshds, which take the same key for the same account, and writes the client's configuration.
func (b *bench) startSSHDs(ctx context.Context) error {
	keys, err := filepath.Glob(b.laptop.Path("/home/ann/.ssh/lanyard-*-cert.pub"))
	if err != nil {
		return err
	}
	if len(keys) != 1 {
		return fmt.Errorf("the login's certificate is not where it should be: %v", keys)
	}
	b.cert = "/home/ann/.ssh/" + filepath.Base(keys[0])
	b.key = strings.TrimSuffix(b.cert, "-cert.pub")
	public, err := b.laptop.Output(ctx, "ann", "ssh-keygen", "-y", "-f", b.key)
	if err != nil {
		return err
	}
	if err := b.web.Write("/etc/ssh/bench_keys", "", 0o644, []byte(public)); err != nil {
		return err
	}
	if err := b.web.Run(ctx, "", "ssh-keygen", "-A"); err != nil {
		return err
	}
	rules := "table ip bench {\n"
	chain := ""
	for _, s := range []*server{{name: "nopam", port: 2222}, {name: "stock", port: 2223}} {
		config := fmt.Sprintf("Port %d\nHostKey /etc/ssh/ssh_host_ed25519_key\nAuthorizedKeysFile /etc/ssh/bench_keys\nMaxStartups 1000:30:2000\nPidFile none\n", s.port)
		if s.name == "nopam" {
			config += "UsePAM no\n"
		}
		file := "/etc/ssh/bench_" + s.name
		stock, err := os.ReadFile(b.web.Path("/etc/ssh/sshd_config"))
		if err != nil {
			return err
		}
		// What comes first counts.
		if err := b.web.Write(file, "", 0o644, append([]byte(config), stock...)); err != nil {
			return err
		}
		p, err := b.web.Start("sshd-"+s.name, "", "/usr/sbin/sshd", "-D", "-e", "-f", file)
		if err != nil {
			return err
		}
		s.pid, s.exe = p.PID(), "sshd"
		rules += fmt.Sprintf("\tset %s { type ipv4_addr; }\n", s.name)
		chain += fmt.Sprintf("\t\tip saddr @%s tcp dport 22022 redirect to :%d\n", s.name, s.port)
		if s.name == "nopam" {
			b.nopam = s
		} else {
			b.stock = s
		}
	}
	rules += "\tchain pre {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n" + chain + "\t}\n}\n"
	c := b.web.Command(ctx, "", "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	config := ""
	for _, name := range []string{"lanyard", "nopam", "stock"} {
		config += fmt.Sprintf("Host %s\n\tHostName %s\n\tUser deploy\n\tIdentityFile %s\n\tIdentitiesOnly yes\n\tStrictHostKeyChecking no\n\tUserKnownHostsFile /home/ann/known-%s\n\tLogLevel ERROR\n\tAddressFamily inet\n\tKexAlgorithms %s\n\tCiphers %s\n\tHostKeyAlgorithms ssh-ed25519\n",
			name, b.overlay, b.key, name, kex, cipher)
		if name == "lanyard" {
			config += "\tCertificateFile " + b.cert + "\n"
		} else {
			config += "\tCertificateFile none\n\tPubkeyAcceptedAlgorithms ssh-ed25519\n"
		}
	}
	b.config = "/home/ann/bench_config"
	return b.laptop.Write(b.config, "ann", 0o600, []byte(config))
}

// aim makes the overlay's port 22 lead to s.
func (b *bench) aim(ctx context.Context, s *server) error {
	if b.current == s {
		return nil
	}
	change := "flush set ip bench nopam; flush set ip bench stock"
	if s.port != 0 {
		change += fmt.Sprintf("; add element ip bench %s { %s }", s.name, b.client)
	}
	b.current = s
	return b.web.Run(ctx, "", "nft", change)
}

// ready waits until s answers, and checks that it is s.
func (b *bench) ready(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return lab.Until(ctx, s.name, func() error {
		c := b.laptop.Command(ctx, "ann", "ssh", "-v", "-F", b.config, s.name, "true")
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Run(); err != nil {
			return fmt.Errorf("%w\n%s", err, errs.String())
		}
		for line := range strings.Lines(errs.String()) {
			if _, software, ok := strings.Cut(line, "remote software version "); ok {
				if strings.HasPrefix(software, "OpenSSH") != (s.port != 0) {
					return fmt.Errorf("%s is answered by %s", s.name, software)
				}
				return nil
			}
		}
		return errors.New("ssh -v named no remote software")
	})
}

// worker is the bench's own program inside the laptop; orders and answers are JSON lines.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (b *bench) startWorker() (*worker, error) {
	c := b.laptop.Command(context.Background(), "ann", b.lab.Program("self"), "worker")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &worker{cmd: c, in: in, out: bufio.NewReader(out)}, c.Start()
}

func (w *worker) do(o order) (answer, error) {
	line, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	if _, err := w.in.Write(append(line, '\n')); err != nil {
		return answer{}, err
	}
	reply, err := w.out.ReadBytes('\n')
	if err != nil {
		return answer{}, fmt.Errorf("the worker has gone: %w", err)
	}
	var a answer
	if err := json.Unmarshal(reply, &a); err != nil {
		return answer{}, err
	}
	if a.Problem != "" {
		return a, fmt.Errorf("%v: %s", o.Argv, a.Problem)
	}
	return a, nil
}

func (w *worker) close() {
	w.in.Close()
	_ = w.cmd.Wait()
}
