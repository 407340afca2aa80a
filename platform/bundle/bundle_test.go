package bundle

import (
	"archive/zip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// packed are a bundle's parts by name.
func packed(t *testing.T, name string) map[string]string {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	all := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(b)
	}
	return all
}

func TestNothingThatLooksLikeASecretGoesIn(t *testing.T) {
	var s scrubber
	for _, c := range []struct{ in, want string }{
		{"key lk_abc.def used", "key lk_[removed] used"},
		{"Authorization: Bearer lat_abcdef", "Authorization: Bearer [removed]"},
		{"token=eyJhbGciOiJF.eyJpc3MiOiJo.c2ln end", "token=[removed] end"},
		{"HTTPS_PROXY=http://ann:hunter2@proxy:3128", "HTTPS_PROXY=http://ann:[removed]@proxy:3128"},
		{"https_proxy=http://ann:hunter@2much@proxy:3128/ http://proxy:3128/a@b", "https_proxy=http://ann:[removed]@proxy:3128/ http://proxy:3128/a@b"},
		{`{"refresh_token":"Chl3b3","id":"p1"}`, `{"refresh_token":[removed],"id":"p1"}`},
		{"password = 'a b' more", "password = [removed] more"},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\nrest", "[removed]\nrest"},
		{"-----BEGIN PRIVATE KEY-----\ncut off", "[removed]"},
		{"#sha256=7572397e8a67ffe1442d7bac93673ddca91aeee83e522ec71763db899c91bbd6", "#sha256=[removed]"},
		{"q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=", "[removed]"},
		// What helps stays.
		{"time=2026-11-22T14:40:08Z level=INFO msg=\"ended a session\" session=sks4nbralb3uyrrtr peer=laptop", ""},
		{"/Library/Application Support/Lanyard/default/state.json /home/ann/.ssh/lanyard-default-pabcdefghij234567-cert.pub", ""},
		{"/usr/local/share/lanyard/a-folder-with-a-long-name/and-one-more", ""},
		{"100.110.108.221:22 fd7a:115c:a1e0::1", ""},
		{"TestWhatAHostileServerCapturesIsWorthNothing", ""},
	} {
		if c.want == "" {
			c.want = c.in
		}
		if got := s.clean(c.in); got != c.want {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
}

func TestKnownSecretsAreFoundHoweverTheyAreWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.zip")
	b, err := Create(name, time.Unix(1.7e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	const secret = "correct horse staple"
	b.Secret(secret, "short")
	raw := []byte("correct horse staple")
	text := strings.Join([]string{
		secret, base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), hex.EncodeToString(raw), "a short word",
	}, "|")
	b.Text("a.txt", text)
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(strings.Repeat("x ", maxPart/2)+"\nlast: "+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	b.File("log.txt", file)
	b.File("absent.txt", file+"-not")
	b.JSON("j.json", map[string]string{"what": secret})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	all := packed(t, name)
	if got, want := all["a.txt"], strings.Repeat(gone+"|", 4)+"a short word"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !strings.HasSuffix(all["log.txt"], "last: "+gone) || len(all["log.txt"]) > maxPart+len(gone) {
		t.Errorf("of the log there are %d bytes: ...%q", len(all["log.txt"]), all["log.txt"][max(0, len(all["log.txt"])-40):])
	}
	if strings.Contains(all["j.json"], secret) || len(all) != 3 {
		t.Errorf("%q", all)
	}
	if fi, err := os.Stat(name); err != nil || fi.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("%v, %v", fi, err)
	}
	if _, err := Create(name, time.Now()); err == nil {
		t.Error("an existing file was replaced")
	}
}

// Of a long text only the end goes in, and not what is left of a secret that the cut goes through.
func TestCutSecretsLeaveNothingBehind(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.zip")
	b, err := Create(name, time.Unix(1.7e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	const secret = "lk_only small letters and blanks"
	b.Secret(secret)
	text := secret + "\nwhat helps\n"
	text += strings.Repeat("y", maxPart+2-len(text)) // the cut goes behind the secret's second letter
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Text("a.txt", text)
	b.File("log.txt", file)
	b.Text("short.txt", "one line without an end")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	all := packed(t, name)
	for _, part := range []string{"a.txt", "log.txt"} {
		if got := all[part]; !strings.HasPrefix(got, "what helps\n") {
			t.Errorf("%s begins with %q", part, got[:min(len(got), 60)])
		}
	}
	if all["short.txt"] != "one line without an end" {
		t.Errorf("%q", all["short.txt"])
	}
}
