package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"lanyard/wix"
)

// wintunHash is the SHA-256 of wintun-0.14.1.zip, as wintun.net publishes it: the library that gives Windows a network
// interface for the tunnel. It is signed by its makers and may be shipped, but not built here.
const wintunHash = "07c256185d6ee3652e09fa55c0b673e2624b565e02c4b9091c79ca7d2f24ef51"

// windows makes the MSI of every processor, and the policy template that administrators load beside it.
func (j *job) windows(ctx context.Context) error {
	if _, err := exec.LookPath("wixl"); err != nil {
		fmt.Fprintln(j.log, "msi: left out, as wixl is missing (Debian's packages wixl and msitools)")
		return nil //nolint:nilerr // said
	}
	archive, err := wintunArchive(os.Getenv("LANYARD_WINTUN"))
	if err != nil {
		return err
	}
	if archive == nil {
		fmt.Fprintln(j.log, "msi: without wintun.dll (LANYARD_WINTUN names no wintun-0.14.1.zip): machines have userspace mode only")
	}
	for _, arch := range j.archs {
		o := wix.Options{
			Version: j.version.msi(), Arch: arch, Time: j.version.Time,
			Out: filepath.Join(j.out, fmt.Sprintf("lanyard-%s-windows-%s.msi", j.version, arch)),
		}
		if o.Service, err = j.compile(ctx, peer, "windows", arch); err != nil {
			return err
		}
		if j.has(tray) {
			if o.Tray, err = j.compile(ctx, tray, "windows", arch); err != nil {
				return err
			}
		}
		if archive != nil {
			if o.Wintun, err = j.unpackWintun(archive, arch); err != nil {
				return err
			}
		}
		if err := wix.Build(ctx, o); err != nil {
			return err
		}
		if err := j.sign.authenticode(ctx, o.Out); err != nil {
			return err
		}
		if err := os.Chmod(o.Out, 0o644); err != nil {
			return err
		}
	}
	for name, data := range wix.Policies() {
		if err := j.write(name, data); err != nil {
			return err
		}
	}
	return nil
}

// msi is the version as Windows Installer compares it: commits since the tag count within the third number.
func (v version) msi() string {
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, min(v.Patch*1000+min(v.Commits, 999), 65535))
}

// wintunArchive reads the build input and refuses any other file than the pinned one.
func wintunArchive(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read LANYARD_WINTUN: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != wintunHash {
		return nil, fmt.Errorf("%s is not wintun-0.14.1.zip: its SHA-256 is %x, not %s", file, sum, wintunHash)
	}
	return b, nil
}

func (j *job) unpackWintun(archive []byte, arch string) (string, error) {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return "", fmt.Errorf("open wintun's archive: %w", err)
	}
	f, err := z.Open("wintun/bin/" + arch + "/wintun.dll")
	if err != nil {
		return "", fmt.Errorf("find wintun.dll for %s: %w", arch, err)
	}
	defer f.Close()
	name := filepath.Join(j.work, "wintun-"+arch+".dll")
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, f)
	return name, errors.Join(err, out.Close())
}
