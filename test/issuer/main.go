// Issuer is a scripted OpenID provider, for tests of how Lanyard gets along with those of others.
//
// It speaks OpenID Connect with the code flow and PKCE, over HTTPS with a certificate of its own making, and signs
// people in by a form. How it behaves can be changed while it runs, in POST /control with a form:
//
//	nonce=keep|drop     of refreshed tokens (Keycloak 25 and later, Okta and Google drop it)
//	backdate=5m         what it subtracts from iat; -10m: its clock is fast
//	life=1h             of its tokens
//	rotate=1|hidden     make a new signing key, and stop publishing the old one; hidden: do not, and hide the new one
//	publish=1           publish the key that signs
//	groups=NAME,NAME    of whoever signs in from now on
//	down=1|0            answer nothing but /control
//	grant=invalid       refuse refresh tokens
//	slip=2              sign so many tokens with a key that is not its own, under the name of the one that is
//
// GET /control tells what was asked: {"refreshes":1,"logins":1,"revoked":1,"jwks":3,"kid":"..."}.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "", "ADDRESS:PORT")
	ca := flag.String("ca", "", "file for the certificate to trust (PEM)")
	client := flag.String("client", "lanyard", "client id")
	flag.Parse()
	if err := run(*listen, *ca, *client); err != nil {
		log.Fatal("issuer: ", err)
	}
}

func run(listen, ca, client string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	cert, pemCert, err := certificate(host)
	if err != nil {
		return err
	}
	if err := os.WriteFile(ca, pemCert, 0o644); err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	p, err := newProvider("https://"+l.Addr().String()+"/realms/work", client)
	if err != nil {
		return err
	}
	fmt.Printf("ready at %s\n", p.url)
	s := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	return s.ServeTLS(l, "", "")
}

func certificate(host string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "scripted issuer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(host)},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
