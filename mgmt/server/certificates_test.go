package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"lanyard/mgmt/server"
)

const domain = "lanyard.example.com"

// resolver answers, over TCP, that every name is at 127.0.0.1.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			}}
		}
		w.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
	return l.Addr().String()
}

// pebble starts a real ACME server, pebble, that asks for challenges at port of 127.0.0.1. It returns the file of the
// CA that its own HTTPS is signed by, and the roots of the certificates that it issues.
func pebble(t *testing.T, front *httptest.Server, port int) (caFile string, roots *x509.CertPool) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuing := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 90 * 24 * 3600}})
	validating := va.New(quiet, 1, port, false, resolver(t), store)
	w := wfe.New(quiet, store, validating, issuing, []string{"pebble.letsencrypt.org"}, false, false, 1, 1)
	front.Config.Handler = w.Handler()
	front.StartTLS()
	t.Cleanup(front.Close)
	roots = x509.NewCertPool()
	roots.AddCert(issuing.GetRootCert(0).Cert)
	caFile = filepath.Join(t.TempDir(), "acme-ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile, roots
}

// get asks for path with the domain's name at the server's port and returns the certificate that it showed.
func get(t *testing.T, roots *x509.CertPool, address string) (*x509.Certificate, error) {
	t.Helper()
	c := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: domain}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	}}
	res, err := c.Get("https://" + domain + "/healthz")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("healthz: %s", res.Status)
	}
	return res.TLS.PeerCertificates[0], nil
}

// port is one of loopback that nobody listens at. It is below those that the system gives to whoever asks for any
// (ip_local_port_range begins at 32768), so that nobody is given it before it is used, or used again; and on Linux its name
// is taken, as lab.FreePort does, so that no other test is at it.
func port(t *testing.T) int {
	t.Helper()
	for range 1000 {
		p := 20000 + mathrand.IntN(12000)
		if runtime.GOOS == "linux" {
			name, err := net.ListenPacket("unixgram", fmt.Sprintf("@lanyard-lab-port-%d", p))
			if err != nil {
				continue
			}
			t.Cleanup(func() { name.Close() })
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p)); err == nil {
			l.Close()
			return p
		}
	}
	t.Fatal("no port is free")
	return 0
}

// local is an address of loopback at such a port.
func local(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port(t)))
}

func TestDomainGetsItsCertificateFromAnACMEServer(t *testing.T) {
	p := port(t)
	front := httptest.NewUnstartedServer(nil)
	caFile, roots := pebble(t, front, p)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
	n := start(t, func(c *server.Config) {
		c.Domain, c.Listen, c.ACMEDirectory, c.ACMECAFile = domain, address, front.URL+"/dir", caFile
	})
	if want := "https://" + domain + ":" + strconv.Itoa(p); n.server.URL() != want || n.server.Join() != want {
		t.Errorf("the server is at %s, machines join %s; want %s without a pin", n.server.URL(), n.server.Join(), want)
	}
	first, err := get(t, roots, address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, x509.NewCertPool(), address); err == nil {
		t.Error("the certificate is trusted without the ACME server's root")
	}
	n.stop()
	front.Close() // after a restart the kept certificate serves, with the ACME server gone
	n.open()
	second, err := get(t, roots, address)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Equal(second) {
		t.Error("a restart asked for another certificate")
	}
	files, _ := filepath.Glob(filepath.Join(n.state, "acme", "*"))
	for _, f := range files {
		if fi, _ := os.Stat(f); fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is readable by others: %s", f, fi.Mode())
		}
	}
	if len(files) < 2 {
		t.Errorf("kept files: %v", files)
	}
}

// selfSigned writes a certificate and its key.
func selfSigned(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, _ := x509.MarshalPKCS8PrivateKey(key)
	for name, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	parsed, _ := x509.ParseCertificate(der)
	roots.AddCert(parsed)
	return roots
}

func TestOwnCertificateIsReadAgainWhenItChanges(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	old := selfSigned(t, cert, key)
	address := local(t)
	start(t, func(c *server.Config) {
		c.Listen, c.CertFile, c.KeyFile, c.URL = address, cert, key, "https://"+domain
	})
	if _, err := get(t, old, address); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil { // a renewal is being written
		t.Fatal(err)
	}
	if _, err := get(t, old, address); err != nil {
		t.Errorf("a half-written file took the server away: %v", err)
	}
	renewed := selfSigned(t, cert, key)
	deadline := time.Now().Add(2 * time.Minute)
	for {
		_, err := get(t, renewed, address)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the renewed certificate is not served: %v", err)
		}
	}
}

func TestCertificateSettingsThatDoNotFitAreRefused(t *testing.T) {
	for want, change := range map[string]func(*server.Config){
		"go together":       func(c *server.Config) { c.Listen, c.CertFile = "127.0.0.1:0", "x" },
		"leave one of them": func(c *server.Config) { c.Domain, c.CertFile, c.KeyFile = domain, "x", "y" },
		"name the domain":   func(c *server.Config) { c.ACMEDirectory = "https://127.0.0.1:1/dir" },
		"needs --listen":    func(c *server.Config) { c.CertFile, c.KeyFile = "x", "y" },
		"not a public":      func(c *server.Config) { c.Domain = "192.0.2.1" },
		"not a public DNS":  func(c *server.Config) { c.Domain = "localhost" },
		"is not a public":   func(c *server.Config) { c.Domain = "https://lanyard.example.com" },
		"no certificate": func(c *server.Config) {
			c.Domain, c.Listen, c.ACMECAFile = domain, "127.0.0.1:0", filepath.Join(c.State, "ca")
			os.WriteFile(c.ACMECAFile, []byte("nothing"), 0o600)
		},
	} {
		cfg := server.Config{State: t.TempDir(), HTTP: "127.0.0.1:0", Log: quietLog()}
		change(&cfg)
		s, err := server.Open(t.Context(), cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
