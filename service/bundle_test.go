package main

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lanyard/platform/paths"
	"lanyard/service/keystore"
	"lanyard/service/machine"
)

// Secrets lie in every place where they may lie on a machine, and stand in its log however they are written. None of them
// is in the bundle; what helps is.
func TestBundleHoldsNoSecrets(t *testing.T) {
	dir, err := os.MkdirTemp("", "lanyard-") // its name has no look of a key
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("HOME", dir)
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(dir, "state"))
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	p := paths.Find("default")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(paths.PrivateDir(p.State))
	m, err := machine.Open(p.StateFile)
	must(err)
	must(m.Update(func(s *machine.State) {
		s.Server, s.PeerID, s.Name = "https://mgmt.example.com", "pabcdefghij234567", "laptop"
	}))
	must(m.Close())
	var state machine.State
	raw, err := os.ReadFile(p.StateFile)
	must(err)
	must(json.Unmarshal(raw, &state))

	const setupKey, refresh, variable, proxy = "lk_setupkeyofthelab23", "a refresh token with blanks", "what is in the environment", "hunter22"
	must(os.WriteFile(filepath.Join(filepath.Dir(p.Limits), "setup-key"), []byte(setupKey+"\n"), 0o600))
	must(paths.PrivateDir(p.Login))
	must(keystore.Open(p.Login, nil, nil).Set(state.PeerID, []byte(`{"refresh_token":"`+refresh+`"}`)))
	must(paths.PrivateDir(p.SSHDir))
	key, _, _ := p.Identity(state.PeerID)
	const line = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
	must(os.WriteFile(key, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"+line+"\n-----END OPENSSH PRIVATE KEY-----\n"), 0o600))
	keyring, err := os.ReadFile(filepath.Join(p.Login, "secret-key"))
	must(err)
	t.Setenv("LANYARD_SETUP_KEY", variable)
	t.Setenv("HTTPS_PROXY", "http://ann:"+proxy+"@proxy.example.com:3128")
	jwt := "eyJhbGciOiJFZERTQSJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"ann"}`)) + ".c2lnbmF0dXJl"

	planted := map[string]string{
		"setup key": setupKey, "refresh token": refresh, "variable": variable, "proxy's password": proxy, "login's key": line, "token": jwt,
		"keystore's key": strings.TrimSpace(string(keyring)),
		"machine key":    string(state.MachineKey), "tunnel key": string(state.WGKey), "host key": string(state.HostKey),
	}
	forms := func(secret string) []string {
		b := []byte(secret)
		return []string{secret, base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b))}
	}
	var log strings.Builder
	log.WriteString("level=INFO msg=\"the service is ready\"\n")
	for _, s := range planted {
		if s != proxy { // 8 letters, in base64 11: known only as a part of the address
			for _, f := range forms(s) {
				fmt.Fprintf(&log, "level=DEBUG msg=%q value=%s\n", "oops", f)
			}
		}
	}
	must(os.WriteFile(filepath.Join(p.State, "service.log"), []byte(log.String()), 0o600))
	must(os.WriteFile(filepath.Join(filepath.Dir(p.Limits), "managed.yaml"), []byte("allow_ssh: true\n# "+setupKey+"\n"), 0o600))

	file := filepath.Join(dir, "bundle.zip")
	root := rootCommand()
	root.SetArgs([]string{"bundle", file})
	var said bytes.Buffer
	root.SetOut(&said)
	must(root.ExecuteContext(t.Context()))
	if !strings.HasPrefix(said.String(), file) {
		t.Errorf("it says %q", said.String())
	}
	z, err := zip.OpenReader(file)
	must(err)
	defer z.Close()
	all := ""
	for _, f := range z.File {
		r, err := f.Open()
		must(err)
		b, err := io.ReadAll(r)
		must(err)
		all += "== " + f.Name + "\n" + string(b)
	}
	for what, s := range planted {
		for _, f := range forms(s) {
			if strings.Contains(all, f) {
				t.Errorf("the %s is in it, as %q", what, f)
			}
		}
	}
	for _, want := range []string{
		"== doctor.txt", "== service-log.txt", "== managed.yaml", "allow_ssh: true", "the service is ready", "https://mgmt.example.com", `"name": "laptop"`,
		"HTTPS_PROXY=http://ann:", "proxy.example.com:3128", "state.json", "== status.txt",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("there is no %q in\n%s", want, all)
		}
	}
}
