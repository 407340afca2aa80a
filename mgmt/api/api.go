// Package api is what peers and the management server say to each other: wire types, routes and names.
//
// It is a leaf: it imports nothing of Lanyard but the reason codes and audit events, and no HTTP, so that the
// SSH server can share its types. The HTTP client lives in api/client, proofs of possession in api/proof.
package api

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Protocol versions. A peer sends Version in every request; a server answers requests below MinVersion with
// an Error whose sentence says what to upgrade.
const (
	Version    = 1
	MinVersion = 1
)

// Header names.
const (
	HeaderVersion = "Lanyard-Version" // decimal protocol version
	HeaderMachine = "Lanyard-Machine" // proof by the machine key (api/proof)
	HeaderProof   = "DPoP"            // proof by the login's key K, beside "Authorization: DPoP <id token>" (RFC 9449 §7.1)
)

// Routes. Those under /api/admin/ are for administrators: the admin socket or a scoped API token.
const (
	RouteConfig  = "/api/config"  // GET: Config. No authentication
	RouteEnroll  = "/api/enroll"  // POST EnrollRequest: EnrollReply. Machine proof, and a setup key or a login
	RouteFollow  = "/api/follow"  // GET, WebSocket: Down and Up messages. Machine proof
	RouteLogin   = "/api/login"   // POST LoginStart: LoginStarted. Machine proof
	RouteSeen    = "/api/seen"    // POST: Me. Login proof. Registers the login and each refreshed token
	RouteMe      = "/api/me"      // GET: Me. Login proof
	RouteRenew   = "/api/renew"   // POST RenewRequest: RenewReply. Login proof
	RouteLogout  = "/api/logout"  // POST LogoutRequest: LogoutReply. Login proof
	RouteExplain = "/api/explain" // POST ExplainRequest: ExplainReply. Login proof
	RouteSetup   = "/api/setup"   // POST SetupRequest. The one-time setup secret
)

// ParamReason goes with an access_denied of the embedded provider (RFC 6749 §4.1.2.1): the reason.Code.
const ParamReason = "lanyard_reason"

// Error is the body of every answer that is not 2xx.
type Error struct {
	Status  int    `json:"status"`
	Code    string `json:"code,omitempty"` // a reason.Code where policy or login is concerned
	Message string `json:"message"`        // one sentence for a person, with the next step
}

func (e *Error) Error() string { return e.Message }

// Config is what anyone may know of a management server.
type Config struct {
	Version    int      `json:"version"`
	MinVersion int      `json:"min_version"`
	Release    string   `json:"release"` // the program's version, for people
	Name       string   `json:"name"`    // of the network, for people
	Network    string   `json:"network"` // id, stable
	MapKey     []byte   `json:"map_key"` // ed25519 public key that signs maps
	Issuers    []Issuer `json:"issuers"` // without keys
	Zone       string   `json:"zone"`    // "lanyard.internal"
}

// Issuer is an OpenID provider.
type Issuer struct {
	URL      string `json:"url"` // compared with `iss` byte for byte
	Name     string `json:"name"`
	ClientID string `json:"client_id"`
	// DeviceClientID is that of sign-ins whose code is typed on another device, SessionClientID that of sign-ins for one
	// SSH session, which count nowhere else. Empty: the provider has none of the kind.
	DeviceClientID  string   `json:"device_client_id,omitempty"`
	SessionClientID string   `json:"session_client_id,omitempty"`
	Scopes          []string `json:"scopes,omitempty"`
	// Embedded: logins begin with a pushed request at the management server (RouteLogin).
	Embedded bool `json:"embedded,omitempty"`
	// LoginLifetime is how long a bound token may stand behind a login, in seconds. Default 24 h.
	LoginLifetime Seconds `json:"login_lifetime,omitempty"`
	// IATBackdate is subtracted from a token's age for providers that backdate iat; at most 10 min.
	IATBackdate Seconds `json:"iat_backdate,omitempty"`
	// EmailDomains may be used by {email.local} for this issuer.
	EmailDomains []string `json:"email_domains,omitempty"`
	// GroupsClaim is the claim with the person's groups; empty: "groups". A name with dots may be a path.
	GroupsClaim string `json:"groups_claim,omitempty"`
	// Keys are the published keys (RFC 7517 JWK, public members only). Maps only.
	Keys []json.RawMessage `json:"keys,omitempty"`
	// Withdrawn keys are no longer published, but still verify bound tokens. Maps only.
	Withdrawn []json.RawMessage `json:"withdrawn,omitempty"`
	// Distrusted keys are in neither list, whatever the issuer publishes; sessions that they vouched for end. Maps only.
	Distrusted []KeyRef `json:"distrusted,omitempty"`
}

