package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/coder/websocket"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/proof"
)

// authority makes a CA, and a certificate of it for host.
func authority(t *testing.T, host string) (chain tls.Certificate, pin string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(caDER)
	return tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: key}, hex.EncodeToString(sum[:])
}

func serveTLS(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(api.Config{Version: 1, MinVersion: 1, Name: "home"})
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func config(t *testing.T, url string) error {
	t.Helper()
	c, err := New(url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Config(t.Context())
	return err
}

func TestServerIsBelievedByItsPinOnly(t *testing.T) {
	cert, pin := authority(t, "127.0.0.1")
	_, otherPin := authority(t, "127.0.0.1")
	url := serveTLS(t, cert)
	if err := config(t, url+"#sha256="+pin); err != nil {
		t.Errorf("with its pin: %v", err)
	}
	if err := config(t, url+"#sha256="+otherPin); err == nil || !strings.Contains(err.Error(), "not the one that the join command names") || strings.Contains(err.Error(), "does not answer") || !errors.Is(err, ErrUnreachable) {
		t.Errorf("with another pin: %v", err)
	}
	if err := config(t, url); err == nil || !strings.Contains(err.Error(), "#sha256=") {
		t.Errorf("without a pin: %v", err)
	}
	// The pin is the CA's: a certificate of that CA for another host is not this one's.
	elsewhere, pin2 := authority(t, "10.9.8.7")
	if err := config(t, serveTLS(t, elsewhere)+"#sha256="+pin2); err == nil {
		t.Error("a certificate for another host was taken")
	}
	// A server cannot bring the pinned CA along without a certificate by it.
	stranger, _ := authority(t, "127.0.0.1")
	stranger.Certificate[1] = cert.Certificate[1]
	if err := config(t, serveTLS(t, stranger)+"#sha256="+pin); err == nil {
		t.Error("a certificate that the pinned CA did not sign was taken")
	}
	// The certificate itself being the pinned one does not make it a CA.
	sum := sha256.Sum256(cert.Certificate[0])
	if err := config(t, url+"#sha256="+hex.EncodeToString(sum[:])); err == nil {
		t.Error("the pin of a certificate that is not a CA's was taken")
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	for addr, says := range map[string]string{
		"":                             "address of a management server",
		"vpn.example.com":              "address of a management server",
		"http://vpn.example.com":       "plain http",
		"http://127.0.0.1.example.com": "plain http",
		"ftp://x":                      "https://",
		"https://a:b@x":                "host only",
		"https://x/path":               "host only",
		"https://x?q=1":                "host only",
		"https://x#sha256=12":          "pin",
		"https://x#md5=" + strings.Repeat("0", 64): "pin",
	} {
		if _, err := New(addr); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", addr, err, says)
		}
	}
	for _, addr := range []string{"https://x", "https://x:8443/", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost", " https://x#sha256=" + strings.Repeat("aB", 32)} {
		if _, err := New(addr); err != nil {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestRequestsCarryProofsOverTheirBody(t *testing.T) {
	_, machine, _ := ed25519.GenerateKey(rand.Reader)
	_, login, _ := ed25519.GenerateKey(rand.Reader)
	salt := make([]byte, 32)
	type seen struct {
		machine, login *proof.Proof
		err            error
	}
	got := make(chan seen, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var x seen
		want := proof.Want{Method: r.Method, URL: r.URL.RequestURI(), Body: body}
		if h := r.Header.Get(api.HeaderMachine); h != "" {
			x.machine, x.err = proof.Verify(h, want, time.Now())
		}
		if h := r.Header.Get(api.HeaderProof); h != "" && x.err == nil {
			want.AccessToken = strings.TrimPrefix(r.Header.Get("Authorization"), "DPoP ")
			x.login, x.err = proof.Verify(h, want, time.Now())
		}
		if r.Header.Get(api.HeaderVersion) != "1" {
			x.err = errors.New("no protocol version")
		}
		got <- x
		w.Write([]byte("{}"))
	}))
	t.Cleanup(s.Close)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{Key: machine, Subject: "pself"}
	l := Login{Key: login, Salt: salt, Bound: "header.payload.sig", Fresh: "fresh.payload.sig"}
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"enroll":  func() error { _, err := c.Enroll(ctx, Machine{Key: machine}, api.EnrollRequest{Name: "x"}); return err },
		"login":   func() error { _, err := c.Login(ctx, m, api.LoginStart{Account: "ann"}); return err },
		"seen":    func() error { _, err := c.Seen(ctx, l); return err },
		"me":      func() error { _, err := c.Me(ctx, l); return err },
		"logout":  func() error { _, err := c.Logout(ctx, l, api.LogoutRequest{All: true}); return err },
		"explain": func() error { _, err := c.Explain(ctx, l, api.ExplainRequest{Target: "web-1"}); return err },
		"enroll by a person": func() error {
			body := []byte(`{"name":"x"}`)
			p, err := c.LoginProof(l, http.MethodPost, api.RouteEnroll, body)
			if err != nil {
				return err
			}
			_, err = c.EnrollBody(ctx, Machine{Key: machine}, body, p)
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		x := <-got
		byMachine, byLogin := strings.HasPrefix(name, "enroll") || name == "login", name != "enroll" && name != "login"
		if x.err != nil || (x.machine != nil) != byMachine || (x.login != nil) != byLogin {
			t.Errorf("%s: the server saw %+v", name, x)
		}
		if x.login != nil && (x.login.Fresh != l.Fresh || !x.login.Key.Equal(login.Public())) {
			t.Errorf("%s: the login's proof is %+v", name, x.login)
		}
		if name == "login" && x.machine.Subject != "pself" {
			t.Errorf("%s: the machine's proof is for %q", name, x.machine.Subject)
		}
	}
}

func TestAnswersThatAreNotOursAreSentences(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/config", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>nginx</html>") })
	mux.HandleFunc("/api/me", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) })
	s := httptest.NewServer(mux)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Config(t.Context()); err == nil || !strings.Contains(err.Error(), "is it a Lanyard management server?") {
		t.Errorf("foreign JSON: %v", err)
	}
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	var e *api.Error
	if _, err := c.Me(t.Context(), Login{Key: key, Salt: make([]byte, 32), Bound: "a.b.c"}); !errors.As(err, &e) || e.Status != 502 || e.Message == "" {
		t.Errorf("a foreign refusal: %v", err)
	}
	s.Close()
	if _, err := c.Config(context.Background()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a server that is gone: %v, want ErrUnreachable", err)
	}
}

