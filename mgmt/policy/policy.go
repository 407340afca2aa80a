// Package policy is the language of Lanyard's policies: check what an administrator wrote (Validate), compile it
// for one server peer (Compile), and decide a session (Decide). All of it is pure: no clock, no network, no files.
//
// # How a decision comes about
//
// Access is denied unless a rule allows it. A deny rule that names the person and the account wins over all
// others. Of the allow rules, every one whose conditions hold counts: the session gets the union of what they
// grant, the union of their forward destinations and the longest of their limits. So adding an allow rule never
// takes anything away from anyone.
//
// A refusal carries the reason of the rule that came closest, because that is the one the person can do
// something about: no-rule, then local-user, privileged, sign-in-off, own-device, map-stale, mfa, token-expired.
//
// The map wins over the token: who is blocked there is refused, groups there are added, an email there replaces
// the token's.
package policy

import (
	"net/netip"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// Defaults of conditions that a rule leaves out.
const (
	DefaultMaxTokenAge = time.Hour
	DefaultMaxMapAge   = 24 * time.Hour
	DefaultLoginGrace  = 10 * time.Minute
)

// Limits are what a machine's administrator wrote down (limits.yaml). No rule widens them.
type Limits struct {
	// Accounts may be offered, by canonical name; nil: all.
	Accounts []string
	// NoMachines: no account of another machine comes in.
	NoMachines bool
	// Broken: they cannot be read, and nobody comes in.
	Broken bool
}

// World is what policies are compiled against.
type World struct {
	Peers []api.Peer
	Users []User
}

// User is a person as the management server stores them.
type User struct {
	ID  string
	Ref api.UserRef
	// Email must be verified (by the provider, or set by an administrator); leave it empty otherwise, since
	// "user:EMAIL" trusts it.
	Email   string
	Groups  []api.GroupRef // made by hand, by SCIM, or last seen in a token
	Blocked bool
}

// Account is the local account that a session asks for, resolved to its canonical form before the decision.
type Account struct {
	Name string
	ID   string // uid or SID
	// Privileged: uid 0, SYSTEM, an administrator.
	Privileged bool
	// System: an account of the operating system or a service, not of a person.
	System bool
}

// Subject is who asks: a person (Ref), or a machine (Machine).
type Subject struct {
	Ref           api.UserRef
	Email         string
	EmailVerified bool
	EmailDomainOK bool // the email's domain was assigned to the issuer
	Groups        []api.GroupRef
	AMR           []string
	ACR           string
	AuthTime      time.Time
	TokenTime     time.Time // the newest token's iat
	BoundAt       time.Time // the bound token's iat
	LoginExpires  time.Time // when the login's lifetime ends; zero: not checked
	Thumbprint    string    // of the login key, checked against Query.RevokedKeys
	// Session: the person signed in for this one session at ssh's prompt. There is no login key.
	Session bool
	// Machine is the local account on the source peer that its daemon vouched for. With AnyProcess the account
	// is unknown and ignored.
	Machine    *api.MachineRef
	AnyProcess bool // came without a certificate, by SSH "none"
}

// Query is one question to Decide.
type Query struct {
	Self        api.Peer // the server peer
	Rules       []api.Rule
	Users       map[api.UserRef]api.MapUser
	RevokedKeys map[string]bool // thumbprints of login keys
	Overlay     []netip.Prefix  // the network's own ranges: forwards there need a rule that names the address
	Source      api.Peer
	Subject     Subject
	Account     Account
	Now         time.Time
	MapIssued   time.Time
	MaxMapAge   time.Duration // 0: DefaultMaxMapAge
	// Silent are logins that the management server hears nothing of: the time of the newest token that it saw, by
	// thumbprint. A rule counts for one only until max_token_age and LoginGrace (0: DefaultLoginGrace) have passed.
	Silent     map[string]time.Time
	LoginGrace time.Duration
	// Limits are the machine's own; nil: none.
	Limits *Limits
	// Live: a session that is open already is decided again. The age of its token does not count; its login
	// must still be alive.
	Live bool
}

// Decision is Decide's answer.
type Decision struct {
	Code reason.Code
	// Rule and RuleName name the first rule that allowed, or the rule that refused or came closest.
	Rule, RuleName string
	Can            map[api.Capability]bool
	// Files says which files may be transferred; nil: none. It is the union of what the rules grant.
	Files []FileGrant
	// ForwardTo lists patterns for ForwardAddr; empty: loopback only.
	ForwardTo []string
	// Listen lists patterns for ListenAllowed; empty: loopback only.
	Listen  []string
	Overlay []netip.Prefix
	// MaxSession and Idle end the session; 0: never.
	MaxSession, Idle time.Duration
	// FileEvents is how many operations on files are recorded one by one; what comes after is counted.
	FileEvents int
	// Steps tells how the decision came about, a sentence per rule that was looked at.
	Steps []string
}

// FileGrant is a folder with all below it that may be read, and changed where Write is set. Path is as a policy writes
// it; AllFiles stands for every file.
type FileGrant struct {
	Path  string
	Write bool
}

// AllFiles is the path of a grant without limits, on every system.
const AllFiles = "/"

// Allowed reports whether the session may be.
func (d Decision) Allowed() bool { return d.Code == reason.OK }

// Has reports whether the session may do c. Read-only file transfer is part of file transfer.
func (d Decision) Has(c api.Capability) bool {
	if !d.Allowed() {
		return false
	}
	return d.Can[c] || c == api.CapSFTPRead && d.Can[api.CapSFTP]
}
