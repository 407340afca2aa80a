package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// Stages of a rule, in the order in which it is checked. The rule that came furthest gives a refusal its reason.
// Those that the person can do most about come last.
const (
	stageSubject = iota
	stageAccount
	stagePrivileged
	stagePrompt
	stageOwnDevice
	stageMap
	stageMFA
	stageSilent
	stageToken
	stagePassed
)

// Decide decides q.
func Decide(q Query) Decision {
	if q.Now.Before(q.MapIssued) {
		q.Now = q.MapIssued // it is never earlier than the map
	}
	d := Decision{Code: reason.NoRule, Overlay: q.Overlay}
	if q.Subject.Machine == nil && !q.Subject.AnyProcess {
		if code, why := q.person(); code != reason.OK {
			d.Code = code
			d.step("%s", why)
			return d
		}
	} else if why := q.machine(); why != "" {
		d.step("%s", why)
		return d
	}
	if q.Account.Name == "" {
		d.Code = reason.NoAccount
		d.step("No account was asked for.")
		return d
	}
	if why := q.limited(); why != "" {
		d.Code = reason.Limits
		d.step("%s", why)
		return d
	}
	for _, r := range q.Rules {
		if r.Deny && q.names(r) && q.deniesAccount(r) {
			d.Code, d.Rule, d.RuleName = reason.LocalUser, r.ID, r.Name
			if slices.Contains(r.As, anyAccount) {
				d.Code = reason.NoRule
			}
			d.step("Rule %q denies the account %q.", r.Name, q.Account.Name)
			return d
		}
	}
	q.allow(&d)
	return d
}

// allow goes through the allow rules: the union of those that pass, or the reason of the one that came closest.
func (q *Query) allow(d *Decision) {
	closest, noneYet := stageSubject, true
	for _, r := range q.Rules {
		if r.Deny {
			continue
		}
		stage, code, why := q.check(r)
		d.step("Rule %q: %s", r.Name, why)
		if stage == stagePassed {
			d.grant(r, noneYet)
			noneYet = false
			continue
		}
		if noneYet && stage > closest {
			closest, d.Code, d.Rule, d.RuleName = stage, code, r.ID, r.Name
		}
	}
	if noneYet && closest == stageSubject {
		d.step("No rule names %s on this machine.", q.who())
	}
}

// Bounds of FileEvents.
const (
	defaultFileEvents = 1000
	maxFileEvents     = 100_000
)

// grant adds what r grants.
func (d *Decision) grant(r api.Rule, first bool) {
	can := r.Can
	if len(can) == 0 {
		can = api.DefaultCapabilities()
	}
	if first {
		d.Code, d.Rule, d.RuleName, d.Can = reason.OK, r.ID, r.Name, make(map[api.Capability]bool)
		d.MaxSession, d.Idle = r.MaxSession.Duration(), r.Idle.Duration()
	} else {
		d.MaxSession, d.Idle = longer(d.MaxSession, r.MaxSession.Duration()), longer(d.Idle, r.Idle.Duration())
	}
	d.FileEvents = max(d.FileEvents, cmp.Or(r.FileEvents, defaultFileEvents))
	for _, c := range can {
		d.Can[c] = true
	}
	if write := slices.Contains(can, api.CapSFTP); write || slices.Contains(can, api.CapSFTPRead) {
		paths := r.SFTPPaths
		if len(paths) == 0 {
			paths = []string{AllFiles}
		}
		for _, p := range paths {
			d.Files = appendNew(d.Files, FileGrant{Path: p, Write: write})
		}
	}
	if slices.Contains(can, api.CapForwardLocal) {
		to := r.ForwardTo
		if len(to) == 0 {
			to = loopbackForwards()
		}
		for _, f := range to {
			d.ForwardTo = appendNew(d.ForwardTo, f)
		}
	}
	if slices.Contains(can, api.CapForwardRemote) {
		on := r.Listen
		if len(on) == 0 {
			on = loopbackForwards()
		}
		for _, f := range on {
			d.Listen = appendNew(d.Listen, f)
		}
	}
}

