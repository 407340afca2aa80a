// Package ipc is how programs on a machine talk to its daemon: HTTP over a Unix socket or a named pipe.
//
// The daemon trusts nobody on the machine by default. It reads the caller's kernel credentials and sorts every
// call into one of three classes: status is for everyone, connect (bytes to a peer, in userspace mode) for the
// accounts that the operator lists, change for root or an administrator and for the operator. There is no TCP.
//
// This file holds what travels; client.go is the caller's side, server.go the daemon's.
package ipc

import (
	"net/netip"
	"time"

	"lanyard/mgmt/api"
)

// Routes.
const (
	RouteStatus  = "/v1/status"  // GET: Status. Everyone
	RouteEvents  = "/v1/events"  // GET: a stream of Status, one JSON value per line. Everyone
	RouteMachine = "/v1/machine" // GET: Machine. Everyone
	RouteLogin   = "/v1/login"   // POST api.LoginStart without Account: api.LoginStarted. Everyone, for themselves
	// RouteCertificate is POST MachineCertificateRequest: MachineCertificate. Everyone, for themselves
	RouteCertificate = "/v1/machine-certificate"
	RouteExplain     = "/v1/explain"           // POST api.ExplainRequest: api.ExplainReply, this machine's rules only. Everyone
	RouteConnect     = "/v1/connect"           // POST ?host=NAME&port=22: 101, then raw bytes. Connect
	RouteUp          = "/v1/up"                // POST UpRequest: a stream of Progress. Change
	RouteDown        = "/v1/down"              // POST: Status. Change
	RouteEnroll      = "/v1/enroll"            // POST EnrollByPerson: api.EnrollReply. Change
	RouteEnd         = "/v1/sessions/{id}/end" // POST. Change, or the account that the session runs as
	RouteAsk         = "/v1/ask"               // POST AskRequest: answers once the person has signed in. Everyone, for themselves
	RouteAsks        = "/v1/asks"              // GET: a stream of Ask, one JSON value per line, for the person's tray. Everyone, for themselves
	RouteAnswer      = "/v1/asks/answer"       // POST Answer. Everyone, for themselves
)

// Class is what a caller may do; each class includes those before it.
type Class string

// Classes, in rising order.
const (
	ClassStatus  Class = "status"
	ClassConnect Class = "connect"
	ClassChange  Class = "change"
)

// State is where the daemon stands, as one word.
type State string

// States.
const (
	StateNew        State = "new"        // not part of a network
	StateDown       State = "down"       // enrolled, and switched off with 'lanyard down'
	StateConnecting State = "connecting" // up, and without a map so far
	StateConnected  State = "connected"  // up, and hearing from the management server
	StateOffline    State = "offline"    // up with the last map; the management server does not answer
	StateRemoved    State = "removed"    // the management server says that this machine is not a peer any more
)

// Status is what everyone on the machine may know.
type Status struct {
	Profile  string    `json:"profile"`
	Release  string    `json:"release"`
	State    State     `json:"state"`
	Server   string    `json:"server,omitempty"`  // as given to 'lanyard up', with the pin
	Network  string    `json:"network,omitempty"` // id
	Self     *Peer     `json:"self,omitempty"`
	Peers    []Peer    `json:"peers"`
	SSH      SSH       `json:"ssh"`
	Sessions []Session `json:"sessions"` // who is on this machine
	Tunnel   Tunnel    `json:"tunnel"`
	Issuers  []Issuer  `json:"issuers,omitempty"` // whom the network takes a person's word from
	Map      *Map      `json:"map,omitempty"`
	Audit    Audit     `json:"audit"`
	Operator string    `json:"operator,omitempty"`
	Managed  []string  `json:"managed,omitempty"` // settings that the administrator settled, as managed.yaml calls them
	// ManagedBy says where each of Managed is settled: a file, or the system's own policy.
	ManagedBy map[string]string `json:"managed_by,omitempty"`
	Problems  []string          `json:"problems,omitempty"` // one sentence each, with the next step
	// Removed is the one of Problems with which the management server removed this machine.
	Removed   string    `json:"removed,omitempty"`
	Caller    Caller    `json:"caller"`
	StartedAt time.Time `json:"started_at"`
	PID       int       `json:"pid,omitempty"` // of the process that answers
}

