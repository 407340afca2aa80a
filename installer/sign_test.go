package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"lanyard/test/tools"
)

// signer makes packages of tiny programs, and looks at their signatures with the tools of those who install them.
type signer struct {
	t   *testing.T
	dir string
	job *job
}

func newSigner(t *testing.T, programs ...string) *signer {
	t.Helper()
	tools.Need(t, "check-tools-packages", programs...)
	s := &signer{t: t, dir: t.TempDir()}
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseVersion("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	v.Time = time.Unix(1700000000, 0).UTC()
	s.job = &job{
		source: source, out: filepath.Join(s.dir, "out"), work: filepath.Join(s.dir, "work"), version: v, archs: []string{"amd64"},
		packages: []program{peer}, log: io.Discard, programs: map[target]string{},
	}
	for _, d := range []string{s.job.out, s.job.work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// In place of Lanyard's programs, which take a minute to link.
	for system, programs := range map[string][]program{"linux": {peer, tray}, "darwin": {peer}, "windows": {peer, tray}} {
		file := s.tiny(system)
		for _, p := range programs {
			copied := file + "-" + p.Name
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(copied, b, 0o755); err != nil {
				t.Fatal(err)
			}
			s.job.programs[target{p, system, "amd64"}] = copied
		}
	}
	return s
}

// tiny compiles a program of a few lines.
func (s *signer) tiny(system string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "tiny-"+system)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { println(1) }\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module tiny\n\ngo 1.26\n"), 0o600)); err != nil {
		s.t.Fatal(err)
	}
	c := exec.Command("go", "build", "-o", "tiny", ".")
	c.Dir, c.Env = dir, append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "tiny")
}

func (s *signer) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

