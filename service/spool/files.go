package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// maxFound bounds a segment that is read, in bytes: far more than any is written.
const maxFound = 16 * maxSegment

// createNew makes a file that is nobody else's: what lies under its name is put away, be it a link or a pipe, and never
// written into.
func createNew(name string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err = putAway(name); err == nil {
			f, err = os.OpenFile(name, flags, 0o600)
		}
	}
	return f, err
}

// putAway makes room under a name: what cannot be removed, a folder with something in it, is kept beside it.
func putAway(name string) error {
	err := os.Remove(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return os.Rename(name, name+".broken")
	}
	return nil
}

func writeNew(name string, data []byte) error {
	f, err := createNew(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// own returns the segments without those that no spool has written, as they are far too large: these are put aside.
func (s *Spool) own(segs []*segment) ([]*segment, error) {
	kept := segs[:0]
	for _, seg := range segs {
		fi, err := os.Lstat(seg.path)
		if err != nil {
			return nil, err
		}
		if fi.Size() > maxFound {
			s.cfg.Log.Error("a file in the audit spool is too large to be one of its own and is put aside", "file", seg.path, "bytes", fi.Size())
			if err := os.Rename(seg.path, seg.path+".broken"); err != nil {
				return nil, fmt.Errorf("put a file aside that is too large: %w", err)
			}
			continue
		}
		seg.linked = linked(fi)
		kept = append(kept, seg)
	}
	return kept, nil
}
