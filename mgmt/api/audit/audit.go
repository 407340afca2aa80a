// Package audit defines the events that peers and the management server record.
//
// Events are plain data. A peer writes them to its spool (service/spool) and delivers them at least once;
// the management server stores each id once.
package audit

import (
	"time"

	"lanyard/mgmt/api/reason"
)

// Type says what happened. Types are part of the wire format: never rename one.
type Type string

// Event types.
const (
	SessionStart Type = "session.start" // a connection was authenticated and allowed
	SessionEnd   Type = "session.end"   // it ended; Reason and Duration say why and how long
	ChannelStart Type = "channel.start" // shell, exec, sftp, forward: What, Command or Target says which
	ChannelEnd   Type = "channel.end"
	Refused      Type = "refused"      // a login was refused; Count > 1 when merged
	FileOp       Type = "file"         // an SFTP open, write, remove or rename
	AdminChange  Type = "admin.change" // written by the management server itself
	Login        Type = "login"        // a person signed in
	Logout       Type = "logout"
	Enrolled     Type = "enrolled"
)

// Event is one line of the audit log. Times are UTC. Foreign text (commands, names from the wire) is stored
// as it came and must be escaped where it is shown.
type Event struct {
	ID     string    `json:"id"` // 26 characters, unique across the network; begins with the time
	Time   time.Time `json:"time"`
	Type   Type      `json:"type"`
	Peer   string    `json:"peer,omitempty"`   // id of the peer that recorded it
	Source string    `json:"source,omitempty"` // id of the source peer
	// SourceAddr is the overlay address and port that the connection came from.
	SourceAddr string      `json:"source_addr,omitempty"`
	Issuer     string      `json:"issuer,omitempty"`
	Subject    string      `json:"subject,omitempty"`
	User       string      `json:"user,omitempty"`       // the person, for people: email or name
	Key        string      `json:"key,omitempty"`        // thumbprint of the login key that a session began with
	LocalUser  string      `json:"local_user,omitempty"` // the canonical account
	Session    string      `json:"session,omitempty"`    // id of the SSH connection
	Channel    string      `json:"channel,omitempty"`    // id within the session
	What       string      `json:"what,omitempty"`       // shell, exec, sftp, forward-local, ... or an admin action
	Command    string      `json:"command,omitempty"`
	Target     string      `json:"target,omitempty"` // forward destination, file path, or the changed object
	Rule       string      `json:"rule,omitempty"`   // id of the rule that allowed it
	Reason     reason.Code `json:"reason,omitempty"`
	Detail     string      `json:"detail,omitempty"`
	ExitStatus *int        `json:"exit_status,omitempty"`
	DurationMS int64       `json:"duration_ms,omitempty"`
	BytesIn    int64       `json:"bytes_in,omitempty"`  // towards the server peer
	BytesOut   int64       `json:"bytes_out,omitempty"` // towards the client peer
	Count      int         `json:"count,omitempty"`     // merged refusals
	// Prev is the hex SHA-256 of the previous line of the same spool, which makes the spool a chain.
	Prev string `json:"prev,omitempty"`
}
