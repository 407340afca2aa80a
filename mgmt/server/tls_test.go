package server

import (
	"crypto/x509"
	"testing"
	"time"
)

// A certificate that was made while the clock was wrong does not outlive that: machines, whose clocks are right, would not
// talk to the server until somebody starts it again.
func TestCertificateIsGoodByTheClockOfNow(t *testing.T) {
	now := time.Now()
	right := now
	a, err := openAuthority(t.TempDir(), []string{"mgmt.example"}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, off := range []time.Duration{0, 3 * 365 * 24 * time.Hour, 0, -30 * time.Minute, leafLife, 0, -20 * 24 * time.Hour} {
		now = right.Add(off)
		cert, err := a.certificate()
		if err != nil {
			t.Fatal(err)
		}
		if now.Before(a.cert.NotBefore) { // the CA itself is younger
			continue
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "mgmt.example", CurrentTime: now}); err != nil {
			t.Errorf("%s off: %v", off, err)
		}
		if again, err := a.certificate(); err != nil || again != cert {
			t.Errorf("%s off: it is made at each connection: %v", off, err)
		}
	}
}
