package netmap

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
)

// Store keeps the newest map on disk. Its methods may be called from several goroutines.
type Store struct {
	path string
	pin  Pin

	mu    sync.Mutex // guards what follows, and that writes of the file follow each other
	now   *api.Map   // in force; never changed, only replaced
	kept  api.Have   // what lies on disk
	floor Place      // of the newest map that was ever kept
	note  func(Place) error
}

// Place is a map's place in time.
type Place struct {
	Epoch    uint64    `json:"epoch"`
	Version  uint64    `json:"version"`
	IssuedAt time.Time `json:"issued_at"`
}

func placeOf(m *api.Map) Place { return Place{m.Epoch, m.Version, m.IssuedAt} }

func (p Place) compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.Version, q.Version), p.IssuedAt.Compare(q.IssuedAt))
}

// Open reads the map that lies at path. No map before floor is believed, whatever became of the file; note is told of
// each new one, to be remembered elsewhere. A file that cannot be used is moved aside and told of in notice, one sentence
// for a person; the map is then fetched again, and nothing is lost.
func Open(path string, pin Pin, floor Place, note func(Place) error) (s *Store, notice string, err error) {
	s = &Store{path: path, pin: pin, floor: floor, note: note}
	m, err := load(path, pin)
	if err == nil && placeOf(m).compare(floor) < 0 {
		err = ErrOlder
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, "", nil
	case err == nil:
		s.now, s.kept = m, api.Have{Epoch: m.Epoch, Version: m.Version}
		return s, "", nil
	}
	aside := path + ".unusable"
	if _, serr := os.Lstat(aside); serr == nil { // keep the first one: it tells most about what happened
		aside = fmt.Sprintf("%s.unusable-%d", path, time.Now().Unix())
	}
	if rerr := os.Rename(path, aside); rerr != nil {
		return nil, "", fmt.Errorf("the stored network map is unusable (%w) and cannot be moved aside: %w", err, rerr)
	}
	return s, fmt.Sprintf("The stored network map cannot be used (%v); it was moved to %s and is fetched anew.", err, filepath.Base(aside)), nil
}

func load(path string, pin Pin) (*api.Map, error) {
	signed, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(signed, pin)
}

func read(path string) (*api.SignedMap, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxFile {
		return nil, errors.New("it is not a regular file of a map's size")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signed := new(api.SignedMap)
	if err := json.Unmarshal(b, signed); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return signed, nil
}

const maxFile = 128 << 20

// Overlay is the IPv4 range of the network whose map lies at path. Nobody has verified that map.
func Overlay(path string) (netip.Prefix, error) {
	signed, err := read(path)
	if err != nil {
		return netip.Prefix{}, err
	}
	var m struct {
		Overlay4 netip.Prefix `json:"overlay4"`
	}
	err = json.Unmarshal(signed.Map, &m)
	return m.Overlay4, err
}

// Current is the map in force, nil before the first. It must not be changed.
func (s *Store) Current() *api.Map {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Have tells the server which map is here to stay. One that is in force and could not be written does not count: the
// server sends it again until it is.
func (s *Store) Have() api.Have {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

// Check verifies a map that arrived. It is ErrOlder when the one in force is newer; same reports that it is that one.
func (s *Store) Check(signed *api.SignedMap) (m *api.Map, same bool, err error) {
	m, err = Parse(signed, s.pin)
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	cur, floor := s.now, s.floor
	s.mu.Unlock()
	if cur != nil && placeOf(cur).compare(floor) > 0 {
		floor = placeOf(cur)
	}
	switch order := placeOf(m).compare(floor); {
	case order < 0:
		return nil, false, fmt.Errorf("%w: epoch %d version %d of %s came after epoch %d version %d of %s", ErrOlder,
			m.Epoch, m.Version, m.IssuedAt.Format(time.RFC3339), floor.Epoch, floor.Version, floor.IssuedAt.Format(time.RFC3339))
	case order == 0 && cur != nil:
		return cur, true, nil
	}
	return m, false, nil
}

// Keep writes a map that Check let through, and makes it the current one. When the disk refuses, the map is current
// nevertheless: it may carry a revocation.
func (s *Store) Keep(signed *api.SignedMap, m *api.Map) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.floor = m, placeOf(m)
	b, err := json.Marshal(signed)
	if err != nil {
		return err
	}
	if err := paths.WriteFile(s.path, b, 0o600); err != nil {
		return fmt.Errorf("keep the network map on disk: %w", err)
	}
	s.kept = api.Have{Epoch: m.Epoch, Version: m.Version}
	if s.note != nil {
		return s.note(s.floor)
	}
	return nil
}

// Remove deletes the stored map, when the machine left the network.
func (s *Store) Remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.kept = nil, api.Have{}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the stored network map: %w", err)
	}
	return nil
}
