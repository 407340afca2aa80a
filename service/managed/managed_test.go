package managed

import (
	"strings"
	"testing"

	"lanyard/service/ipc"
)

func TestOnlyKnownSettingsAreTaken(t *testing.T) {
	s, err := Parse([]byte("management_url: https://lanyard.example.com\nallow_ssh: false\noperator: ann\n"))
	if err != nil || s.ManagementURL != "https://lanyard.example.com" || s.AllowSSH == nil || *s.AllowSSH || s.Userspace != nil || *s.Operator != "ann" {
		t.Fatalf("%+v, %v", s, err)
	}
	if got := strings.Join(s.Names(), " "); got != "management_url allow_ssh operator" {
		t.Errorf("names %q", got)
	}
	if s, err := Parse(nil); err != nil || len(s.Names()) != 0 {
		t.Errorf("an empty file: %+v, %v", s, err)
	}
	for _, bad := range []string{"allow-ssh: true", "allow_ssh: maybe", "allow_ssh: true\nallow_ssh: false", "- a", "allow_ssh: true\n---\nallow_ssh: false", "a: &a [*a]", "\x00"} {
		if s, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q gave %+v", bad, s)
		}
	}
}

func TestWhatIsNotSettledIsFree(t *testing.T) {
	yes := true
	r, err := (&Settings{}).Settle(ipc.UpRequest{URL: "https://x", AllowSSH: &yes})
	if err != nil || r.URL != "https://x" || !*r.AllowSSH {
		t.Errorf("%+v, %v", r, err)
	}
	no := false
	for name, s := range map[string]Settings{"userspace": {Userspace: &no}, "operator": {Operator: new(string)}} {
		ann := "ann"
		if _, err := s.Settle(ipc.UpRequest{Userspace: &yes, Operator: &ann}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("management_url: https://lanyard.example.com\nallow_ssh: false\n"))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if (s == nil) == (err == nil) {
			t.Fatalf("%+v, %v", s, err)
		}
	})
}
