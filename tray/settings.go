package main

import (
	"encoding/json"
	"path/filepath"
	"sync"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
)

// choices are what a person has set; they lie beside the profiles of their account.
type choices struct {
	Start    bool   `json:"start"`    // with the desktop
	Notify   bool   `json:"notify"`   // at all
	Visitors bool   `json:"visitors"` // when somebody comes in
	Profile  string `json:"profile"`
	// ToldNoPanel: the person knows that this desktop shows no icons.
	ToldNoPanel bool `json:"told_no_panel,omitempty"`
}

type settingsFile struct {
	name string

	mu  sync.Mutex
	now choices // guarded by mu
}

// openSettings reads the choices. A file that cannot be read counts as none: they are made again with two clicks.
func openSettings(profile string) *settingsFile {
	f := &settingsFile{
		name: filepath.Join(filepath.Dir(paths.User(profile).Login), "tray.json"),
		now:  choices{Start: true, Notify: true, Visitors: true, Profile: paths.DefaultProfile},
	}
	raw, err := paths.ReadFile(f.name)
	read := f.now
	if err == nil && json.Unmarshal(raw, &read) == nil && api.CheckName(read.Profile) == nil {
		f.now = read
	}
	return f
}

func (f *settingsFile) get() choices {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// change changes the choices and keeps them.
func (f *settingsFile) change(how func(*choices)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(&f.now)
	raw, err := json.MarshalIndent(f.now, "", "  ")
	if err != nil {
		return err
	}
	if err := paths.PrivateDir(filepath.Dir(f.name)); err != nil {
		return err
	}
	return paths.WriteFile(f.name, append(raw, '\n'), 0o600)
}
