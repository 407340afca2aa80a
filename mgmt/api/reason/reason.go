// Package reason names why something was refused or ended.
//
// The same code is shown to the person who was refused, printed by `lanyard explain` and `lanyard doctor`,
// drawn in the dashboard and written to the audit log, so that one word can be searched for everywhere.
package reason

import "fmt"

// Code is a stable, lower-case, hyphenated word. Codes are part of the wire format: never rename one.
type Code string

// Refusals of a login or a session.
const (
	OK Code = "ok"

	// The certificate and its token (shown before possession of the key is proven).
	TokenMissing   Code = "token-missing"   // not a certificate of ours
	TokenMalformed Code = "token-malformed" // cannot be parsed, or breaks a rule of form
	TokenExpired   Code = "token-expired"   // exp, or older than the rule's max_token_age
	LoginExpired   Code = "login-expired"   // the bound token is older than the login's lifetime
	ClockSkew      Code = "clock-skew"      // not yet valid: one of the clocks is wrong
	Issuer         Code = "issuer"          // not an issuer this machine trusts
	Audience       Code = "audience"        // not made for Lanyard
	Signature      Code = "signature"       // no published key of the issuer verifies it
	KeyMismatch    Code = "key-mismatch"    // the token was not made for this SSH key
	Distrusted     Code = "distrusted"      // an administrator distrusts the issuer's key behind it
	Revoked        Code = "revoked"         // logged out, or "sign out this machine"
	MachineExpired Code = "machine-expired" // a machine's certificate lives five minutes
	OtherMachine   Code = "other-machine"   // a machine's certificate, not signed by the machine that it comes from

	// The decision (shown after possession is proven).
	Blocked     Code = "blocked"       // the person was blocked
	Silent      Code = "silent"        // the management server has not heard from the login for too long
	NoRule      Code = "no-rule"       // no rule lets this person onto this machine
	LocalUser   Code = "local-user"    // a rule does, but not as this account
	NoAccount   Code = "no-account"    // the account does not exist or may not log in here
	Privileged  Code = "privileged"    // root or an administrator, which the rule does not name
	OwnDevice   Code = "own-device"    // the rule wants a machine that belongs to the person
	MFA         Code = "mfa"           // the rule wants a stronger sign-in (amr, acr)
	MapStale    Code = "map-stale"     // no word from the management server for longer than max_map_age
	AuditFull   Code = "audit-full"    // the audit spool has no room left
	Capability  Code = "capability"    // the rule does not grant this (shell, exec, sftp, forwarding, ...)
	Destination Code = "destination"   // the rule does not grant this forward destination
	NotDirect   Code = "not-direct"    // the connection did not come through the tunnel
	TooMany     Code = "too-many"      // too many attempts, sessions or connections
	Disabled    Code = "disabled"      // SSH is switched off on this machine
	Limits      Code = "limits"        // the machine's own limits.yaml forbids it
	NoLogins    Code = "no-logins"     // the machine takes nobody but root for the moment (nologin(5))
	NotLoggedIn Code = "not-logged-in" // nobody is signed in here
	ThisMachine Code = "this-machine"  // the machine that ssh was started on; nothing comes through the tunnel to itself
	Unreachable Code = "unreachable"   // the machine or the server does not answer
	Internal    Code = "internal"      // a fault of ours; the log has more

	// Sign-ins with a code that is typed on another device.
	SignInOff     Code = "sign-in-off"         // no rule lets this person sign in at a prompt of ssh
	SignInExpired Code = "sign-in-expired"     // nobody signed in within five minutes
	SignInDown    Code = "sign-in-unreachable" // the server does not reach its management server

	// Ends of sessions that had been allowed.
	Logout     Code = "logout"
	PolicyGone Code = "policy-changed"
	Idle       Code = "idle"
	MaxTime    Code = "max-time"
	EndedHere  Code = "ended-by-owner" // from the tray or by the machine's administrator
	Shutdown   Code = "shutdown"
	Removed    Code = "machine-removed" // the server is no machine of its network any more
	// Interrupted is found at the next start: the service was killed or the machine went down.
	Interrupted Code = "interrupted"
	Upgraded    Code = "upgraded" // the service was replaced by a version that cannot go on with the session
)

