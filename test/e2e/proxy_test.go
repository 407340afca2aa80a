//go:build linux

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// A company's machines reach the web through its proxy only, and its management server has a certificate of the company's
// own CA. Joining, following and signing in work by HTTPS_PROXY and SSL_CERT_FILE, and not without.
func TestBehindAProxyAndACorporateCA(t *testing.T) {
	needsRoot(t)
	ctx := within(t, 6*time.Minute)
	const gate = "gate"
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Machines: []string{office, laptop, web, gate}, Accounts: []string{"ann", "deploy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(60))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, lab: l, peers: map[string]*lab.Peer{}, as: "deploy", target: "deploy@" + web + ".lanyard.internal"}
	ca, cert, key := corporate(t, l.Machine(office).Addr)
	const caFile = "/etc/corporate-ca.pem"
	must(l.Machine(office).Write("/etc/server.crt", "", 0o644, cert))
	must(l.Machine(office).Write("/etc/server.key", "", 0o600, key))
	for _, m := range []string{laptop, web} {
		must(l.Machine(m).Write(caFile, "", 0o644, ca))
	}
	w.mgmt, err = l.StartMgmt(ctx, office, "--tls-cert", "/etc/server.crt", "--tls-key", "/etc/server.key")
	must(err)
	must(os.WriteFile(w.mgmt.CA(), ca, 0o644)) // for the browser
	must(w.mgmt.AddUser(ctx, people["ann"].Email, "ann", people["ann"].Password))
	must(w.mgmt.AddPolicy(ctx, "web", "everyone", "tag:web", "deploy"))
	proxy, err := l.Machine(gate).Start("proxy", "", l.Program("proxy"), l.Machine(gate).Addr+":3128", "machines:secret")
	must(err)
	_, err = proxy.Match(ctx, regexp.MustCompile("proxy: ready"))
	must(err)
	trust, through := "SSL_CERT_FILE="+caFile, fmt.Sprintf("HTTPS_PROXY=http://machines:secret@%s:3128", l.Machine(gate).Addr)
	join := func(p *lab.Peer, tag string, more ...string) (string, error) {
		k, err := w.mgmt.SetupKey(ctx, tag)
		must(err)
		must(p.Write("/root/key", "", 0o600, []byte(k+"\n")))
		return p.Lanyard(within(t, 2*time.Minute), "", append([]string{"up", w.mgmt.Join, "--setup-key-file", "/root/key", "--name", p.Name}, more...)...)
	}

	w.peers[web], err = w.mgmt.Service(ctx, web, trust)
	must(err)
	if out, err := join(w.peers[web], "tag:web", "--allow-ssh"); err != nil {
		t.Fatal(err, out)
	}
	w.fw(laptop, "add", "table", "inet", "company")
	w.fw(laptop, "add", "chain", "inet", "company", "out", "{ type filter hook output priority 0; }")
	w.fw(laptop, "add", "rule", "inet", "company", "out", "tcp", "dport", "8443", "reject")

	for what, env := range map[string]string{"the proxy, but not the CA": through, "the CA, but not the proxy": trust} {
		p, err := w.mgmt.Service(ctx, laptop, env)
		must(err)
		out, err := join(p, "tag:laptop")
		if err == nil {
			t.Fatalf("the machine joined with %s: %s", what, out)
		}
		if env == through && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("with %s the machine is told: %v", what, err)
		}
		must(p.Daemon.Stop())
	}
	laptops, err := w.mgmt.Service(ctx, laptop, trust, through)
	must(err)
	w.peers[laptop] = laptops
	if out, err := join(laptops, "tag:laptop"); err != nil {
		t.Fatal(err, out)
	}
	must(laptops.Knows(ctx, web)) // follows
	must(w.peers[web].Serves(ctx))

	env, done, err := laptops.Browser("ann", people["ann"])
	must(err)
	defer done()
	login := laptops.Command(within(t, 2*time.Minute), "ann", l.Program("lanyard"), "login")
	login.Env = append(append(login.Env, env...), trust, through)
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("sign in: %v\n%s", err, out)
	}
	c := laptops.SSH(within(t, 90*time.Second), "ann", "ssh", w.target, "echo in")
	c.Env = append(c.Env, trust, through)
	if r := finish(c); r.out != "in\n" {
		t.Errorf("ssh: %s", r)
	}
	asked := strings.Count(proxy.Text(), "CONNECT "+l.Machine(office).Addr+":8443")
	if asked < 3 { // the service's requests, its stream, the sign-in
		t.Errorf("the proxy was asked %d times:\n%s", asked, proxy.Text())
	}
	w.listens(t)
	// The password of the proxy stays here.
	bundle := laptops.Command(within(t, 2*time.Minute), "", l.Program("lanyard"), "bundle", "/root/b.zip")
	bundle.Env = append(bundle.Env, trust, through)
	if out, err := bundle.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	all, err := laptops.Output(ctx, "", "python3", "-c", "import zipfile; z = zipfile.ZipFile('/root/b.zip'); print(''.join(z.read(n).decode() for n in z.namelist()))")
	must(err)
	if strings.Contains(all, "machines:secret") || !strings.Contains(all, "HTTPS_PROXY=http://machines:[removed]@") {
		t.Errorf("of the proxy the bundle says:\n%s", all)
	}
}

// listens compares what the machines listen on with the table that administrators open ports by.
func (w *world) listens(t *testing.T) {
	t.Helper()
	doc, err := os.ReadFile("../../installer/rollout.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "<!-- ports")
	table, after, _ := strings.Cut(rest, "<!-- /ports -->")
	seen := map[string]bool{}
	for _, name := range []string{office, laptop, web} {
		out, err := w.lab.Machine(name).Output(within(t, 60*time.Second), "", "ss", "-Hltun")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			at := strings.LastIndex(f[4], ":")
			address, port := f[4][:at], f[4][at+1:]
			switch {
			case strings.HasPrefix(address, "127.") || address == "[::1]":
			case strings.HasPrefix(address, "100.110.") || strings.HasPrefix(address, "[fd"): // inside the tunnel
				if !strings.Contains(after, port) {
					t.Errorf("%s listens inside the tunnel on %s, which rollout.md does not tell", name, f[4])
				}
			default:
				seen[strings.ToUpper(f[0])+" "+port] = true
			}
		}
	}
	for at := range seen {
		if !strings.Contains(table, at) {
			t.Errorf("%s is listened on, and the table in rollout.md does not have it", at)
		}
	}
	if !seen["UDP 51820"] || !seen["TCP 8443"] {
		t.Errorf("what the table has is not listened on: %v", seen)
	}
}

// corporate makes a company's CA, and a certificate of its for the server at addr.
func corporate(t *testing.T, addr string) (ca, cert, key []byte) {
	t.Helper()
	made := func(template, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) []byte {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	keys := make([]*ecdsa.PrivateKey, 2)
	for i := range keys {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "A company"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: addr}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		IPAddresses: []net.IP{net.ParseIP(addr)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.MarshalPKCS8PrivateKey(keys[1])
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return text("CERTIFICATE", made(root, root, &keys[0].PublicKey, keys[0])), text("CERTIFICATE", made(leaf, root, &keys[1].PublicKey, keys[0])), text("PRIVATE KEY", der)
}
