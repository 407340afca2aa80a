package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// newContents makes packages of the server, too, with tiny programs in place of the real ones.
func newContents(t *testing.T, programs ...string) *signer {
	t.Helper()
	t.Parallel()
	s := newSigner(t, programs...)
	s.job.packages = []program{peer, server}
	for system, from := range map[string]string{"linux": "tiny-linux", "windows": "tiny-windows", "darwin": "tiny-darwin", "freebsd": s.tiny("freebsd")} {
		if system != "freebsd" {
			from = filepath.Join(s.dir, from, "tiny")
		}
		for _, p := range []program{peer, helper, server, tray} {
			if p != tray || system != "darwin" {
				s.job.programs[target{p, system, "amd64"}] = from
			}
		}
	}
	return s
}

// made are the files that were written, by name.
func (s *signer) made() map[string][]byte {
	s.t.Helper()
	entries, err := os.ReadDir(s.job.out)
	if err != nil {
		s.t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(s.job.out, e.Name())); err != nil {
			s.t.Fatal(err)
		}
	}
	return files
}

// packed is a file of an archive.
type packed struct {
	mode os.FileMode
	time time.Time
	data []byte
}

func readTar(t *testing.T, b []byte) map[string]packed {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if z.Name != "" || z.ModTime.Unix() > 0 {
		t.Errorf("the archive says that it is %q of %s", z.Name, z.ModTime)
	}
	files := map[string]packed{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" || h.Gname != "root" || h.Typeflag != tar.TypeReg {
			t.Errorf("%s is of %s (%d):%s (%d), type %c", h.Name, h.Uname, h.Uid, h.Gname, h.Gid, h.Typeflag)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = packed{h.FileInfo().Mode(), h.ModTime.UTC(), data}
	}
}

func readZip(t *testing.T, b []byte) map[string]packed {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]packed{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in) // and its CRC
		if err = errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
		files[f.Name] = packed{f.Mode(), f.Modified.UTC(), data}
	}
	return files
}

func TestArchivesHoldThePrograms(t *testing.T) {
	s := newContents(t)
	if err := s.job.archives(t.Context()); err != nil {
		t.Fatal(err)
	}
	made := s.made()
	if names := slices.Sorted(maps.Keys(made)); !slices.Equal(names, []string{
		"lanyard-1.2.3-darwin-amd64.tar.gz", "lanyard-1.2.3-freebsd-amd64.tar.gz", "lanyard-1.2.3-linux-amd64.tar.gz", "lanyard-1.2.3-windows-amd64.zip",
	}) {
		t.Errorf("the archives are %q", names)
	}
	texts := []string{"CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"}
	for system, programs := range map[string][]string{
		"linux": {"lanyard", "lanyard-helper", "lanyard-mgmt", "lanyard-tray"}, "freebsd": {"lanyard", "lanyard-helper", "lanyard-mgmt", "lanyard-tray"},
		"darwin":  {"lanyard", "lanyard-helper", "lanyard-mgmt"},
		"windows": {"lanyard.exe", "lanyard-mgmt.exe", "lanyard-tray.exe"},
	} {
		top := "lanyard-1.2.3-" + system + "-amd64"
		var files map[string]packed
		if system == "windows" {
			files = readZip(t, made[top+".zip"])
		} else {
			files = readTar(t, made[top+".tar.gz"])
		}
		if len(files) != len(programs)+len(texts) {
			t.Errorf("%s holds %q", top, slices.Sorted(maps.Keys(files)))
		}
		want := func(name, source string, mode os.FileMode) {
			t.Helper()
			f := files[top+"/"+name]
			b, err := os.ReadFile(source)
			if err != nil || !bytes.Equal(b, f.data) || f.mode != mode || !f.time.Equal(s.job.version.Time) {
				t.Errorf("%s: %s has %d bytes, want the %d of %s; its mode is %v, its time %s (%v)", top, name, len(f.data), len(b), source, f.mode, f.time, err)
			}
		}
		for _, p := range programs {
			want(p, filepath.Join(s.dir, "tiny-"+system, "tiny"), 0o755)
		}
		for _, name := range texts {
			want(name, filepath.Join("..", name), 0o644)
		}
	}
}

