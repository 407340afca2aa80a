package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/goreleaser/nfpm/v2"
)

// signing is what the environment gives to sign with; empty fields sign nothing.
type signing struct {
	gpgKey, gpgPassphrase                    string
	apkKey, apkPassphrase                    string
	authenticodeFile, authenticodePassphrase string
	macosCommand                             string
}

func signingFromEnv() signing {
	return signing{
		gpgKey: os.Getenv("LANYARD_GPG_KEY"), gpgPassphrase: os.Getenv("LANYARD_GPG_PASSPHRASE"),
		apkKey: os.Getenv("LANYARD_APK_KEY"), apkPassphrase: os.Getenv("LANYARD_APK_PASSPHRASE"),
		authenticodeFile: os.Getenv("LANYARD_AUTHENTICODE"), authenticodePassphrase: os.Getenv("LANYARD_AUTHENTICODE_PASSWORD"),
		macosCommand: os.Getenv("PKG_SIGN_CMD"),
	}
}

func (s signing) deb(info *nfpm.Info) {
	if s.gpgKey != "" {
		info.Deb.Signature = nfpm.DebSignature{PackageSignature: nfpm.PackageSignature{KeyFile: s.gpgKey, KeyPassphrase: s.gpgPassphrase}, Method: "debsign", Type: "origin"}
	}
}

func (s signing) rpm(info *nfpm.Info) {
	if s.gpgKey != "" {
		info.RPM.Signature = nfpm.RPMSignature{PackageSignature: nfpm.PackageSignature{KeyFile: s.gpgKey, KeyPassphrase: s.gpgPassphrase}}
	}
}

func (s signing) apk(info *nfpm.Info) {
	if s.apkKey != "" {
		info.APK.Signature = nfpm.APKSignature{PackageSignature: nfpm.PackageSignature{KeyFile: s.apkKey, KeyPassphrase: s.apkPassphrase}, KeyName: "lanyard.rsa.pub"}
	}
}

// authenticode signs a program or an MSI in place. The password reaches osslsigncode by a file, not by its arguments.
func (s signing) authenticode(ctx context.Context, file string) error {
	if s.authenticodeFile == "" {
		return nil
	}
	pass, err := os.CreateTemp("", "lanyard-pass-") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(pass.Name())
	if _, err := pass.WriteString(s.authenticodePassphrase); err != nil {
		return err
	}
	if err := pass.Close(); err != nil {
		return err
	}
	out := file + ".signed"
	c := exec.CommandContext(ctx, "osslsigncode", "sign", "-pkcs12", s.authenticodeFile, "-readpass", pass.Name(),
		"-n", "Lanyard", "-h", "sha256", "-in", file, "-out", out)
	if msg, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("osslsigncode: %w: %s", err, msg)
	}
	if err := os.Chmod(out, 0o755); err != nil {
		return err
	}
	return os.Rename(out, file)
}

// macos hands a package to the command that signs it in place (productsign, or a service).
func (s signing) macos(ctx context.Context, file string) error {
	if s.macosCommand == "" {
		return nil
	}
	c := exec.CommandContext(ctx, s.macosCommand, file)
	if msg, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", s.macosCommand, err, msg)
	}
	return nil
}
