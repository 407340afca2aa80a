package main

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lanyard/wix"
)

// wintun.dll is signed by its makers and never built here: only the archive with the pinned hash goes in.
func TestOnlyThePinnedWintunGoesIn(t *testing.T) {
	if b, err := wintunArchive(""); b != nil || err != nil {
		t.Errorf("none was named: %d bytes, %v", len(b), err)
	}
	file := filepath.Join(t.TempDir(), "wintun-0.14.1.zip")
	if err := os.WriteFile(file, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := wintunArchive(file); err == nil || !strings.Contains(err.Error(), wintunHash) || !strings.Contains(err.Error(), file) {
		t.Errorf("another archive: %v", err)
	}
	if _, err := wintunArchive(file + ".gone"); err == nil {
		t.Error("a file that is not there is passed over")
	}
}

func TestWintunIsTheProcessorsOwn(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, arch := range []string{"amd64", "arm64"} {
		f, err := z.Create("wintun/bin/" + arch + "/wintun.dll")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("for " + arch)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	j := &job{work: t.TempDir()}
	for _, arch := range []string{"amd64", "arm64"} {
		file, err := j.unpackWintun(b.Bytes(), arch)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != "for "+arch {
			t.Errorf("%s: %q, %v", arch, got, err)
		}
	}
	if _, err := j.unpackWintun(b.Bytes(), "386"); err == nil {
		t.Error("a processor without a library is passed over")
	}
}

// With and without the library: the package's table of files, and what the build says.
func TestPackageForWindowsSaysWhenItHasNoWintun(t *testing.T) {
	s := newSigner(t, "wixl", "msibuild", "msiinfo")
	t.Setenv("LANYARD_WINTUN", "")
	var log bytes.Buffer
	s.job.log = &log
	files := s.do("msiinfo", "export", s.make(s.job.windows, "*.msi"), "File")
	if strings.Contains(files, "wintun") || !strings.Contains(files, "lanyard-tray.exe") {
		t.Errorf("the files are\n%s", files)
	}
	if !strings.Contains(log.String(), "without wintun.dll") || !strings.Contains(log.String(), "userspace mode only") {
		t.Errorf("the build says %q", log.String())
	}
	dll := filepath.Join(s.dir, "wintun.dll")
	if err := os.WriteFile(dll, []byte("a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for arch, template := range map[string]string{"amd64": "x64;1033", "arm64": "Arm64;1033"} {
		out := filepath.Join(s.dir, arch+".msi")
		program := s.job.programs[target{peer, "windows", "amd64"}]
		if err := wix.Build(t.Context(), wix.Options{Version: "1.2.3", Arch: arch, Service: program, Tray: program, Wintun: dll, Time: s.job.version.Time, Out: out}); err != nil {
			t.Fatal(err)
		}
		if files := s.do("msiinfo", "export", out, "File"); !strings.Contains(files, "wintun.dll") {
			t.Errorf("%s: the files are\n%s", arch, files)
		}
		if info := s.do("msiinfo", "suminfo", out); !strings.Contains(info, "Template: "+template+"\n") {
			t.Errorf("%s: the summary is\n%s", arch, info)
		}
	}
}
