package doctor

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
)

func TestWrongClockIsNamed(t *testing.T) {
	for offset, want := range map[time.Duration]string{
		0: "", 30 * time.Second: "", 10 * time.Minute: "behind", -10 * time.Minute: "ahead of",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(offset).UTC().Format(http.TimeFormat))
			w.Write([]byte(`{"version":1}`))
		}))
		v := &visit{machine: &ipc.Machine{Server: srv.URL}}
		if f := management(t.Context(), v); !f[0].OK {
			t.Errorf("%v", f)
		}
		f := clock(t.Context(), v)[0]
		if f.OK != (want == "") || !strings.Contains(f.Finding, want) || !f.OK && (f.Code != reason.ClockSkew || f.Next == "") {
			t.Errorf("%s: %+v", offset, f)
		}
		srv.Close()
	}
}

func TestSilentServerIsNamedAndTheClockLeftOut(t *testing.T) {
	v := &visit{machine: &ipc.Machine{Server: "http://127.0.0.1:1"}} // where nobody listens, whatever other tests begin
	f := management(t.Context(), v)[0]
	if f.OK || f.Code != reason.Unreachable || f.Next == "" {
		t.Errorf("%+v", f)
	}
	if c := clock(t.Context(), v); c != nil {
		t.Errorf("guessed: %+v", c)
	}
}

func TestWarningsAreNoReasonToFail(t *testing.T) {
	fs := []Finding{{Name: "a", OK: true, Finding: "Good."}, {Name: "b", Warning: true, Finding: "Odd.", Next: "look"}}
	if Bad(fs) {
		t.Error("failed")
	}
	var b bytes.Buffer
	Write(&b, append(fs, Finding{Name: "c", Finding: "Wrong.", Code: reason.MapStale}))
	for _, want := range []string{"ok       a: Good.\n", "warning  b: Odd.\n         -> look\n", "PROBLEM  c: Wrong. [map-stale]\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestMachineFromWhichNobodyGoesAnywhereNeedsNoSignIn(t *testing.T) {
	v := &visit{
		Patient: Patient{Paths: paths.Paths{State: t.TempDir(), SSHDir: t.TempDir()}},
		machine: &ipc.Machine{Enrolled: true, PeerID: "pself"}, status: &ipc.Status{Peers: []ipc.Peer{{Name: "laptop"}}},
	}
	if f := signedIn(t.Context(), v)[0]; !f.OK {
		t.Errorf("a server: %+v", f)
	}
	v.status.Peers = append(v.status.Peers, ipc.Peer{Name: "web-1", ServesSSH: true})
	if f := signedIn(t.Context(), v)[0]; f.OK || f.Code != reason.NotLoggedIn {
		t.Errorf("with a machine to reach: %+v", f)
	}
}

func TestSilentServerIsNamedOnce(t *testing.T) {
	v := &visit{status: &ipc.Status{Problems: []string{client.ErrUnreachable.Error() + " at https://x: refused", "The firewall drops it."}}}
	if f := problems(t.Context(), v); len(f) != 1 || !strings.Contains(f[0].Finding, "firewall") {
		t.Errorf("after the check of the server failed: %+v", f)
	}
	v.config = &api.Config{} // it answers now
	if f := problems(t.Context(), v); len(f) != 2 {
		t.Errorf("where it answers: %+v", f)
	}
}

func TestRemovedMachineIsNamedOnceWithWhatToDo(t *testing.T) {
	for said, want := range map[string]Finding{
		"This machine was removed from the network by an administrator; run 'lanyard up' to join again.": {
			Name: "network", Code: reason.Removed, Finding: "This machine was removed from the network by an administrator.", Next: "run 'lanyard up' to join again",
		},
		"This machine was reported lost and is out of the network; ask your administrator.": {
			Name: "network", Code: reason.Removed, Finding: "This machine was reported lost and is out of the network.", Next: "ask your administrator",
		},
		"It is gone.": {Name: "network", Code: reason.Removed, Finding: "This machine was removed from the network.", Next: "lanyard up URL"},
	} {
		v := &visit{status: &ipc.Status{State: ipc.StateRemoved, Removed: said, Problems: []string{said, "The firewall drops it."}}}
		got := append(network(t.Context(), v), problems(t.Context(), v)...)
		if len(got) != 2 || got[0] != want || got[1].Finding != "The firewall drops it." {
			t.Errorf("%s\nis told as %+v", said, got)
		}
	}
}

func TestForeignWordsMoveNoCursor(t *testing.T) {
	said := "Gone\x1b[2J \u202eéw\n\xff C:\\x"
	const shown = `Gone\x1b[2J \u202eéw\n� C:\x`
	v := &visit{status: &ipc.Status{State: ipc.StateRemoved, Removed: said + "; " + said}}
	var b strings.Builder
	Write(&b, network(t.Context(), v))
	if want := "PROBLEM  network: " + shown + ". ["; !strings.HasPrefix(b.String(), want) || !strings.HasSuffix(b.String(), "]\n         -> "+shown+"\n") {
		t.Errorf("%q\nbegins not with %q", b.String(), want)
	}
}
