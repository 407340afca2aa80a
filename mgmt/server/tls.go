package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"time"

	"lanyard/platform/paths"
)

const (
	caLife   = 20 * 365 * 24 * time.Hour
	leafLife = 60 * 24 * time.Hour
	// leafRenew is how long before its end a certificate is replaced.
	leafRenew = 20 * 24 * time.Hour
)

// authority is the server's own CA, for a LAN without a domain. Peers know it by the hash in the join command.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
	// names are those that the server's certificate is for: DNS names and addresses.
	names []string

	mu   sync.Mutex // guards leaf
	leaf *tls.Certificate
}

// openAuthority reads the CA from dir or makes it there.
func openAuthority(dir string, names []string, now func() time.Time) (*authority, error) {
	a := &authority{now: now, names: names}
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	certPEM, err := paths.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return a, a.make(certFile, keyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	keyPEM, err := paths.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA's key: %w; without it every machine must join anew: move %s away to make another CA", err, certFile)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the CA in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the CA's key %s is not an ECDSA key", keyFile)
	}
	a.cert, a.key = pair.Leaf, key
	return a, nil
}

func (a *authority) make(certFile, keyFile string) error {
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fmt.Errorf("make the CA's key: %w", err)
	}
	now := a.now()
	der, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Lanyard CA"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
	}, nil, &a.key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("make the CA: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would be kept and be of no use.
	if err := paths.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return paths.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// sign makes a certificate with a random serial number; parent nil means self-signed.
func sign(c, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	c.SerialNumber = serial
	if parent == nil {
		parent = c
	}
	return x509.CreateCertificate(rand.Reader, c, parent, pub, key)
}

// pin is the hash in the join command: SHA-256 of the CA certificate's DER, in hex.
func (a *authority) pin() string {
	h := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(h[:])
}

// config serves with a certificate that is renewed in time; its key is never written anywhere.
func (a *authority) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.certificate() }}
}

func (a *authority) certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	// One that begins later was made while the clock was wrong.
	if a.leaf != nil && !now.Before(a.leaf.Leaf.NotBefore) && now.Before(a.leaf.Leaf.NotAfter.Add(-leafRenew)) {
		return a.leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Lanyard management server"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range a.names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	der, err := sign(c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("make the server's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// The CA goes along: peers look for it in the chain by its hash.
	a.leaf = &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return a.leaf, nil
}