// The bill of materials is held against what the compiler's own tool says of the program: this test's, which has the
// modules of the installer and its tests.
func TestBillsNameEachModule(t *testing.T) {
	s := newContents(t)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.job.programs[target{server, "linux", "amd64"}] = own
	if err := s.job.bills(t.Context()); err != nil {
		t.Fatal(err)
	}
	made := s.made()
	var names []string
	for system, programs := range map[string][]string{
		"linux": {"lanyard", "lanyard-helper", "lanyard-mgmt", "lanyard-tray"}, "freebsd": {"lanyard", "lanyard-helper", "lanyard-mgmt", "lanyard-tray"},
		"darwin":  {"lanyard", "lanyard-helper", "lanyard-mgmt"},
		"windows": {"lanyard", "lanyard-mgmt", "lanyard-tray"},
	} {
		for _, p := range programs {
			names = append(names, p+"-1.2.3-"+system+"-amd64.cdx.json")
		}
	}
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(made)); !slices.Equal(got, names) {
		t.Errorf("the bills are %q, want %q", got, names)
	}
	for name, b := range made {
		checkBill(t, name, b)
	}
	// dep	PATH	VERSION	SUM, and =>	PATH	VERSION	SUM where another one takes its place.
	want := map[string]string{}
	last := ""
	for line := range strings.Lines(s.do("go", "version", "-m", own)) {
		switch f := strings.Fields(line); {
		case len(f) >= 3 && f[0] == "dep":
			last = f[1]
			want[last] = f[2]
		case len(f) >= 3 && f[0] == "=>":
			delete(want, last)
			want[f[1]] = f[2]
		case strings.HasPrefix(line, own+": "):
			want["std"] = strings.TrimSpace(strings.TrimPrefix(line, own+": "))
		}
	}
	if len(want) < 20 {
		t.Fatalf("this program is made of %d modules only: %v", len(want), want)
	}
	var bill struct {
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(made["lanyard-mgmt-1.2.3-linux-amd64.cdx.json"], &bill); err != nil {
		t.Fatal(err)
	}
	for _, c := range bill.Components {
		if v, ok := want[c.Name]; !ok || v != c.Version || c.PURL != "pkg:golang/"+c.Name+"@"+strings.ReplaceAll(v, "+", "%2B") {
			t.Errorf("the bill has %s %s (%s), the program %q", c.Name, c.Version, c.PURL, v)
		}
		delete(want, c.Name)
	}
	if len(want) > 0 {
		t.Errorf("the bill has nothing of %v", want)
	}
}

// checkBill reads a bill strictly, as what CycloneDX 1.5 asks of the parts that are used here.
func checkBill(t *testing.T, name string, b []byte) {
	t.Helper()
	type part struct {
		Type       string
		Ref        string `json:"bom-ref"`
		Name       string
		Version    string
		PURL       string
		Licenses   []struct{ License struct{ ID string } }
		Properties []struct{ Name, Value string }
	}
	var bill struct {
		BOMFormat   string
		SpecVersion string
		Version     int
		Metadata    struct {
			Timestamp time.Time
			Component part
		}
		Components []part
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&bill); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	own := bill.Metadata.Component
	if bill.BOMFormat != "CycloneDX" || bill.SpecVersion != "1.5" || bill.Version != 1 || bill.Metadata.Timestamp.Unix() != 1700000000 {
		t.Errorf("%s begins with %s %s %d of %s", name, bill.BOMFormat, bill.SpecVersion, bill.Version, bill.Metadata.Timestamp)
	}
	if own.Type != "application" || !strings.HasPrefix(name, own.Name+"-"+own.Version+"-") || len(own.Licenses) != 1 || own.Licenses[0].License.ID != license {
		t.Errorf("%s is of %+v", name, own)
	}
	seen := map[string]bool{own.Ref: true}
	for _, c := range bill.Components {
		if c.Type != "library" || c.Name == "" || c.Version == "" || c.Ref == "" || seen[c.Ref] || c.Ref != c.PURL {
			t.Errorf("%s has the component %+v", name, c)
		}
		seen[c.Ref] = true
	}
}

