package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
	"golang.org/x/sys/windows"

	"lanyard/platform/paths"
)

// programNames are the programs that people run from the package's folder. Windows neither replaces nor removes the file
// of one that runs, but lets it be renamed: an upgrade needs no restart of the machine, what runs goes on, and the tray,
// which finds another file in its place, becomes the new one (tray/upgrade.go).
var programNames = []string{"lanyard.exe", "lanyard-tray.exe"}

// asideMark stands behind the name of a file that was put aside, before a number.
const asideMark = ".old"

func asideCommand() *cobra.Command {
	return &cobra.Command{
		Use: "aside", Short: "Make way for another version's programs", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !paths.Privileged() {
				return errors.New("only an administrator may replace the programs")
			}
			dirs, err := folders()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range programNames {
				errs = append(errs, putAside(filepath.Join(dirs[0], name)))
			}
			return errors.Join(errs...)
		},
	}
}

// folders are where this program lies, and its copy (forOpenSSH).
func folders() ([]string, error) {
	program, err := self()
	return []string{filepath.Dir(program), copyFolder()}, err
}

func copyFolder() string {
	return filepath.Join(filepath.Dir(paths.System(paths.DefaultProfile).State), "bin")
}

// putAside renames a file to the first name that no running program has.
func putAside(file string) error {
	var err error
	for n := range 100 {
		if err = os.Rename(file, fmt.Sprintf("%s%s%d", file, asideMark, n)); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return fmt.Errorf("put %s aside: %w", file, err)
}

// removeAside removes the files that upgrades have put aside, each once nothing runs it any more or until ctx ends.
func removeAside(ctx context.Context, dirs []string) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Minute) {
		var errs []error
		for _, dir := range dirs {
			for _, name := range programNames {
				found, err := filepath.Glob(filepath.Join(dir, name+asideMark+"[0-9]*"))
				errs = append(errs, err)
				for _, f := range found {
					errs = append(errs, os.Remove(f))
				}
			}
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// endPrograms ends what runs from these folders, except this process.
func endPrograms(dirs []string) error {
	all, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return fmt.Errorf("list the processes: %w", err)
	}
	defer func() { _ = windows.CloseHandle(all) }()
	var errs []error
	p := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(all, &p); err == nil; err = windows.Process32Next(all, &p) {
		name := windows.UTF16ToString(p.ExeFile[:])
		ours := slices.ContainsFunc(programNames, func(n string) bool {
			return len(name) >= len(n) && strings.EqualFold(name[:len(n)], n)
		})
		if ours && p.ProcessID != uint32(os.Getpid()) {
			errs = append(errs, endIn(dirs, p.ProcessID))
		}
	}
	return errors.Join(errs...)
}

// endIn ends a process whose program lies in one of these folders.
func endIn(dirs []string, id uint32) error {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.PROCESS_TERMINATE|windows.SYNCHRONIZE, false, id)
	if err != nil {
		return nil // it has ended
	}
	defer func() { _ = windows.CloseHandle(h) }()
	b := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(b))
	if err := windows.QueryFullProcessImageName(h, 0, &b[0], &n); err != nil || !slices.ContainsFunc(dirs, func(dir string) bool {
		return strings.EqualFold(filepath.Dir(windows.UTF16ToString(b[:n])), dir)
	}) {
		return nil // it has ended, or is another's
	}
	if err := windows.TerminateProcess(h, 1); err != nil {
		return fmt.Errorf("end process %d: %w", id, err)
	}
	_, err = windows.WaitForSingleObject(h, 5000)
	return err
}
