// Package doctor looks for what keeps ssh from working, and says what to do about it. Each check is a function with a
// finding and a next step; a check that needs an earlier one to be good is left out rather than guessed.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/detach"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/login"
	"lanyard/service/sshconfig"
)

// Finding is what one check found.
type Finding struct {
	Name    string      `json:"name"`
	OK      bool        `json:"ok"`
	Finding string      `json:"finding"`        // one sentence
	Next    string      `json:"next,omitempty"` // what to type or do
	Code    reason.Code `json:"code,omitempty"`
	// Warning: worth knowing, and no reason to fail.
	Warning bool `json:"warning,omitempty"`
}

// Patient is what is looked at.
type Patient struct {
	Profile string
	Paths   paths.Paths
	Program string // this program
	Start   string // the command that starts the service
}

// visit is one run over a Patient: what earlier checks found out for later ones.
type visit struct {
	Patient
	status  *ipc.Status
	machine *ipc.Machine
	config  *api.Config
	login   *login.Login
	date    time.Time // the management server's clock when it answered, as our clock would show it
	asked   time.Time

	patience time.Duration // with ssh
}

// QuietEnv is set for programs that only look: nobody is asked to sign in for them.
const QuietEnv = "LANYARD_QUIET"

// limit bounds each question that a check asks.
const limit = 5 * time.Second

// Run makes all checks, in the order in which a person would look.
func Run(ctx context.Context, p Patient) []Finding {
	v := &visit{Patient: p, patience: 2 * limit}
	var out []Finding
	for _, check := range []func(context.Context, *visit) []Finding{
		service, network, management, clock, signedIn, dropIn, weakened, clients, serving, sessions, problems,
	} {
		out = append(out, check(ctx, v)...)
	}
	return out
}

// Bad reports whether something needs to be done.
func Bad(all []Finding) bool {
	for _, f := range all {
		if !f.OK && !f.Warning {
			return true
		}
	}
	return false
}

// Write prints the findings for a person.
func Write(w io.Writer, all []Finding) {
	for _, f := range all {
		mark := "ok     "
		switch {
		case f.Warning:
			mark = "warning"
		case !f.OK:
			mark = "PROBLEM"
		}
		fmt.Fprintf(w, "%s  %s: %s", mark, printable(f.Name), printable(f.Finding))
		if f.Code != "" {
			fmt.Fprintf(w, " [%s]", printable(string(f.Code)))
		}
		fmt.Fprintln(w)
		if f.Next != "" {
			fmt.Fprintf(w, "         -> %s\n", printable(f.Next))
		}
	}
}

// printable keeps the management server's and other programs' words from moving the cursor. Backslashes stay as they are:
// findings name files.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsGraphic(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}

func good(name, format string, args ...any) []Finding {
	return []Finding{{Name: name, OK: true, Finding: fmt.Sprintf(format, args...)}}
}

func service(ctx context.Context, v *visit) []Finding {
	const name = "service"
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d, err := ipc.Dial(v.Profile)
	if err != nil {
		next := "check who may use its socket"
		if errors.Is(err, ipc.ErrNotRunning) {
			next = v.Start
		}
		return []Finding{{Name: name, Finding: sentence(err), Next: next, Code: reason.Unreachable}}
	}
	defer d.Close()
	if v.status, err = d.Status(ctx); err == nil {
		v.machine, err = d.Machine(ctx)
	}
	if err != nil {
		return []Finding{{Name: name, Finding: sentence(err), Next: "restart the service: " + v.Start, Code: reason.Internal}}
	}
	return good(name, "The service runs (%s).", v.status.Release)
}

func network(_ context.Context, v *visit) []Finding {
	const name = "network"
	if v.status == nil {
		return nil
	}
	switch v.status.State {
	case ipc.StateNew:
		return []Finding{{Name: name, Finding: "This machine is not part of a network.", Next: "lanyard up URL"}}
	case ipc.StateRemoved:
		f := Finding{Name: name, Finding: "This machine was removed from the network.", Next: "lanyard up URL", Code: reason.Removed}
		if what, next, ok := strings.Cut(v.status.Removed, "; "); ok { // the management server's sentence
			f.Finding, f.Next = what+".", strings.TrimRight(next, ".")
		}
		return []Finding{f}
	case ipc.StateDown:
		return []Finding{{Name: name, Finding: "Lanyard is switched off.", Next: "lanyard up"}}
	}
	if m := v.status.Map; m != nil && m.Stale {
		return []Finding{{
			Name: name, Finding: "The network map is too old; this machine admits nobody.",
			Next: "make the management server reachable", Code: reason.MapStale,
		}}
	}
	return good(name, "This machine is %s; machines it knows: %d.", v.machine.Name, len(v.status.Peers))
}

