package login

import (
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/client"
	"lanyard/platform/paths"
	"lanyard/service/keystore"
	"lanyard/sshd/token"
)

// ErrNotSignedIn is returned where there is no login on this machine.
var ErrNotSignedIn = errors.New("you are not signed in; run 'lanyard login'")

// Record is what a refresh and a logout need beside the key. It lies sealed in the keystore.
type Record struct {
	Server       string    `json:"server"` // for client.New, with the pin
	Issuer       string    `json:"issuer"`
	ClientID     string    `json:"client_id"`
	TokenURL     string    `json:"token_url"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	Ends         time.Time `json:"ends"` // end of the login's lifetime, by this machine's clock
}

// Login is a person's sign-in on this machine: the key K, its salt and the tokens bound to it.
type Login struct {
	client.Login
	Record Record
	Claims token.Claims // of the bound token, unverified: our own provider gave it to us over TLS
}

// Load reads the key and certificate of this user's login on the machine peer. Record is not read: its keychain may
// ask its owner.
func Load(p paths.Paths, peer string) (*Login, error) {
	keyName, certName, _ := p.Identity(peer)
	raw, err := paths.ReadFile(keyName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotSignedIn
	}
	if err != nil {
		return nil, err
	}
	parsed, err := ssh.ParseRawPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be read", ErrNotSignedIn, keyName)
	}
	key, ok := parsed.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not a key of Lanyard's", ErrNotSignedIn, keyName)
	}
	rawCert, err := paths.ReadFile(certName)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSignedIn, err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(rawCert)
	cert, ok := pub.(*ssh.Certificate)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: %s is not a certificate", ErrNotSignedIn, certName)
	}
	l := &Login{Login: client.Login{
		Key:   *key,
		Salt:  []byte(cert.Extensions[token.ExtSalt]),
		Bound: cert.Extensions[token.ExtIDToken],
		Fresh: cert.Extensions[token.ExtFresh],
	}}
	if r := cert.Extensions[token.ExtRenewal]; l.Fresh == "" {
		l.Fresh = r
	}
	if l.Claims, err = token.Peek(l.Bound); err != nil {
		return nil, fmt.Errorf("%w: the token in %s cannot be read", ErrNotSignedIn, certName)
	}
	if l.Claims.Nonce != token.Nonce(l.Salt, wireKey(l.Key)) {
		return nil, fmt.Errorf("%w: key and certificate do not belong together", ErrNotSignedIn)
	}
	return l, nil
}

// Newest is the token that counts: the refreshed one, or the bound one.
func (l *Login) Newest() string {
	if l.Fresh != "" {
		return l.Fresh
	}
	return l.Bound
}

// halfOf bounds how long a token is used before it is refreshed: half of max_token_age's default or of its own life,
// whichever is shorter.
func halfOf(c token.Claims) time.Duration {
	return min(time.Hour, c.Expires.Sub(c.IssuedAt)) / 2
}

// save writes the login's files. The certificate comes after its key, .fresh last: a helper that reads .fresh finds
// the rest in place.
func (l *Login) save(p paths.Paths, peer string, now time.Time, newKey bool) error {
	newest, err := token.Peek(l.Newest())
	if err != nil {
		return fmt.Errorf("read the token that was just issued: %w", err)
	}
	cert, err := token.Mint(l.Key, l.Salt, l.Bound, l.Fresh)
	if err != nil {
		return err
	}
	if err := paths.PrivateDir(p.SSHDir); err != nil {
		return err
	}
	keyName, certName, freshName := p.Identity(peer)
	if newKey {
		block, err := ssh.MarshalPrivateKey(l.Key, "lanyard "+p.Profile)
		if err != nil {
			return fmt.Errorf("encode the login key: %w", err)
		}
		if err := paths.WriteFile(keyName, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	if err := paths.WriteFile(certName, ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
		return err
	}
	f := Freshness{RefreshAfter: now.Add(halfOf(newest)), Ends: l.Record.Ends, Issued: now}
	return paths.WriteFile(freshName, []byte(f.String()), 0o600)
}

// Save makes l this user's login on the machine peer.
func (l *Login) Save(p paths.Paths, store *keystore.Store, peer string, now time.Time) error {
	if err := storeRecord(store, peer, l.Record); err != nil {
		return err
	}
	return l.save(p, peer, now, true)
}

// Forget deletes everything of the login on the machine peer.
func Forget(p paths.Paths, store *keystore.Store, peer string) error {
	key, cert, fresh := p.Identity(peer)
	var errs []error
	for _, name := range []string{fresh, key, cert} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, store.Delete(peer))
	return errors.Join(errs...)
}

// LoadRecord reads what the keystore has for the machine peer.
func LoadRecord(store *keystore.Store, peer string) (Record, error) {
	raw, err := store.Get(peer)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return Record{}, fmt.Errorf("%w: the stored record cannot be read", keystore.ErrNone)
	}
	return r, nil
}

func storeRecord(store *keystore.Store, peer string, r Record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return store.Set(peer, raw)
}

func wireKey(key ed25519.PrivateKey) []byte {
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil // an ed25519 key always has one
	}
	return pub.Marshal()
}

// Find returns the machine id of this user's login, from the names of its files; for when the service cannot be asked.
func Find(p paths.Paths) (peer string, ok bool) {
	key, _, _ := p.Identity("")
	found, _ := filepath.Glob(key + "*.fresh")
	if len(found) != 1 {
		return "", false
	}
	return strings.TrimSuffix(strings.TrimPrefix(found[0], key), ".fresh"), true
}
