// Package names makes the machines' names in the zone resolve for every program of this machine.
//
// The names stand in a marked part of the system's hosts file, which each resolver of each system reads first, be it
// libc's, systemd-resolved's or a browser's. A name server of our own would stand between programs and every other
// name, and fail them when it fails; the marked part can hold names of the zone alone, checked here, whatever the
// network map says. The rest of the file keeps every byte.
package names

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
)

// maxFile bounds the hosts file, in bytes; a larger one is left alone.
const maxFile = 16 << 20

// ErrDamaged says that the marked part has a beginning and no end, or the other way round. Nothing is written then.
var ErrDamaged = errors.New("Lanyard's part of the hosts file lost its first or last line; delete what is left of it, and it is written anew")

// Apply writes the names of m into the hosts file when they differ from what stands there.
// A hosts file that is a link, such as one that a system generates, is refused.
func Apply(file, profile string, m *api.Map) error {
	return edit(file, profile, render(profile, m))
}

// Remove takes the marked part out of the hosts file. It is no error when there is none.
func Remove(file, profile string) error { return edit(file, profile, nil) }

// Short is what this machine calls the one called name: as its network does, and in a profile of its own below the
// profile's name, so that networks' names never clash here.
func Short(profile, name string) string {
	if profile == paths.DefaultProfile {
		return name
	}
	return name + "." + profile
}

// Full is Short in the network's zone.
func Full(profile, name, zone string) string { return Short(profile, name) + "." + zone }

func begin(profile string) []byte {
	return []byte("# BEGIN Lanyard " + profile + ": written by the service, changes in here are lost")
}
func end(profile string) []byte { return []byte("# END Lanyard " + profile) }

// render returns the marked part, without names that are not the zone's or addresses that are not the overlay's.
func render(profile string, m *api.Map) []byte {
	zone := m.ZoneName()
	peers := append([]api.Peer{m.Self}, m.Peers...)
	slices.SortFunc(peers, func(a, b api.Peer) int { return cmp.Compare(a.Name, b.Name) })
	seen := map[string]bool{}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s", begin(profile), newline)
	for _, p := range peers {
		if api.CheckName(p.Name) != nil || seen[p.Name] {
			continue
		}
		seen[p.Name] = true
		for _, addr := range []netip.Addr{p.Addr4, p.Addr6} {
			if addr.IsValid() && (m.Overlay4.Contains(addr) || m.Overlay6.Contains(addr)) {
				fmt.Fprintf(&b, "%s\t%s%s", addr, Full(profile, p.Name, zone), newline)
			}
		}
	}
	fmt.Fprintf(&b, "%s%s", end(profile), newline)
	return b.Bytes()
}

// edit replaces the marked part by part; an empty one takes it away.
func edit(file, profile string, part []byte) error {
	fi, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && part == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("names of machines resolve in ssh only: there is no %s; make an empty one", file)
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("names of machines resolve in ssh only: %s is made by something else on this machine", file)
	case fi.Size() > maxFile:
		return fmt.Errorf("names of machines resolve in ssh only: %s is too large to be changed safely", file)
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	data, err := replace(old, profile, part)
	if err != nil || bytes.Equal(old, data) {
		return err
	}
	return write(file, fi, data)
}

// replace returns old with the marked part changed, and everything else as it was.
func replace(old []byte, profile string, part []byte) ([]byte, error) {
	from, afterFirst := line(old, begin(profile))
	last, to := line(old, end(profile))
	switch {
	case from < 0 && last < 0:
		if part == nil {
			return old, nil
		}
		data := slices.Clone(old)
		if len(data) > 0 && data[len(data)-1] != '\n' {
			data = append(data, newline...)
		}
		return append(data, part...), nil
	case from < 0 || last < afterFirst:
		return nil, ErrDamaged
	}
	return slices.Concat(old[:from], part, old[to:]), nil
}

// line finds a whole line and returns where it begins and where the next one does, or -1.
func line(data, want []byte) (from, next int) {
	for at := 0; at < len(data); {
		next := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		if bytes.Equal(bytes.TrimRight(data[at:next], "\r\n"), want) {
			return at, next
		}
		at = next
	}
	return -1, -1
}

// write replaces the file in one step, with its owner and mode. Where the file cannot be renamed over, as one that is
// mounted into a container cannot, it is written in place.
func write(file string, fi fs.FileInfo, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".lanyard-*")
	if err == nil {
		defer os.Remove(f.Name()) // fails once it was renamed
		_, err = f.Write(data)
		err = errors.Join(err, f.Chmod(fi.Mode().Perm()), chown(f, fi), f.Sync(), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), file)
		}
	}
	if err == nil {
		return nil
	}
	if !mountedOver(err) {
		return fmt.Errorf("names of machines resolve in ssh only: write %s: %w", file, err)
	}
	f, err = os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("names of machines resolve in ssh only: write %s: %w", file, err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}