func management(ctx context.Context, v *visit) []Finding {
	const name = "management server"
	if v.machine == nil || v.machine.Server == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := client.New(v.machine.Server)
	if err == nil {
		v.date, v.asked, err = v.ask(ctx, c)
	}
	if err != nil {
		return []Finding{{Name: name, Finding: sentence(err), Next: "check the network, and whether the server runs", Code: reason.Unreachable}}
	}
	return good(name, "%s answers.", hostOf(v.machine.Server))
}

// ask gets the public configuration, and the server's clock from the answer's Date (RFC 9110 §6.6.1).
func (v *visit) ask(ctx context.Context, c *client.Client) (date, asked time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL(api.RouteConfig), nil)
	if err != nil {
		return date, asked, err
	}
	begin := time.Now()
	res, err := c.HTTP().Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return date, asked, fmt.Errorf("%s does not answer: %w", hostOf(v.machine.Server), err)
	}
	defer res.Body.Close()
	asked = begin.Add(time.Since(begin) / 2)
	v.config = new(api.Config)
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(v.config); err != nil || res.StatusCode != http.StatusOK {
		return date, asked, fmt.Errorf("%s answers %s, which is not how a Lanyard management server answers", hostOf(v.machine.Server), res.Status)
	}
	date, _ = http.ParseTime(res.Header.Get("Date"))
	return date, asked, nil
}

// skew is how far clocks may differ before sign-ins are refused: the leeway of tokens and proofs.
const skew = 60 * time.Second

func clock(_ context.Context, v *visit) []Finding {
	const name = "clock"
	if v.date.IsZero() {
		return nil
	}
	d := v.asked.Sub(v.date)
	if d.Abs() < skew {
		return good(name, "It agrees with the management server's.")
	}
	word := "ahead of"
	if d < 0 {
		word = "behind"
	}
	return []Finding{{
		Name: name, Finding: fmt.Sprintf("It is %s %s the management server's.", d.Abs().Round(time.Second), word),
		Next: "set the clock of the machine that is wrong (timedatectl set-ntp true)", Code: reason.ClockSkew,
	}}
}

func signedIn(ctx context.Context, v *visit) []Finding {
	const name = "sign-in"
	if v.machine == nil || !v.machine.Enrolled {
		return nil
	}
	l, err := login.Load(v.Paths, v.machine.PeerID)
	if errors.Is(err, login.ErrNotSignedIn) {
		if v.status != nil && served(v.status.Peers) == nil { // a server, say
			return good(name, "Nobody is signed in under this account, and it has no machine to reach.")
		}
		return []Finding{{Name: name, Finding: "You are not signed in.", Next: "lanyard login", Code: reason.NotLoggedIn}}
	}
	if err != nil {
		return []Finding{{Name: name, Finding: sentence(err), Next: "lanyard login", Code: reason.Internal}}
	}
	v.login = l
	_, _, file := v.Paths.Identity(v.machine.PeerID)
	f, err := login.ReadFreshness(file)
	if err != nil || !time.Now().Before(f.Ends) {
		return []Finding{{Name: name, Finding: "Your sign-in has ended.", Next: "lanyard login", Code: reason.LoginExpired}}
	}
	if v.config != nil { // the server answers
		if refused := login.Refused(ctx, v.machine.Server, l); refused != nil {
			next := "lanyard login"
			if reason.Code(refused.Code) == reason.Blocked {
				next = "ask your administrator"
			}
			return []Finding{{Name: name, Finding: refused.Message, Next: next, Code: reason.Code(refused.Code)}}
		}
	}
	return good(name, "You are signed in as %q until %s.", l.Claims.Email, f.Ends.Format("Mon 15:04"))
}

