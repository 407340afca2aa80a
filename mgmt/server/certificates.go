package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"lanyard/platform/paths"
)

// certificates is where the server's certificate comes from: its own CA, an ACME server or files.
type certificates interface {
	config() *tls.Config
}

// checkTLS refuses settings that do not fit together, and completes those that do.
func (c *Config) checkTLS() error {
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("--tls-cert and --tls-key go together: the certificate with its chain, and its key")
	case c.Domain != "" && c.CertFile != "":
		return errors.New("--domain gets a certificate and --tls-cert brings one; leave one of them out")
	case c.Domain == "" && (c.ACMEDirectory != "" || c.ACMECAFile != ""):
		return errors.New("--acme-directory and --acme-ca are for --domain; name the domain that the certificate is for")
	case c.CertFile != "" && c.Listen == "":
		return errors.New("--tls-cert needs --listen ADDRESS:PORT")
	}
	if c.Domain == "" {
		return nil
	}
	if net.ParseIP(c.Domain) != nil || !strings.Contains(strings.Trim(c.Domain, "."), ".") || strings.ContainsAny(c.Domain, "/:@ ") {
		return fmt.Errorf("--domain %q is not a public DNS name like lanyard.example.com; use --listen alone for a network without one", c.Domain)
	}
	c.Domain = strings.ToLower(c.Domain)
	if c.Listen == "" {
		c.Listen = ":443"
	}
	return nil
}

func (s *Server) openCertificates(names []string) (certificates, error) {
	switch {
	case s.cfg.Domain != "":
		return openACME(s.cfg, s.log)
	case s.cfg.CertFile != "":
		return openFiles(s.cfg.CertFile, s.cfg.KeyFile, s.log)
	default:
		return openAuthority(s.cfg.State, names, s.now)
	}
}

// acmeCertificates come from an ACME server, by the tls-alpn-01 challenge (RFC 8737) on the server's own port.
// Account key and certificates lie in the state folder, so that a restart asks for nothing.
type acmeCertificates struct {
	manager *autocert.Manager
	domain  string
	log     *slog.Logger
}

func openACME(cfg Config, log *slog.Logger) (*acmeCertificates, error) {
	dir := filepath.Join(cfg.State, "acme")
	if err := paths.PrivateDir(dir); err != nil {
		return nil, err
	}
	client := &acme.Client{DirectoryURL: cfg.ACMEDirectory, UserAgent: "lanyard-mgmt/" + cfg.Release}
	if client.DirectoryURL == "" {
		client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	if cfg.ACMECAFile != "" {
		pem, err := os.ReadFile(cfg.ACMECAFile)
		if err != nil {
			return nil, fmt.Errorf("read the ACME server's CA: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate; it must be a PEM file", cfg.ACMECAFile)
		}
		client.HTTPClient = &http.Client{Timeout: requestTime, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		}}
	}
	return &acmeCertificates{domain: cfg.Domain, log: log, manager: &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(dir), HostPolicy: autocert.HostWhitelist(cfg.Domain), Client: client,
	}}, nil
}

func (c *acmeCertificates) config() *tls.Config {
	t := c.manager.TLSConfig() // with acme-tls/1, for the challenge
	t.MinVersion = tls.VersionTLS12
	return t
}

// obtain gets the certificate before the first machine asks for it, and says in the log how that went. An ACME
// server limits failures, so the pause between tries grows to an hour.
func (c *acmeCertificates) obtain(ctx context.Context) {
	for pause := 10 * time.Second; ; pause = min(2*pause, time.Hour) {
		cert, err := c.manager.GetCertificate(&tls.ClientHelloInfo{
			ServerName: c.domain, SupportedCurves: []tls.CurveID{tls.CurveP256},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		})
		if err == nil {
			c.log.Info("the certificate is there", "domain", c.domain, "until", cert.Leaf.NotAfter)
			return
		}
		c.log.Error("no certificate yet; the name must lead to this machine and its port 443 be reachable from the ACME server", "domain", c.domain, "err", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// fileCertificates are files that something else renews.
type fileCertificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards what follows
	pair    *tls.Certificate
	changed [2]time.Time // of both files, when pair was read
	looked  time.Time
}

// lookEvery bounds how often the files are looked at.
const lookEvery = time.Second

func openFiles(certFile, keyFile string, log *slog.Logger) (*fileCertificates, error) {
	c := &fileCertificates{certFile: certFile, keyFile: keyFile, log: log}
	changed, err := c.times()
	if err == nil {
		err = c.read(changed)
	}
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	return c, nil
}

func (c *fileCertificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate(), nil }}
}

// certificate is the newest that could be read; a half-written pair does not take the server away.
func (c *fileCertificates) certificate() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.pair
	}
	c.looked = time.Now()
	changed, err := c.times()
	if err == nil && changed != c.changed {
		err = c.read(changed)
	}
	if err != nil {
		c.log.Error("the server's certificate could not be read again; the old one stays", "err", err)
	}
	return c.pair
}

func (c *fileCertificates) read(changed [2]time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.changed = &pair, changed
	return nil
}

func (c *fileCertificates) times() (t [2]time.Time, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		fi, err := os.Stat(name)
		if err != nil {
			return t, err
		}
		t[i] = fi.ModTime()
	}
	return t, nil
}