// longer of two limits, where 0 is no limit.
func longer(a, b time.Duration) time.Duration {
	if a <= 0 || b <= 0 {
		return 0
	}
	return max(a, b)
}

// person checks what holds for a person whatever the rules say, and lets the map win over the token.
func (q *Query) person() (reason.Code, string) {
	s := &q.Subject
	if s.Ref.Issuer == "" || s.Ref.Subject == "" {
		return reason.TokenMissing, "Nobody is signed in."
	}
	u, ok := q.Users[s.Ref]
	if ok && u.Blocked { // the reason before all others: a block ends the logins too
		return reason.Blocked, "The person is blocked."
	}
	if q.RevokedKeys[s.Thumbprint] && s.Thumbprint != "" {
		return reason.Revoked, "This login was ended."
	}
	if !s.LoginExpires.IsZero() && !q.Now.Before(s.LoginExpires) {
		return reason.LoginExpired, "This login's lifetime has ended."
	}
	if !ok {
		return reason.OK, ""
	}
	if s.BoundAt.Before(u.NotBefore) {
		return reason.Revoked, "All logins of the person before " + u.NotBefore.UTC().Format(time.RFC3339) + " were ended."
	}
	s.Groups = slices.Concat(s.Groups, u.Groups)
	if u.Email != "" && u.Email != s.Email {
		// The map's address counts, in a domain that the token's verified address has shown to be the issuer's.
		if !strings.EqualFold(emailDomain(u.Email), emailDomain(s.Email)) {
			s.EmailDomainOK = false
		}
		s.Email = u.Email
	}
	return reason.OK, ""
}

// limited checks the machine's own limits.
func (q *Query) limited() string {
	l := q.Limits
	switch {
	case l == nil:
		return ""
	case l.Broken:
		return "The limits that this machine's administrator wrote cannot be read."
	case l.NoMachines && q.isMachine():
		return "This machine's limits let no account of another machine in."
	case l.Accounts != nil && !slices.ContainsFunc(l.Accounts, q.sameAccount):
		return fmt.Sprintf("This machine's limits do not offer the account %q.", q.Account.Name)
	}
	return ""
}

// machine checks that a machine's identity and the connection's source are one.
func (q *Query) machine() string {
	m := q.Subject.Machine
	switch {
	case q.Source.ID == "":
		return "The connection has no source machine."
	case m != nil && m.Peer != q.Source.ID:
		return "The machine identity is of another machine than the connection."
	case m != nil && m.Account == "" && !q.Subject.AnyProcess:
		return "The machine identity names no account."
	case !q.Subject.Ref.IsZero():
		return "A session is a person's or a machine's, never both."
	}
	return ""
}

func (q *Query) isMachine() bool { return q.Subject.Machine != nil || q.Subject.AnyProcess }

func (q *Query) who() string {
	switch s := q.Subject; {
	case s.AnyProcess:
		return fmt.Sprintf("anyone who can run a program on %q", q.Source.Name)
	case s.Machine != nil:
		return fmt.Sprintf("the account %q on %q", s.Machine.Account, q.Source.Name)
	case s.Email != "":
		return fmt.Sprintf("%q", s.Email)
	}
	return fmt.Sprintf("%q", q.Subject.Ref.Subject)
}