// Issuer is an identity provider of the network.
type Issuer struct {
	URL  string `json:"url"`
	Name string `json:"name"`
}

// Caller is what the daemon takes the caller for.
type Caller struct {
	Account string `json:"account"`
	Class   Class  `json:"class"`
}

// Peer is a machine of the map, with the tunnel's state of it.
type Peer struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	ShortName bool           `json:"short_name,omitempty"`
	SSHName   string         `json:"ssh_name,omitempty"` // what ssh on this machine calls it; see Host
	Addr4     netip.Addr     `json:"addr4"`
	Addr6     netip.Addr     `json:"addr6"`
	Tags      []string       `json:"tags,omitempty"`
	OS        string         `json:"os,omitempty"`
	ServesSSH bool           `json:"serves_ssh,omitempty"`
	LoginAs   string         `json:"login_as,omitempty"`
	Own       bool           `json:"own,omitempty"` // same owner as this machine
	Endpoint  netip.AddrPort `json:"endpoint,omitzero"`
	// MachineAccounts are accounts on this machine that it lets in without anybody's sign-in.
	MachineAccounts []string `json:"machine_accounts,omitempty"`
	// AnyProcess: it lets in whoever can run a program on this machine.
	AnyProcess bool `json:"any_process,omitempty"`
	// TokenAge is how young a sign-in it wants, where that is less than the default.
	TokenAge api.Seconds `json:"token_age,omitempty"`
	// Online: it is connected to the management server, or not; nil: nobody says so. See IsOnline.
	Online *bool `json:"online,omitempty"`
	// Handshake is the last time the tunnel heard from the peer; zero: not yet.
	Handshake time.Time `json:"handshake,omitzero"`
	RxBytes   int64     `json:"rx_bytes,omitempty"`
	TxBytes   int64     `json:"tx_bytes,omitempty"`
}

// Host is what ssh on this machine calls the peer.
func (p Peer) Host() string {
	switch {
	case p.SSHName != "":
		return p.SSHName
	case p.ShortName: // by a service that is older than this program
		return p.Name
	}
	return p.Name + "." + api.Zone
}

// IsOnline reports whether the machine is on, as far as that is known: by the management server's word, or without one
// while the tunnel has a living session with it. WireGuard makes a new handshake every two minutes while packets flow,
// and gives a session up after three; of a machine that nothing is sent to, it tells nothing.
func (p Peer) IsOnline(now time.Time) (online, known bool) {
	if p.Online != nil {
		return *p.Online, true
	}
	online = !p.Handshake.IsZero() && now.Sub(p.Handshake) < 3*time.Minute
	return online, online
}

// SSH says whether and how this machine serves SSH over the tunnel.
type SSH struct {
	Allowed bool   `json:"allowed"`          // switched on here with 'lanyard up --allow-ssh'
	Serving bool   `json:"serving"`          // allowed, and the map has a rule
	Mode    string `json:"mode,omitempty"`   // "kernel" or "netstack": where redirected flows end
	Detail  string `json:"detail,omitempty"` // why that mode
	// Admits says whom the rules let in, or would if SSH were allowed: "ann@example.com as deploy", a few at most.
	Admits []string `json:"admits,omitempty"`
}

// Tunnel says how packets travel.
type Tunnel struct {
	Mode       string `json:"mode,omitempty"` // "tun" or "userspace"
	Name       string `json:"name,omitempty"` // of the interface
	ListenPort uint16 `json:"listen_port,omitempty"`
}

// Session is one SSH connection to this machine.
type Session struct {
	ID         string    `json:"id"`
	User       string    `json:"user"`   // the person, for people
	Source     string    `json:"source"` // name of the source peer
	SourceAddr string    `json:"source_addr,omitempty"`
	LocalUser  string    `json:"local_user"`
	Since      time.Time `json:"since"`
	Rule       string    `json:"rule,omitempty"`
	Channels   []string  `json:"channels,omitempty"` // shell, exec, sftp, ...
}

// Map describes the map in force.
type Map struct {
	Epoch    uint64      `json:"epoch"`
	Version  uint64      `json:"version"`
	IssuedAt time.Time   `json:"issued_at"`
	HeardAt  time.Time   `json:"heard_at"` // when the management server last confirmed it
	MaxAge   api.Seconds `json:"max_age"`
	Stale    bool        `json:"stale,omitempty"` // past MaxAge: rules admit nobody
}