// dropIn asks ssh itself what it would do for a machine of the network.
func dropIn(ctx context.Context, v *visit) []Finding {
	const name = "ssh configuration"
	if v.status == nil || v.status.Self == nil {
		return nil
	}
	peer := served(v.status.Peers)
	if peer == nil {
		return nil
	}
	if _, err := os.Stat(v.Paths.DropIn); err != nil {
		return []Finding{{
			Name: name, Finding: fmt.Sprintf("%s is not there.", v.Paths.DropIn),
			Next: "lanyard ssh " + peer.Name + ", or look at the service's log", Code: reason.Internal,
		}}
	}
	want := sshconfig.Settings(sshconfig.Input{
		Map: &api.Map{Self: api.Peer{ID: v.status.Self.ID}}, Paths: v.Paths,
	}, api.Peer{ID: peer.ID, Addr4: peer.Addr4})
	got, err := v.sshG(ctx, peer.Addr4.String())
	if errors.Is(err, errSSHHangs) {
		return []Finding{{Name: name, Finding: sentence(err), Next: "look for a pipe, or a drive that does not answer, among your ~/.ssh/config and what it includes"}}
	}
	if err != nil {
		return []Finding{{Name: name, Finding: sentence(err), Next: "install OpenSSH's client"}}
	}
	if !strings.Contains(got["identityfile"], "lanyard-") {
		return []Finding{{
			Name: name, Finding: "Plain ssh does not read " + v.Paths.DropIn + ".", Warning: true,
			Next: "lanyard ssh setup, or use 'lanyard ssh HOST'",
		}}
	}
	for k, w := range want {
		if g := got[k]; g != w && !strings.HasSuffix(g, " "+w) && k != "identityfile" && k != "certificatefile" {
			return []Finding{{
				Name: name, Finding: fmt.Sprintf("For %s ssh uses %s %q in place of %q.", peer.Name, k, g, w),
				Next: "look for the setting in your ~/.ssh/config",
			}}
		}
	}
	return good(name, "ssh finds %s and checks its host key.", peer.Name)
}

func served(peers []ipc.Peer) *ipc.Peer {
	for i := range peers {
		if peers[i].ServesSSH {
			return &peers[i]
		}
	}
	return nil
}

var errSSHHangs = errors.New("ssh does not get to the end of its configuration")

// sshG asks for an address, so that the helper of Match exec runs: a sign-in that is not fresh is refreshed by this.
func (v *visit) sshG(ctx context.Context, host string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, v.patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-T", "-G", host)
	detach.Detach(cmd) // without a terminal the helper opens no browser
	cmd.Env = append(os.Environ(), QuietEnv+"=1")
	cmd.WaitDelay = time.Second // what ssh has started may hold its output open
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well, and something that it started goes on
		err = nil
	}
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w (ssh -G %s)", errSSHHangs, host)
	}
	if err != nil {
		return nil, fmt.Errorf("ssh -G %s did not work: %w", host, err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		k, val, _ := strings.Cut(strings.TrimSpace(line), " ")
		if old, ok := got[k]; ok {
			val = old + " " + val
		}
		got[k] = val
	}
	return got, nil
}

func weakened(_ context.Context, v *visit) []Finding {
	var out []Finding
	config := filepath.Join(v.Paths.SSHDir, "config")
	if _, err := paths.ReadText(config); err != nil && !errors.Is(err, fs.ErrNotExist) {
		out = append(out, Finding{
			Name: "your ssh configuration", Warning: true, Finding: sentence(err),
			Next: "look at " + config + " yourself: it was not looked through for lines that weaken Lanyard's",
		})
	}
	for _, w := range sshconfig.Weakened(v.Paths) {
		out = append(out, Finding{
			Name: "your ssh configuration", Warning: true, Finding: w.String(),
			Next: fmt.Sprintf("edit line %d of %s", w.Line, w.File),
		})
	}
	return out
}

// serving is about this machine as a server: whether and how the redirect works.
func serving(_ context.Context, v *visit) []Finding {
	const name = "SSH server"
	if v.status == nil || !v.status.SSH.Allowed {
		return nil
	}
	s := v.status.SSH
	switch {
	case !s.Serving:
		return []Finding{{
			Name: name, Finding: "SSH is switched on here, but no policy lets anyone in.",
			Next: "an administrator adds a policy", Code: reason.NoRule, Warning: true,
		}}
	case s.Mode == "netstack" && s.Detail != "":
		return good(name, "Sessions end in the in-process network stack: %s.", s.Detail)
	}
	return good(name, "It serves sessions through the tunnel (%s).", s.Mode)
}

// problems are what the service itself noticed, a host firewall among them.
func problems(_ context.Context, v *visit) []Finding {
	if v.status == nil {
		return nil
	}
	var out []Finding
	for _, p := range v.status.Problems {
		if v.config == nil && strings.Contains(p, client.ErrUnreachable.Error()) {
			continue // management has said it, with what to do
		}
		if p == v.status.Removed {
			continue // network has
		}
		out = append(out, Finding{Name: "service", Finding: p})
	}
	if v.status.Audit.Full {
		out = append(out, Finding{
			Name: "audit", Finding: "The audit spool is full; new sessions are refused.",
			Next: "make the management server reachable", Code: reason.AuditFull,
		})
	}
	return out
}

func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func hostOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	return u.Host
}
