package limits

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/policy"
	"lanyard/sshd/token"
)

const key = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

const whole = `# who may come in here
issuers:
  - url: https://id.example.com
    client_id: lanyard
    keys: [` + key + `]
    login_lifetime: 12h
accounts: [deploy, "ann"]
machine_identity: false
`

func TestLimitsSayWhatTheirFileSays(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Limits
	}{
		"all of it": {whole, Limits{
			Trust: &token.Limits{Issuers: []token.IssuerLimit{{
				URL: "https://id.example.com", ClientID: "lanyard", Keys: []string{key}, LoginLifetime: 12 * time.Hour,
			}}},
			Policy: &policy.Limits{Accounts: []string{"deploy", "ann"}, NoMachines: true},
		}},
		"accounts only":    {"accounts: [deploy]\n", Limits{Policy: &policy.Limits{Accounts: []string{"deploy"}}}},
		"no account":       {"accounts: []\n", Limits{Policy: &policy.Limits{Accounts: []string{}}}},
		"no issuer":        {"issuers: []\n", Limits{Trust: &token.Limits{Issuers: []token.IssuerLimit{}}}},
		"no for false":     {"machine_identity: no\n", Limits{Policy: &policy.Limits{NoMachines: true}}},
		"machines are let": {"machine_identity: true\n", Limits{Policy: &policy.Limits{}}},
	} {
		got, err := Parse([]byte(c.text))
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

var wrong = map[string]struct{ text, says string }{
	"empty":                     {"", "empty"},
	"only a comment":            {"# nothing\n", "empty"},
	"nothing in it":             {"{}\n", "not a list of settings"},
	"a list":                    {"- deploy\n", "not a list of settings"},
	"a word of no meaning":      {"account: [deploy]\n", "account"},
	"one inside an issuer":      {"issuers: [{url: 'https://id.example.com', key: []}]\n", "key"},
	"another case":              {"Accounts: [deploy]\n", "Accounts"},
	"a setting twice":           {"accounts: [a]\naccounts: [b]\n", "accounts"},
	"no value":                  {"accounts:\n", "missing"},
	"null":                      {"issuers: null\n", "missing"},
	"a number for an account":   {"accounts: [0]\n", "not a text"},
	"a truth for an account":    {"accounts: [true]\n", "not a text"},
	"a star":                    {"accounts: ['*']\n", "no name of an account"},
	"accounts without a list":   {"accounts: deploy\n", "cannot unmarshal"},
	"a text for a truth":        {"machine_identity: 'false'\n", "cannot unmarshal"},
	"an issuer without url":     {"issuers: [{client_id: x}]\n", "no address of an issuer"},
	"a key that is none":        {"issuers: [{url: 'https://id.example.com', keys: [abc]}]\n", "no thumbprint"},
	"an empty list of keys":     {"issuers: [{url: 'https://id.example.com', keys: []}]\n", "empty list of keys"},
	"a time that is none":       {"issuers: [{url: 'https://id.example.com', login_lifetime: 12}]\n", "no length of time"},
	"an alias":                  {"accounts: &a [deploy]\nissuers: *a\n", "anchors"},
	"a tag":                     {"accounts: !!set {deploy}\n", "tags"},
	"a second document":         {"accounts: [deploy]\n---\naccounts: [root]\n", "more than one document"},
	"a garbled one":             {"accounts: [deploy\n", "line"},
	"too long":                  {"accounts: [" + strings.Repeat("a,", maxFile) + "]\n", "longer than"},
	"an account with a newline": {"accounts: [\"a\\nb\"]\n", "control characters"},
}

func TestWrongLimitsAreRefused(t *testing.T) {
	if _, err := Parse([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	for name, c := range wrong {
		if l, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

func TestLimitsFileOfOthersIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "limits.yaml")
	if l, err := Load(name); err != nil || l.Trust != nil || l.Policy != nil {
		t.Errorf("without a file: %+v, %v", l, err)
	}
	if err := os.WriteFile(name, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	if l, err := Load(name); err != nil || l.Trust == nil {
		t.Errorf("%+v, %v", l, err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(name, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(name); err == nil || !strings.Contains(err.Error(), "admits nobody") || !strings.Contains(err.Error(), name) {
			t.Errorf("a file that all may write: %v", err)
		}
	}
	b := Broken()
	if b.Trust == nil || b.Policy == nil || !b.Policy.Broken {
		t.Errorf("%+v", b)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	for _, c := range wrong {
		if len(c.text) < 1000 {
			f.Add([]byte(c.text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if (l == nil) != (err != nil) {
			t.Fatalf("%+v, %v", l, err)
		}
		if err != nil {
			return
		}
		if l.Trust == nil && l.Policy == nil {
			t.Fatal("a file that limits nothing was taken")
		}
		if l.Policy != nil {
			for _, a := range l.Policy.Accounts {
				if a == "" || strings.ContainsAny(a, "*\n") {
					t.Fatalf("account %q", a)
				}
			}
		}
	})
}