// Audit is the state of the spool.
type Audit struct {
	Pending int   `json:"pending"` // events not delivered yet
	Bytes   int64 `json:"bytes"`
	Limit   int64 `json:"limit"`
	Full    bool  `json:"full,omitempty"` // new sessions are refused
}

// Machine is what a program needs to sign a person in, or to enrol this machine in a person's name.
type Machine struct {
	Profile  string `json:"profile"`
	Server   string `json:"server"` // for client.New, with the pin
	Enrolled bool   `json:"enrolled"`
	PeerID   string `json:"peer_id,omitempty"`
	Name     string `json:"name"` // of the machine, as it is or would be registered
	// EnrollBody is the exact body of POST api.RouteEnroll for this machine: the person's login proof covers it.
	EnrollBody []byte `json:"enroll_body,omitempty"`
	// MapIssuers are the issuers of the map in force, without keys; for when the server does not answer.
	MapIssuers []api.Issuer `json:"map_issuers,omitempty"`
	// Userspace: ssh needs 'lanyard openssh connect' as its way out.
	Userspace bool `json:"userspace,omitempty"`
}

// UpRequest joins a network or switches the tunnel on again. Pointers: nil leaves the setting as it is.
type UpRequest struct {
	URL      string `json:"url,omitempty"` // with the pin; empty: the network that the machine is part of
	SetupKey string `json:"setup_key,omitempty"`
	Name     string `json:"name,omitempty"`
	AllowSSH *bool  `json:"allow_ssh,omitempty"`
	// Userspace: netstack in place of a network interface.
	Userspace *bool `json:"userspace,omitempty"`
	// Operator is the account that may change things beside administrators.
	Operator *string `json:"operator,omitempty"`
	// Connect lists accounts that may open connections in userspace mode.
	Connect *[]string `json:"connect,omitempty"`
	// Overlay4 asks for another overlay range, when the default clashes.
	Overlay4 string `json:"overlay4,omitempty"`
}

// Progress is one line of an answer to UpRequest. The last one has Done, Err or NeedLogin.
type Progress struct {
	Line string     `json:"line,omitempty"` // for people
	Done bool       `json:"done,omitempty"`
	Err  *api.Error `json:"err,omitempty"`
	// NeedLogin: the machine is not enrolled and no setup key was given. A person signs in (purpose enroll, see
	// Machine), their proof goes to RouteEnroll, and UpRequest is sent again.
	NeedLogin bool `json:"need_login,omitempty"`
}

// EnrollByPerson carries a person's login proof for POST api.RouteEnroll with Machine.EnrollBody. The daemon adds
// the machine's proof and sends exactly Body.
type EnrollByPerson struct {
	Body          []byte `json:"body"`
	Authorization string `json:"authorization"` // "DPoP <id token>"
	Proof         string `json:"proof"`         // value of api.HeaderProof
}

// MachineCertificateRequest asks for a certificate by which the caller's account is let in where a policy names it and
// this machine (sshd/token, machine certificates). Who asks is what the kernel says.
type MachineCertificateRequest struct {
	Key []byte `json:"key"` // ed25519 public key in SSH wire form
}

// MachineCertificate is the answer.
type MachineCertificate struct {
	Certificate []byte      `json:"certificate"` // SSH wire form
	Account     string      `json:"account"`     // whom it is for
	Life        api.Seconds `json:"life"`        // from now
}

// AskRequest is a program of the caller's that nobody sits at, and that needs the person to sign in: an ssh of an IDE's,
// say. The person's tray asks them; where they have none, or did not answer a moment ago, the call is refused at once.
type AskRequest struct {
	To string `json:"to,omitempty"` // the machine that ssh goes to: its overlay address, or a name
}

// Ask is what a tray shows: once, however many programs wait.
type Ask struct {
	ID string `json:"id"`
	To string `json:"to,omitempty"` // the machine's name; empty: not known
}

// Answer is what came of an Ask.
type Answer struct {
	ID  string `json:"id"`
	How Reply  `json:"how"`
}

// Reply is how the person answered.
type Reply string

// Replies.
const (
	ReplyBegun    Reply = "begun"     // they clicked, and sign in now
	ReplySignedIn Reply = "signed-in" // the waiting programs go on
	ReplyRefused  Reply = "refused"   // they do not want to, or it failed
)
