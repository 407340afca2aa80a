//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/crypto/ssh"
)

// order to the worker: run a program, open connections, or let them go.
type order struct {
	Argv []string // run this; Times times
	// Input bytes of zeros on its standard input.
	Input int64

	Dial  string // address: open Times connections with Key and Cert
	Key   string
	Cert  string // empty: the plain key
	PTY   bool   // with a session on a terminal that sleeps
	Keep  bool   // leave them open until Release
	Times int

	Release bool
}

type answer struct {
	Wall    time.Duration // of all Times
	CPU     time.Duration // user + system of the programs
	Problem string
}

func work(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	var kept []*ssh.Client
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		var a answer
		var err error
		switch {
		case o.Release:
			for _, c := range kept {
				c.Close()
			}
			kept = nil
		case o.Dial != "":
			a, err = connect(o, &kept)
		default:
			a, err = execute(o)
		}
		if err != nil {
			a.Problem = err.Error()
		}
		if err := json.NewEncoder(out).Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

func execute(o order) (a answer, err error) {
	for range max(1, o.Times) {
		c := exec.Command(o.Argv[0], o.Argv[1:]...)
		var errs bytes.Buffer
		c.Stderr = &errs
		if o.Input > 0 {
			// A program of its own feeds the pipe: no copying in this process.
			zeros := exec.Command("head", "-c", fmt.Sprint(o.Input), "/dev/zero")
			r, w, err := os.Pipe()
			if err != nil {
				return a, err
			}
			zeros.Stdout, c.Stdin = w, r
			if err := zeros.Start(); err != nil {
				return a, err
			}
			w.Close()
			defer func() { _ = zeros.Wait() }()
			defer r.Close()
		}
		start := time.Now()
		err := c.Run()
		a.Wall += time.Since(start)
		if err != nil {
			return a, fmt.Errorf("%w: %s", err, errs.String())
		}
		a.CPU += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
	return a, nil
}

func connect(o order, kept *[]*ssh.Client) (a answer, err error) {
	signer, err := identity(o)
	if err != nil {
		return a, err
	}
	config := &ssh.ClientConfig{
		User: "deploy", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Config: ssh.Config{KeyExchanges: []string{kex}, Ciphers: []string{cipher}}, Timeout: 20 * time.Second,
	}
	start := time.Now()
	for i := range o.Times {
		c, err := dial(o, config)
		if err != nil {
			return a, fmt.Errorf("connection %d: %w", i+1, err)
		}
		if o.Keep {
			*kept = append(*kept, c)
		} else {
			c.Close()
		}
	}
	a.Wall = time.Since(start)
	return a, nil
}

func dial(o order, config *ssh.ClientConfig) (*ssh.Client, error) {
	tcp, err := net.DialTimeout("tcp", o.Dial, config.Timeout)
	if err != nil {
		return nil, err
	}
	conn, chans, reqs, err := ssh.NewClientConn(tcp, o.Dial, config)
	if err != nil {
		tcp.Close()
		return nil, err
	}
	c := ssh.NewClient(conn, chans, reqs)
	if !o.PTY {
		return c, nil
	}
	s, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		return nil, err
	}
	ready, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Start("echo ready; exec sleep 600"); err != nil {
		return nil, err
	}
	_, err = bufio.NewReader(ready).ReadString('\n')
	return c, err
}

func identity(o order) (ssh.Signer, error) {
	b, err := os.ReadFile(o.Key)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil || o.Cert == "" {
		return signer, err
	}
	if b, err = os.ReadFile(o.Cert); err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, err
	}
	cert, ok := public.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%s holds no certificate", o.Cert)
	}
	return ssh.NewCertSigner(cert, signer)
}
