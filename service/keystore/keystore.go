// Package keystore keeps a user's refresh token.
//
// Keychains hold little (Windows 2560 bytes, macOS about 3 KB), so the keychain keeps a random 32-byte key, and the
// secret lies in a file of the user's state folder, encrypted by it (AES-256-GCM). A locked keychain may ask its
// owner and block for ever; therefore all calls run in a helper process (this program, re-executed) with a time limit.
// Where there is no keychain the key lies in a file too, 0600, and the user is told once.
package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lanyard/platform/paths"
)

// ErrNone is returned when nothing is stored under a name.
var ErrNone = errors.New("nothing is stored")

// ErrLocked is returned when a secret exists and its keychain cannot be opened here (locked, or no session bus).
var ErrLocked = errors.New("the keychain that holds the key cannot be opened here")

const keySize = 32 // AES-256

// Where the key of a sealed file lies.
const (
	inKeychain = "keychain"
	inFile     = "file"
)

// sealed is the content of an encrypted file.
type sealed struct {
	Version int    `json:"version"` // 1
	Key     string `json:"key"`     // inKeychain or inFile
	Nonce   []byte `json:"nonce"`
	Box     []byte `json:"box"`
}

// Store keeps the secrets of one user in one folder.
type Store struct {
	dir   string
	chain keychain
	warn  func(string)
}

// Open returns the store in dir. helper is the command line before the words "get|set|delete ACCOUNT" that runs Main
// in another process; without one, no keychain is used. warn is told, in a sentence, when a key has to lie in a file.
func Open(dir string, helper []string, warn func(string)) *Store {
	sum := sha256.Sum256([]byte(dir))
	account := "login-" + hex.EncodeToString(sum[:8]) // installations of one user must not share a key
	return &Store{dir: dir, chain: keychain{helper: helper, account: account, limit: helperLimit}, warn: warn}
}

func (s *Store) file(name string) string { return filepath.Join(s.dir, "secret-"+name) }
func (s *Store) keyFile() string         { return filepath.Join(s.dir, "secret-key") }

// Get returns what Set stored under name: ErrNone when there is nothing, ErrLocked when it cannot be opened here.
func (s *Store) Get(name string) ([]byte, error) {
	raw, err := paths.ReadFile(s.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	var box sealed
	if err := json.Unmarshal(raw, &box); err != nil || box.Version != 1 {
		return nil, fmt.Errorf("%w: %s cannot be read", ErrNone, s.file(name))
	}
	var key []byte
	switch box.Key {
	case inKeychain:
		if key, err = s.chain.get(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLocked, err)
		}
	case inFile:
		if key, err = s.readKeyFile(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNone, err)
		}
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if len(box.Nonce) != aead.NonceSize() {
		return nil, fmt.Errorf("%w: %s cannot be read", ErrNone, s.file(name))
	}
	plain, err := aead.Open(nil, box.Nonce, box.Box, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("%w: the key does not open %s", ErrNone, s.file(name))
	}
	return plain, nil
}

// Set stores secret under name, a short word of a-z, 0-9 and '-'.
func (s *Store) Set(name string, secret []byte) error {
	if strings.ContainsAny(name, "/\\:.") || name == "" || name == "key" {
		return fmt.Errorf("%q is not a name for a secret", name)
	}
	if err := paths.PrivateDir(s.dir); err != nil {
		return err
	}
	key, where, err := s.key()
	if err != nil {
		return err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	raw, err := json.Marshal(sealed{Version: 1, Key: where, Nonce: nonce, Box: aead.Seal(nil, nonce, secret, []byte(name))})
	if err != nil {
		return err
	}
	return paths.WriteFile(s.file(name), raw, 0o600)
}

// Delete forgets what is under name. The key goes with the last secret.
func (s *Store) Delete(name string) error {
	err := os.Remove(s.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	left, _ := filepath.Glob(filepath.Join(s.dir, "secret-*"))
	if len(left) == 0 || len(left) == 1 && left[0] == s.keyFile() {
		os.Remove(s.keyFile())
		s.chain.delete()
	}
	return err
}

// key returns the key to encrypt with, made if need be: in the keychain, else in a file.
func (s *Store) key() ([]byte, string, error) {
	key, err := s.chain.get()
	if err == nil && len(key) == keySize {
		return key, inKeychain, nil
	}
	fresh := make([]byte, keySize)
	rand.Read(fresh)
	// Only a keychain that said "no such entry" gets one: what a locked one holds must not be replaced.
	if errors.Is(err, ErrNone) && s.chain.set(fresh) == nil {
		return fresh, inKeychain, nil
	}
	chainErr := err
	key, err = s.readKeyFile()
	if err == nil {
		return key, inFile, nil
	}
	if err := paths.WriteFile(s.keyFile(), []byte(hex.EncodeToString(fresh)+"\n"), 0o600); err != nil {
		return nil, "", err
	}
	if s.warn != nil {
		why := "There is no keychain here"
		if errors.Is(chainErr, errNoAnswer) {
			why = "The keychain did not answer; it may be locked"
		}
		s.warn(why + ". What keeps you signed in lies in " + s.dir + ", readable by this account only.")
	}
	return fresh, inFile, nil
}

func (s *Store) readKeyFile() ([]byte, error) {
	raw, err := paths.ReadFile(s.keyFile())
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("%s does not hold a key", s.keyFile())
	}
	return key, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
