//go:build linux

package sshd

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

func setCtty(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} }

func kill(pid string) {
	if n, err := strconv.Atoi(pid); err == nil && n > 1 {
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
}

// watch reads a terminal and returns what it has shown so far.
func watch(p io.Reader) func() string {
	var b lockedOutput
	go io.Copy(&b, p)
	return b.String
}

type lockedOutput struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *lockedOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *lockedOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// certified logs a person in and returns what proves it.
func (l *lab) certified(sub string) ssh.Signer {
	l.t.Helper()
	l.login(sub, 0)
	key, err := os.ReadFile(l.dir + "/id-" + sub)
	if err != nil {
		l.t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		l.t.Fatal(err)
	}
	raw, err := os.ReadFile(l.dir + "/id-" + sub + "-cert.pub")
	if err != nil {
		l.t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		l.t.Fatal(err)
	}
	certified, err := ssh.NewCertSigner(pub.(*ssh.Certificate), signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return certified
}

// dial connects with Go's client, for what OpenSSH's cannot do.
func (l *lab) dial(sub string) *ssh.Client {
	l.t.Helper()
	c, err := ssh.Dial("tcp", l.addr.String(), &ssh.ClientConfig{
		User: l.account.Name, Auth: []ssh.AuthMethod{ssh.PublicKeys(l.certified(sub))},
		HostKeyCallback: ssh.FixedHostKey(l.host.PublicKey()), Timeout: 10 * time.Second,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}
