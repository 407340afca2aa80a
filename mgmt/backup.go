package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lanyard/mgmt/store"
	"lanyard/platform/paths"
	"lanyard/platform/release"
)

// manifest is the first file of a backup.
type manifest struct {
	Format  int       `json:"format"`
	Release string    `json:"release"`
	Time    time.Time `json:"time"`
}

const (
	backupFormat = 1
	manifestName = "lanyard-mgmt-backup.json"
	// maxManifest and maxPart bound what is read from a backup, in bytes.
	maxManifest = 64 << 10
	maxPart     = 64 << 30
)

// kept are the files beside the database that make a server what it is, where they exist.
var kept = []string{"ca.crt", "ca.key"}

// keptName tells what may stand in a backup: nothing that leads out of the state folder.
var keptName = regexp.MustCompile(`^(mgmt\.db|ca\.crt|ca\.key|acme/[A-Za-z0-9+][A-Za-z0-9._+-]{0,255})$`)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write everything the server knows into one file, while it runs", Args: cobra.ExactArgs(1),
		Long: `Write the database, the server's CA and its certificates into FILE, a tar.gz of mode 0600; '-' is standard output.
The server may run meanwhile. Whoever has the file can stand in for the server: keep it as you keep its state folder.`,
		Example: "  lanyard-mgmt backup /backup/lanyard-$(date +%F).tar.gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" {
				if out, ok := cmd.OutOrStdout().(*os.File); ok && term.IsTerminal(int(out.Fd())) {
					return errors.New("a backup is not for a terminal; name a file")
				}
				return a.backupTo(cmd, cmd.OutOrStdout())
			}
			return a.backup(cmd, args[0])
		},
	}
}

func (a *app) backup(cmd *cobra.Command, name string) (err error) {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s exists; name a new file, or remove it first", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".lanyard-backup-*") // 0600
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it was renamed
	err = a.backupTo(cmd, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Written to %s. It holds the server's keys: keep it as you keep %s.\n", name, a.state)
	return nil
}

func (a *app) backupTo(cmd *cobra.Command, w io.Writer) error {
	if done, err := a.asOwner(cmd, nil, w, "backup", "-"); done {
		return err
	}
	return a.writeBackup(cmd.Context(), w)
}

func (a *app) writeBackup(ctx context.Context, w io.Writer) error {
	if _, err := os.Stat(filepath.Join(a.state, store.Database)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no database in %s; choose the server's folder with --state", a.state)
	}
	dir, err := os.MkdirTemp(a.state, ".backup-*") // 0700, on the same disk as what is copied
	if err != nil {
		return fmt.Errorf("make a copy of the database: %w", err)
	}
	defer os.RemoveAll(dir)
	snapshot := filepath.Join(dir, store.Database)
	if err := store.Snapshot(ctx, a.state, snapshot); err != nil {
		return err
	}
	files := map[string]string{store.Database: snapshot}
	certs, _ := filepath.Glob(filepath.Join(a.state, "acme", "*"))
	for _, name := range kept {
		files[name] = filepath.Join(a.state, name)
	}
	for _, name := range certs {
		files["acme/"+filepath.Base(name)] = name
	}
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	now := time.Now().UTC()
	m, err := json.Marshal(manifest{Format: backupFormat, Release: release.Version(), Time: now})
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: manifestName, Mode: 0o600, Size: int64(len(m)), ModTime: now}); err != nil {
		return err
	}
	if _, err := t.Write(m); err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := addFile(t, name, files[name]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("back up %s: %w", name, err)
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func addFile(t *tar.Writer, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || !keptName.MatchString(name) {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: fi.Size(), ModTime: fi.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(t, f, fi.Size())
	return err
}

func (a *app) restoreCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in place of what the state folder holds", Args: cobra.ExactArgs(1),
		Long: `Put a backup in place. The server must not run. Machines accept the older state when it starts again; who was
blocked or removed since the backup is not blocked or removed any more: look at the audit log of the time between.`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.restore(cmd, args[0], force) },
	}
	c.Flags().BoolVar(&force, "force", false, "also when the folder has a database; it is moved aside, not deleted")
	return c
}