func (s *signer) do(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// make makes one format and returns its only package.
func (s *signer) make(make func(context.Context) error, pattern string) string {
	s.t.Helper()
	if err := make(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(s.job.out, pattern))
	if err != nil || len(found) != 1 {
		s.t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// gpgKey makes an OpenPGP key: files with its secret and its public part, and its id.
func (s *signer) gpgKey() (secret, public, id string) {
	s.t.Helper()
	home, err := os.MkdirTemp("", "lg") // short: gpg's agent has a socket in it
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	gpg := func(args ...string) string {
		s.t.Helper()
		return s.do("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "a passphrase"}, args...)...)
	}
	gpg("--quick-generate-key", "Lanyard test <test@example.com>", "rsa3072", "sign", "never")
	secret, public = filepath.Join(s.dir, "secret.asc"), filepath.Join(s.dir, "public.gpg")
	gpg("--armor", "--output", secret, "--export-secret-keys")
	gpg("--output", public, "--export")
	for line := range strings.Lines(gpg("--with-colons", "--list-keys")) {
		if f := strings.Split(line, ":"); f[0] == "pub" {
			id = f[4]
		}
	}
	return secret, public, id
}

// spoil changes a byte in the middle of a file.
func (s *signer) spoil(file string) {
	s.t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	b[len(b)*3/4] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

const debPolicy = `<?xml version="1.0"?>
<!DOCTYPE Policy SYSTEM "https://www.debian.org/debsig/1.0/policy.dtd">
<Policy xmlns="https://www.debian.org/debsig/1.0/">
<Origin Name="Lanyard" id="@ID@" Description="Lanyard"/>
<Selection><Required Type="origin" File="lanyard.gpg" id="@ID@"/></Selection>
<Verification MinOptional="0"><Required Type="origin" File="lanyard.gpg" id="@ID@"/></Verification>
</Policy>
`

func TestDebIsSigned(t *testing.T) {
	s := newSigner(t, "gpg", "debsig-verify")
	secret, public, id := s.gpgKey()
	policies, keys := filepath.Join(s.dir, "policies"), filepath.Join(s.dir, "keys")
	b, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{
		filepath.Join(policies, id, "lanyard.pol"): []byte(strings.ReplaceAll(debPolicy, "@ID@", id)), filepath.Join(keys, id, "lanyard.gpg"): b,
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(file string) (string, error) {
		return s.try("debsig-verify", "--policies-dir", policies, "--keyrings-dir", keys, file)
	}
	plain := s.make(s.job.linux("deb"), "*.deb")
	if out, err := verify(plain); err == nil {
		t.Errorf("without a key, it is signed: %s", out)
	}
	s.job.sign = signing{gpgKey: secret, gpgPassphrase: "a passphrase"}
	file := s.make(s.job.linux("deb"), "*.deb")
	if out, err := verify(file); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	s.do("dpkg-deb", "--contents", file) // dpkg passes over the signature
	s.spoil(file)
	if out, err := verify(file); err == nil {
		t.Errorf("a changed package still verifies: %s", out)
	}
	s.job.sign.gpgPassphrase = "another"
	if err := s.job.linux("deb")(t.Context()); err == nil {
		t.Error("a wrong passphrase makes a package all the same")
	}
}

func TestRPMIsSigned(t *testing.T) {
	s := newSigner(t, "gpg", "rpm", "rpmkeys")
	secret, public, _ := s.gpgKey()
	armored := filepath.Join(s.dir, "public.asc")
	home := filepath.Join(s.dir, "gpg")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	s.do("gpg", "--homedir", home, "--batch", "--quiet", "--import", public)
	s.do("gpg", "--homedir", home, "--batch", "--quiet", "--armor", "--output", armored, "--export")
	db := filepath.Join(s.dir, "rpmdb")
	s.do("rpmkeys", "--dbpath", db, "--import", armored)
	check := func(file string) string {
		out, _ := s.try("rpmkeys", "--dbpath", db, "--checksig", "--verbose", file)
		return out
	}
	plain := s.make(s.job.linux("rpm"), "*.rpm")
	if out := check(plain); strings.Contains(out, "Signature") {
		t.Errorf("without a key, it is signed: %s", out)
	}
	s.job.sign = signing{gpgKey: secret, gpgPassphrase: "a passphrase"}
	file := s.make(s.job.linux("rpm"), "*.rpm")
	if out := check(file); !strings.Contains(out, "Signature") || strings.Contains(out, "BAD") || strings.Contains(out, "NOKEY") {
		t.Errorf("%s", out)
	}
	s.spoil(file)
	if out := check(file); !strings.Contains(out, "BAD") && !strings.Contains(out, "error") {
		t.Errorf("a changed package still verifies: %s", out)
	}
}

// An apk begins with a gzip stream that holds a signature of the next one.
func TestAPKIsSigned(t *testing.T) {
	s := newSigner(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "apk.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600); err != nil {
		t.Fatal(err)
	}
	signature := func(apk string) error {
		b, err := os.ReadFile(apk)
		if err != nil {
			return err
		}
		r := bytes.NewReader(b)
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		z.Multistream(false)
		head, err := io.ReadAll(z)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(head, []byte(".SIGN.RSA.lanyard.rsa.pub\x00")) {
			return errors.New("it begins with no signature")
		}
		begin := len(b) - r.Len()
		if err := z.Reset(r); err != nil {
			return err
		}
		z.Multistream(false)
		if _, err := io.Copy(io.Discard, z); err != nil {
			return err
		}
		control := sha1.Sum(b[begin : len(b)-r.Len()])
		return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA1, control[:], head[512:512+key.Size()])
	}
	if err := signature(s.make(s.job.linux("apk"), "*.apk")); err == nil {
		t.Error("without a key, it is signed")
	}
	s.job.sign = signing{apkKey: file}
	if err := signature(s.make(s.job.linux("apk"), "*.apk")); err != nil {
		t.Error(err)
	}
}

func TestWindowsProgramsAndPackageAreSigned(t *testing.T) {
	s := newSigner(t, "wixl", "msibuild", "osslsigncode", "openssl")
	passphrase := "a passphrase " + rand.Text() // nobody else's
	cert, key, p12 := filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem"), filepath.Join(s.dir, "cert.p12")
	s.do("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=Lanyard test", "-addext", "extendedKeyUsage=codeSigning")
	s.do("openssl", "pkcs12", "-export", "-in", cert, "-inkey", key, "-out", p12, "-passout", "pass:"+passphrase)
	verify := func(file string) error {
		out, err := s.try("osslsigncode", "verify", "-CAfile", cert, "-in", file)
		if err != nil {
			return errors.New(out)
		}
		return nil
	}
	program := s.job.programs[target{peer, "windows", "amd64"}]
	plain := s.make(s.job.windows, "*.msi")
	if verify(plain) == nil || verify(program) == nil {
		t.Error("without a certificate, they are signed")
	}
	s.job.sign = signing{authenticodeFile: p12, authenticodePassphrase: passphrase}
	if err := s.job.sign.authenticode(t.Context(), program); err != nil { // as compile does
		t.Fatal(err)
	}
	msi := s.make(s.job.windows, "*.msi")
	if err := errors.Join(verify(program), verify(msi)); err != nil {
		t.Error(err)
	}
	s.spoil(msi)
	if verify(msi) == nil {
		t.Error("a changed package still verifies")
	}
	s.job.sign.authenticodePassphrase = passphrase + " of another"
	if err := s.job.sign.authenticode(t.Context(), program); err == nil {
		t.Error("a wrong passphrase signs all the same")
	}
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "lanyard-pass-*"))
	for _, name := range left { // there may be those of others
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), passphrase) {
			t.Errorf("the passphrase is left in %s", name)
		}
	}
}

func TestMacOSPackageIsHandedToTheSigningCommand(t *testing.T) {
	s := newSigner(t)
	plain := s.make(s.job.macos, "*.pkg")
	before, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	// It signs in place, and is told nothing but the file's name.
	command := filepath.Join(s.dir, "sign me")
	if err := os.WriteFile(command, []byte("#!/bin/sh\n[ $# = 1 ] || exit 2\nprintf signed >>\"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.job.sign = signing{macosCommand: command}
	after, err := os.ReadFile(s.make(s.job.macos, "*.pkg"))
	if err != nil || !bytes.Equal(after, append(slices.Clone(before), "signed"...)) {
		t.Errorf("%d bytes became %d, %v", len(before), len(after), err)
	}
	if err := os.WriteFile(command, []byte("#!/bin/sh\necho no certificate >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.job.macos(t.Context()); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("a failed signature is passed over: %v", err)
	}
}

func TestNothingIsSignedUnlessTheEnvironmentSaysSo(t *testing.T) {
	for _, name := range []string{"LANYARD_GPG_KEY", "LANYARD_GPG_PASSPHRASE", "LANYARD_APK_KEY", "LANYARD_APK_PASSPHRASE", "LANYARD_AUTHENTICODE", "LANYARD_AUTHENTICODE_PASSWORD", "PKG_SIGN_CMD"} {
		t.Setenv(name, "")
	}
	if s := signingFromEnv(); s != (signing{}) {
		t.Errorf("%+v", s)
	}
	t.Setenv("LANYARD_GPG_KEY", "key")
	t.Setenv("PKG_SIGN_CMD", "sign")
	if s := signingFromEnv(); s != (signing{gpgKey: "key", macosCommand: "sign"}) {
		t.Errorf("%+v", s)
	}
}
