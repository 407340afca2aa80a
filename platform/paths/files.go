package paths

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxSmall bounds files that ReadFile reads: keys, certificates and one-line states.
const maxSmall = 1 << 20

// WriteFile replaces name with data in one step: a temporary file beside it, fsync, rename. A link, a folder or
// somebody else's file under that name is refused rather than replaced.
func WriteFile(name string, data []byte, perm os.FileMode) error {
	if err := checkTarget(name); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".lanyard-*") // 0600, and never an existing file
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(f.Name()) // fails once it was renamed
	_, err = f.Write(data)
	err = errors.Join(err, allow(f, name, perm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	syncDir(dir)
	return nil
}

// ReadFile reads a small regular file of this user; links are refused.
func ReadFile(name string) ([]byte, error) {
	if err := checkTarget(name); err != nil {
		return nil, err
	}
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxSmall {
		return nil, fmt.Errorf("%s is too large to be one of Lanyard's", name)
	}
	return os.ReadFile(name)
}

// ReadSecret is ReadFile for what nobody else may know: a file that others may read is refused.
func ReadSecret(name string) ([]byte, error) {
	fi, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if fi.Mode().IsRegular() && othersRead(fi) {
		return nil, fmt.Errorf("other users of this machine may read %s", name)
	}
	return ReadFile(name)
}

// PrivateDir makes dir with mode 0700 unless it is there. An existing one must belong to this user and be writable by
// nobody else; a link to such a folder is good when the link is this user's too.
func PrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder %s: %w", dir, err)
	}
	return checkDir(dir)
}

func checkDir(dir string) error {
	link, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if !owned(dir, link) || !owned(dir, fi) {
		return fmt.Errorf("the folder %s belongs to another user; nothing is written into it", dir)
	}
	if othersWrite(dir, fi) {
		return fmt.Errorf("the folder %s may be written by other users; %s first", dir, takeAway(dir))
	}
	return nil
}

// checkTarget refuses to touch what is there under name, unless it is this user's regular file.
func checkTarget(name string) error {
	fi, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; it is left alone, move it away and try again", name)
	}
	if !owned(name, fi) {
		return fmt.Errorf("%s belongs to another user; it is left alone", name)
	}
	return nil
}