func (a *app) restore(cmd *cobra.Command, name string, force bool) error {
	var err error
	in := os.Stdin
	if name != "-" { // root may read what the server's account may not
		if in, err = os.Open(name); err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		defer in.Close()
	}
	args := []string{"restore", "-"}
	if force {
		args = append(args, "--force")
	}
	if done, err := a.asOwner(cmd, in, cmd.OutOrStdout(), args...); done {
		if err != nil {
			if rest, ok := strings.CutPrefix(err.Error(), "- "); ok {
				err = errors.New(name + " " + rest)
			}
		}
		return err
	}
	if err := paths.PrivateDir(a.state); err != nil {
		return err
	}
	lock, err := store.Lock(a.state)
	if err != nil {
		return err
	}
	defer lock.Close()
	_, err = os.Lstat(filepath.Join(a.state, store.Database))
	there := err == nil
	if there && !force {
		return fmt.Errorf("%s has a database; --force moves it aside and puts the backup in its place", a.state)
	}
	dir, err := os.MkdirTemp(a.state, ".restore-*")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(dir)
	m, err := unpack(in, dir)
	if err != nil {
		return fmt.Errorf("%s is no backup that can be put back, and nothing was changed: %w", name, err)
	}
	// All that can fail for the backup's sake is done before anything of the old state moves.
	if err := store.Restored(cmd.Context(), dir, time.Now, "backup of "+m.Time.Format(time.RFC3339)); err != nil {
		return fmt.Errorf("%s cannot be put back, and nothing was changed: %w", name, err)
	}
	aside := filepath.Join(a.state, "before-restore-"+time.Now().UTC().Format("20060102T150405.000"))
	old := slices.Concat(kept, []string{store.Database, store.Database + "-wal", store.Database + "-shm", "acme"})
	if err := move(a.state, aside, old); err != nil {
		return err
	}
	if err := move(dir, a.state, slices.Concat(kept, []string{"acme", store.Database})); err != nil {
		return fmt.Errorf("%w; the old state is in %s", err, aside)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "The state of %s is in place.\n", m.Time.Local().Format("2 Jan 2006 15:04"))
	if there {
		fmt.Fprintf(out, "What was there is in %s.\n", aside)
	}
	fmt.Fprintln(out, "Who was blocked, removed or signed out since then is not any more: look before you start 'lanyard-mgmt serve'.")
	return nil
}

// move renames the names that exist from one folder into another, which is made 0700.
func move(from, to string, names []string) error {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(from, name)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.MkdirAll(to, 0o700); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

// unpack writes a backup's files into dir. It takes nothing but the names that a backup has.
func unpack(r io.Reader, dir string) (m manifest, err error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return m, err
	}
	t := tar.NewReader(z)
	h, err := t.Next()
	if err != nil || h.Name != manifestName || h.Size > maxManifest {
		return m, errors.Join(errors.New("its first part is not a backup's"), err)
	}
	if err := json.NewDecoder(t).Decode(&m); err != nil {
		return m, err
	}
	if m.Format != backupFormat {
		return m, fmt.Errorf("its format is %d and this program reads %d; use the program that made it (%s)", m.Format, backupFormat, m.Release)
	}
	database := false
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, err
		}
		if !keptName.MatchString(h.Name) || h.Typeflag != tar.TypeReg || h.Size < 0 || h.Size > maxPart {
			return m, fmt.Errorf("it has a part %q that no backup has", h.Name)
		}
		if err := extract(t, filepath.Join(dir, filepath.FromSlash(h.Name))); err != nil {
			return m, err
		}
		database = database || h.Name == store.Database
	}
	if !database {
		return m, errors.New("it holds no database")
	}
	return m, nil
}

func extract(r io.Reader, name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}
