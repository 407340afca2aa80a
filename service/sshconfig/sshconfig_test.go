package sshconfig

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
)

// home is a person's folder with a real ssh, a drop-in and a helper that notes its calls.
type home struct {
	t    *testing.T
	dir  string
	in   Input
	mine string // the person's own configuration
}

func newHome(t *testing.T, m *api.Map) *home {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("ssh is not installed")
	}
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(dir, "state"))
	p := paths.User("default")
	for _, d := range []string{p.State, p.SSHDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "lanyard")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s/calls\n", dir)
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return &home{t: t, dir: dir, in: Input{Map: m, Paths: p, Program: program}}
}

// config runs `ssh -G host` and returns what it says, by keyword; several values are joined by a blank.
func (h *home) config(host string) map[string]string {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.in.Paths.SSHDir, "config"), []byte(h.mine), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if _, err := Apply(h.in); err != nil {
		h.t.Fatal(err)
	}
	run, err := RunConfig(h.in.Paths)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("ssh", "-T", "-F", run, "-G", host) // -T: else ssh speaks of its stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		h.t.Fatalf("ssh -G %s: %v: %s", host, err, stderr.Bytes())
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if old, ok := got[k]; ok {
			v = old + " " + v
		}
		got[k] = v
	}
	return got
}

// calls returns the helper's calls since the last time.
func (h *home) calls() []string {
	b, _ := os.ReadFile(filepath.Join(h.dir, "calls"))
	os.Remove(filepath.Join(h.dir, "calls"))
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func hostKey(t testing.TB, machine ed25519.PrivateKey) (api.SignedKey, ssh.PublicKey) {
	t.Helper()
	pub, _, _ := ed25519.GenerateKey(rand.Reader)
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return api.SignedKey{Key: k.Marshal(), Sig: ed25519.Sign(machine, api.HostKeyMessage(k.Marshal()))}, k
}

func peer(t testing.TB, n int, name string) api.Peer {
	pub, priv, _ := ed25519.GenerateKey(rand.Reader)
	k, _ := hostKey(t, priv)
	return api.Peer{
		ID: fmt.Sprintf("p%016d", n), Name: name, ShortName: true, ServesSSH: true,
		Addr4:      netip.AddrFrom4([4]byte{100, 110, byte(n >> 8), byte(n)}),
		MachineKey: pub, HostKeys: []api.SignedKey{k},
	}
}

func network(t testing.TB, peers ...api.Peer) *api.Map {
	return &api.Map{
		Format: 1, Zone: "lanyard.internal", Overlay4: netip.MustParsePrefix("100.110.0.0/16"),
		Self: api.Peer{ID: "pself0000000000a", Name: "laptop", Addr4: netip.MustParseAddr("100.110.255.1")}, Peers: peers,
	}
}

func TestSSHReachesAMachineStrictlyAndOnce(t *testing.T) {
	web := peer(t, 1, "web-1")
	web.LoginAs = "deploy"
	h := newHome(t, network(t, web))
	for _, host := range []string{"web-1", "web-1.lanyard.internal", web.Addr4.String()} {
		got := h.config(host)
		for k, want := range Settings(h.in, web) {
			if got[k] != want {
				t.Errorf("%s: %s is %q, want %q", host, k, got[k], want)
			}
		}
		if got["user"] != "deploy" {
			t.Errorf("%s: user %q", host, got["user"])
		}
		if got["batchmode"] != "no" || got["loglevel"] != "INFO" || got["updatehostkeys"] == "true" {
			t.Errorf("%s: batchmode %q loglevel %q updatehostkeys %q", host, got["batchmode"], got["loglevel"], got["updatehostkeys"])
		}
		if calls := h.calls(); len(calls) != 1 || calls[0] != "openssh prepare default pself0000000000a "+web.Addr4.String() {
			t.Errorf("%s: helper calls %q", host, calls)
		}
	}
}

func TestStrictCheckingHoldsWhateverTheHelperSays(t *testing.T) {
	web := peer(t, 1, "web-1")
	h := newHome(t, network(t, web))
	for _, program := range []string{"#!/bin/sh\nexit 1\n", ""} {
		os.Remove(h.in.Program)
		if program != "" {
			os.WriteFile(h.in.Program, []byte(program), 0o755)
			got := h.config("web-1")
			if got["stricthostkeychecking"] != "true" || got["userknownhostsfile"] != "none" {
				t.Errorf("helper %q: %q %q", program, got["stricthostkeychecking"], got["userknownhostsfile"])
			}
		}
	}
}

func TestPersonsOwnEntryOfThatNameStaysTheirs(t *testing.T) {
	web := peer(t, 1, "web-1")
	web.LoginAs = "deploy"
	h := newHome(t, network(t, web))
	h.mine = "Host web-1\n  HostName 192.0.2.7\n"
	got := h.config("web-1")
	if got["hostname"] != "192.0.2.7" || got["user"] == "deploy" || got["stricthostkeychecking"] == "true" ||
		strings.Contains(got["identityfile"], "lanyard-") || got["userknownhostsfile"] == "none" {
		t.Errorf("ours applies to the person's own host: %v", got)
	}
	if c := h.calls(); c[0] != "" {
		t.Errorf("helper ran: %q", c)
	}
	// The name in the zone is still ours.
	if got := h.config("web-1.lanyard.internal"); got["hostname"] != web.Addr4.String() || got["user"] != "deploy" {
		t.Error("the full name does not lead to the machine")
	}
}

func TestOtherHostsPayNothing(t *testing.T) {
	h := newHome(t, network(t, peer(t, 1, "web-1")))
	h.mine = "Host *\n  ServerAliveInterval 7\n"
	got := h.config("example.org")
	if strings.Contains(got["identityfile"], "lanyard") || got["stricthostkeychecking"] != "ask" || got["identitiesonly"] != "no" {
		t.Errorf("another host is affected: %v", got)
	}
	if c := h.calls(); c[0] != "" {
		t.Errorf("helper ran: %q", c)
	}
	if got := h.config("web-1"); got["serveraliveinterval"] != "7" {
		t.Error("the person's own settings do not hold for our machines")
	}
}

func TestNameWithoutApprovalNeedsTheZone(t *testing.T) {
	web := peer(t, 1, "github")
	web.ShortName = false
	h := newHome(t, network(t, web))
	if got := h.config("github"); got["hostname"] != "github" {
		t.Errorf("a self-chosen name took over %q", got["hostname"])
	}
	if got := h.config("github.lanyard.internal"); got["hostname"] != web.Addr4.String() {
		t.Errorf("hostname %q", got["hostname"])
	}
}

func TestUserspaceGoesThroughTheService(t *testing.T) {
	web := peer(t, 1, "web-1")
	h := newHome(t, network(t, web))
	h.in.Userspace = true
	want := h.in.Program + " openssh connect default " + web.Addr4.String() + " 22"
	if got := h.config("web-1")["proxycommand"]; strings.ReplaceAll(strings.ReplaceAll(got, "%h", web.Addr4.String()), "%p", "22") != want {
		t.Errorf("proxycommand %q", got)
	}
	if got := h.config("example.org")["proxycommand"]; got != "" {
		t.Errorf("another host: %q", got)
	}
}

func TestYoungerTokensAreAskedForWhereAMachineWantsThem(t *testing.T) {
	web, db := peer(t, 1, "web-1"), peer(t, 2, "db-1")
	db.TokenAge = 300
	h := newHome(t, network(t, web, db))
	h.config("db-1")
	if c := h.calls(); len(c) != 1 || c[0] != "openssh prepare default pself0000000000a 300 "+db.Addr4.String() {
		t.Errorf("calls %q", c)
	}
	h.config("web-1")
	if c := h.calls(); len(c) != 1 || c[0] != "openssh prepare default pself0000000000a "+web.Addr4.String() {
		t.Errorf("calls %q", c)
	}
}

func TestMachineCertificateIsOfferedSecondAndOnlyWhereItIsTaken(t *testing.T) {
	web, db := peer(t, 1, "web-1"), peer(t, 2, "db-1")
	web.MachineAccounts = []string{"ansible", "a b", "$(id)", "builder"}
	h := newHome(t, network(t, web, db))
	key, cert, _ := h.in.Paths.Identity("pself0000000000a")
	mkey, mcert, _ := h.in.Paths.MachineIdentity("pself0000000000a")
	got := h.config("web-1")
	if got["identityfile"] != key+" "+mkey || got["certificatefile"] != cert+" "+mcert {
		t.Errorf("identityfile %q certificatefile %q", got["identityfile"], got["certificatefile"])
	}
	if c := h.calls(); len(c) != 1 || c[0] != "openssh prepare default pself0000000000a 0 ansible,builder "+web.Addr4.String() {
		t.Errorf("calls %q", c)
	}
	got = h.config("db-1")
	if got["identityfile"] != key || got["certificatefile"] != cert {
		t.Errorf("identityfile %q certificatefile %q", got["identityfile"], got["certificatefile"])
	}
	if c := h.calls(); len(c) != 1 || c[0] != "openssh prepare default pself0000000000a "+db.Addr4.String() {
		t.Errorf("calls %q", c)
	}
	f, err := Render(h.in)
	if err != nil || len(f.LeftOut) != 1 || !strings.Contains(f.LeftOut[0], `["a b" "$(id)"]`) {
		t.Errorf("left out: %q, %v", f.LeftOut, err)
	}
}

func TestOnlyVouchedHostKeysAreWritten(t *testing.T) {
	_, evil, _ := ed25519.GenerateKey(rand.Reader)
	web := peer(t, 1, "web-1")
	good := web.HostKeys[0]
	forged, _ := hostKey(t, evil)
	web.HostKeys = append(web.HostKeys, forged, api.SignedKey{Key: []byte("junk"), Sig: good.Sig})
	f, err := Render(Input{Map: network(t, web), Paths: paths.User("default"), Program: "/usr/bin/lanyard"})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(f.KnownHosts, []byte("\n")); n != 1 || !bytes.HasPrefix(f.KnownHosts, []byte(web.Addr4.String()+" ssh-ed25519 ")) {
		t.Errorf("known_hosts: %s", f.KnownHosts)
	}
}

func TestWhatIsNotAMachineIsLeftOut(t *testing.T) {
	ok := peer(t, 1, "ok")
	bad := map[string]func(*api.Peer){
		"name with a blank":   func(p *api.Peer) { p.Name = "a b" },
		"name with a pattern": func(p *api.Peer) { p.Name = "*" },
		"name with a newline": func(p *api.Peer) { p.Name = "x\nHost *" },
		"id":                  func(p *api.Peer) { p.ID = "p1\n" },
		"outside address":     func(p *api.Peer) { p.Addr4 = netip.MustParseAddr("192.0.2.1") },
		"no address":          func(p *api.Peer) { p.Addr4 = netip.Addr{} },
		"own address":         func(p *api.Peer) { p.Addr4 = netip.MustParseAddr("100.110.255.1") },
		"v6 as v4":            func(p *api.Peer) { p.Addr4 = netip.MustParseAddr("::ffff:100.110.0.9") },
		"same name":           func(p *api.Peer) { p.Name = "ok" },
		"same address":        func(p *api.Peer) { p.Addr4 = ok.Addr4 },
	}
	for name, spoil := range bad {
		p := peer(t, 2, "bad")
		spoil(&p)
		f, err := Render(Input{Map: network(t, ok, p), Paths: paths.User("default"), Program: "/usr/bin/lanyard"})
		if err != nil {
			t.Fatal(err)
		}
		if len(f.LeftOut) == 0 || bytes.Count(f.Config, []byte("\tHostName ")) > 1 || bytes.Count(f.KnownHosts, []byte("\n")) > 1 {
			t.Errorf("%s was written:\n%s", name, f.Config)
		}
	}
	p := peer(t, 1, "ok")
	p.LoginAs = "-oProxyCommand=x"
	f, _ := Render(Input{Map: network(t, p), Paths: paths.User("default"), Program: "/usr/bin/lanyard"})
	if bytes.Contains(f.Config, []byte("User ")) {
		t.Error("a hostile account was written")
	}
}

func TestProgramPathCannotCarryCommands(t *testing.T) {
	for _, p := range []string{"lanyard", "/opt/$(id)/lanyard", `/opt/"x/lanyard`, "/opt/%r/lanyard", "/opt/a;b", "/opt/a\nb"} {
		if _, err := Render(Input{Map: network(t), Paths: paths.User("default"), Program: p}); err == nil {
			t.Errorf("accepted %q", p)
		}
	}
}

func TestSetupAddsOneIncludeThatIsReadLast(t *testing.T) {
	web := peer(t, 1, "web-1")
	h := newHome(t, network(t, web))
	if _, err := Apply(h.in); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(h.in.Paths.SSHDir, "config")
	os.WriteFile(name, []byte("Host other\n  HostName 192.0.2.1"), 0o644)
	for range 2 {
		if err := Include(h.in.Paths); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := os.ReadFile(name)
	if n := bytes.Count(b, []byte("Include ")); n != 1 {
		t.Fatalf("%d Include lines:\n%s", n, b)
	}
	if fi, _ := os.Stat(name); fi.Mode().Perm() != 0o644 {
		t.Errorf("mode became %v", fi.Mode())
	}
	for host, want := range map[string]string{"web-1": web.Addr4.String(), "other": "192.0.2.1"} {
		out, err := exec.Command("ssh", "-F", name, "-G", host).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("hostname "+want+"\n")) {
			t.Errorf("%s: %v %s", host, err, out)
		}
	}
}

func TestApplyDoesNotFollowLinks(t *testing.T) {
	h := newHome(t, network(t, peer(t, 1, "web-1")))
	victim := filepath.Join(h.dir, "victim")
	os.WriteFile(victim, []byte("keep"), 0o644)
	os.Symlink(victim, h.in.Paths.DropIn)
	if _, err := Apply(h.in); err == nil {
		t.Error("wrote through a link")
	}
	if b, _ := os.ReadFile(victim); string(b) != "keep" {
		t.Errorf("victim: %q", b)
	}
	if err := Remove(h.in.Paths); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(h.in.Paths.DropIn); err == nil {
		t.Error("Remove left the drop-in")
	}
}

func TestThousandsOfMachinesCostOthersLittle(t *testing.T) {
	const machines = 5000
	var peers []api.Peer
	for i := range machines {
		peers = append(peers, peer(t, i+1, fmt.Sprintf("machine-%d", i)))
	}
	h := newHome(t, network(t, peers...))
	h.config("example.org")
	run, _ := RunConfig(h.in.Paths)
	full := h.in.Paths.DropIn
	b, _ := os.ReadFile(full)
	few := filepath.Join(t.TempDir(), "few")
	os.WriteFile(few, []byte("Match all\n"), 0o600)
	cpu := func(argv ...string) time.Duration {
		cmd := exec.Command(argv[0], argv[1:]...)
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	ssh := func(dropIn string) time.Duration {
		if err := os.Rename(dropIn, full); err != nil {
			t.Fatal(err)
		}
		defer os.Rename(full, dropIn)
		return cpu("ssh", "-T", "-F", run, "-G", "example.org")
	}
	many := filepath.Join(filepath.Dir(few), "many")
	os.WriteFile(many, b, 0o600)
	// The least of many, in turns: what others do on this machine adds, never takes away. The bound is in programs that do
	// nothing, which cost more on a slow machine, too: 0.6 ms each on that where it was set.
	with, without, idle := time.Hour, time.Hour, time.Hour
	const most = machines / 150.0
	times := func() float64 { return float64(with-without) / float64(idle) }
	for n := 0; n < 30 || n < 200 && times() > most; n++ {
		with, without, idle = min(with, ssh(many)), min(without, ssh(few)), min(idle, cpu("true"))
	}
	t.Logf("%d machines (%d bytes) add %s to ssh -G, %.1f x /bin/true (%s)", machines, len(b), with-without, times(), idle)
	if times() > most {
		t.Errorf("%d machines add %.1f times /bin/true to ssh -G, want at most %.0f", machines, times(), most)
	}
}

func FuzzRender(f *testing.F) {
	f.Add("web-1", "p1", "deploy", "lanyard.internal", "ansible")
	f.Add("x\nHost *", "p1\n", "a b", "x\ny", "$(id)")
	f.Fuzz(func(t *testing.T, name, id, login, zone, account string) {
		m := network(t, api.Peer{
			ID: id, Name: name, ShortName: true, ServesSSH: true, LoginAs: login, MachineAccounts: []string{account},
			Addr4: netip.MustParseAddr("100.110.0.9"),
		})
		m.Zone = zone
		files, err := Render(Input{Map: m, Paths: paths.User("default"), Program: "/usr/bin/lanyard"})
		if err != nil {
			t.Fatal(err)
		}
		keywords := map[string]bool{
			"Host": true, "HostName": true, "Match": true, "User": true,
			"IdentityFile": true, "CertificateFile": true, "GlobalKnownHostsFile": true, "IdentitiesOnly": true,
			"AddKeysToAgent": true, "StrictHostKeyChecking": true, "UserKnownHostsFile": true, "VerifyHostKeyDNS": true, "ProxyCommand": true, "#": true,
		}
		lines := strings.Split(strings.TrimSuffix(string(files.Config), "\n"), "\n")
		if len(lines) > 25 {
			t.Fatalf("too many lines:\n%s", files.Config)
		}
		for _, l := range lines {
			word, rest, _ := strings.Cut(strings.TrimPrefix(l, "\t"), " ")
			if !keywords[word] || strings.Contains(rest, " exec ") && strings.ContainsAny(rest, "$`;&|<>\\'") || word == "Host" && strings.ContainsAny(rest, "*?!") {
				t.Fatalf("line %q in:\n%s", l, files.Config)
			}
		}
	})
}

func TestMachineOutOfReachSaysWhyByItsNamesOnly(t *testing.T) {
	m := network(t, peer(t, 3, "web-1"))
	m.Refused = []api.RefusedPeer{
		{Name: "db-1", ShortName: true, Code: "blocked"},
		{Name: "mail", Code: "blocked"},
		{Name: "x y", Code: "blocked"},
		{Name: "odd", Code: "; evil"},
	}
	h := newHome(t, m)
	h.mine = "Host db-1.elsewhere\n\tHostName db-1.elsewhere.example\nHost mine\n\tHostName 192.0.2.7\n"
	want := h.in.Program + " openssh refused blocked"
	for host, proxy := range map[string]string{
		"db-1": want, "db-1.lanyard.internal": want, "mail.lanyard.internal": want,
		"laptop.lanyard.internal": h.in.Program + " openssh refused this-machine", "laptop": "",
		"mail": "", "db-1.elsewhere": "", "mine": "", "x": "", "odd": "", "web-1.lanyard.internal": "",
	} {
		if got := h.config(host)["proxycommand"]; got != proxy {
			t.Errorf("%s goes through %q, want %q", host, got, proxy)
		}
	}
	h.mine = "Host db-1\n\tHostName 192.0.2.8\n"
	if got := h.config("db-1")["proxycommand"]; got != "" {
		t.Errorf("the person's own db-1 goes through %q", got)
	}
}
