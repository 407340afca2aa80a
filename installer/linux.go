package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"  // formats register themselves
	_ "github.com/goreleaser/nfpm/v2/arch" //
	_ "github.com/goreleaser/nfpm/v2/deb"  //
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" //

	"lanyard/installer/units"
)

// linux makes the packages of one of nfpm's formats.
func (j *job) linux(format string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, arch := range j.archs {
			for _, p := range j.packages {
				if err := j.linuxPackage(ctx, format, p, arch); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func (j *job) linuxPackage(ctx context.Context, format string, p program, arch string) error {
	t, err := j.linuxTree(ctx, p, arch)
	if err != nil {
		return err
	}
	info := &nfpm.Info{
		Name: p.Name, Arch: arch, Platform: "linux", Version: j.version.String(), VersionSchema: "none", Release: "1",
		Section: "net", Priority: "optional", Maintainer: maintainer, Vendor: "Lanyard", Homepage: homepage, License: license,
		Description: words[p].summary + "\n" + words[p].description, MTime: j.version.Time, DisableGlobbing: true,
	}
	info.Umask = 0o022
	switch format {
	case "deb":
		err = j.deb(info, p)
	case "rpm":
		err = j.rpm(info, p)
	case "apk":
		err = j.apk(info, p)
	case "archlinux":
		err = j.arch(info, p)
	}
	if err != nil {
		return err
	}
	for _, e := range t.sorted() {
		if e.Only != "" && e.Only != format {
			continue
		}
		src, err := j.stage(e)
		if err != nil {
			return err
		}
		c := &files.Content{Source: src, Destination: e.Path, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: e.Mode, MTime: j.version.Time}}
		if e.Config {
			c.Type = files.TypeConfigNoReplace
		}
		info.Contents = append(info.Contents, c)
	}
	if format == "rpm" { // which leaves folders that no package says are its own
		for _, d := range folders(t) {
			info.Contents = append(info.Contents, &files.Content{
				Destination: d, Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o755, MTime: j.version.Time},
			})
		}
	}
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	info = nfpm.WithDefaults(info)
	name := packager.ConventionalFileName(info)
	var b bytes.Buffer
	info.Target = name
	if err := packager.Package(info, &b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return j.write(name, b.Bytes())
}

// folders are those that nobody else has anything in.
func folders(t tree) (list []string) {
	for _, e := range t.sorted() {
		if d := path.Dir(e.Path); (strings.HasPrefix(d, "/usr/share/doc/") || d == "/usr/lib/lanyard") && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

// linuxTree is what a package for Linux installs; entries with Only belong to one format.
func (j *job) linuxTree(ctx context.Context, p program, arch string) (tree, error) {
	var t tree
	var errs []error
	need := func(b []byte, err error) []byte {
		errs = append(errs, err)
		return b
	}
	only := func(format, path string, mode os.FileMode, data []byte) {
		t = append(t, entry{Path: path, Mode: mode, Data: data, Only: format})
	}
	file, err := j.compile(ctx, p, "linux", arch)
	if err != nil {
		return nil, err
	}
	bin := "/usr/bin/" + p.Name
	t.program(bin, file)
	if p == peer {
		small, err := j.compile(ctx, helper, "linux", arch)
		errs = append(errs, err)
		t.program("/usr/lib/lanyard/lanyard-helper", small)
	}
	service := need(unit(units.Systemd, p, bin))
	only("deb", "/lib/systemd/system/"+p.Name+".service", 0o644, service)
	for _, format := range []string{"rpm", "archlinux"} {
		only(format, "/usr/lib/systemd/system/"+p.Name+".service", 0o644, service)
	}
	only("apk", "/etc/init.d/"+p.Name, 0o755, need(unit(units.OpenRC, p, bin)))
	defaults := need(text(p.Name + ".default"))
	t = append(t,
		entry{Path: "/etc/default/" + p.Name, Mode: 0o644, Data: defaults, Config: true, Only: "deb"},
		entry{Path: "/etc/default/" + p.Name, Mode: 0o644, Data: defaults, Config: true, Only: "apk"},
		entry{Path: "/etc/default/" + p.Name, Mode: 0o644, Data: defaults, Config: true, Only: "archlinux"},
		entry{Path: "/etc/sysconfig/" + p.Name, Mode: 0o644, Data: defaults, Config: true, Only: "rpm"})
	section := 1
	if p == server {
		section = 8
		sysusers, err := units.Sysusers()
		errs = append(errs, err)
		for _, format := range []string{"rpm", "archlinux"} {
			only(format, "/usr/lib/sysusers.d/"+p.Name+".conf", 0o644, []byte(sysusers))
		}
	}
	t.file(fmt.Sprintf("/usr/share/man/man%d/%s.%d.gz", section, p.Name, section), compress(need(j.manual(ctx, p, section))))
	for shell, path := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/" + p.Name,
		"zsh":  "/usr/share/zsh/vendor-completions/_" + p.Name,
		"fish": "/usr/share/fish/vendor_completions.d/" + p.Name + ".fish",
	} {
		t.file(path, need(j.ask(ctx, p, "completion", shell)))
	}
	doc := "/usr/share/doc/" + p.Name + "/"
	t.file(doc+"copyright", need(j.copyright()))
	changes := need(os.ReadFile(filepath.Join(j.source, "CHANGELOG.md")))
	t.file(doc+"changelog.gz", compress(changes))
	only("deb", doc+"changelog.Debian.gz", 0o644, compress(j.debianChangelog(p)))
	only("deb", "/usr/share/lintian/overrides/"+p.Name, 0o644, need(text(p.Name+".lintian")))
	if p == peer {
		t.file(doc+"examples/managed.yaml", need(text("managed.yaml")))
		if j.has(tray) {
			errs = append(errs, j.linuxTray(ctx, &t, arch))
		}
	}
	return t, errors.Join(errs...)
}

const trayManual = `.TH LANYARD\-TRAY 1 "%s" "Lanyard %s" "Lanyard"
.SH NAME
lanyard\-tray \- Lanyard's icon in the panel
.SH SYNOPSIS
.B lanyard\-tray
.SH DESCRIPTION
It starts with the desktop session, shows whether this machine is connected and somebody is signed in, and signs in and out.
.SH SEE ALSO
.BR lanyard (1)
`

// linuxTray adds the tray, which starts with every desktop session unless a person says otherwise.
func (j *job) linuxTray(ctx context.Context, t *tree, arch string) error {
	file, err := j.compile(ctx, tray, "linux", arch)
	if err != nil {
		return err
	}
	t.program("/usr/bin/lanyard-tray", file)
	desktop, err := text("lanyard-tray.desktop")
	if err != nil {
		return err
	}
	t.file("/usr/share/applications/lanyard-tray.desktop", desktop)
	t.file("/usr/share/man/man1/lanyard-tray.1.gz", compress(fmt.Appendf(nil, trayManual, j.version.Time.Format("January 2006"), j.version)))
	start := bytes.Replace(desktop, []byte("lanyard-tray\n"), []byte("lanyard-tray --autostart\n"), 1) // ends where the person wants none
	*t = append(*t, entry{Path: "/etc/xdg/autostart/lanyard-tray.desktop", Mode: 0o644, Data: start, Config: true})
	action, err := text("internal.lanyard.policy") // what the system's dialog for rights says
	if err != nil {
		return err
	}
	t.file("/usr/share/polkit-1/actions/internal.lanyard.policy", action)
	return nil
}

// scripts stages maintainer scripts: each place takes the file's name.
func (j *job) scripts(p program, places map[string]*string) error {
	for name, place := range places {
		s, err := j.script(name, p, j.has(tray))
		if err != nil {
			return err
		}
		if *place, err = j.stage(entry{Path: name, Data: []byte(s)}); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) deb(info *nfpm.Info, p program) error {
	info.Deb.Compression = "xz"
	info.Deb.Fields = map[string]string{}
	if p == peer {
		info.Recommends = []string{"openssh-client"}
	} else {
		info.Depends = []string{"adduser"}
	}
	s := &info.Scripts
	j.sign.deb(info)
	return j.scripts(p, map[string]*string{
		"deb.preinst": &s.PreInstall, "deb.postinst": &s.PostInstall, "deb.prerm": &s.PreRemove, "deb.postrm": &s.PostRemove,
	})
}

func (j *job) rpm(info *nfpm.Info, p program) error {
	info.RPM.Compression = "zstd"
	info.RPM.BuildHost = "localhost"
	info.RPM.Summary = words[p].summary
	info.RPM.Group = "System Environment/Daemons"
	info.Depends = []string{"/bin/sh"} // of the scripts, as rpmbuild finds by itself
	if p == peer {
		info.Recommends = []string{"openssh-clients"}
	}
	s := &info.Scripts
	j.sign.rpm(info)
	places := map[string]*string{"rpm.post": &s.PostInstall, "rpm.preun": &s.PreRemove, "rpm.postun": &s.PostRemove}
	if p == server {
		info.Depends = append(info.Depends, "shadow-utils")
		places["rpm.pre"] = &s.PreInstall
	}
	return j.scripts(p, places)
}

func (j *job) apk(info *nfpm.Info, p program) error {
	info.Version = j.version.Alpine()
	info.Release = "1"
	info.Depends = []string{"openrc"}
	s := &info.Scripts
	j.sign.apk(info)
	return j.scripts(p, map[string]*string{
		"apk.post": &s.PostInstall, "apk.upgrade": &info.APK.Scripts.PostUpgrade, "apk.pre-deinstall": &s.PreRemove, "apk.post-deinstall": &s.PostRemove,
	})
}

func (j *job) arch(info *nfpm.Info, p program) error {
	info.ArchLinux.Packager = maintainer
	info.Depends = []string{"systemd"}
	s := &info.Scripts
	return j.scripts(p, map[string]*string{
		"arch.post": &s.PostInstall, "arch.pre-remove": &s.PreRemove,
	})
}