// Whoever answers at the address chooses the words of a refusal: they are shown on a terminal, in one line.
func TestRefusalsSteerNoTerminal(t *testing.T) {
	const words = "\x1b]0;title\x07\x1b[2Jevil\r\nnext\u202eline\u009b\x7f"
	mux := http.NewServeMux()
	mux.HandleFunc("/api/config", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		json.NewEncoder(w).Encode(api.Error{Message: words + strings.Repeat("x", 1<<20) + "é", Code: words})
	})
	mux.HandleFunc(api.RouteFollow, func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		b, _ := json.Marshal(api.Down{Gone: words})
		_ = ws.Write(r.Context(), websocket.MessageText, b)
		for err == nil { // until the client goes
			_, _, err = ws.Read(r.Context())
		}
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(what, text string) {
		t.Helper()
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.Contains(text, "evil") || len(text) > 8<<10 {
			t.Errorf("%s: %d bytes, %.80q", what, len(text), text)
		}
	}
	_, err = c.Config(t.Context())
	var e *api.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	shown("a refusal", err.Error())
	shown("its code", e.Code)
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	stream, err := c.Follow(t.Context(), Machine{Key: key, Subject: "p1"}, api.Have{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	d, err := stream.Recv(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	shown("a removal", d.Gone)
}