// KeyRef names a key of an issuer.
type KeyRef struct {
	KID string `json:"kid,omitempty"` // as the issuer calls it
	ID  string `json:"id"`            // RFC 7638 thumbprint
}

// Seconds is a duration that travels as a whole number of seconds.
type Seconds int64

// Duration converts s.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// Secs converts d, rounding down to whole seconds.
func Secs(d time.Duration) Seconds { return Seconds(d / time.Second) }

// UserRef names a person for good: the issuer's URL and the subject it gave them.
type UserRef struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// IsZero reports whether r names nobody.
func (r UserRef) IsZero() bool { return r == UserRef{} }

// GroupRef names a group. Issuer is LocalIssuer for groups made by hand on the management server.
type GroupRef struct {
	Issuer string `json:"iss"`
	Name   string `json:"name"`
}

// LocalIssuer is the issuer of groups made by hand.
const LocalIssuer = "lanyard"

// Peer is a machine as the map shows it.
type Peer struct {
	ID   string `json:"id"`   // "p" + 16 characters
	Name string `json:"name"` // [a-z0-9-]{1,63}, unique
	// ShortName: the bare name may be used, not only NAME.lanyard.internal.
	ShortName  bool             `json:"short_name,omitempty"`
	Addr4      netip.Addr       `json:"addr4"`
	Addr6      netip.Addr       `json:"addr6"`
	WGKey      []byte           `json:"wg_key"`      // Curve25519 public key, 32 bytes
	MachineKey []byte           `json:"machine_key"` // ed25519 public key, 32 bytes
	HostKeys   []SignedKey      `json:"host_keys,omitempty"`
	Endpoints  []netip.AddrPort `json:"endpoints,omitempty"`
	Owner      UserRef          `json:"owner,omitzero"`
	Tags       []string         `json:"tags,omitempty"` // "tag:web"
	ServesSSH  bool             `json:"serves_ssh,omitempty"`
	OS         string           `json:"os,omitempty"`
	// LoginAs is the one account that the rules leave to every user of the map's peer on this machine; ssh's User.
	LoginAs string `json:"login_as,omitempty"`
	// TokenAge is the shortest max_token_age of the rules by which the map's peer reaches this machine, when one is
	// below the default of an hour: ssh refreshes the sign-in in time.
	TokenAge Seconds `json:"token_age,omitempty"`
	// MachineAccounts are the local accounts on the map's peer that a rule of this machine names: they may be let in
	// there without anybody's sign-in, by a certificate of the map's peer (sshd/token, machine certificates).
	MachineAccounts []string `json:"machine_accounts,omitempty"`
	// AnyProcess: a rule of this machine lets in whoever can run a program on the map's peer.
	AnyProcess bool `json:"any_process,omitempty"`
}

// RefusedPeer is a machine that is not reached any more, and why.
type RefusedPeer struct {
	Name      string `json:"name"`
	ShortName bool   `json:"short_name,omitempty"`
	Code      string `json:"code"` // a reason.Code
}

// SignedKey is an SSH host key with the machine key's signature over HostKeyMessage.
type SignedKey struct {
	Key []byte `json:"key"` // SSH wire form
	Sig []byte `json:"sig"` // ed25519
}

// HostKeyMessage is what a machine key signs to vouch for a host key.
func HostKeyMessage(wireKey []byte) []byte {
	return append([]byte("lanyard host key v1\x00"), wireKey...)
}

