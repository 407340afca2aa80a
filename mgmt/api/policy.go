package api

// Capability is one thing that a rule lets a session do.
type Capability string

// Capabilities. CapSFTPRead is file transfer without any change on the server peer.
const (
	CapShell         Capability = "shell"
	CapExec          Capability = "exec"
	CapPTY           Capability = "pty"
	CapSFTP          Capability = "sftp"
	CapSFTPRead      Capability = "sftp-read"
	CapForwardLocal  Capability = "forward-local"  // -L, -D, -J: destinations in Rule.ForwardTo
	CapForwardRemote Capability = "forward-remote" // -R: listeners at Rule.Listen
	CapSockets       Capability = "sockets"        // Unix sockets, both ways
	CapAgent         Capability = "agent"
	CapX11           Capability = "x11"
)

// DefaultCapabilities is what a policy grants that names none.
func DefaultCapabilities() []Capability {
	return []Capability{CapShell, CapExec, CapPTY, CapSFTP, CapForwardLocal, CapAgent}
}

// AllCapabilities lists every capability.
func AllCapabilities() []Capability {
	return []Capability{
		CapShell, CapExec, CapPTY, CapSFTP, CapSFTPRead, CapForwardLocal, CapForwardRemote, CapSockets, CapAgent, CapX11,
	}
}

// Conditions and limits are the same in a policy as it is written and in a rule as it is compiled.
type Conditions struct {
	Can []Capability `json:"can,omitempty"`
	// ForwardTo lists forward destinations, "host:port": host a name, an address, a prefix or '*', port a
	// number, a range "8000-8100" or '*'. Empty: loopback of the server peer only, any port.
	ForwardTo []string `json:"forward_to,omitempty"`
	// Listen lists where -R may listen on the server peer, "address:port" with the patterns of ForwardTo but no names.
	// Empty: loopback only, any port. What asks for another address than granted gets loopback, as with OpenSSH.
	Listen []string `json:"listen,omitempty"`
	// SFTPPaths limit file transfer to these folders and what lies below: absolute paths, or "~" and "~/…" for the
	// account's home. Empty: every file that the account may use. It needs a rule without shell and exec.
	SFTPPaths []string `json:"sftp_paths,omitempty"`
	// OwnDevice: the source peer must belong to the person.
	OwnDevice bool `json:"own_device,omitempty"`
	// ACR and AMR: one of each must be in the bound token, where given.
	ACR []string `json:"acr,omitempty"`
	AMR []string `json:"amr,omitempty"`
	// MaxTokenAge of the newest token, default 1 h.
	MaxTokenAge Seconds `json:"max_token_age,omitempty"`
	// MaxSession and Idle end sessions; 0: never.
	MaxSession Seconds `json:"max_session,omitempty"`
	Idle       Seconds `json:"idle,omitempty"`
	// FileEvents is how many operations on files of one connection are recorded one by one; the rest is counted. 0: the
	// default, 1,000. A copy of a hundred thousand files need not fill the audit log.
	FileEvents int `json:"file_events,omitempty" minimum:"0" maximum:"100000"`
	// OfflineForever keeps the rule past max_map_age (break-glass).
	OfflineForever bool `json:"offline_forever,omitempty"`
	// Prompt lists the machines from which a person may sign in for one session at ssh's prompt (keyboard-interactive),
	// without a certificate: "own" (the person's own), "peer:ID-OR-NAME" (stored as id), "tag:NAME". Empty: none.
	Prompt []string `json:"prompt,omitempty"`
	// AnyProcess lets machine subjects in without a certificate, SSH "none"; never for uid 0 or an administrator.
	AnyProcess bool `json:"any_process,omitempty"`
}

// Policy is a rule as an administrator writes it.
type Policy struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Disabled bool   `json:"disabled,omitempty"`
	// Deny refuses whatever other policies allow. Conditions do not apply.
	Deny bool `json:"deny,omitempty"`
	// From: "user:EMAIL-OR-ID", "group:NAME" (made by hand), "group:NAME@ISSUER", "machine:PEER/ACCOUNT",
	// "tag:NAME/ACCOUNT" (the local account on those machines), "everyone" (any signed-in person).
	From []string `json:"from"`
	// To: "peer:ID-OR-NAME" (stored as id), "tag:NAME", "own" (peers the person owns), "all".
	To []string `json:"to"`
	// As: account names; "{email.local}"; "*" for any account but root, administrators and system accounts.
	As []string `json:"as"`
	Conditions
}

// Rule is a policy compiled for one server peer.
type Rule struct {
	ID       string       `json:"id"`
	Name     string       `json:"name"`
	Deny     bool         `json:"deny,omitempty"`
	Everyone bool         `json:"everyone,omitempty"`
	Users    []UserRef    `json:"users,omitempty"`
	Groups   []GroupRef   `json:"groups,omitempty"`
	Machines []MachineRef `json:"machines,omitempty"`
	// OwnerOnly: the person must own the server peer (To "own").
	OwnerOnly bool     `json:"owner_only,omitempty"`
	As        []string `json:"as"`
	Conditions
}

// MachineRef is a local account on a source peer.
type MachineRef struct {
	Peer    string `json:"peer"`
	Account string `json:"account"`
}

// MachineSubject begins the name of a machine's account where a person's could stand: in the audit log, in what a
// session is told, and in questions to explain.
const MachineSubject = "machine:"

// MachineUser is that name: "machine:runner/ansible". Machine is the peer's name, for people.
func MachineUser(machine, account string) string { return MachineSubject + machine + "/" + account }
