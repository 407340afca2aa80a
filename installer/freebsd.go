package main

import (
	"context"
	"os"
	"path/filepath"

	"lanyard/installer/fbsdpkg"
	"lanyard/installer/units"
)

// freebsdABIs are the releases that packages are made for: one each, as pkg(8) compares them.
var freebsdABIs = []string{"14", "15"}

func (j *job) freebsd(ctx context.Context) error {
	for _, arch := range j.archs {
		for _, p := range j.packages {
			t, err := j.freebsdTree(ctx, p, arch)
			if err != nil {
				return err
			}
			for _, release := range freebsdABIs {
				if err := j.freebsdPackage(p, arch, release, t); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (j *job) freebsdTree(ctx context.Context, p program, arch string) (tree, error) {
	var t tree
	file, err := j.compile(ctx, p, "freebsd", arch)
	if err != nil {
		return nil, err
	}
	const prefix = "/usr/local/"
	t.program(prefix+"bin/"+p.Name, file)
	rc, err := unit(units.RCD, p, prefix+"bin/"+p.Name)
	if err != nil {
		return nil, err
	}
	t.exec(prefix+"etc/rc.d/"+rcName(p), rc)
	section, man := 1, "share/man/man1/lanyard.1.gz"
	if p == server {
		section, man = 8, "share/man/man8/lanyard-mgmt.8.gz"
	} else {
		sample, err := text("managed.yaml")
		if err != nil {
			return nil, err
		}
		t.file(prefix+"etc/lanyard/managed.yaml.sample", sample)
	}
	page, err := j.manual(ctx, p, section)
	if err != nil {
		return nil, err
	}
	t.file(prefix+man, compress(page))
	license, err := os.ReadFile(filepath.Join(j.source, "LICENSE"))
	if err != nil {
		return nil, err
	}
	t.file(prefix+"share/licenses/"+p.Name+"/LICENSE", license)
	return t, nil
}

func rcName(p program) string {
	if p == server {
		return "lanyard_mgmt"
	}
	return "lanyard"
}

func (j *job) freebsdPackage(p program, arch, release string, t tree) error {
	f := fbsdpkg.Package{
		Name: p.Name, Version: j.version.Numbers(), Release: release, Arch: arch, Comment: words[p].summary, Description: words[p].description,
		Origin: "net/" + p.Name, Maintainer: maintainer, Homepage: homepage, License: "BSD3CLAUSE", Time: j.version.Time,
		Message: "To start it now and at every boot: sysrc " + rcName(p) + "_enable=YES; service " + rcName(p) + " start",
		Scripts: map[string]string{},
	}
	for _, e := range t.sorted() {
		b, err := e.read()
		if err != nil {
			return err
		}
		f.Files = append(f.Files, fbsdpkg.File{Path: e.Path, Mode: int64(e.Mode), Data: b})
	}
	if p == peer {
		f.Folders = []string{"/usr/local/etc/lanyard"}
	}
	for _, name := range []string{"post-install", "pre-deinstall"} {
		s, err := j.script("freebsd."+name, p, false)
		if err != nil {
			return err
		}
		f.Scripts[name] = s
	}
	b, err := fbsdpkg.New(f)
	if err != nil {
		return err
	}
	return j.write(f.FileName(), b)
}
