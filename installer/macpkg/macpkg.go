// Package macpkg writes flat installer packages for macOS, on any system.
//
// A product package is a xar archive with a Distribution, which the Installer shows and checks, and one component: a
// PackageInfo, the files as a gzipped cpio archive (Payload), the scripts as another (Scripts), and a bill of materials
// (Bom) that tells the Installer owner, mode and checksum of each file. Apple documents none of the binary formats;
// what is written here is what its own tools write, and what others have found out about it (xar(1), cpio(5), lsbom(8)).
package macpkg

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// File is a file to install.
type File struct {
	Path string // below "/", with slashes and without a leading one
	Mode uint32 // permission bits
	Data []byte
	Link string // a symbolic link to this, in place of Data
}

// Package is what New writes.
type Package struct {
	Identifier string
	Version    string // numbers and dots
	Title      string
	MinSystem  string // macOS, as in "12.0"
	Archs      []string
	Files      []File
	Scripts    []File // "preinstall" and "postinstall" are run
	Time       time.Time
}

const (
	modeDir  = 0o40000
	modeFile = 0o100000
	modeLink = 0o120000
)

// node is a file or folder as it lies in the archives.
type node struct {
	path string // "." or "./usr/local/bin/x"
	mode uint32 // with the type
	gid  uint32
	data []byte // of a link: its target
}

func (n node) isDir() bool  { return n.mode&0o170000 == modeDir }
func (n node) isLink() bool { return n.mode&0o170000 == modeLink }

// nodes adds the folders above the files; every folder stands before what is in it.
func nodes(files []File) []node {
	all := []node{{path: ".", mode: modeDir | 0o755}}
	seen := map[string]bool{".": true}
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range sorted {
		var above []string
		for d := path.Dir(f.Path); d != "."; d = path.Dir(d) {
			above = append(above, d)
		}
		slices.Reverse(above)
		for _, d := range above {
			if !seen[d] {
				seen[d] = true
				all = append(all, node{path: "./" + d, mode: modeDir | 0o755})
			}
		}
		n := node{path: "./" + f.Path, mode: modeFile | f.Mode, data: f.Data}
		if f.Link != "" {
			n.mode, n.data = modeLink|0o755, []byte(f.Link)
		}
		all = append(all, n)
	}
	return all
}

// cpio is the old portable format (cpio(5), "odc"), gzipped. Inode numbers and times are made up.
func cpio(all []node, when time.Time) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	put := func(n node, inode int) error {
		links := 1
		if n.isDir() {
			links = 2
		}
		mtime := when.Unix()
		if n.mode == 0 {
			mtime = 0
		}
		_, err := fmt.Fprintf(z, "070707%06o%06o%06o%06o%06o%06o%06o%011o%06o%011o%s\x00%s",
			0, inode, n.mode, 0, n.gid, links, 0, mtime, len(n.path)+1, len(n.data), n.path, n.data)
		return err
	}
	for i, n := range all {
		if err := put(n, i+1); err != nil {
			return nil, err
		}
	}
	if err := put(node{path: "TRAILER!!!"}, 0); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}

const packageInfo = `<?xml version="1.0" encoding="utf-8"?>
<pkg-info overwrite-permissions="true" relocatable="false" identifier="%[1]s" postinstall-action="none" version="%[2]s" format-version="2" install-location="/" auth="root">
    <payload numberOfFiles="%[3]d" installKBytes="%[4]d"/>
    <bundle-version/>
    <upgrade-bundle/>
    <update-bundle/>
    <atomic-update-bundle/>
    <strict-identifier/>
    <relocate/>
    <scripts>
%[5]s    </scripts>
</pkg-info>
`

const distribution = `<?xml version="1.0" encoding="utf-8"?>
<installer-gui-script minSpecVersion="2">
    <title>%[5]s</title>
    <options customize="never" require-scripts="false" rootVolumeOnly="true" hostArchitectures="%[6]s"/>
    <volume-check>
        <allowed-os-versions>
            <os-version min="%[7]s"/>
        </allowed-os-versions>
    </volume-check>
    <domains enable_anywhere="false" enable_currentUserHome="false" enable_localSystem="true"/>
    <choices-outline>
        <line choice="default">
            <line choice="%[1]s"/>
        </line>
    </choices-outline>
    <choice id="default"/>
    <choice id="%[1]s" visible="false">
        <pkg-ref id="%[1]s"/>
    </choice>
    <pkg-ref id="%[1]s" version="%[2]s" onConclusion="none" installKBytes="%[3]d">#%[4]s</pkg-ref>
</installer-gui-script>
`

// New returns the package's bytes. The same Package gives the same bytes.
func New(p Package) ([]byte, error) {
	files := nodes(p.Files)
	kb := 0
	for _, n := range files {
		kb += (len(n.data) + 1023) / 1024
	}
	payload, err := cpio(files, p.Time)
	if err != nil {
		return nil, err
	}
	scripts, err := cpio(nodes(p.Scripts), p.Time)
	if err != nil {
		return nil, err
	}
	var run strings.Builder
	for _, name := range []string{"preinstall", "postinstall"} {
		if slices.ContainsFunc(p.Scripts, func(f File) bool { return f.Path == name }) {
			fmt.Fprintf(&run, "        <%[1]s file=\"./%[1]s\"/>\n", name)
		}
	}
	id, ver, title := escape(p.Identifier), escape(p.Version), escape(p.Title)
	part := p.Identifier + ".pkg"
	return xar(p.Time, []member{
		{name: "Distribution", data: fmt.Appendf(nil, distribution, id, ver, kb, escape(part), title, escape(strings.Join(p.Archs, ",")), escape(p.MinSystem))},
		{name: part, folder: []member{
			{name: "Bom", data: bom(files, p.Time)},
			{name: "PackageInfo", data: fmt.Appendf(nil, packageInfo, id, ver, len(files), kb, run.String())},
			{name: "Payload", data: payload, stored: true},
			{name: "Scripts", data: scripts, stored: true},
		}},
	})
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // into memory
	return b.String()
}
