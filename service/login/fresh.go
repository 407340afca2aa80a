package login

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"lanyard/platform/paths"
)

// Freshness is what the .fresh file beside a certificate says. It is all that the helper of an ssh command reads when
// there is nothing to do. Its times are of this machine's clock, which need not agree with the provider's.
type Freshness struct {
	RefreshAfter time.Time // the newest token has less than half of its time left
	Ends         time.Time // the login's lifetime is over
	Issued       time.Time // when the newest token came
}

// freshSize bounds the file; a longer one is not ours.
const freshSize = 256

// ReadFreshness reads the .fresh file. It is on the path of every ssh command: one small file, no parsing library.
func ReadFreshness(name string) (Freshness, error) {
	f, err := os.Open(name)
	if err != nil {
		return Freshness{}, err
	}
	defer f.Close()
	buf := make([]byte, freshSize)
	n, err := f.Read(buf)
	if err != nil {
		return Freshness{}, err
	}
	return parseFreshness(string(buf[:n]))
}

func parseFreshness(line string) (Freshness, error) {
	w := strings.Fields(line)
	if len(w) < 4 || w[0] != "v1" {
		return Freshness{}, fmt.Errorf("not a line of this version")
	}
	var at [3]time.Time
	for i := range at {
		sec, err := strconv.ParseInt(w[i+1], 10, 64)
		if err != nil {
			return Freshness{}, err
		}
		at[i] = time.Unix(sec, 0)
	}
	return Freshness{RefreshAfter: at[0], Ends: at[1], Issued: at[2]}, nil
}

func (f Freshness) String() string {
	return fmt.Sprintf("v1 %d %d %d\n", f.RefreshAfter.Unix(), f.Ends.Unix(), f.Issued.Unix())
}

// Good reports whether the certificate may be offered as it is: the newest token has time left, and is not older
// than half of maxAge, where a machine wants younger ones (0: it does not).
func (f Freshness) Good(now time.Time, maxAge time.Duration) bool {
	if maxAge > 0 && now.Sub(f.Issued) >= maxAge/2 {
		return false
	}
	// A file from the future was written before the clock was set back: its times mean nothing.
	return now.Before(f.RefreshAfter) && now.Before(f.Ends) && now.After(f.Issued.Add(-time.Minute))
}

// Fresh reports whether this user's certificate for the machine peer may be offered as it is.
func Fresh(p paths.Paths, peer string, maxAge time.Duration, now time.Time) bool {
	_, _, name := p.Identity(peer)
	f, err := ReadFreshness(name)
	return err == nil && f.Good(now, maxAge)
}

// Stale makes the next ssh refresh the token, after a server refused it.
func Stale(p paths.Paths, peer string) error {
	_, _, name := p.Identity(peer)
	f, err := ReadFreshness(name)
	if err != nil {
		return nil // nothing to spoil
	}
	f.RefreshAfter = time.Unix(0, 0)
	return paths.WriteFile(name, []byte(f.String()), 0o600)
}