// Map is what the management server tells one peer. It travels in a SignedMap.
type Map struct {
	Format   int          `json:"format"` // 1
	Network  string       `json:"network"`
	Epoch    uint64       `json:"epoch"`   // rises when the server's database is restored from a backup
	Version  uint64       `json:"version"` // rises with every change
	IssuedAt time.Time    `json:"issued_at"`
	Overlay4 netip.Prefix `json:"overlay4"`
	Overlay6 netip.Prefix `json:"overlay6"`
	Zone     string       `json:"zone"`
	Self     Peer         `json:"self"`
	// Peers are those that a rule connects with Self, in either direction.
	Peers []Peer `json:"peers"`
	// Refused are machines that only a blocked person would connect with Self: ssh to them says so.
	Refused []RefusedPeer `json:"refused,omitempty"`
	// Admit lists the ids of peers that may open connections to port 22 of Self.
	Admit   []string `json:"admit"`
	Issuers []Issuer `json:"issuers"`
	// Rules are the policies compiled for Self as a server peer.
	Rules []Rule `json:"rules"`
	// Users holds what overrides tokens, for everyone whom a rule or a group of a rule names.
	Users []MapUser `json:"users"`
	// RevokedKeys are thumbprints (base64url SHA-256 of the SSH wire form) of login keys that were logged out.
	RevokedKeys []string `json:"revoked_keys,omitempty"`
	// Silent are logins that the management server has not heard of for longer than a rule lets it be. It takes them out
	// again when they report.
	Silent []SilentLogin `json:"silent,omitempty"`
	// LoginGrace is how much longer than a rule's max_token_age a login may be silent; default 10 min.
	LoginGrace Seconds `json:"login_grace,omitempty"`
	MaxMapAge  Seconds `json:"max_map_age"` // default 24 h
}

// MapUser is what the management server knows of a person; it wins over the token.
type MapUser struct {
	UserRef
	Email   string     `json:"email,omitempty"`
	Name    string     `json:"name,omitempty"`
	Blocked bool       `json:"blocked,omitempty"`
	Groups  []GroupRef `json:"groups,omitempty"` // made by hand or by SCIM; added to the token's
	// NotBefore ends all logins whose bound token was issued before it.
	NotBefore time.Time `json:"not_before,omitzero"`
}

// SilentLogin is a login that is not reported any more.
type SilentLogin struct {
	Key   string    `json:"key"`   // thumbprint
	Since time.Time `json:"since"` // the newest token that the management server has seen is of then
}

// SignedMap is a map as it travels and lies on disk.
type SignedMap struct {
	Map []byte `json:"map"` // JSON of Map
	Sig []byte `json:"sig"` // ed25519 by the map key over MapMessage
}

// MapMessage is what the map key signs.
func MapMessage(mapJSON []byte) []byte { return append([]byte("lanyard map v1\x00"), mapJSON...) }

// EnrollRequest enrols the machine whose proof accompanies it.
type EnrollRequest struct {
	Name       string      `json:"name"`
	MachineKey []byte      `json:"machine_key"`
	WGKey      []byte      `json:"wg_key"`
	HostKeys   []SignedKey `json:"host_keys"`
	SetupKey   string      `json:"setup_key,omitempty"` // or a login proof in the headers
	OS         string      `json:"os"`
	Release    string      `json:"release"`
	ServesSSH  bool        `json:"serves_ssh"`
	// Overlay4 asks for an address of another range when the default clashes with a local route.
	Overlay4 netip.Prefix `json:"overlay4,omitzero"`
}

// EnrollReply makes the machine a peer. MapKey must hash to the pin of the setup key or the join command.
type EnrollReply struct {
	PeerID  string `json:"peer_id"`
	Name    string `json:"name"` // may differ from the one asked for
	Network string `json:"network"`
	MapKey  []byte `json:"map_key"`
}

// Up is a message from a peer on RouteFollow; exactly one field is set.
type Up struct {
	Have  *Have             `json:"have,omitempty"`  // first message
	Ack   *Ack              `json:"ack,omitempty"`   // after each map was put in force
	Self  *SelfUpdate       `json:"self,omitempty"`  // whenever one of its facts changed
	Audit []json.RawMessage `json:"audit,omitempty"` // audit.Event lines as they lie in the spool
	// Unknown is a key of an issuer that a token named and the map does not have.
	Unknown *UnknownKey `json:"unknown,omitempty"`
}

