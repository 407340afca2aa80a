//go:build linux

// Package clients tries the programs of others against Lanyard: OpenSSH's own, rsync, git, Ansible and what else people
// reach their machines with. Each case runs first against a stock sshd on the same machine, which shows that the case
// itself is right, and then against the overlay address of that machine, after a sign-in in a scripted browser. The
// table of what works stands in README; it is made from the cases, and a test fails when it is not theirs any more.
package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	os.Exit(m.Run())
}

const (
	office = "office" // management server
	laptop = "laptop" // the clients run here, as ann
	web    = "web-1"  // both servers run here, and sessions are deploy's
	desk   = "desk"   // another machine of the network, with a stock sshd: to jump from

	sshdPort = 2222
)

var ann = lab.Person{Email: "ann@example.com", Password: "ann has a long password"}

// world is the machines, and how the clients reach both servers.
type world struct {
	lab     *lab.Lab
	mgmt    *lab.Mgmt
	laptop  *lab.Peer
	web     *lab.Peer
	desk    *lab.Peer
	servers [2]server // stock sshd, then Lanyard
}

// server is what a case's script is told.
type server struct {
	name string // "sshd" or "Lanyard"
	env  []string
}

func openWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Machines: []string{office, laptop, web, desk}, Accounts: []string{"ann", "deploy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(40))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{lab: l}
	w.mgmt, err = l.StartMgmt(ctx, office)
	must(err)
	must(w.mgmt.AddUser(ctx, ann.Email, "Ann", ann.Password))
	w.web, err = w.mgmt.Enrol(ctx, web, lab.Joining{Tags: []string{"tag:web"}, SSH: true})
	must(err)
	w.laptop, err = w.mgmt.Enrol(ctx, laptop, lab.Joining{Tags: []string{"tag:laptop"}})
	must(err)
	jump, err := w.mgmt.Enrol(ctx, desk, lab.Joining{Tags: []string{"tag:desk"}})
	must(err)
	w.desk = jump
	// Clients that cannot offer the login's certificate may ask for a code, from the laptop.
	_, err = w.mgmt.Admin(ctx, "policy", "add", "web", "--from", "user:"+ann.Email, "--to", "tag:web", "--as", "deploy", "--prompt", "peer:"+laptop)
	must(err)
	must(w.web.Serves(ctx))
	must(w.laptop.Knows(ctx, web))
	must(jump.Knows(ctx, web))
	if out, err := w.laptop.Login(ctx, "ann", ann); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key := "/home/ann/.ssh/id_sshd"
	must(w.laptop.Run(ctx, "ann", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key))
	public, err := w.laptop.Output(ctx, "ann", "cat", key+".pub")
	must(err)
	for _, s := range []struct {
		*lab.Peer
		user string
	}{{w.web, "deploy"}, {jump, "ann"}} {
		must(s.Write("/home/"+s.user+"/.ssh/authorized_keys", s.user, 0o600, []byte(public)))
		must(startSSHD(ctx, s.Peer))
	}
	lanyard, err := w.laptop.SSHName(ctx, web)
	must(err)
	overlay, err := w.web.Overlay(ctx)
	must(err)
	must(w.laptop.Write("/home/ann/.ssh/config", "ann", 0o600, fmt.Appendf(nil,
		"Host sshd\n\tHostName %s\n\tPort %d\nHost jump\n\tHostName %s\n\tPort %[2]d\n\tUser ann\nHost behind\n\tHostName 127.0.0.1\n\tPort %[2]d\nMatch originalhost sshd,jump,behind\n\tIdentityFile %[4]s\n\tIdentitiesOnly yes\n\tUserKnownHostsFile /home/ann/.ssh/known_sshd\n\tStrictHostKeyChecking no\n\tLogLevel ERROR\n",
		w.web.Addr, sshdPort, jump.Addr, key)))
	if missing(fuse) == nil {
		// As udev(7) makes it on every desktop: for everyone.
		for _, argv := range [][]string{{"mknod", "-m", "666", "/etc/fuse", "c", "10", "229"}, {"mount", "--bind", "/etc/fuse", fuse}} {
			must(w.laptop.Run(ctx, "", argv...))
		}
	}
	certs, _ := filepath.Glob(w.laptop.Path("/home/ann/.ssh/lanyard-*-cert.pub"))
	if len(certs) != 1 {
		t.Fatalf("the login's certificate is not where it should be: %v", certs)
	}
	cert := "/home/ann/.ssh/" + filepath.Base(certs[0])
	w.servers = [2]server{
		{"sshd", []string{"HOST=sshd", "ADDR=" + w.web.Addr, fmt.Sprintf("PORT=%d", sshdPort), "KEY=" + key, "CERT="}},
		{"Lanyard", []string{"HOST=" + lanyard, "ADDR=" + overlay, "PORT=22", "KEY=" + strings.TrimSuffix(cert, "-cert.pub"), "CERT=" + cert}},
	}
	for _, s := range w.servers {
		if out, err := w.run(ctx, s, "", `ssh "deploy@$HOST" true`, nil); err != nil {
			t.Fatalf("ssh to %s: %v\n%s", s.name, err, out)
		}
	}
	return w
}

func startSSHD(ctx context.Context, p *lab.Peer) error {
	if err := p.Run(ctx, "", "ssh-keygen", "-A"); err != nil {
		return err
	}
	config := fmt.Sprintf("Port %d\nHostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM no\nPidFile none\nMaxStartups 100\nAcceptEnv LANG LC_*\nSubsystem sftp /usr/lib/openssh/sftp-server\n", sshdPort)
	if err := p.Write("/etc/ssh/clients_sshd", "", 0o644, []byte(config)); err != nil {
		return err
	}
	if _, err := p.Start("sshd-"+p.Name, "", "/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/clients_sshd"); err != nil {
		return err
	}
	return lab.Until(ctx, "sshd on "+p.Name, func() error {
		out, err := p.Output(ctx, "", "ss", "-Hltn", "sport", "=", fmt.Sprint(sshdPort))
		if err == nil && out == "" {
			err = errors.New("nobody listens")
		}
		return err
	})
}

// prelude comes before every script: $D is a new folder here and $R one on the server, $D/big holds random bytes.
const prelude = `set -eu -o pipefail
cd "$D"
T=deploy@$HOST
`

// run runs a script as ann on the laptop. dir is a new folder's name; "" for none. What the script writes goes to also,
// too, while it runs.
func (w *world) run(ctx context.Context, s server, dir, script string, also io.Writer) (string, error) {
	local, remote := "/home/ann", "/home/deploy"
	if dir != "" {
		local, remote = local+"/"+dir, remote+"/"+dir
		if err := w.laptop.Run(ctx, "ann", "mkdir", "-p", local); err != nil {
			return "", err
		}
		if err := w.web.Run(ctx, "deploy", "mkdir", "-p", remote); err != nil {
			return "", err
		}
		if err := w.laptop.Run(ctx, "ann", "dd", "if=/dev/urandom", "of="+local+"/big", "bs=1M", "count=5", "status=none"); err != nil {
			return "", err
		}
	}
	c := w.laptop.Command(ctx, "ann", "bash", "-c", prelude+script)
	c.Env = append(append(c.Env, s.env...), "D="+local, "R="+remote, "LOGIN_KEY=/home/ann/.ssh/id_sshd", "BIN="+w.lab.Bin())
	var out bytes.Buffer
	c.Stdout = &out
	if also != nil {
		c.Stdout = io.MultiWriter(&out, also)
	}
	c.Stderr = c.Stdout
	err := c.Run()
	return out.String(), err
}
