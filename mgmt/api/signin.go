package api

// Sign-ins that are confirmed on another device: a code is shown where somebody asks, and typed at the management
// server's page (RFC 8628 in shape). There are two kinds. A login (LoginStart with Device) gives tokens to the key that
// asked. A sign-in for one SSH session gives the server peer a token that is good for that session alone.
const (
	RouteLoginCode = "/api/login/code" // POST LoginCodePoll: LoginCodeTokens. Login proof, with the device code in place of the token
	RouteSession   = "/api/session"    // POST SessionStart: SessionStarted. Machine proof
	// RouteSessionCode is POST SessionPoll: SessionToken. Machine proof of the machine that began
	RouteSessionCode = "/api/session/code"
	// PageCode is where a person types a code.
	PageCode = "/device"
)

// LoginCodePoll asks whether the person has signed in (RFC 8628 §3.4). The code is in the header
// "Authorization: DPoP <device code>"; the proof is by the key that asked.
type LoginCodePoll struct{}

// LoginCodeTokens is the answer: Pending, or the tokens, once.
type LoginCodeTokens struct {
	Pending      bool   `json:"pending,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

// SessionStart asks a person to sign in for one SSH session on the machine that asks. The server computes the nonce of
// these and of the two machines' ids (sshd/token, SessionNonce).
type SessionStart struct {
	SessionID []byte `json:"session_id"` // RFC 4253 §7.2
	HostKey   []byte `json:"host_key"`   // SSH wire form, one of the machine's
	LocalUser string `json:"local_user"` // as the client asked for it
	Source    string `json:"source"`     // id of the source peer
	Salt      []byte `json:"salt"`       // 32 bytes
}

// SessionStarted is what to show, and what to poll with.
type SessionStarted struct {
	ID        string  `json:"id"`
	URL       string  `json:"url"`  // where the code is typed
	Code      string  `json:"code"` // never part of a URL
	ExpiresIn Seconds `json:"expires_in"`
	Interval  Seconds `json:"interval"` // between two polls, at least
}

// SessionPoll asks whether the person has signed in; Cancel ends the sign-in, nobody waits for it any more.
type SessionPoll struct {
	ID     string `json:"id"`
	Cancel bool   `json:"cancel,omitempty"`
}

// SessionToken is the answer: Pending, or the ID token, once.
type SessionToken struct {
	Pending bool   `json:"pending,omitempty"`
	IDToken string `json:"id_token,omitempty"`
}
