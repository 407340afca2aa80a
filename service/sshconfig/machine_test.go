package sshconfig

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Where the machine's ssh reads no folder of drop-ins, one marked line makes it read ours, for every host, and its removal
// leaves the file as it was. Where it reads one, nothing is touched.
func TestMachinesConfigurationGetsOneMarkedLine(t *testing.T) {
	const plain = "# FreeBSD's\nHost *.example.org\n\tUser other\n"
	for name, c := range map[string]struct {
		config func(dropIns string) string
		adds   bool
	}{
		"reads none":                {func(string) string { return plain }, true},
		"empty":                     {func(string) string { return "" }, true},
		"reads the folder":          {func(d string) string { return "Include " + d + "/*.conf\n" + plain }, false},
		"reads it for one host":     {func(d string) string { return plain + "\tInclude " + d + "/*.conf\n" }, true},
		"a comment that reads it":   {func(d string) string { return "#Include " + d + "/*.conf\n" + plain }, true},
		"reads another folder only": {func(d string) string { return "Include " + d + "/other/*.conf\n" + plain }, true},
	} {
		t.Run(name, func(t *testing.T) {
			web := peer(t, 1, "web-1")
			h := newHome(t, network(t, web))
			dir := filepath.Join(h.dir, "etc")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			config := filepath.Join(dir, "ssh_config")
			h.in.Paths.DropIn = filepath.Join(dir, "ssh_config.d", "20-lanyard.conf")
			before := c.config(filepath.ToSlash(filepath.Dir(h.in.Paths.DropIn)))
			if err := os.WriteFile(config, []byte(before), 0o644); err != nil {
				t.Fatal(err)
			}
			for i, want := range []bool{c.adds, false} {
				if changed, err := installInclude(h.in.Paths, config); err != nil || changed != want {
					t.Fatalf("time %d: %v, %v", i+1, changed, err)
				}
			}
			after, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			if c.adds && (bytes.Count(after, []byte(machineMark)) != 1 || string(after[len(after)-len(before):]) != before) || !c.adds && string(after) != before {
				t.Errorf("it became\n%s", after)
			}
			if runtime.GOOS != "windows" { // ssh itself
				if _, err := Apply(h.in); err != nil {
					t.Fatal(err)
				}
				out, err := exec.CommandContext(t.Context(), "ssh", "-F", config, "-G", "web-1").CombinedOutput()
				if err != nil || !strings.Contains(string(out), "hostname "+web.Addr4.String()+"\n") {
					t.Errorf("ssh does not know the machine: %v\n%s", err, out)
				}
				if err := Remove(h.in.Paths); err != nil {
					t.Fatal(err)
				}
			}
			if err := removeInclude(h.in.Paths, config); err != nil {
				t.Fatal(err)
			}
			if after, err = os.ReadFile(config); err != nil || string(after) != before {
				t.Errorf("after the removal: %v\n%s", err, after)
			}
		})
	}
	// As earlier versions wrote it, without a mark.
	h := newHome(t, network(t, peer(t, 1, "web-1")))
	config := filepath.Join(h.dir, "old")
	line, err := machineLine(h.in.Paths)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(line+plain), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := removeInclude(h.in.Paths, config); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(config); err != nil || string(b) != plain {
		t.Errorf("%q, %v", b, err)
	}
	if changed, err := installInclude(h.in.Paths, filepath.Join(h.dir, "absent")); changed || err != nil {
		t.Errorf("without ssh's configuration: %v, %v", changed, err)
	}
}
