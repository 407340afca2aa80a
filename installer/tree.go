package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An entry is one file of a package, wherever it will be installed.
type entry struct {
	Path   string // absolute, with slashes
	Mode   os.FileMode
	Data   []byte
	From   string // a file to read in place of Data: programs are large
	Config bool   // an administrator may change it
	Link   string // a symbolic link to this
	Only   string // nfpm's packager, when it is for one format
}

func (e entry) read() ([]byte, error) {
	if e.From != "" {
		return os.ReadFile(e.From)
	}
	return e.Data, nil
}

// tree is the content of a package.
type tree []entry

func (t *tree) file(path string, data []byte) {
	*t = append(*t, entry{Path: path, Mode: 0o644, Data: data})
}

func (t *tree) exec(path string, data []byte) {
	*t = append(*t, entry{Path: path, Mode: 0o755, Data: data})
}

func (t *tree) program(path, from string) {
	*t = append(*t, entry{Path: path, Mode: 0o755, From: from})
}

// sorted by path, so that the order of the code decides nothing.
func (t tree) sorted() tree {
	s := slices.Clone(t)
	slices.SortFunc(s, func(a, b entry) int { return strings.Compare(a.Path, b.Path) })
	return s
}

// stage writes an entry's data where nfpm can read it.
func (j *job) stage(e entry) (string, error) {
	if e.From != "" {
		return e.From, nil
	}
	f, err := os.CreateTemp(j.work, "entry-*-"+filepath.Base(e.Path))
	if err != nil {
		return "", err
	}
	if _, err := f.Write(e.Data); err != nil {
		f.Close()
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return f.Name(), os.Chtimes(f.Name(), j.version.Time, j.version.Time) // apk keeps the time of scripts
}