// Sentences say what happened and what to do next. Every code above has one.
var sentences = map[Code]string{
	OK:             "Access is allowed.",
	TokenMissing:   "This server accepts Lanyard sign-ins only; run 'lanyard login' and try again.",
	TokenMalformed: "The sign-in could not be read; run 'lanyard login' and try again.",
	TokenExpired:   "Your sign-in is too old for this machine; run 'lanyard login'.",
	LoginExpired:   "Your daily sign-in has ended; run 'lanyard login'.",
	ClockSkew:      "The clocks of the machines or of the identity provider differ too much; set them and try again.",
	Issuer:         "Your identity provider is not trusted by this machine; ask your administrator.",
	Audience:       "The sign-in was made for another program; run 'lanyard login'.",
	Signature:      "The sign-in could not be verified; run 'lanyard login' and try again.",
	KeyMismatch:    "The sign-in belongs to another key; run 'lanyard login'.",
	Distrusted:     "The key of your identity provider that vouched for this sign-in is not trusted any more; run 'lanyard login'.",
	Silent:         "Your machine has not reported this sign-in to the management server for too long; check its way there and try again.",
	Revoked:        "This sign-in was ended; run 'lanyard login'.",
	MachineExpired: "The certificate of the machine that you come from has expired; try again, and if this stays, set the clocks of both machines.",
	OtherMachine:   "The certificate was not made by the machine that you come from; run ssh on the machine that made it.",
	Blocked:        "Your access was blocked; ask your administrator.",
	NoRule:         "No policy gives you access to this machine; ask your administrator.",
	LocalUser:      "Your access does not include this account; 'lanyard explain' shows which accounts you may use.",
	NoAccount:      "This account does not exist on the machine or may not log in.",
	Privileged:     "This account is an administrator's and no policy names it for you; ask your administrator.",
	OwnDevice:      "This machine admits you from your own devices only.",
	MFA:            "This machine wants a stronger sign-in; run 'lanyard login' and use a second factor.",
	MapStale:       "The machine has not heard from its management server for too long; ask your administrator.",
	AuditFull:      "The machine's audit log is full; ask your administrator.",
	Capability:     "Your access does not include this.",
	Destination:    "Your access does not include this forwarding destination.",
	NotDirect:      "This port serves connections through the tunnel only.",
	TooMany:        "Too many attempts; wait a moment and try again.",
	Disabled:       "SSH is switched off on this machine; its administrator can run 'lanyard up --allow-ssh'.",
	Limits:         "The machine's own limits forbid this; ask its administrator.",
	NoLogins:       "The machine takes no logins for the moment; try again later or ask its administrator.",
	NotLoggedIn:    "You are not signed in; run 'lanyard login'.",
	ThisMachine:    "This is the machine that you are on; no ssh is needed.",
	Unreachable:    "No answer; check the network and run 'lanyard doctor'.",
	Internal:       "Something went wrong on the machine; its log has more.",
	SignInOff:      "No policy lets you sign in at this prompt; use a machine with Lanyard and run 'lanyard login'.",
	SignInExpired:  "Nobody signed in with the code in time; start again for a new one.",
	SignInDown:     "The management server does not answer this machine, so nobody can sign in at its prompt; try again later, or use a machine with Lanyard.",

	Logout:      "You signed out.",
	PolicyGone:  "A policy change ended your access.",
	Idle:        "The session was idle for too long.",
	MaxTime:     "The session reached its longest allowed time.",
	EndedHere:   "The session was ended on the machine.",
	Shutdown:    "The machine's Lanyard service is stopping.",
	Removed:     "The machine was removed from its network; ask your administrator.",
	Interrupted: "The machine's Lanyard service ended without warning.",
	Upgraded:    "The machine's Lanyard service was upgraded to a version that cannot go on with open sessions; connect again.",
}

// Sentence returns one sentence for a person: what happened and what to do next.
func (c Code) Sentence() string {
	if s, ok := sentences[c]; ok {
		return s
	}
	return "Refused."
}

// Known reports whether c is one of the codes above.
func (c Code) Known() bool { _, ok := sentences[c]; return ok }

// Line is the one line a person sees: "Lanyard: <sentence> [<code>]".
func (c Code) Line() string { return fmt.Sprintf("Lanyard: %s [%s]", c.Sentence(), c) }

// Error is an error that carries a code. Detail is for logs and audit, never for the person who was refused
// before possession of a key was proven.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Detail
}

// Errorf makes an *Error with a formatted detail.
func Errorf(c Code, format string, args ...any) error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}
