package machine

import (
	"encoding/json"
	"testing"
)

// FuzzState is the state file: a half of one, one of a newer release, one that somebody has edited.
func FuzzState(f *testing.F) {
	s, err := newState()
	if err != nil {
		f.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte(`{"format":99}`))
	f.Add([]byte(`{"format":1,"machine_key":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parse(b)
		if err != nil {
			return
		}
		m := &Machine{state: s}
		if err := m.load(); err != nil {
			t.Errorf("what is read has keys, and yet: %v", err)
		}
		if len(m.machineKey) == 0 || m.wgKey == nil || m.hostKey == nil {
			t.Error("keys are missing")
		}
	})
}
