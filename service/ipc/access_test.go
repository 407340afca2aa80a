package ipc

import "testing"

// A caller whose id could not be read is nobody, also where no operator was named.
func TestUnknownCallerIsNobody(t *testing.T) {
	for name, a := range map[string]Access{"no operator": {}, "accounts without an id": {Connect: []Account{{Name: "ann"}}}} {
		if c := a.classify("", false); c != ClassStatus {
			t.Errorf("%s: class %q", name, c)
		}
	}
	a := Access{Operator: Account{Name: "ann", ID: "1000"}, Connect: []Account{{Name: "bob", ID: "1001"}}}
	for id, want := range map[string]Class{"1000": ClassChange, "1001": ClassConnect, "1002": ClassStatus} {
		if c := a.classify(id, false); c != want {
			t.Errorf("%s: class %q, want %q", id, c, want)
		}
	}
}
