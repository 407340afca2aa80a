//go:build linux

package e2e

import (
	"fmt"
	"time"

	"lanyard/test/lab"
)

// sees waits until the laptop's status says of web-1 that it is "online", "offline" or "unknown". A laptop that missed the
// management server for a while tries again every 22 s only.
func (w *world) sees(want string) {
	w.t.Helper()
	began := time.Now()
	if err := lab.Until(within(w.t, 3*time.Minute), "web-1 to be "+want, func() error {
		st, err := w.peers[laptop].Status(w.t.Context())
		if err != nil {
			return err
		}
		for _, p := range st.Peers {
			if p.Name != web {
				continue
			}
			got := "unknown"
			if p.Online != nil {
				got = map[bool]string{true: "online", false: "offline"}[*p.Online]
			}
			if got != want {
				return fmt.Errorf("the laptop, which is %s, says %s", st.State, got)
			}
			return nil
		}
		return fmt.Errorf("%s is not in the laptop's map", web)
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%s after %s", want, time.Since(began).Round(10*time.Millisecond))
}