// check takes one allow rule as far as it goes.
func (q *Query) check(r api.Rule) (stage int, code reason.Code, why string) {
	s := q.Subject
	if !q.names(r) {
		return stageSubject, reason.NoRule, "it does not name " + q.who() + "."
	}
	if ok, privileged := q.allowsAccount(r); !ok {
		if privileged {
			return stagePrivileged, reason.Privileged, fmt.Sprintf("%q is a privileged or system account, which it does not name.", q.Account.Name)
		}
		return stageAccount, reason.LocalUser, fmt.Sprintf("it does not grant the account %q.", q.Account.Name)
	}
	if s.AnyProcess && q.Account.Privileged {
		return stagePrivileged, reason.Privileged, fmt.Sprintf("any_process never opens the privileged account %q.", q.Account.Name)
	}
	if s.Session && len(r.Prompt) == 0 {
		return stagePrompt, reason.SignInOff, "it lets nobody sign in at ssh's prompt."
	}
	if s.Session && !promptsFrom(r, q.Source, s.Ref) {
		return stageOwnDevice, reason.OwnDevice, fmt.Sprintf("it lets people sign in at ssh's prompt from their own machines or from named ones, and %q is neither.", q.Source.Name)
	}
	if r.OwnDevice && (q.isMachine() || q.Source.Owner != s.Ref) {
		return stageOwnDevice, reason.OwnDevice, fmt.Sprintf("it wants a machine that belongs to the person, and %q does not.", q.Source.Name)
	}
	maxMap := cmp.Or(max(q.MaxMapAge, 0), DefaultMaxMapAge)
	if !r.OfflineForever && q.Now.Sub(q.MapIssued) > maxMap {
		return stageMap, reason.MapStale, fmt.Sprintf("the map is older than %v.", maxMap)
	}
	// Conditions about the sign-in and the device are about people: no machine meets them.
	if len(r.ACR) > 0 && (q.isMachine() || !slices.Contains(r.ACR, s.ACR)) {
		return stageMFA, reason.MFA, fmt.Sprintf("it wants one of acr %q, the sign-in has %q.", r.ACR, s.ACR)
	}
	if len(r.AMR) > 0 && (q.isMachine() || !slices.ContainsFunc(r.AMR, func(m string) bool { return slices.Contains(s.AMR, m) })) {
		return stageMFA, reason.MFA, fmt.Sprintf("it wants one of amr %q, the sign-in has %q.", r.AMR, s.AMR)
	}
	maxAge := cmp.Or(r.MaxTokenAge.Duration(), DefaultMaxTokenAge)
	if since, silent := q.Silent[s.Thumbprint]; silent && !q.isMachine() && s.Thumbprint != "" {
		if grace := cmp.Or(max(q.LoginGrace, 0), DefaultLoginGrace); q.Now.Sub(since) > maxAge+grace {
			return stageSilent, reason.Silent, fmt.Sprintf("the management server has seen no token of this login that is younger than %v.", maxAge+grace)
		}
	}
	if !q.isMachine() && !q.Live && q.Now.Sub(s.TokenTime) > maxAge {
		return stageToken, reason.TokenExpired, fmt.Sprintf("the token is older than %v.", maxAge)
	}
	why = fmt.Sprintf("it allows %s the account %q.", q.who(), q.Account.Name)
	if q.isMachine() && r.AnyProcess && !s.AnyProcess && !q.Account.Privileged {
		why = fmt.Sprintf("it allows anyone who can run a program on %q the account %q.", q.Source.Name, q.Account.Name)
	}
	if len(r.Prompt) > 0 && !q.isMachine() && !s.Session {
		word := "but not"
		if promptsFrom(r, q.Source, s.Ref) {
			word = "and also"
		}
		why = fmt.Sprintf("%s, %s with a sign-in at ssh's prompt from %q.", strings.TrimSuffix(why, "."), word, q.Source.Name)
	}
	return stagePassed, reason.OK, why
}

// promptsFrom reports whether r lets the person sign in for one session that comes from source. A sign-in that somebody
// in between relays comes from their machine.
func promptsFrom(r api.Rule, source api.Peer, person api.UserRef) bool {
	return slices.ContainsFunc(r.Prompt, func(s string) bool {
		return s == toOwn && !source.Owner.IsZero() && source.Owner == person || source.ID != "" && s == "peer:"+source.ID
	})
}

