package idp

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// Push takes a login that a machine asks for. peer is nil for a machine that is not enrolled. The nonce is computed
// here from key and salt: no caller ever names one.
func (p *Provider) Push(ctx context.Context, start api.LoginStart, peer *store.Peer) (*api.LoginStarted, error) {
	if err := p.check(start); err != nil {
		return nil, err
	}
	if start.Device {
		return p.pushDevice(ctx, start, peer)
	}
	f := store.Flow{
		ID: api.NewID("l") + api.NewID(""), Start: start, Nonce: token.Nonce(start.Salt, start.Key), ShortCode: shortCode(), Expires: p.Now().Add(flowLife),
	}
	f.Start.MachineName = api.CleanName(start.MachineName)
	if peer != nil {
		f.Peer, f.Start.MachineName = peer.ID, peer.Name
	}
	if err := p.Store.AddFlow(ctx, f); err != nil {
		return nil, fmt.Errorf("store the login: %w", err)
	}
	if peer != nil {
		if err := p.NoteOrigin(ctx, start, peer.ID); err != nil {
			return nil, err
		}
	}
	return &api.LoginStarted{
		AuthURL: p.issuer + "/login/" + f.ID, ShortCode: f.ShortCode, ExpiresIn: api.Secs(flowLife),
		TokenURL: p.issuer + "/token", ClientID: ClientID,
	}, nil
}

// NoteOrigin notes on which machine a login's key was made: it ends with the machine.
func (p *Provider) NoteOrigin(ctx context.Context, start api.LoginStart, peer string) error {
	if err := p.checkKey(start); err != nil {
		return err
	}
	o := store.Origin{Thumbprint: token.Thumbprint(start.Key), Nonce: token.Nonce(start.Salt, start.Key), PeerID: peer}
	if err := p.Store.AddOrigin(ctx, o); err != nil {
		return fmt.Errorf("note where a sign-in began: %w", err)
	}
	return nil
}

func (p *Provider) checkKey(s api.LoginStart) error {
	key, err := ssh.ParsePublicKey(s.Key)
	if err != nil || key.Type() != ssh.KeyAlgoED25519 {
		return badRequest("The login's key must be an ed25519 key in SSH wire form.")
	}
	if len(s.Salt) != token.SaltSize {
		return badRequest("The salt must have %d bytes.", token.SaltSize)
	}
	if err := token.CheckBegan(s.Salt, p.Now()); err != nil {
		return badRequest("By its salt the sign-in did not begin now; set this machine's clock and sign in again.")
	}
	return nil
}

func (p *Provider) check(s api.LoginStart) error {
	if s.Issuer != "" && s.Issuer != p.issuer {
		return badRequest("This management server starts logins at %s only; direct issuers are asked directly.", p.issuer)
	}
	if err := p.checkKey(s); err != nil {
		return err
	}
	if err := checkAccount(s.Account); err != nil {
		return err
	}
	if s.Device {
		if s.Purpose != api.PurposeLogin || s.RedirectURI != "" || s.State != "" || s.CodeChallenge != "" {
			return badRequest("A sign-in with a code is for a machine that is enrolled, and has no redirect, state or challenge; enrol the machine with a setup key first.")
		}
		return nil
	}
	// RFC 7636 §4.2: BASE64URL of a SHA-256.
	if b, err := base64.RawURLEncoding.Strict().DecodeString(s.CodeChallenge); err != nil || len(b) != 32 {
		return badRequest("The code challenge must be a SHA-256 in base64url (S256).")
	}
	if err := checkRedirect(s.RedirectURI); err != nil {
		return err
	}
	if len(s.State) < 8 || len(s.State) > 256 || strings.IndexFunc(s.State, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return badRequest("The state must be 8 to 256 printable ASCII characters.")
	}
	return nil
}

func checkAccount(s string) error {
	if s == "" || len(s) > 256 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return badRequest("The request must name the local account that asks.")
	}
	return nil
}

// checkRedirect accepts http://127.0.0.1:PORT/callback and http://[::1]:PORT/callback (RFC 8252 §7.3) and nothing
// that only looks like them.
func checkRedirect(s string) error {
	bad := badRequest("The redirect must be http://127.0.0.1:PORT/callback or http://[::1]:PORT/callback.")
	u, err := url.Parse(s)
	if err != nil {
		return bad
	}
	at, err := netip.ParseAddrPort(u.Host)
	if err != nil || at.Port() == 0 || at.Addr() != netip.MustParseAddr("127.0.0.1") && at.Addr() != netip.IPv6Loopback() {
		return bad
	}
	if s != "http://"+at.String()+"/callback" {
		return bad
	}
	return nil
}

const codeLetters = "BCDFGHJKLMNPQRSTVWXZ"

// shortCode is what the page and the terminal both show: 8 consonants, no two alike to read.
func shortCode() string {
	out := make([]byte, 0, 9)
	var b [1]byte
	for len(out) < 9 {
		if len(out) == 4 {
			out = append(out, '-')
		}
		rand.Read(b[:])
		if b[0] < 240 { // 240 is a multiple of 20: every letter is as likely
			out = append(out, codeLetters[b[0]%20])
		}
	}
	return string(out)
}

// describe is what the page says of the machine.
func (p *Provider) describe(ctx context.Context, f store.Flow) (confirmPage, error) {
	page := confirmPage{Machine: f.Start.MachineName, Account: f.Start.Account, Code: f.ShortCode, New: f.Peer == "", Kind: f.Kind}
	if f.Peer == "" {
		return page, nil
	}
	peer, err := p.Store.Peer(ctx, f.Peer)
	if err != nil {
		return page, &api.Error{Status: http.StatusForbidden, Message: "The machine that asked is not enrolled any more."}
	}
	page.Machine = peer.Name
	if f.Session != nil { // where the person is counts, not whose the server is
		page.Server = peer.Name
		if peer, err = p.Store.Peer(ctx, f.Session.Source); err != nil {
			return page, &api.Error{Status: http.StatusForbidden, Message: "The machine that the connection comes from is not enrolled any more."}
		}
		page.Machine = peer.Name
	}
	if peer.OwnerID != "" {
		owner, err := p.Store.User(ctx, peer.OwnerID)
		if err != nil {
			return page, err
		}
		page.Owner, page.owner = cmp.Or(owner.Email, owner.Name, owner.Subject), owner.UserRef
	}
	return page, nil
}
