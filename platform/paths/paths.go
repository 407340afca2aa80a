// Package paths knows where everything of Lanyard lies: the service's state, its socket, the OpenSSH drop-in and the
// files of a person's login. Each system has a file that names its places; nobody else spells one out.
//
// The environment variables LANYARD_STATE_DIR and LANYARD_RUN_DIR move a whole installation elsewhere (a second one
// of the same user, a trial, a test). With LANYARD_STATE_DIR set, nothing outside of it and $HOME is touched: the
// drop-in lies in the state folder too, and login files go to $HOME/.ssh.
package paths

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// DefaultProfile is the profile that commands use when none is named.
const DefaultProfile = "default"

// Paths are the places of one profile.
type Paths struct {
	Profile string
	// System: these are the machine's places (root, Administrator), not one user's.
	System bool
	// Moved: LANYARD_STATE_DIR is set.
	Moved bool

	State      string // folder of the service's state, 0700 (0755 for the machine's, whose known_hosts all may read)
	StateFile  string // machine key, WireGuard key, host key, server: 0600
	MapFile    string // the signed network map
	Spool      string // folder of audit events not yet delivered
	KnownHosts string // host keys of the map, for ssh
	Limits     string // what the machine's administrator lets the network do with it
	DropIn     string // the generated ssh_config

	Run    string // folder of Socket
	Socket string // Unix socket, or on Windows the name of a pipe

	Login  string // folder of this user's own secrets and locks, 0700
	SSHDir string // folder of the login's key and certificate
	// SSHDirConfig is SSHDir as an ssh_config says it: "~/.ssh" where the file serves every user.
	SSHDirConfig string
}

// For returns the places of this process's user: the machine's for root or an elevated administrator, else the
// user's own. A profile is a name as api.CheckName allows; callers check it where it comes from outside.
func For(profile string) Paths {
	if privileged() {
		return System(profile)
	}
	return User(profile)
}

// System returns the places of the machine's service, whoever asks: an ordinary user finds its socket there.
func System(profile string) Paths {
	state, run := systemState(), systemRun()
	return layout(profile, true, state, run)
}

// User returns the places of a service that this user runs without privileges.
func User(profile string) Paths {
	state := userState()
	return layout(profile, false, state, userRun(state))
}

// Find returns the places of the service that this user talks to: their own, if they run one, else the machine's.
func Find(profile string) Paths {
	if privileged() {
		return System(profile)
	}
	if own := User(profile); running(own) {
		return own
	}
	return System(profile)
}

func layout(profile string, system bool, state, run string) Paths {
	moved := false
	if d := os.Getenv("LANYARD_STATE_DIR"); d != "" {
		state, moved = absolute(d), true
		if !system {
			run = state
		}
	}
	if d := os.Getenv("LANYARD_RUN_DIR"); d != "" {
		run = absolute(d)
	}
	p := Paths{
		Profile: profile,
		System:  system,
		State:   filepath.Join(state, profile),
		Run:     run,
		Socket:  socket(run, profile, system),
	}
	p.StateFile = filepath.Join(p.State, "state.json")
	p.MapFile = filepath.Join(p.State, "map.json")
	p.Spool = filepath.Join(p.State, "spool")
	p.KnownHosts = filepath.Join(p.State, "known_hosts")
	p.Limits = filepath.Join(p.State, "limits.yaml")

	home := Home()
	p.SSHDir = filepath.Join(home, ".ssh")
	if moved {
		p.Moved = true
		p.DropIn = filepath.Join(p.State, "ssh_config")
		p.Login = filepath.Join(p.State, "login")
		p.SSHDirConfig = p.SSHDir
		return p
	}
	p.Login = filepath.Join(userState(), profile)
	if system {
		p.DropIn = systemDropIn
		if profile != DefaultProfile {
			p.DropIn = strings.TrimSuffix(systemDropIn, ".conf") + "-" + profile + ".conf"
		}
		p.Limits = filepath.Join(systemConfig, "limits.yaml")
		p.SSHDirConfig = "~/.ssh"
	} else {
		p.DropIn = filepath.Join(p.State, "ssh_config")
		p.SSHDirConfig = p.SSHDir
	}
	return p
}

// Home is the user's home folder as OpenSSH sees it: the one of the user database, not $HOME. Only an installation
// that was moved by LANYARD_STATE_DIR follows $HOME.
func Home() string {
	if h := os.Getenv("HOME"); h != "" && os.Getenv("LANYARD_STATE_DIR") != "" {
		return h
	}
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		return u.HomeDir
	}
	h, _ := os.UserHomeDir()
	return h
}

// Identity returns the login's files for a machine with the id peer: the private key, the certificate beside it, and
// the one-line file that says how long they are good for.
func (p Paths) Identity(peer string) (key, cert, fresh string) {
	key = filepath.Join(p.SSHDir, IdentityName(p.Profile, peer))
	return key, key + "-cert.pub", key + ".fresh"
}

// IdentityName is the file name of the login's private key.
func IdentityName(profile, peer string) string { return "lanyard-" + profile + "-" + peer }

// MachineIdentity returns the files of this user's machine certificate, like Identity. The dot keeps their names apart
// from those of every profile's login.
func (p Paths) MachineIdentity(peer string) (key, cert, fresh string) {
	key = filepath.Join(p.SSHDir, MachineIdentityName(p.Profile, peer))
	return key, key + "-cert.pub", key + ".fresh"
}

// MachineIdentityName is the file name of the private key of this user's machine certificate.
func MachineIdentityName(profile, peer string) string {
	return "lanyard-machine." + profile + "-" + peer
}

// Privileged reports whether this process may change the machine: root, or an elevated administrator.
func Privileged() bool { return privileged() }

func absolute(d string) string {
	if a, err := filepath.Abs(d); err == nil {
		return a
	}
	return d
}