// Prompt says whether a server peer with these rules should ask somebody who connects from source to sign in for one
// session: OK; own-device, when no rule could let anybody in from there; sign-in-off, when no rule has prompts at all.
// Who signs in is decided by Decide.
func Prompt(rules []api.Rule, source api.Peer) reason.Code {
	code := reason.SignInOff
	for _, r := range rules {
		if r.Deny || len(r.Prompt) == 0 {
			continue
		}
		code = reason.OwnDevice
		if promptsFrom(r, source, source.Owner) {
			return reason.OK
		}
	}
	return code
}

// names reports whether r is about the subject.
func (q *Query) names(r api.Rule) bool {
	s := q.Subject
	if q.isMachine() {
		if r.OwnerOnly || s.AnyProcess && !r.AnyProcess && !r.Deny {
			return false
		}
		return slices.ContainsFunc(r.Machines, func(m api.MachineRef) bool {
			// Which account a process of "none" has is unknown: a rule for one account there is for all.
			return m.Peer == q.Source.ID && (s.AnyProcess || m.Account == s.Machine.Account)
		})
	}
	if r.OwnerOnly && q.Self.Owner != s.Ref {
		return false
	}
	return namesPerson(r, s.Ref, s.Groups)
}

// allowsAccount reports whether r grants the account, and if not, whether only because it is a privileged or
// system account that r does not name.
func (q *Query) allowsAccount(r api.Rule) (ok, privileged bool) {
	special := q.Account.Privileged || q.Account.System || q.Account.ID == "0"
	for _, as := range r.As {
		var general bool
		switch as {
		case anyAccount:
			general = true
		case emailLocal:
			s := q.Subject
			general = !q.isMachine() && s.EmailVerified && s.EmailDomainOK && q.isEmailLocal()
		default:
			if q.sameAccount(as) {
				return true, false
			}
		}
		if general && !special {
			return true, false
		}
		privileged = privileged || general
	}
	return false, privileged
}

// deniesAccount errs on the side of denying: "*" is every account, privileged ones too, "root" is whatever has
// uid 0, and {email.local} needs no verified address.
func (q *Query) deniesAccount(r api.Rule) bool {
	return slices.ContainsFunc(r.As, func(as string) bool {
		switch as {
		case anyAccount:
			return true
		case emailLocal:
			return !q.isMachine() && q.isEmailLocal()
		case "root":
			return q.Account.ID == "0" || q.sameAccount(as)
		}
		return q.sameAccount(as) || strings.EqualFold(as, q.Account.Name)
	})
}

// sameAccount compares canonical names; those of Windows have no case.
func (q *Query) sameAccount(name string) bool {
	if strings.HasPrefix(q.Account.ID, "S-1-") {
		return strings.EqualFold(name, q.Account.Name)
	}
	return name == q.Account.Name
}

func (q *Query) isEmailLocal() bool {
	local := emailLocalPart(q.Subject.Email)
	return local != "" && q.sameAccount(local)
}

// plainAccount is what {email.local} may yield: no plus addressing, no quoting, nothing that a program could
// take for an option, a path or a number.
var plainAccount = regexp.MustCompile(`^[a-z_][a-z0-9_-]*(\.[a-z0-9_-]+)*$`)

// emailLocalPart is the account that {email.local} stands for, in lower case, or "".
func emailLocalPart(email string) string {
	local, domain, ok := strings.Cut(strings.ToLower(email), "@")
	if !ok || domain == "" || strings.Contains(domain, "@") || len(local) > 32 || !plainAccount.MatchString(local) {
		return ""
	}
	return local
}

// emailDomain is what follows the '@', or the whole text when there is not exactly one.
func emailDomain(email string) string {
	if _, domain, ok := strings.Cut(email, "@"); ok && !strings.Contains(domain, "@") {
		return domain
	}
	return email
}

func (d *Decision) step(format string, args ...any) {
	d.Steps = append(d.Steps, fmt.Sprintf(format, args...))
}
