package netmap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

	mu   sync.Mutex // guards now and kept, and that writes of the file follow each other
	now  *api.Map   // in force; never changed, only replaced
	kept api.Have   // what lies on disk
}

// Open reads the map that lies at path. A file that cannot be used is moved aside and told of in notice, one sentence
// for a person; the map is then fetched again, and nothing is lost.
func Open(path string, pin Pin) (s *Store, notice string, err error) {
	s = &Store{path: path, pin: pin}
	m, err := load(path, pin)
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
	return Parse(signed, pin)
}

const maxFile = 128 << 20

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
	cur := s.Current()
	if cur == nil {
		return m, false, nil
	}
	switch order(m, cur) {
	case -1:
		return nil, false, fmt.Errorf("%w: epoch %d version %d of %s came after epoch %d version %d of %s", ErrOlder,
			m.Epoch, m.Version, m.IssuedAt.Format(time.RFC3339), cur.Epoch, cur.Version, cur.IssuedAt.Format(time.RFC3339))
	case 0:
		return cur, true, nil
	}
	return m, false, nil
}

// Keep writes a map that Check let through, and makes it the current one. When the disk refuses, the map is current
// nevertheless: it may carry a revocation.
func (s *Store) Keep(signed *api.SignedMap, m *api.Map) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = m
	b, err := json.Marshal(signed)
	if err != nil {
		return err
	}
	if err := paths.WriteFile(s.path, b, 0o600); err != nil {
		return fmt.Errorf("keep the network map on disk: %w", err)
	}
	s.kept = api.Have{Epoch: m.Epoch, Version: m.Version}
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
