package audit

import (
	"fmt"
	"slices"
	"testing"
)

func chain(t *testing.T, peer string, n int) []Event {
	t.Helper()
	var all []Event
	prev := ""
	for i := range n {
		e := Event{ID: fmt.Sprint(peer, i), Type: SessionStart, Peer: peer, Prev: prev}
		h, err := e.Hash()
		if err != nil {
			t.Fatal(err)
		}
		prev = h
		all = append(all, e)
	}
	return all
}

func TestChangedMissingOrDoubledEventBreaksTheChain(t *testing.T) {
	good := slices.Concat(chain(t, "pa", 5), chain(t, "pb", 3), []Event{{ID: "own", Type: AdminChange}})
	for name, c := range map[string]struct {
		spoil func([]Event) []Event
		want  int
	}{
		"whole":                 {func(e []Event) []Event { return e }, 0},
		"in another order":      {func(e []Event) []Event { slices.Reverse(e); return e }, 0},
		"one is missing":        {func(e []Event) []Event { return slices.Delete(e, 2, 3) }, 1},
		"the first is missing":  {func(e []Event) []Event { return e[1:] }, 1},
		"one was changed":       {func(e []Event) []Event { e[1].User = "somebody else"; return e }, 1},
		"one was put in beside": {func(e []Event) []Event { return append(e, Event{ID: "x", Prev: e[1].Prev}) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			broken, err := CheckChain(c.spoil(slices.Clone(good)))
			if err != nil || len(broken) != c.want {
				t.Errorf("%d breaks %q (%v), want %d", len(broken), broken, err, c.want)
			}
		})
	}
}
