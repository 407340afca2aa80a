//go:build linux

package sshd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
)

// FuzzFirstBytes is what anybody on the network of a peer may send: the identification and what follows it (RFC 4253
// §4.2, §7.1). The server says who it is, or nothing, and hangs up.
func FuzzFirstBytes(f *testing.F) {
	f.Add([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
	f.Add([]byte("SSH-2.0-dropbear_2022.83\r\n\x00\x00\x00\x0c\x0a\x14"))
	f.Add([]byte("SSH-1.99-x\nGET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("SSH-2.0-" + strings.Repeat("x", 300) + "\r\n"))
	f.Add([]byte("SSH-2.0-x\r\n\xff\xff\xff\xff\x04\x14"))
	kexinit := append([]byte{20}, make([]byte, 16)...)
	for range 10 {
		kexinit = append(kexinit, 0, 0, 0, 1, 'x')
	}
	kexinit = append(kexinit, 0, 0, 0, 0, 0)
	pad := 8 + (8-(5+len(kexinit))%8)%8
	packet := append([]byte{0, 0, 0, byte(1 + len(kexinit) + pad), byte(pad)}, kexinit...)
	f.Add(append([]byte("SSH-2.0-x\r\n"), append(packet, make([]byte, pad)...)...))
	l := newLabWith(f, func(c *Config) {
		c.Limits.LoginGrace = 2 * time.Second
		c.Log = slog.New(slog.DiscardHandler)
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.Dial("tcp", l.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(waitTime))
		said, err := io.ReadAll(c)
		if ne := net.Error(nil); err != nil && errors.As(err, &ne) && ne.Timeout() {
			t.Fatal("the server holds a connection that has ended")
		}
		if len(said) > 0 && !bytes.HasPrefix(said, []byte("SSH-2.0-Lanyard\r\n")) {
			t.Errorf("it says %q", said)
		}
		if len(l.recorded(audit.SessionStart)) > 0 {
			t.Error("a session began")
		}
		if macs := macsFor(b, []string{"a"}); len(macs) > 1 != bytes.HasPrefix(b, []byte("SSH-2.0-dropbear")) {
			t.Errorf("%q is offered %q", b, macs)
		}
	})
}

// FuzzPromptAnswers is what clients answer at the prompt (RFC 4256 §3.4), and the account they name: who has not signed
// in does not get in by any of it.
func FuzzPromptAnswers(f *testing.F) {
	for _, answer := range []string{"", "\r\n", "BCDF-GHJK", "\x00\xff", strings.Repeat("x", 4096)} {
		f.Add(answer, "", true)
		f.Add(answer, "", false)
	}
	f.Add("", "root\x00", true)
	f.Add("", "root", true)
	f.Add("", "0", false)
	l := newLabWith(f, func(c *Config) { c.Log = slog.New(slog.DiscardHandler) })
	d := prompting(l, func(s *State) { s.Map.Rules[0].As = []string{l.account.Name} })
	f.Fuzz(func(t *testing.T, answer, user string, signedIn bool) {
		if len(answer) > 16<<10 || len(user) > 1<<10 {
			return
		}
		d.answer = func(_ context.Context, q SignInRequest) (string, error) {
			if !signedIn {
				return answer, nil // a bare answer is no token either
			}
			return l.sessionToken("ann", q.Session, "lanyard-session"), nil
		}
		own := user == ""
		if own {
			user = l.account.Name
		}
		c, err := ssh.Dial("tcp", l.addr.String(), &ssh.ClientConfig{
			User: user, HostKeyCallback: ssh.FixedHostKey(l.host.PublicKey()), Timeout: waitTime,
			Auth: []ssh.AuthMethod{ssh.KeyboardInteractive(func(_, instruction string, questions []string, _ []bool) ([]string, error) {
				if strings.ContainsAny(strings.ReplaceAll(instruction, "\n", ""), "\x00\x1b\r") {
					t.Errorf("the prompt says %q", instruction)
				}
				all := make([]string, len(questions))
				for i := range all {
					all[i] = answer
				}
				return all, nil
			})},
		})
		if err == nil {
			c.Close()
		}
		if in := err == nil; in && (!signedIn || user != l.account.Name) || !in && own && signedIn && !strings.Contains(err.Error(), string(reason.TooMany)) {
			t.Errorf("%q as %q, signed in %v: %v", answer, user, signedIn, err)
		}
	})
}