// UnknownKey asks the management server to look at what an issuer publishes.
type UnknownKey struct {
	Issuer string `json:"iss"`
	KID    string `json:"kid"`
}

// Have tells what the peer has on disk, so that an unchanged map need not be sent.
type Have struct {
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version"`
}

// Ack says that a version is in force and which sessions ended by it.
type Ack struct {
	Version uint64   `json:"version"`
	Ended   []string `json:"ended,omitempty"` // session ids
}

// SelfUpdate carries the facts a peer may change about itself.
type SelfUpdate struct {
	Endpoints []netip.AddrPort `json:"endpoints"`
	HostKeys  []SignedKey      `json:"host_keys"`
	ServesSSH bool             `json:"serves_ssh"`
	Release   string           `json:"release"`
	OS        string           `json:"os"`
}

// Down is a message from the server on RouteFollow; exactly one field is set.
type Down struct {
	Map      *SignedMap `json:"map,omitempty"`
	AuditAck []string   `json:"audit_ack,omitempty"` // ids stored for good
	Gone     string     `json:"gone,omitempty"`      // the peer was removed: a sentence
	Presence *Presence  `json:"presence,omitempty"`
}

// Presence tells which machines of the map are connected to the management server; it comes after the map, and then as
// it changes. A machine that was named on this connection in neither list is not known to be either. It is there for
// people to see: it is not signed and not kept, and nothing is decided by it.
type Presence struct {
	Online  []string `json:"online,omitempty"`  // ids
	Offline []string `json:"offline,omitempty"` // ids
}

// Purposes of a login.
const (
	PurposeLogin  = "login"
	PurposeEnroll = "enroll" // the machine is not enrolled yet; its proof is by an unknown key
)

// LoginStart is a pushed authorization request (RFC 9126 in shape). The server computes the nonce from Key and Salt.
type LoginStart struct {
	Purpose       string `json:"purpose"`
	Issuer        string `json:"issuer"`
	Account       string `json:"account"` // local account that asks, as the daemon's kernel credentials say
	MachineName   string `json:"machine_name"`
	Key           []byte `json:"key"`            // K in SSH wire form
	Salt          []byte `json:"salt"`           // 32 bytes
	CodeChallenge string `json:"code_challenge"` // S256 (RFC 7636)
	RedirectURI   string `json:"redirect_uri"`   // http://127.0.0.1:PORT/callback (RFC 8252 §7.3)
	State         string `json:"state"`
	// Device: the person signs in on another device, where they type a code. There is no redirect, state or challenge
	// then, and the machine must be enrolled.
	Device bool `json:"device,omitempty"`
}

// LoginStarted tells where the person goes on.
type LoginStarted struct {
	AuthURL   string  `json:"auth_url"`   // opened in the browser; with Device: where the code is typed
	ShortCode string  `json:"short_code"` // shown here and on the page, to compare; with Device: typed there
	ExpiresIn Seconds `json:"expires_in"`
	TokenURL  string  `json:"token_url"` // RFC 6749 §3.2
	ClientID  string  `json:"client_id"`
	// DeviceCode and Interval come with Device: what to poll RouteLoginCode with, and how long to wait between polls.
	DeviceCode string  `json:"device_code,omitempty"`
	Interval   Seconds `json:"interval,omitempty"`
}

// Me is what a person is told about themselves.
type Me struct {
	UserRef
	ID     string     `json:"id"`
	Email  string     `json:"email,omitempty"`
	Name   string     `json:"name,omitempty"`
	Groups []GroupRef `json:"groups,omitempty"`
	Admin  bool       `json:"admin,omitempty"`
	// Machines this person may reach, with the accounts on each.
	Machines []Reach `json:"machines,omitempty"`
}

// Reach is a machine that somebody may reach, and as whom.
type Reach struct {
	Peer string   `json:"peer"`
	Name string   `json:"name"`
	As   []string `json:"as"`
}

// RenewRequest trades a refreshed ID token without a nonce, which the person's proof accompanies.
type RenewRequest struct {
	Token string `json:"token"`
}

// RenewReply carries the management server's word in its place (sshd/token, Renewal).
type RenewReply struct {
	Renewal string `json:"renewal"`
}

