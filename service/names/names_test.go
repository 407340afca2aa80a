package names

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lanyard/mgmt/api"
)

func network(names ...string) *api.Map {
	m := &api.Map{
		Zone: api.Zone, Overlay4: netip.MustParsePrefix("100.110.0.0/16"), Overlay6: netip.MustParsePrefix("fd00:1::/48"),
		Self: api.Peer{Name: "laptop", Addr4: netip.MustParseAddr("100.110.0.1")},
	}
	for i, n := range names {
		m.Peers = append(m.Peers, api.Peer{Name: n, Addr4: netip.AddrFrom4([4]byte{100, 110, 1, byte(i)})})
	}
	return m
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

func TestNamesComeAndGoAndTheRestStays(t *testing.T) {
	const own = "127.0.0.1 localhost\n# mine\n192.0.2.1 nas # no newline at the end"
	name := file(t, own)
	m := network("web-1", "db")
	m.Peers[0].Addr6 = netip.MustParseAddr("fd00:1::5")
	if err := Apply(name, "default", m); err != nil {
		t.Fatal(err)
	}
	const part = "# BEGIN Lanyard default: written by the service, changes in here are lost\n" +
		"100.110.1.1\tdb.lanyard.internal\n100.110.0.1\tlaptop.lanyard.internal\n" +
		"100.110.1.0\tweb-1.lanyard.internal\nfd00:1::5\tweb-1.lanyard.internal\n# END Lanyard default\n"
	if got := text(t, name); got != own+"\n"+part {
		t.Fatalf("hosts:\n%s", got)
	}
	// Another profile and a person's later line stand beside it.
	if err := Apply(name, "prod", network("web-1")); err != nil {
		t.Fatal(err)
	}
	f, _ := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString("192.0.2.2 later\n")
	f.Close()
	if err := Apply(name, "default", network("new")); err != nil {
		t.Fatal(err)
	}
	got := text(t, name)
	if strings.Contains(got, "db.lan") || !strings.Contains(got, "new.lan") || !strings.Contains(got, "later") || strings.Count(got, "BEGIN") != 2 {
		t.Fatalf("hosts:\n%s", got)
	}
	for _, profile := range []string{"default", "prod", "default"} {
		if err := Remove(name, profile); err != nil {
			t.Fatal(err)
		}
	}
	if got := text(t, name); got != own+"\n192.0.2.2 later\n" {
		t.Fatalf("after removal:\n%s", got)
	}
	if fi, _ := os.Stat(name); fi.Mode().Perm() != 0o644 && newline == "\n" {
		t.Errorf("mode %o", fi.Mode().Perm())
	}
}

func TestAMapGivesNoNameOfTheRestOfTheWorld(t *testing.T) {
	for _, zone := range []string{"com", "", "evil.com", "lanyard.internal.evil.com", "x\nlanyard.internal", "a b.lanyard.internal", ".lanyard.internal"} {
		m := network("google", "a b", "x\n1.2.3.4 bank.example", "*", "web.evil")
		m.Zone = zone
		m.Peers = append(m.Peers, api.Peer{Name: "outside", Addr4: netip.MustParseAddr("192.0.2.7")},
			api.Peer{Name: "six", Addr6: netip.MustParseAddr("2001:db8::1")})
		for line := range strings.Lines(string(render("default", m))) {
			line = strings.TrimRight(line, "\r\n")
			if strings.HasPrefix(line, "#") {
				continue
			}
			addr, host, _ := strings.Cut(line, "\t")
			if !strings.HasPrefix(addr, "100.110.") || host != "google.lanyard.internal" && host != "laptop.lanyard.internal" {
				t.Errorf("zone %q gives the line %q", zone, line)
			}
		}
	}
	m := network("web-1")
	m.Zone = "prod.lanyard.internal"
	if !bytes.Contains(render("default", m), []byte("\tweb-1.prod.lanyard.internal")) {
		t.Error("a zone below ours is not used")
	}
}

func TestADamagedPartIsLeftAlone(t *testing.T) {
	for _, old := range []string{
		string(begin("default")) + "\n1.2.3.4 x\n", "1.2.3.4 x\n" + string(end("default")) + "\n",
		string(end("default")) + "\n" + string(begin("default")) + "\n",
	} {
		name := file(t, old)
		if err := Apply(name, "default", network("web-1")); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", old, err)
		}
		if got := text(t, name); got != old {
			t.Errorf("%q became %q", old, got)
		}
	}
}

func TestALinkIsRefused(t *testing.T) {
	name := file(t, "127.0.0.1 localhost\n")
	link := name + ".link"
	if err := os.Symlink(name, link); err != nil {
		t.Skip("no symbolic links here: " + err.Error())
	}
	if err := Apply(link, "default", network("web-1")); err == nil {
		t.Error("a link was written through")
	}
	if strings.Contains(text(t, name), "Lanyard") {
		t.Error("the link's target changed")
	}
	if err := Remove(filepath.Join(t.TempDir(), "none"), "default"); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
}

func FuzzReplace(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost\n"), true)
	f.Add([]byte(string(begin("default"))+"\n1.2.3.4 x\n"+string(end("default"))+"\nrest"), false)
	f.Fuzz(func(t *testing.T, old []byte, add bool) {
		part := render("default", network("web-1"))
		if !add {
			part = nil
		}
		once, err := replace(old, "default", part)
		if err != nil {
			return
		}
		twice, err := replace(once, "default", part)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not stable: %q, then %q (%v)", once, twice, err)
		}
		gone, err := replace(once, "default", nil)
		if err != nil {
			t.Fatal(err)
		}
		if from, _ := line(old, begin("default")); from < 0 && !bytes.HasPrefix(gone, old) {
			t.Fatalf("%q became %q", old, gone)
		}
	})
}

func TestOtherProfilesNamesEndInTheProfile(t *testing.T) {
	for profile, want := range map[string]string{"default": "web-1.lanyard.internal", "prod": "web-1.prod.lanyard.internal"} {
		if got := Full(profile, "web-1", "lanyard.internal"); got != want {
			t.Errorf("%s: %s, want %s", profile, got, want)
		}
	}
	if a, b := Short("default", "web-1"), Short("prod", "web-1"); a != "web-1" || b != "web-1.prod" {
		t.Errorf("%s, %s", a, b)
	}
}
