package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

const machineVectorPath = "testdata/machine.json"

// machineFile is testdata/machine.json: each certificate (SSH wire form), from a connection of Source, must give its
// code at Now.
type machineFile struct {
	About   string          `json:"about"`
	Now     time.Time       `json:"now"`
	Source  api.Peer        `json:"source"`
	Vectors []machineVector `json:"vectors"`
}

type machineVector struct {
	Name        string      `json:"name"`
	Certificate []byte      `json:"certificate"`
	Code        reason.Code `json:"code"`
	Machine     *Machine    `json:"machine,omitempty"`
}

func seeded(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(b)), ed25519.SeedSize)))
}

func publicOf(t testing.TB, k ed25519.PrivateKey) ssh.PublicKey {
	t.Helper()
	pub, err := ssh.NewPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

var (
	machineKey = seeded('m')
	otherKey   = seeded('o')
	callerKey  = seeded('c')
	runner     = api.Peer{ID: "p2k4runner000000a", Name: "runner", MachineKey: machineKey.Public().(ed25519.PublicKey)}
	ansible    = Machine{Peer: runner.ID, Account: "ansible", AccountID: "1001"}
)

func text(s string) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) { c.Extensions[ExtMachine] = s }
}

// machineCases change one thing of a good certificate each, before it is signed.
var machineCases = []struct {
	name   string
	code   reason.Code
	signer ed25519.PrivateKey // nil: the machine key
	change func(*ssh.Certificate)
	after  func(*ssh.Certificate) // it was signed
}{
	{name: "good", code: reason.OK},
	{name: "root", code: reason.OK, change: text("v1 " + runner.ID + " 0 root")},
	{name: "a SID and a name with a blank", code: reason.OK, change: text("v1 " + runner.ID + " S-1-5-21-1-2-3-1001 CI Agent")},
	{name: "clock 50 s ahead", code: reason.OK, change: func(c *ssh.Certificate) { shift(c, 50*time.Second) }},
	{name: "expired 50 s ago", code: reason.OK, change: func(c *ssh.Certificate) { shift(c, -MachineLifetime-50*time.Second) }},

	{name: "clock 70 s ahead", code: reason.ClockSkew, change: func(c *ssh.Certificate) { shift(c, 70*time.Second) }},
	{name: "expired 60 s ago", code: reason.MachineExpired, change: func(c *ssh.Certificate) { shift(c, -MachineLifetime-time.Minute) }},
	{name: "a second too long", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.ValidBefore++ }},
	{name: "for ever", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.ValidBefore = math.MaxUint64 }},
	{name: "ends before it begins", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = c.ValidBefore, c.ValidAfter }},
	{name: "signed by another machine", code: reason.OtherMachine, signer: otherKey},
	{name: "signed by the caller", code: reason.OtherMachine, signer: callerKey},
	{name: "names another machine", code: reason.OtherMachine, change: text("v1 p2k4another00000a 1001 ansible")},
	{name: "account changed after signing", code: reason.TokenMalformed, after: text("v1 " + runner.ID + " 1001 another")},
	{name: "times changed after signing", code: reason.TokenMalformed, after: func(c *ssh.Certificate) { shift(c, time.Second) }},
	{name: "host certificate", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.CertType = ssh.HostCert }},
	{name: "critical option", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "id"} }},
	{name: "a principal", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root"} }},
	{name: "another extension", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.Extensions["permit-pty"] = "" }},
	{name: "a token too", code: reason.TokenMalformed, change: func(c *ssh.Certificate) { c.Extensions[ExtIDToken] = "e30.e30.e30" }},
	{name: "no extension", code: reason.TokenMissing, change: func(c *ssh.Certificate) { c.Extensions = nil }},
	{name: "empty", code: reason.TokenMalformed, change: text("")},
	{name: "another version", code: reason.TokenMalformed, change: text("v2 " + runner.ID + " 1001 ansible")},
	{name: "no account", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 1001")},
	{name: "empty account", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 1001 ")},
	{name: "two blanks", code: reason.TokenMalformed, change: text("v1 " + runner.ID + "  1001 ansible")},
	{name: "blank after the account", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 1001 ansible ")},
	{name: "newline", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 1001 ansible\n")},
	{name: "a number for an account", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 1001 0")},
	{name: "signed number", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 1001 +0")},
	{name: "uid 0 under another name", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 0 toor")},
	{name: "root with another uid", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 1001 root")},
	{name: "uid with a zero before it", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 01001 ansible")},
	{name: "uid -1", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 4294967295 ansible")},
	{name: "uid of 33 bits", code: reason.TokenMalformed, change: text("v1 " + runner.ID + " 4294968297 ansible")},
	{name: "no id of a machine", code: reason.TokenMalformed, change: text("v1 x 1001 ansible")},
}

func shift(c *ssh.Certificate, d time.Duration) {
	c.ValidAfter, c.ValidBefore = c.ValidAfter+uint64(d/time.Second), c.ValidBefore+uint64(d/time.Second)
}

func resign(t testing.TB, c *ssh.Certificate, key ed25519.PrivateKey) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
}

func generateMachine(t testing.TB) machineFile {
	f := machineFile{
		About: "Machine certificates (extension machine@lanyard) and the code that each gives from a connection of source.",
		Now:   testNow, Source: runner,
	}
	for _, tc := range machineCases {
		c, err := MintMachine(machineKey, publicOf(t, callerKey), ansible, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if tc.change != nil {
			tc.change(c)
		}
		key := tc.signer
		if key == nil {
			key = machineKey
		}
		resign(t, c, key)
		if tc.after != nil {
			tc.after(c)
		}
		m, _ := (&Trust{}).VerifyMachine(c, runner, testNow)
		f.Vectors = append(f.Vectors, machineVector{Name: tc.name, Certificate: c.Marshal(), Code: tc.code, Machine: m})
	}
	return f
}

func readMachineVectors(t testing.TB) machineFile {
	t.Helper()
	raw, err := os.ReadFile(machineVectorPath)
	if err != nil {
		t.Fatal(err)
	}
	var f machineFile
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMachineVectors(t *testing.T) {
	if *update {
		raw, err := json.MarshalIndent(generateMachine(t), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(machineVectorPath, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := readMachineVectors(t)
	if len(f.Vectors) != len(machineCases) {
		t.Errorf("%s has %d vectors, the generator makes %d; run with -update", machineVectorPath, len(f.Vectors), len(machineCases))
	}
	for _, v := range f.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			m, err := (&Trust{}).VerifyMachine(parseCertificate(t, v.Certificate), f.Source, f.Now)
			if codeOf(err) != v.Code || (m != nil) != (v.Code == reason.OK) {
				t.Fatalf("%+v, %v; want %s", m, err, v.Code)
			}
			if m != nil && (m.Peer != v.Machine.Peer || m.Account != v.Machine.Account || m.AccountID != v.Machine.AccountID || !m.Expires.Equal(v.Machine.Expires)) {
				t.Errorf("%+v, want %+v", m, v.Machine)
			}
		})
	}
	if !t.Failed() && !reflect.DeepEqual(f.Source.MachineKey, runner.MachineKey) {
		t.Error("the file's source is another one")
	}
}

// A machine's word is good for connections of that machine, whatever its name; a peer without a known key has none.
func TestMachineCertificateIsGoodFromItsOwnMachineOnly(t *testing.T) {
	c, err := MintMachine(machineKey, publicOf(t, callerKey), ansible, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Trust{}).VerifyMachine(c, runner, testNow); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]api.Peer{
		"another machine":              {ID: "p2k4another00000a", MachineKey: otherKey.Public().(ed25519.PublicKey)},
		"another id with the same key": {ID: "p2k4another00000a", MachineKey: runner.MachineKey},
		"the id with another key":      {ID: runner.ID, MachineKey: otherKey.Public().(ed25519.PublicKey)},
		"no key":                       {ID: runner.ID},
	} {
		if m, err := (&Trust{}).VerifyMachine(c, source, testNow); codeOf(err) != reason.OtherMachine {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	// Time is never earlier than the newest map.
	if _, err := (&Trust{MapTime: testNow.Add(time.Hour)}).VerifyMachine(c, runner, testNow); codeOf(err) != reason.MachineExpired {
		t.Error(err)
	}
}

func TestMintMachineRefusesWhatNoServerTakes(t *testing.T) {
	login := publicOf(t, callerKey)
	for name, m := range map[string]Machine{
		"no account":  {Peer: runner.ID, AccountID: "1001"},
		"a number":    {Peer: runner.ID, AccountID: "1001", Account: "1001"},
		"uid 0":       {Peer: runner.ID, AccountID: "0", Account: "toor"},
		"no peer":     {AccountID: "1001", Account: "ansible"},
		"a blank id":  {Peer: runner.ID, AccountID: "1001 ", Account: "ansible"},
		"an id added": {Peer: runner.ID + " 1001", AccountID: "0", Account: "ansible"},
	} {
		if c, err := MintMachine(machineKey, login, m, testNow); err == nil {
			t.Errorf("%s: %q", name, c.Extensions)
		}
	}
	cert, err := MintMachine(machineKey, login, ansible, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MintMachine(machineKey, cert, ansible, testNow); err == nil {
		t.Error("a certificate was certified")
	}
}

// FuzzVerifyMachine: what is accepted was signed by the machine, and is what it said.
func FuzzVerifyMachine(f *testing.F) {
	file := readMachineVectors(f)
	signed := map[string]bool{}
	for _, v := range file.Vectors {
		f.Add(v.Certificate)
		if v.Code == reason.OK {
			signed[parseCertificate(f, v.Certificate).Extensions[ExtMachine]] = true
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pub, err := ssh.ParsePublicKey(data)
		if err != nil {
			return
		}
		c, ok := pub.(*ssh.Certificate)
		if !ok {
			return
		}
		m, err := (&Trust{}).VerifyMachine(c, runner, testNow)
		if err != nil {
			if m != nil || !codeOf(err).Known() {
				t.Fatalf("%+v, %v", m, err)
			}
			return
		}
		if !signed[m.text()] || m.text() != c.Extensions[ExtMachine] {
			t.Fatalf("accepted %+v", m)
		}
	})
}

// FuzzParseMachine: the text and what it says are one.
func FuzzParseMachine(f *testing.F) {
	for _, v := range readMachineVectors(f).Vectors {
		f.Add(parseCertificate(f, v.Certificate).Extensions[ExtMachine])
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMachine(s)
		if err == nil && (m.text() != s || strings.ContainsAny(m.Peer+m.AccountID, " \n") || m.AccountID == "0" && m.Account != "root") {
			t.Fatalf("%q read as %+v", s, m)
		}
	})
}
