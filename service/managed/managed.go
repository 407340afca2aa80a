// Package managed reads what an administrator settled for a machine: settings that nobody on it changes, and the
// network that it joins by itself.
//
//	management_url: https://lanyard.example.com
//	allow_ssh: true
//	userspace: false
//	operator: ann
//
// The settings stand in managed.yaml beside limits.yaml, where only root writes, or come from the system's own management:
// Windows' Group Policy and Intune (policy_windows.go), managed preferences on a Mac (policy_darwin.go). That of the system
// goes first. What is left out everywhere, people choose themselves. They are read when the service starts. Packages that
// are installed without a person may also leave an address in the service's environment, LANYARD_MANAGEMENT_URL and
// LANYARD_ALLOW_SSH, which settle nothing but the first joining, and a setup key in the file setup-key (0600), which is
// used once and removed, or removed unused once a person has made the machine part of a network.
package managed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/limits"
)

// Names in the folder of the machine's configuration.
const (
	fileName = "managed.yaml"
	keyName  = "setup-key"
)

// maxFile bounds each of them, in bytes.
const maxFile = 64 << 10

// Settings are what is settled; nil and empty: people choose.
type Settings struct {
	ManagementURL string  `yaml:"management_url"`
	AllowSSH      *bool   `yaml:"allow_ssh"`
	Userspace     *bool   `yaml:"userspace"`
	Operator      *string `yaml:"operator"`
	// DefaultShell is the shell of sessions (Windows only, where platform/accounts reads it itself).
	DefaultShell string `yaml:"-"`

	from map[string]string // where each settled setting comes from, by its name in the file
}

// Load reads the settings of the profile with these paths. Only the machine's own service in its default profile has any.
func Load(p paths.Paths) (*Settings, error) {
	if p.Profile != paths.DefaultProfile {
		return &Settings{}, nil
	}
	policy := &Settings{}
	if p.System && !p.Moved {
		var err error
		if policy, err = readPolicy(); err != nil {
			return nil, fmt.Errorf("the settings that your administrator made in %s cannot be used (%w); ask them to correct the policy", policySource, err)
		}
	}
	name := filepath.Join(filepath.Dir(p.Limits), fileName)
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return policy, nil
	}
	b, err := paths.ReadFile(name)
	if err == nil {
		err = limits.NotForAll(name)
	}
	var s *Settings
	if err == nil {
		s, err = Parse(b)
	}
	if err != nil {
		return nil, fmt.Errorf("the settings that your administrator made in %s cannot be used (%w); ask them to correct the file", name, err)
	}
	s.comesFrom(name)
	return policy.over(s), nil
}

// over completes s by what other settles.
func (s *Settings) over(other *Settings) *Settings {
	all := *s
	all.from = maps.Clone(other.from)
	if all.from == nil {
		all.from = map[string]string{}
	}
	maps.Copy(all.from, s.from)
	if all.ManagementURL == "" {
		all.ManagementURL = other.ManagementURL
	}
	if all.AllowSSH == nil {
		all.AllowSSH = other.AllowSSH
	}
	if all.Userspace == nil {
		all.Userspace = other.Userspace
	}
	if all.Operator == nil {
		all.Operator = other.Operator
	}
	return &all
}

func (s *Settings) comesFrom(source string) {
	s.from = map[string]string{}
	for _, n := range s.Names() {
		s.from[n] = source
	}
}

// Source says where a settled setting comes from.
func (s *Settings) Source(name string) string {
	if from := s.from[name]; from != "" {
		return from
	}
	return fileName
}

// Parse reads the file's content strictly: a word that is not known may be a setting spelt wrong.
func Parse(b []byte) (*Settings, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	var s Settings
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s", strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds more than one document")
	}
	return &s, nil
}

// Names lists what is settled, as the file calls it.
func (s *Settings) Names() []string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"management_url", s.ManagementURL != ""},
		{"allow_ssh", s.AllowSSH != nil},
		{"userspace", s.Userspace != nil},
		{"operator", s.Operator != nil},
		{"default_shell", s.DefaultShell != ""},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// Settle refuses what r asks for against the settings, and completes it by them.
func (s *Settings) Settle(r ipc.UpRequest) (ipc.UpRequest, error) {
	refused := ""
	switch {
	case s.ManagementURL != "" && r.URL != "" && r.URL != s.ManagementURL:
		refused = "management_url"
	case s.AllowSSH != nil && r.AllowSSH != nil && *r.AllowSSH != *s.AllowSSH:
		refused = "allow_ssh"
	case s.Userspace != nil && r.Userspace != nil && *r.Userspace != *s.Userspace:
		refused = "userspace"
	case s.Operator != nil && r.Operator != nil && *r.Operator != *s.Operator:
		refused = "operator"
	}
	if refused != "" {
		return r, fmt.Errorf("your administrator settled %s for this machine; ask them to change it in %s", refused, s.Source(refused))
	}
	if s.ManagementURL != "" {
		r.URL = s.ManagementURL
	}
	if s.AllowSSH != nil {
		r.AllowSSH = s.AllowSSH
	}
	if s.Userspace != nil {
		r.Userspace = s.Userspace
	}
	if s.Operator != nil {
		r.Operator = s.Operator
	}
	return r, nil
}

// Joining is what a package that was installed without a person left: nil for nothing.
type Joining struct {
	Request ipc.UpRequest // with the setup key, when there is one
}

func keyFile(p paths.Paths) string { return filepath.Join(filepath.Dir(p.Limits), keyName) }

// Waiting returns what a machine that is in no network is to join by itself. A setup key that cannot be used, for want of
// a server to show it to or because others may have read it, is an error: nobody else would be told of it.
func Waiting(p paths.Paths, s *Settings, getenv func(string) string) (*Joining, error) {
	j := &Joining{Request: ipc.UpRequest{URL: getenv("LANYARD_MANAGEMENT_URL")}}
	if p.Profile != paths.DefaultProfile {
		return nil, nil
	}
	if v := getenv("LANYARD_ALLOW_SSH"); v != "" {
		allow, err := parseBool(v)
		if err != nil {
			return nil, fmt.Errorf("LANYARD_ALLOW_SSH is %q; it must be yes or no", v)
		}
		j.Request.AllowSSH = &allow
	}
	if s.ManagementURL != "" {
		j.Request.URL = s.ManagementURL
	}
	if s.AllowSSH != nil {
		j.Request.AllowSSH = s.AllowSSH
	}
	name := keyFile(p)
	key, err := paths.ReadSecret(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && j.Request.URL == "":
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return j, nil
	case err != nil:
		return nil, fmt.Errorf("the setup key is not used: %w; make a new one ('lanyard-mgmt setup-key new'), put it there for root alone (chmod 600), and revoke the old one", err)
	case j.Request.URL == "":
		return nil, fmt.Errorf("there is a setup key in %s and no management server to show it to; name one (LANYARD_MANAGEMENT_URL, or management_url in %s) and restart the service, or remove the key", name, fileName)
	}
	j.Request.SetupKey = strings.TrimSpace(string(key))
	return j, nil
}

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "yes", "on":
		return true, nil
	case "no", "off":
		return false, nil
	}
	return strconv.ParseBool(v)
}

// ForgetKey removes the setup key's file: it was used, or is not needed any more.
func ForgetKey(p paths.Paths) error {
	if p.Profile != paths.DefaultProfile {
		return nil
	}
	if err := os.Remove(keyFile(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the setup key, which is of no use any more: %w", err)
	}
	return nil
}
