package main

import (
	"archive/zip"
	"bytes"
	"debug/pe"
	"fmt"
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

// What is inside is for the processor that the package's summary names, and the tray opens no console.
func TestPackageOfAProcessorHoldsItsPrograms(t *testing.T) {
	s := newSigner(t, "wixl", "msibuild", "msiinfo", "msiextract")
	s.job.programs, s.job.source = map[target]string{}, t.TempDir()
	s.job.archs = []string{"amd64", "arm64"}
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(s.job.source, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module tiny\n\ngo 1.26\n")
	for _, p := range []program{peer, tray} {
		write(p.Folder+"/main.go", "package main\n\nfunc main() { println(1) }\n")
	}
	if err := s.job.windows(t.Context()); err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	for arch, want := range map[string]struct {
		template string
		machine  uint16
	}{
		"amd64": {"x64;1033", pe.IMAGE_FILE_MACHINE_AMD64}, "arm64": {"Arm64;1033", pe.IMAGE_FILE_MACHINE_ARM64},
	} {
		file := filepath.Join(s.job.out, fmt.Sprintf("lanyard-1.2.3-windows-%s.msi", arch))
		info := s.do("msiinfo", "suminfo", file)
		if !strings.Contains(info, "Template: "+want.template+"\n") {
			t.Errorf("%s: the summary is\n%s", arch, info)
		}
		_, code, _ := strings.Cut(info, "Revision number (UUID): ")
		code, _, _ = strings.Cut(code, "\n")
		if other := codes[code]; code == "" || other != "" {
			t.Errorf("%s: the package's code %q is that of %q", arch, code, other)
		}
		codes[code] = arch
		dir := t.TempDir()
		s.do("msiextract", "-C", dir, file)
		for name, subsystem := range map[string]uint16{"lanyard.exe": pe.IMAGE_SUBSYSTEM_WINDOWS_CUI, "lanyard-tray.exe": pe.IMAGE_SUBSYSTEM_WINDOWS_GUI} {
			found, err := filepath.Glob(filepath.Join(dir, "*", name))
			if err != nil || len(found) != 1 {
				t.Fatalf("%s: %s lies in %q, %v", arch, name, found, err)
			}
			f, err := pe.Open(found[0])
			if err != nil {
				t.Fatal(err)
			}
			head, ok := f.OptionalHeader.(*pe.OptionalHeader64)
			if f.Machine != want.machine || !ok || head.Subsystem != subsystem {
				t.Errorf("%s: %s is for the processor %#x, %+v", arch, name, f.Machine, f.OptionalHeader)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