// LogoutRequest ends the login whose proof accompanies it; All ends every login of the person.
type LogoutRequest struct {
	All bool `json:"all,omitempty"`
	// RefreshToken is what older clients send. The embedded provider's goes with its login, whoever holds it.
	RefreshToken string `json:"refresh_token,omitempty"`
}

// Effect of a change: what ended where, and who could not be told.
type Effect struct {
	Ended   []EndedSession `json:"ended"`
	Reached []string       `json:"reached"` // names of peers that put the change in force
	// Unreached names peers that are not connected or did not answer in time.
	Unreached []string `json:"unreached"`
}

// EndedSession is a session that a change ended.
type EndedSession struct {
	Peer    string `json:"peer"` // name
	Session string `json:"session"`
}

// ExplainRequest asks what the policy says. User is a person's id, email or empty for oneself (others, and accounts of
// machines, "machine:NAME/ACCOUNT": administrators).
type ExplainRequest struct {
	User    string `json:"user,omitempty"`
	Source  string `json:"source,omitempty"` // peer name or id; empty: the asker's machine
	Target  string `json:"target"`           // peer name or id
	Account string `json:"account"`
}

// ExplainReply is the decision with the way it came about.
type ExplainReply struct {
	Allowed bool     `json:"allowed"`
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Rule    string   `json:"rule,omitempty"`
	Can     []string `json:"can,omitempty"`
	Steps   []string `json:"steps"` // one sentence per rule that was looked at
}

// SetupRequest makes the first administrator.
type SetupRequest struct {
	Secret   string `json:"secret"`
	Email    string `json:"email"`
	Name     string `json:"name"`
	Password string `json:"password"`
}

// CheckName refuses a machine name that could not stand in an ssh_config or a DNS zone.
func CheckName(s string) error {
	fits := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }
	if s == "" || len(s) > 63 || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") ||
		strings.ContainsFunc(s, func(r rune) bool { return !fits(r) }) {
		return fmt.Errorf("the name %q must be 1 to 63 characters of a-z, 0-9 and '-', not beginning or ending with '-'", s)
	}
	return nil
}

// Zone is the DNS zone of machines' names; a network may use a zone below it.
const Zone = "lanyard.internal"

// ZoneName is the zone that the map names, or Zone where that is neither Zone nor below it: a map must not be able to
// give names of the rest of the world to machines.
func (m *Map) ZoneName() string {
	below, ok := strings.CutSuffix(m.Zone, "."+Zone)
	if !ok {
		return Zone
	}
	for label := range strings.SplitSeq(below, ".") {
		if CheckName(label) != nil {
			return Zone
		}
	}
	return m.Zone
}

// CleanName makes a valid machine name of a host name: lower case, first label, '-' for what does not fit.
func CleanName(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(s), ".")
	s = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, s), "-")
	if len(s) > 63 {
		s = strings.TrimRight(s[:63], "-")
	}
	if s == "" {
		return "machine"
	}
	return s
}

// CheckTag refuses what is not "tag:" and a name.
func CheckTag(s string) error {
	rest, ok := strings.CutPrefix(s, "tag:")
	if !ok || CheckName(rest) != nil {
		return fmt.Errorf("the tag %q must be 'tag:' and a name of a-z, 0-9 and '-'", s)
	}
	return nil
}

var b32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID returns prefix and 16 random characters (80 bits).
func NewID(prefix string) string {
	b := make([]byte, 10)
	rand.Read(b) // never fails (crypto/rand since Go 1.24)
	return prefix + b32.EncodeToString(b)
}

// NewEventID returns an audit event's id: 48 bits of Unix milliseconds and 80 random bits, so ids sort by time.
func NewEventID(t time.Time) string {
	b := make([]byte, 16)
	ms := t.UnixMilli()
	for i := 5; i >= 0; i-- {
		b[i] = byte(ms)
		ms >>= 8
	}
	rand.Read(b[6:])
	return b32.EncodeToString(b)
}

// ErrFormat is returned for a map or state of a newer format than this program knows.
var ErrFormat = errors.New("it was written by a newer version of Lanyard; upgrade this machine")