// The server's package for FreeBSD: whose state it is, what starts it, and no tray and no ssh configuration in it.
func TestFreeBSDServerPackage(t *testing.T) {
	s := newContents(t, "bsdtar")
	s.job.packages = []program{server}
	program := s.job.programs[target{server, "freebsd", "amd64"}]
	if err := s.job.freebsd(t.Context()); err != nil {
		t.Fatal(err)
	}
	made := s.made()
	if names := slices.Sorted(maps.Keys(made)); !slices.Equal(names, []string{"lanyard-mgmt-1.2.3-freebsd14-amd64.pkg", "lanyard-mgmt-1.2.3-freebsd15-amd64.pkg"}) {
		t.Fatalf("the packages are %q", names)
	}
	for name := range made {
		dir := t.TempDir()
		s.do("bsdtar", "-x", "-p", "-f", filepath.Join(s.job.out, name), "-C", dir)
		b, err := os.ReadFile(filepath.Join(dir, "+MANIFEST"))
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Name, Version, ABI string
			Files, Scripts     map[string]string
		}
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if m.Name != "lanyard-mgmt" || m.Version != "1.2.3" || m.ABI != "FreeBSD:"+name[len("lanyard-mgmt-1.2.3-freebsd"):][:2]+":amd64" {
			t.Errorf("%s says that it is %s %s for %s", name, m.Name, m.Version, m.ABI)
		}
		if got := slices.Sorted(maps.Keys(m.Files)); !slices.Equal(got, []string{
			"/usr/local/bin/lanyard-mgmt", "/usr/local/etc/rc.d/lanyard_mgmt", "/usr/local/share/licenses/lanyard-mgmt/LICENSE", "/usr/local/share/man/man8/lanyard-mgmt.8.gz",
		}) {
			t.Errorf("%s holds %q", name, got)
		}
		for file, sum := range m.Files {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil || fmt.Sprintf("1$%x", sha256.Sum256(b)) != sum {
				t.Errorf("%s: %s has another checksum than %s (%v)", name, file, sum, err)
			}
		}
		if want, err := os.ReadFile(program); err != nil || m.Files["/usr/local/bin/lanyard-mgmt"] != fmt.Sprintf("1$%x", sha256.Sum256(want)) {
			t.Errorf("%s holds another program (%v)", name, err)
		}
		rc, err := os.ReadFile(filepath.Join(dir, "usr/local/etc/rc.d/lanyard_mgmt"))
		if err != nil || !bytes.Contains(rc, []byte("/usr/local/bin/lanyard-mgmt serve")) || !bytes.Contains(rc, []byte(`rcvar="lanyard_mgmt_enable"`)) {
			t.Errorf("%s: rc.d/lanyard_mgmt is %v\n%s", name, err, rc)
		}
		if fi, err := os.Stat(filepath.Join(dir, "usr/local/etc/rc.d/lanyard_mgmt")); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: rc.d/lanyard_mgmt: %v, %v", name, fi, err)
		}
		if post := m.Scripts["post-install"]; !strings.Contains(post, "pw useradd lanyard-mgmt") || strings.Contains(post, "ssh-config") {
			t.Errorf("%s: after installing it runs\n%s", name, post)
		}
		for script, text := range m.Scripts {
			c := exec.Command("sh", "-n")
			c.Stdin = strings.NewReader(text)
			if out, err := c.CombinedOutput(); err != nil || strings.Contains(text, "@") {
				t.Errorf("%s: %s: %v: %s\n%s", name, script, err, out, text)
			}
		}
	}
}

// sha256sum(1) reads what was written, and finds a file that was changed.
func TestSumsAreReadBySha256sum(t *testing.T) {
	s := newContents(t)
	if err := errors.Join(s.job.bills(t.Context()), s.job.sums()); err != nil {
		t.Fatal(err)
	}
	made := s.made()
	check := func() (string, error) {
		return s.try("sh", "-c", "cd \"$1\" && LC_ALL=C sha256sum --strict -c SHA256SUMS", "sh", s.job.out)
	}
	out, err := check()
	if err != nil || strings.Count(out, ": OK\n") != len(made)-1 || strings.Count(out, "\n") != len(made)-1 {
		t.Errorf("for %d files: %v\n%s", len(made)-1, err, out)
	}
	changed := filepath.Join(s.job.out, "lanyard-1.2.3-linux-amd64.cdx.json")
	if err := os.WriteFile(changed, append(made[filepath.Base(changed)], 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := check(); err == nil || !strings.Contains(out, filepath.Base(changed)+": FAILED") {
		t.Errorf("a changed file: %v\n%s", err, out)
	}
}
